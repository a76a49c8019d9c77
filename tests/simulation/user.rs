//! Who stands behind connections that come one after the other: remembers what it has got, and
//! comes back with the newest time.

use std::collections::{BTreeMap, BTreeSet};

/// What a frame means for the one who gets it.
#[derive(Debug)]
pub enum Effect {
    /// Updates are known now: these entries of the feed's log.
    Received {
        entries: Vec<usize>,
        seconds: i64,
    },
    /// All entries of the log from `from` on are owed. One who starts anew has asked Bugzilla
    /// itself for what was before.
    Subscribed {
        bugs: BTreeSet<u32>,
        from: usize,
        starts_anew: bool,
    },
    Unsubscribed {
        bugs: BTreeSet<u32>,
    },
}

/// What a user knows, and what it may expect to know.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The entry of the feed's log from which on the updates of a bug are owed.
    pub owed_from: BTreeMap<u32, usize>,
    pub entries: BTreeSet<usize>,
    /// The newest time that it has seen.
    pub newest: Option<i64>,
}

impl Known {
    /// Takes over what came before `end` of a connection's stream; the rest was lost with the
    /// connection.
    pub fn learn(&mut self, effects: &[(usize, Effect)], end: usize) {
        for (_, effect) in effects.iter().filter(|(offset, _)| *offset <= end) {
            match effect {
                Effect::Received { entries, seconds } => {
                    self.entries.extend(entries);
                    self.newest = self.newest.max(Some(*seconds));
                }
                Effect::Subscribed {
                    bugs,
                    from,
                    starts_anew,
                } => {
                    for &bug in bugs {
                        let owed_from = self.owed_from.entry(bug).or_insert(*from);
                        if *starts_anew {
                            *owed_from = *from;
                        }
                    }
                }
                Effect::Unsubscribed { bugs } => {
                    self.owed_from.retain(|bug, _| !bugs.contains(bug))
                }
            }
        }
    }
}
