//! Who may have the feeds: what a request shows for who sends it, and the tokens that let clients
//! in. Knows no socket, no client, no file.

mod secret;
mod tokens;

pub use secret::Secret;
pub use tokens::Tokens;
pub(crate) use tokens::{HolderId, is_name};

/// What the loop is told about who may have the feeds.
#[derive(Debug)]
pub enum News {
    /// Those who hold one of these tokens, and nobody else.
    Tokens(Tokens),
}

/// What a request shows for who sends it.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A bearer token: RFC 6750.
    Bearer(Secret),
}
