//! What a client posts to a hook, on its way between the server and a source. Knows neither.

/// What came of something that a client has posted to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is kept, and on its way to those who want it.
    Kept,
    /// It says nothing about any bug.
    Unreadable,
    /// It could not be kept, or there was no time for it.
    NotKept,
}

/// What a client has posted to a hook: on its way from the loop to a source.
#[derive(Debug)]
pub struct Post {
    /// Its number, for the answer.
    pub number: u64,
    /// What was posted.
    pub body: Vec<u8>,
}
