//! What a client posts to a webhook, on its way between the server and a source. Knows neither.

/// The number of a post. Numbers are never used again, so that an answer that comes late reaches
/// nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PostId(pub u64);

/// The body of one POST request to a webhook.
#[derive(Debug)]
pub struct Post {
    /// Its number, for the answer.
    pub id: PostId,
    /// The bytes as they came.
    pub body: Vec<u8>,
}

/// What came of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is kept, and on its way to those who want it.
    Kept,
    /// It is no message about a bug.
    Unreadable,
    /// It could not be kept, or there was no time for it.
    NotKept,
}
