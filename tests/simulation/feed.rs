//! The naive model of a feed: everything that ever happened to it, in order. What it remembers at
//! any time is computed anew from that.

use std::collections::BTreeSet;

use bugzfeed::promise::Promise;
use bugzfeed::update::{BugId, Update, When};

/// How far before `since` the newest update of each bug is sent once more, in seconds.
const MARGIN: i64 = 1_320;

/// What happened to a feed.
#[derive(Debug)]
pub enum Entry {
    Update {
        bug: u32,
        seconds: i64,
        watermark: i64,
    },
    Gap {
        until: i64,
    },
    Doubt {
        is_in_doubt: bool,
    },
}

#[derive(Debug)]
pub struct Feed {
    history_max: usize,
    first_floor: i64,
    pub log: Vec<Entry>,
    /// The largest time so far.
    watermark: i64,
}

impl Feed {
    pub fn new(history_max: usize, first_floor: i64) -> Self {
        Self {
            history_max,
            first_floor,
            log: Vec::new(),
            watermark: i64::MIN,
        }
    }

    /// Adds an update; what the server is to be given. Its time carries its place in the log as a
    /// fraction, so that clients can distinguish it from all others.
    pub fn push(&mut self, bug: u32, seconds: i64) -> Update {
        self.watermark = self.watermark.max(seconds);
        let watermark = self.watermark;
        self.log.push(Entry::Update {
            bug,
            seconds,
            watermark,
        });
        Update {
            bug: BugId::new(bug).unwrap(),
            when: self.text(self.log.len() - 1).parse().unwrap(),
        }
    }

    /// Whether clients that were connected may have missed updates.
    pub fn has_gap(&self) -> bool {
        self.log
            .iter()
            .any(|entry| matches!(entry, Entry::Gap { .. }))
    }

    /// The largest time so far.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    pub fn gap(&mut self, until: i64) {
        self.log.push(Entry::Gap { until });
    }

    /// The bug and the time of an update.
    pub fn update(&self, at: usize) -> (u32, i64) {
        match self.log[at] {
            Entry::Update { bug, seconds, .. } => (bug, seconds),
            Entry::Gap { .. } | Entry::Doubt { .. } => panic!("entry {at} is no update"),
        }
    }

    /// What stands as `when` in the message.
    pub fn text(&self, at: usize) -> String {
        format!("{}.{at:06}", When::from_unix_seconds(self.update(at).1))
    }

    /// The places of the updates that are remembered just before entry `end`, and the largest
    /// watermark of those that went although no newer one of their bug had come.
    fn remembered(&self, end: usize) -> (Vec<usize>, i64) {
        let mut remembered: Vec<usize> = Vec::new();
        let mut floor = i64::MIN;
        for at in (0..end).filter(|&at| matches!(self.log[at], Entry::Update { .. })) {
            remembered.push(at);
            if remembered.len() > self.history_max {
                let newer = |old: usize| {
                    let (bug, seconds) = self.update(old);
                    let next = self.changes_of(bug, old + 1, at + 1).next();
                    next.filter(|&next| self.update(next).1 >= seconds)
                };
                let redundant = (0..remembered.len())
                    .filter_map(|place| newer(remembered[place]).map(|newer| (newer, place)))
                    .min();
                let gone = match redundant {
                    Some((_, place)) => place,
                    None => {
                        floor = floor.max(watermark_of(&self.log[remembered[0]]));
                        0
                    }
                };
                remembered.remove(gone);
            }
        }
        (remembered, floor)
    }

    /// What the feed can promise just before entry `end`, as far as its source is concerned.
    pub fn promise(&self, end: usize) -> Promise {
        let gaps = self.log[..end].iter().filter_map(|entry| match entry {
            Entry::Gap { until } => Some(*until),
            Entry::Update { .. } | Entry::Doubt { .. } => None,
        });
        let is_in_doubt = self.log[..end].iter().rev().find_map(|entry| match entry {
            Entry::Doubt { is_in_doubt } => Some(*is_in_doubt),
            Entry::Update { .. } | Entry::Gap { .. } => None,
        });
        match is_in_doubt {
            Some(true) => Promise::InDoubt,
            Some(false) | None => Promise::After(gaps.fold(self.first_floor, i64::max)),
        }
    }

    /// Whether all since `since` is remembered, just before entry `end`.
    pub fn is_complete(&self, end: usize, since: i64) -> bool {
        match self.promise(end) {
            Promise::After(floor) => since > floor.max(self.remembered(end).1),
            Promise::InDoubt | Promise::Nothing => false,
        }
    }

    /// The places of the updates that a client gets which asks for these bugs just before entry
    /// `end`: all that have arrived since, and the newest of each bug from a while before, where
    /// anything as new as `since` has arrived.
    pub fn replay(&self, end: usize, since: i64, bugs: &BTreeSet<u32>) -> Vec<usize> {
        let remembered = self.remembered(end).0;
        let of_all = |&at: &usize| watermark_of(&self.log[at]);
        let has_come = remembered.iter().map(of_all).max() >= Some(since);
        let is_newest = |at: usize| {
            let bug = self.update(at).0;
            remembered
                .iter()
                .rfind(|&&other| self.update(other).0 == bug)
                == Some(&at)
        };
        let is_asked_for = |&at: &usize| {
            let watermark = of_all(&at);
            let is_in_margin = has_come && watermark >= since - MARGIN && is_newest(at);
            (watermark >= since || is_in_margin) && bugs.contains(&self.update(at).0)
        };
        remembered.iter().copied().filter(is_asked_for).collect()
    }

    /// The places from `from` to before `end` at which one of these bugs changed.
    pub fn changes_of(&self, bug: u32, from: usize, end: usize) -> impl Iterator<Item = usize> {
        (from..end).filter(
            move |&at| matches!(self.log[at], Entry::Update { bug: changed, .. } if changed == bug),
        )
    }
}

fn watermark_of(entry: &Entry) -> i64 {
    match entry {
        Entry::Update { watermark, .. } => *watermark,
        Entry::Gap { .. } | Entry::Doubt { .. } => i64::MIN,
    }
}
