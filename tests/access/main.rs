//! Who may have the feeds, as programs and their users see it.

mod bugzilla;
mod chance;
mod leaks;
mod lost;
mod rights;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod token;
mod tokens;
mod turns;
mod world;
