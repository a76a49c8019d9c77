//! Whether a server keeps its contract: a list of checks, each a short script that is played on a
//! connection of its own. What they ask for is what the original did, what docs/protocol.md promises,
//! and what RFC 6455 says must be. Knows nothing of a server's insides.

mod original;
mod play;
mod promise;
mod rfc6455;
mod script;
mod wire;

use serde::Serialize;

pub use original::{DIFFERENCES, RECORDED};
pub use play::Target;
pub use script::Script;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// What was recorded of the original, with its faults mended as docs/protocol.md says.
    Original,
    /// What docs/protocol.md promises.
    Promise,
    /// What RFC 6455 says that a server must do.
    Rfc6455,
}

impl Group {
    /// The word for it in the table.
    pub fn word(self) -> &'static str {
        match self {
            Group::Original => "original",
            Group::Promise => "promise",
            Group::Rfc6455 => "rfc6455",
        }
    }
}

/// One thing that is to hold.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is about.
    pub group: Group,
    /// What must hold, and where that is written.
    pub name: String,
    /// How that is found out.
    pub script: Script,
}

/// What has come of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "why")]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not, and why.
    Failed(String),
    /// That cannot be said.
    NotTried(String),
}

/// All checks, in the order of their groups.
pub fn all() -> Vec<Check> {
    [original::checks(), promise::checks(), rfc6455::checks()].concat()
}

impl Check {
    fn new(group: Group, name: impl Into<String>, script: Script) -> Self {
        Self {
            group,
            name: name.into(),
            script,
        }
    }
}
