//! Who may have the feeds, as programs and their users see it.

#[path = "../support/mod.rs"]
mod support;
mod token;
mod tokens;
