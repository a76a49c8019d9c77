//! Who may have the feeds, as programs and their users see it.

mod bugzilla;
mod rights;
mod stock;
#[path = "../support/mod.rs"]
mod support;
mod token;
mod tokens;
mod world;
