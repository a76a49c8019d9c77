//! Who may have the feeds: what a request shows for who sends it, the tokens that let clients in, and
//! what Bugzilla says about who sees which bug. Knows no socket, no file and no thread; what it needs
//! to know is passed in.

mod question;
mod queue;
mod readers;
mod rights;
mod secret;
#[cfg(test)]
mod tests;
mod tokens;
mod verdict;

pub use question::{Answer, Kept, Question, ReaderDigest, Said};
pub(crate) use queue::{AddressId, Rank, Who};
pub(crate) use readers::ReaderId;
pub(crate) use rights::Presented;
pub use rights::Rights;
pub use secret::Secret;
pub use tokens::Tokens;
pub(crate) use tokens::{HolderId, is_name};
pub(crate) use verdict::Purpose;

/// What the loop is told about who may have the feeds.
#[derive(Debug)]
pub enum News {
    /// Those who hold one of these tokens, and nobody else.
    Tokens(Tokens),
    /// What has become of a question for Bugzilla.
    Answer(Answer),
}

/// What a request shows for who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A bearer token: RFC 6750.
    Bearer(Secret),
    /// The cookies of a login to Bugzilla, as a header field Cookie has them.
    Cookies(Secret),
}
