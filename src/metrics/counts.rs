//! What a server counts. Each number has one place where it grows.

use std::collections::BTreeMap;

use core::net::IpAddr;

/// What has happened to all clients since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Those that are being ended.
    pub ending: u64,
    /// Those that have ended, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Requests that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Updates that were handed over to a client.
    pub deliveries: u64,
    /// Bytes that the kernel has taken.
    pub sent_bytes: u64,
    /// Updates that a newer one of the same bug has replaced while a client was slow.
    pub conflated: u64,
    /// Clients with output that the kernel has not taken yet.
    pub unsent_clients: u64,
}

/// How a Bugzilla that decides who sees what is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RightsCounts {
    /// Questions that it has answered since the start, a request each.
    pub answered: u64,
    /// Questions that it has not, in time and as expected.
    pub failed: u64,
    /// What waits to be asked, or is being asked: a bug for a reader, or who somebody is.
    pub waiting: usize,
    /// Credentials that are remembered.
    pub readers: usize,
}

/// What has happened to a feed since the start.
#[derive(Debug, Default)]
pub(crate) struct FeedCounts {
    /// Connections that speak WebSocket.
    pub clients: u64,
    /// Updates that have come from the source or from the catch-up.
    pub updates: u64,
    /// When the last one came, in Unix seconds.
    pub last_update: Option<i64>,
    /// How long before that its bug had changed, in seconds, by the database's clock.
    pub lag: i64,
    /// How often updates may have been missed.
    pub gaps: u64,
}

impl FeedCounts {
    /// How long after its change the latest update came, in seconds by the database's clock.
    pub(crate) fn delay(&self) -> Option<i64> {
        self.last_update.map(|_| self.lag)
    }
}

/// A command of the protocol, or what is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommandName {
    Subscribe,
    Unsubscribe,
    Subscriptions,
    Version,
    Status,
    Unknown,
}

/// How many commands were carried out, and how many refused.
#[derive(Debug, Default)]
pub(crate) struct CommandCounts([[u64; 2]; 6]);

impl CommandCounts {
    /// Counts a command that was carried out, or refused.
    pub(crate) fn count(&mut self, command: CommandName, is_ok: bool) {
        self.0[command as usize][usize::from(!is_ok)] += 1;
    }

    /// Each command's name and result, with how many there were.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let names = [
            "subscribe",
            "unsubscribe",
            "subscriptions",
            "version",
            "status",
            "unknown",
        ];
        names
            .into_iter()
            .zip(self.0)
            .flat_map(|(name, [ok, error])| [(name, "ok", ok), (name, "error", error)])
    }
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Unix seconds.
    pub at: i64,
    pub reason: &'static str,
    /// The number of the client's feed, if it has ever spoken WebSocket.
    pub feed: Option<u8>,
    /// The client's address, where it could still be found out.
    pub address: Option<IpAddr>,
    pub subscriptions: usize,
    /// Where that is measured.
    pub passed: Option<Passed>,
}

/// What has gone by at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// How long it has been there.
    pub seconds: u64,
    /// Bytes that the client has sent, and those that the kernel has taken for it.
    pub received: u64,
    pub sent: u64,
}

/// What the kernel says of the process; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub open_files: Option<u64>,
    pub open_files_max: Option<u64>,
    pub started_at: Option<f64>,
}

/// How a feed's source is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// It has not been reached yet.
    #[default]
    Starting,
    /// It is read.
    Reading,
    /// It cannot be read, for this reason.
    Failing(String),
}
