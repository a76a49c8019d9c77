//! Who stands behind connections that come one after the other: remembers what it has got, and
//! comes back with the newest time.

use std::collections::{BTreeMap, BTreeSet};

use crate::session::Named;

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
        bugs: Named,
        from: usize,
        starts_anew: bool,
    },
    Unsubscribed {
        bugs: Named,
    },
}

/// What a user knows, and what it may expect to know.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The entry of the feed's log from which on the updates of a bug are owed.
    pub owed_from: BTreeMap<u32, usize>,
    /// Those of them that it has subscribed by their numbers, and whether it has subscribed all.
    named: BTreeSet<u32>,
    wants_all: bool,
    pub entries: BTreeSet<usize>,
    /// The newest time that it has seen.
    pub newest: Option<i64>,
}

impl Known {
    /// What it subscribes when it comes back, in one message.
    pub fn come_back(&mut self) -> Named {
        if self.wants_all {
            self.named.clear();
            return Named::All;
        }
        Named::These(self.named.clone())
    }

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
                    match bugs {
                        Named::These(bugs) => self.named.extend(bugs),
                        Named::All => self.wants_all = true,
                    }
                    for bug in bugs.bugs() {
                        let owed_from = self.owed_from.entry(bug).or_insert(*from);
                        if *starts_anew {
                            *owed_from = *from;
                        }
                    }
                }
                Effect::Unsubscribed { bugs } => {
                    match bugs {
                        Named::These(bugs) => self.named.retain(|bug| !bugs.contains(bug)),
                        Named::All => self.wants_all = false,
                    }
                    let (named, wants_all) = (&self.named, self.wants_all);
                    self.owed_from
                        .retain(|bug, _| wants_all || named.contains(bug));
                }
            }
        }
    }
}
