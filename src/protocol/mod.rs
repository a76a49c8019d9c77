//! The wire: the commands of clients, the replies to them, and updates, as JSON texts. Owns each
//! rule and each text of it; docs/protocol.md is its contract. Knows no client, no subscription, no
//! socket.

mod arguments;
mod python;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;
use std::fmt;

pub use read::parse;
pub(crate) use write::{FeedState, Status};
pub(crate) use write::{add_watermark, write_error, write_feed, write_status, write_version};
pub use write::{write_bugs, write_update};

use crate::update::BugId;

/// The version in the reply to the command `version`: this package's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send updates of these bugs from now on.
    Subscribe {
        /// Which ones.
        bugs: Bugs,
        /// Replay what changed at this time or later; Unix seconds.
        since: Option<i64>,
        /// Say where the feed stands.
        watermark: bool,
    },
    /// Send no more updates of these bugs.
    Unsubscribe {
        /// Which ones.
        bugs: Bugs,
    },
    /// List the subscriptions.
    Subscriptions,
    /// Name the server's version.
    Version,
    /// Say whether updates are read, and where the feed stands.
    Status {
        /// Whether to say from now on when updates are read, are not read, or were missed; `None`
        /// leaves it as it is.
        feed: Option<bool>,
    },
}

/// The bugs that a command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bugs {
    /// Ascending, each once.
    These(Vec<BugId>),
    /// All that ever change: `"*"`.
    All,
}

impl Bugs {
    /// Whether a bug is one of them.
    pub(crate) fn contains(&self, bug: BugId) -> bool {
        match self {
            Bugs::These(bugs) => bugs.binary_search(&bug).is_ok(),
            Bugs::All => true,
        }
    }
}

/// The reply to a message that is no command, or asks for too much. The connection stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// The command as it came, in JSON; `null` where there is none.
    command: Cow<'static, str>,
    error: Error,
}

/// What is wrong with a message; the text is what the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such command.
    InvalidCommand,
    /// The command needs `bugs`.
    MissingBugs,
    /// There is no command.
    MissingCommand,
    /// One of the bugs is none.
    InvalidBugId,
    /// The message is no JSON.
    InvalidJson,
    /// It is no JSON object.
    NotAnObject,
    /// `since` is no time.
    InvalidSince,
    /// The client would have more subscriptions than it may have.
    TooManySubscriptions {
        /// How many it may have.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidCommand => f.write_str("invalid command"),
            Error::MissingBugs => f.write_str("missing mandatory arg: 'bugs'"),
            Error::MissingCommand => f.write_str("missing mandatory arg: 'command'"),
            Error::InvalidBugId => f.write_str("invalid bug id; must be integer"),
            Error::InvalidJson => f.write_str("invalid JSON"),
            Error::NotAnObject => f.write_str("message must be a JSON object"),
            Error::InvalidSince => f.write_str("invalid since; must be YYYY-MM-DDTHH:MM:SS"),
            Error::TooManySubscriptions { limit } => {
                write!(f, "too many subscriptions; the limit is {limit}")
            }
        }
    }
}

impl ErrorReply {
    /// Refuses a `subscribe` that would go beyond `limit` subscriptions.
    pub(crate) fn too_many_subscriptions(limit: usize) -> Self {
        Self {
            command: "\"subscribe\"".into(),
            error: Error::TooManySubscriptions { limit },
        }
    }

    /// What is wrong.
    pub(crate) fn error(&self) -> Error {
        self.error
    }

    fn without_command(error: Error) -> Self {
        Self {
            command: "null".into(),
            error,
        }
    }
}
