//! How a server is, as it is shown to those who run it: whether it can take clients, its metrics, its
//! state and the connections that ended. Each is rendered from one snapshot. Counts alone are shown,
//! no bug's number. Knows no server, no socket and no clock.

mod closed;
mod exposition;
mod overview;
mod readiness;

use crate::metrics::{
    CommandCounts, Counts, Ended, FeedCounts, Histogram, Process, RightsCounts, SourceState,
};

pub(crate) use readiness::Readiness;

/// How a server is at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    /// The program's version.
    pub version: &'static str,
    /// Unix seconds.
    pub now: i64,
    /// Since the start, in seconds.
    pub uptime: u64,
    /// Connections in all phases, those of them that are open, and those of these that get events.
    pub connections: usize,
    pub open: usize,
    pub listening: usize,
    /// How many of these there may be.
    pub connections_max: usize,
    pub is_draining: bool,
    pub is_memory_short: bool,
    /// What is left, and how much of it is left alone, in bytes; `None` where the kernel does not say.
    pub memory_left: Option<u64>,
    pub memory_reserve: u64,
    pub counts: &'a Counts,
    /// Where Bugzilla decides who sees what.
    pub rights: Option<RightsCounts>,
    pub feeds: Vec<Feed<'a>>,
    pub turns: &'a Histogram,
    pub delays: &'a Histogram,
    /// The file and the end of each certificate, in Unix seconds.
    pub certificates: Vec<(String, i64)>,
    pub process: Process,
    /// The latest first.
    pub closed: Vec<&'a Ended>,
}

/// How a feed is.
#[derive(Debug)]
pub(crate) struct Feed<'a> {
    pub path: &'a str,
    /// Where it comes from, without a password.
    pub source: &'a str,
    pub state: &'a SourceState,
    /// How often the source has failed.
    pub errors: u64,
    /// Whether its history can be written.
    pub is_keeping: bool,
    pub counts: &'a FeedCounts,
    pub commands: &'a CommandCounts,
    pub subscriptions: usize,
    pub bugs: usize,
    pub history: History,
}

/// How far a feed's history reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    pub updates: usize,
    /// The time of the oldest update, in Unix seconds.
    pub oldest: Option<i64>,
    /// Up to which time updates may be missing, in Unix seconds, where that is known.
    pub floor: Option<i64>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a snapshot in a test borrows.
    pub(crate) struct Parts {
        pub counts: Counts,
        pub feed: FeedCounts,
        pub commands: CommandCounts,
        pub histogram: Histogram,
        pub state: SourceState,
        pub ended: Ended,
    }

    impl Parts {
        pub(crate) fn new() -> Self {
            Self {
                counts: Counts::default(),
                feed: FeedCounts::default(),
                commands: CommandCounts::default(),
                histogram: Histogram::new(&[1.0]),
                state: SourceState::Reading,
                ended: Ended {
                    at: 1_000,
                    reason: "gone",
                    feed: Some(0),
                    address: Some([192, 0, 2, 7].into()),
                    subscriptions: 3,
                    passed: None,
                },
            }
        }

        /// A server that is ready.
        pub(crate) fn snapshot(&self) -> Snapshot<'_> {
            Snapshot {
                version: "1.2.3",
                now: 1_000,
                uptime: 60,
                connections: 3,
                open: 2,
                listening: 1,
                connections_max: 10,
                is_draining: false,
                is_memory_short: false,
                memory_left: Some(5),
                memory_reserve: 4,
                counts: &self.counts,
                rights: None,
                feeds: vec![Feed {
                    path: "/",
                    source: "sqlite:b.db",
                    state: &self.state,
                    errors: 0,
                    is_keeping: true,
                    counts: &self.feed,
                    commands: &self.commands,
                    subscriptions: 4,
                    bugs: 3,
                    history: History {
                        updates: 9,
                        oldest: Some(500),
                        floor: None,
                    },
                }],
                turns: &self.histogram,
                delays: &self.histogram,
                certificates: Vec::new(),
                process: Process::default(),
                closed: vec![&self.ended],
            }
        }
    }
}
