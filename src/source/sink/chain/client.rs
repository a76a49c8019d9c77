//! A naive client: subscribes to some bugs with the newest time that it has seen, and asks Bugzilla
//! when it is not answered with true. Owns what it still lacks. Knows no server.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::Value;

use super::bugzilla::{BUGS, Bugzilla};
use crate::update::{Update, When};

#[derive(Debug)]
pub(super) struct Client {
    pub bugs: BTreeSet<u32>,
    /// Where it is connected.
    pub server: Option<usize>,
    /// Where it was connected last.
    pub was_at: usize,
    /// Since when it waits for the answer.
    pub asked_at: Option<i64>,
    pub returns_at: i64,
    /// The newest time that it has seen, in Unix seconds.
    pub newest: Option<i64>,
    /// Commits that it must be notified of.
    pub lacks: BTreeSet<usize>,
    /// Whether it was ever subscribed: what happens from then on is owed.
    pub is_owed: bool,
}

impl Client {
    pub(super) fn new(random: &mut Rng) -> Self {
        let count = random.usize(1..4);
        Self {
            bugs: (0..count).map(|_| random.u32(BUGS)).collect(),
            server: None,
            was_at: random.usize(0..2),
            asked_at: None,
            returns_at: random.i64(0..60),
            newest: None,
            lacks: BTreeSet::new(),
            is_owed: false,
        }
    }

    pub(super) fn subscribe(&self) -> String {
        let bugs: Vec<String> = self.bugs.iter().map(u32::to_string).collect();
        let since = self.newest.map(When::from_unix_seconds);
        let since = since.map_or_else(String::new, |when| when.to_string());
        format!(
            r#"{{"command":"subscribe","bugs":[{}],"since":"{since}"}}"#,
            bugs.join(",")
        )
    }

    /// Takes the reply and what follows it; returns what the reply promises.
    pub(super) fn answered(&mut self, texts: &[Vec<u8>], bugzilla: &Bugzilla) -> Option<bool> {
        let read = |text: &Vec<u8>| -> Value { serde_json::from_slice(text).unwrap() };
        let complete = read(&texts[0])["complete"].as_bool();
        self.asked_at = None;
        self.is_owed = true;
        for text in &texts[1..] {
            let update = read(text);
            let when: When = update["when"].as_str().unwrap().parse().unwrap();
            let bug = update["bug"].as_u64().unwrap() as u32;
            self.learn(bug, when.unix_seconds(), bugzilla);
        }
        if complete != Some(true) {
            self.lacks.clear();
            self.newest = self.newest.max(bugzilla.newest(&self.bugs));
        }
        complete
    }

    pub(super) fn receive(&mut self, update: &Update, bugzilla: &Bugzilla) {
        self.learn(update.bug.get(), update.when.unix_seconds(), bugzilla);
    }

    /// An update stands for all that was committed before it, and for all of an older time.
    fn learn(&mut self, bug: u32, when: i64, bugzilla: &Bugzilla) {
        self.newest = self.newest.max(Some(when));
        let commits = &bugzilla.commits;
        let this = commits
            .iter()
            .rposition(|commit| (commit.bug, commit.when) == (bug, when))
            .expect("an update of what has happened");
        self.lacks
            .retain(|&at| commits[at].bug != bug || (at > this && commits[at].when > when));
    }

    /// Whether it does not get updates yet.
    pub(super) fn is_away(&self) -> bool {
        self.server.is_none() || self.asked_at.is_some()
    }

    /// Its connection is over.
    pub(super) fn leave(&mut self, returns_at: i64) {
        self.server = None;
        self.asked_at = None;
        self.returns_at = returns_at;
    }
}
