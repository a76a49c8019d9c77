//! What a feed can promise to a client that asks with `since`. Knows no feed, no source, no clock.

/// What is known about updates that may be missing from a feed's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It is not known yet whether updates are missing, and will be known soon, so that an answer is
    /// better given a little later.
    InDoubt,
    /// Updates may be missing, and it is not known up to which time.
    Nothing,
    /// No update after this time (Unix seconds) is missing.
    After(i64),
}
