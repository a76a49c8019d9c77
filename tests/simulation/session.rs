//! What one WebSocket may get: given all that its client has said and all that has happened to the
//! feed, checks each frame as it comes.
//!
//! When the server has handled a command is only known to lie between two entries of the feed's
//! log: the length that the log had when the command had reached the kernel, and the one it had
//! when the reply was written. For a client that the kernel never refuses bytes for, both are the
//! same, and the model knows each byte in advance. Of a slow one it knows the rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bugzfeed::moment::Moment;
use bugzfeed::promise::Promise;
use bugzfeed::protocol::VERSION;
use serde_json::Value;

use crate::feed::Feed;
use crate::user::{Effect, Known};
use crate::world::{BUGS, HOLD};

/// What a client says and waits to be answered.
#[derive(Clone, Debug)]
pub enum Said {
    Subscribe {
        bugs: Named,
        since: Option<i64>,
    },
    Unsubscribe {
        bugs: Named,
    },
    Subscriptions,
    Version,
    /// No command at all; what the server says to it.
    Nonsense {
        reply: &'static str,
    },
    Ping {
        payload: Vec<u8>,
    },
    /// The client's close, or a fault that is answered by a close with this code.
    Close {
        code: Option<u16>,
    },
}

/// Which bugs a command names.
#[derive(Clone, Debug)]
pub enum Named {
    These(BTreeSet<u32>),
    All,
}

impl Named {
    /// Those of them that ever change.
    pub fn bugs(&self) -> BTreeSet<u32> {
        match self {
            Named::These(bugs) => bugs.clone(),
            Named::All => BUGS.collect(),
        }
    }
}

#[derive(Debug)]
struct Asked {
    said: Said,
    /// Where it ends in the client's stream.
    end: usize,
    /// The length of the feed's log when all of it had reached the kernel.
    reached_at: Option<usize>,
}

/// A bug whose updates are to come.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// Whether it is subscribed by its number.
    is_named: bool,
    /// Entries of the log from here on may be sent, and from `must` on must be.
    may: usize,
    must: usize,
    /// All entries before this one are settled: sent, or stood for by one of a newer time.
    settled: usize,
    /// The next update of the bug is this entry or a later one.
    next: usize,
}

/// A replay that is coming.
#[derive(Debug)]
struct Replay {
    bugs: BTreeSet<u32>,
    is_complete: bool,
    /// What is still to come, by the entry before which the server may have handled the command.
    candidates: Vec<(usize, VecDeque<usize>)>,
    received: BTreeSet<usize>,
    /// What came since may just as well be new: the replay may have been over by then, if the
    /// command was handled before this entry.
    over: Option<usize>,
}

#[derive(Debug)]
pub struct Session {
    pub is_fast: bool,
    subscriptions_max: usize,
    asked: VecDeque<Asked>,
    own: BTreeMap<u32, Own>,
    /// Whether all bugs are subscribed, and so all of them are in `own`.
    wants_all: bool,
    /// The next update stands for one that arrived here or later.
    position: usize,
    replay: Option<Replay>,
    /// What the client's user knew when it came back, until it has got what it missed.
    resuming: Option<Known>,
    /// What each frame means for its user, with its end in the server's stream.
    pub effects: Vec<(usize, Effect)>,
    /// The code of the server's close.
    pub close: Option<Option<u16>>,
    /// When the server must have closed the connection, since updates were missed.
    pub leaves_by: Option<Moment>,
    /// Whether it may be one of those who are to be closed, which get no update before.
    pub may_be_kept_from: bool,
    /// Since when an answer may have been held.
    held_since: Option<Moment>,
    /// Pings of the server that the client has not answered.
    pub pings: usize,
    pub updates: usize,
    /// Those that came although their bug is not subscribed by its number.
    pub firehoses: usize,
    pub replayed: usize,
    /// Updates that were left out because a newer one stands for them.
    pub folded: usize,
}

impl Session {
    pub fn new(is_fast: bool, subscriptions_max: usize, resuming: Option<Known>) -> Self {
        Self {
            is_fast,
            subscriptions_max,
            asked: VecDeque::new(),
            own: BTreeMap::new(),
            wants_all: false,
            position: 0,
            replay: None,
            resuming,
            effects: Vec::new(),
            close: None,
            leaves_by: None,
            may_be_kept_from: false,
            held_since: None,
            pings: 0,
            updates: 0,
            firehoses: 0,
            replayed: 0,
            folded: 0,
        }
    }

    /// The client will have said this when its stream has come to `end`.
    pub fn ask(&mut self, said: Said, end: usize) {
        self.asked.push_back(Asked {
            said,
            end,
            reached_at: None,
        });
    }

    /// The client's stream has come to `end` at the kernel.
    pub fn reach(&mut self, end: usize, feed: &Feed) {
        for asked in self.asked.iter_mut().filter(|asked| asked.end <= end) {
            asked.reached_at.get_or_insert(feed.log.len());
        }
    }

    /// Whether the server must know of a subscription, whatever it has not answered yet.
    pub fn is_surely_subscribed(&self) -> bool {
        !self.own.is_empty() && self.asked.is_empty()
    }

    /// Whether something that has reached the kernel is not answered yet.
    pub fn is_waiting(&self) -> bool {
        self.asked
            .front()
            .is_some_and(|asked| asked.reached_at.is_some())
    }

    /// For a run that is played again: all that comes, beside what it is an answer to.
    pub fn trace(&self, first: u8, payload: &[u8], feed: &Feed, handled_before: usize) {
        let slow = if self.is_fast { "" } else { " slow" };
        let text = String::from_utf8_lossy(payload);
        let next = self.asked.front();
        println!(
            "  {self:p}{slow}: {first:#x} {text:?}, handled before {handled_before} of {}; next: {next:?}",
            feed.log.len()
        );
    }

    /// A frame has come, which ends at `offset` of the server's stream. Commands were handled
    /// before entry `handled_before` of the log.
    pub fn receive(
        &mut self,
        first: u8,
        payload: &[u8],
        offset: usize,
        feed: &Feed,
        handled_before: usize,
        may_leave: bool,
    ) {
        assert!(
            self.close.is_none(),
            "a frame after the close: {first:#x} {}",
            String::from_utf8_lossy(payload)
        );
        match first {
            0x81 => {
                let text = std::str::from_utf8(payload).expect("a text message");
                if text.starts_with(r#"{"command":"update""#) {
                    self.receive_update(text, offset, feed);
                } else {
                    self.receive_reply(text, offset, feed, handled_before);
                }
            }
            0x88 => {
                self.close = Some(
                    payload
                        .get(..2)
                        .map(|code| u16::from_be_bytes(code.try_into().unwrap())),
                );
                let leaves = may_leave && self.close == Some(Some(1001));
                if let Some(Said::Close { code }) = self.asked.front().map(|asked| &asked.said)
                    && !leaves
                {
                    assert_eq!(
                        self.close,
                        Some(*code),
                        "another close than expected: {payload:?}"
                    );
                    self.take_asked(feed, handled_before);
                }
                self.finish_replay(feed);
            }
            0x89 => self.pings += 1,
            0x8a if self.is_asking_since()
                && matches!(self.asked.get(1), Some(Asked { said: Said::Ping { payload: sent }, .. }) if sent == payload) =>
            {
                // The message before it is held.
                self.asked.remove(1);
            }
            0x8a => {
                let (said, _) = self.take_asked(feed, handled_before);
                assert!(
                    matches!(&said, Said::Ping { payload: sent } if sent == payload),
                    "a pong in answer to {said:?}"
                );
            }
            _ => panic!("a frame that begins with {first:#x}"),
        }
    }

    /// Takes what is to be answered next, with the entry of the log before which it may have been
    /// handled at the earliest. All that arrived before that must have been sent before the answer.
    fn take_asked(&mut self, feed: &Feed, handled_before: usize) -> (Said, usize) {
        self.finish_replay(feed);
        let asked = self.asked.pop_front().expect("an answer to nothing");
        self.held_since = None;
        let reached_at = asked
            .reached_at
            .unwrap_or_else(|| panic!("an answer to what was not sent yet: {asked:?}"));
        let earliest = if self.is_fast {
            handled_before
        } else {
            reached_at
        };
        if let Said::Unsubscribe { bugs } = &asked.said {
            self.unsubscribe(bugs);
        }
        if !self.may_be_kept_from {
            self.check_settled(earliest, feed, "before the answer to a command");
            self.settle(earliest);
        }
        (asked.said, earliest)
    }

    fn unsubscribe(&mut self, bugs: &Named) {
        match bugs {
            Named::All => self.wants_all = false,
            Named::These(bugs) => {
                let named = self.own.iter_mut().filter(|(bug, _)| bugs.contains(bug));
                named.for_each(|(_, own)| own.is_named = false);
            }
        }
        let wants_all = self.wants_all;
        self.own.retain(|_, own| own.is_named || wants_all);
    }

    fn settle(&mut self, end: usize) {
        self.own
            .values_mut()
            .for_each(|own| (own.settled, own.next) = (own.settled.max(end), own.next.max(end)));
        self.position = self.position.max(end);
    }

    /// Panics when an update before entry `end` is missing.
    fn check_settled(&self, end: usize, feed: &Feed, when: &str) {
        for (&bug, own) in &self.own {
            let missing: Vec<usize> = feed
                .changes_of(bug, own.settled.max(own.must), end)
                .collect();
            assert!(
                missing.is_empty(),
                "updates {missing:?} of bug {bug} are missing {when}: {own:?}"
            );
        }
    }

    /// Whether what is to be answered next asks with `since`, which the server may hold.
    fn is_asking_since(&self) -> bool {
        let said = self.asked.front().map(|asked| &asked.said);
        matches!(said, Some(Said::Subscribe { since: Some(_), .. }))
    }

    /// Whether an answer was perhaps held when last looked at.
    pub fn is_held(&self) -> bool {
        self.held_since.is_some()
    }

    /// Whether an answer may be held, and has not been for too long: `now` is in milliseconds.
    pub fn may_be_held(&mut self, feed: &Feed, now: Moment) -> bool {
        let is_in_doubt = feed.promise(feed.log.len()) == Promise::InDoubt;
        if !(is_in_doubt && self.is_waiting() && self.is_asking_since()) {
            self.held_since = None;
            return false;
        }
        let since = *self.held_since.get_or_insert(now);
        now.since(since) <= HOLD
    }

    /// Panics when the client has not got all that it is owed.
    pub fn check_all_sent(&mut self, feed: &Feed, may_be_held: bool) {
        self.finish_replay(feed);
        assert!(
            may_be_held || !self.is_waiting(),
            "no answer to {:?}",
            self.asked.front()
        );
        if !self.may_be_kept_from {
            self.check_settled(feed.log.len(), feed, "though there is room");
        }
    }

    fn receive_reply(&mut self, text: &str, offset: usize, feed: &Feed, latest: usize) {
        let (said, earliest) = self.take_asked(feed, latest);
        let expected = match said {
            Said::Subscribe { bugs, since } => {
                return self.receive_subscribed(
                    text,
                    offset,
                    bugs,
                    since,
                    feed,
                    (earliest, latest),
                );
            }
            Said::Unsubscribe { bugs } => {
                self.effects.push((offset, Effect::Unsubscribed { bugs }));
                self.list("unsubscribe", "")
            }
            Said::Subscriptions => self.list("subscriptions", ""),
            Said::Version => {
                format!(r#"{{"command":"version","result":"ok","version":"{VERSION}"}}"#)
            }
            Said::Nonsense { reply } => reply.to_owned(),
            Said::Ping { .. } | Said::Close { .. } => panic!("{text} in answer to {said:?}"),
        };
        assert_eq!(text, expected);
    }

    fn list(&self, command: &str, complete: &str) -> String {
        let bugs = self.named().map(|bug| bug.to_string());
        let bugs = bugs.collect::<Vec<_>>().join(",");
        let all = if self.wants_all { r#","all":true"# } else { "" };
        format!(r#"{{"command":"{command}","result":"ok","bugs":[{bugs}]{all}{complete}}}"#)
    }

    /// The bugs that are subscribed by their numbers.
    fn named(&self) -> impl Iterator<Item = u32> {
        let named = self.own.iter().filter(|(_, own)| own.is_named);
        named.map(|(&bug, _)| bug)
    }

    fn receive_subscribed(
        &mut self,
        text: &str,
        offset: usize,
        named: Named,
        since: Option<i64>,
        feed: &Feed,
        (earliest, latest): (usize, usize),
    ) {
        let bugs = named.bugs();
        let (all, count) = match named {
            Named::All => (1, self.named().count()),
            Named::These(_) => {
                let before: BTreeSet<u32> = self.named().collect();
                (usize::from(self.wants_all), before.union(&bugs).count())
            }
        };
        if all + count > self.subscriptions_max {
            let limit = self.subscriptions_max;
            let refusal = format!(
                r#"{{"command":"subscribe","result":"error","error":"too many subscriptions; the limit is {limit}"}}"#
            );
            return assert_eq!(text, refusal);
        }
        self.wants_all |= matches!(named, Named::All);
        for &bug in &bugs {
            let own = self.own.entry(bug).or_insert(Own {
                is_named: false,
                may: earliest,
                must: latest,
                settled: earliest,
                next: earliest,
            });
            own.is_named |= matches!(named, Named::These(_));
        }
        let reply: Value = serde_json::from_str(text).unwrap();
        let is_complete = reply["complete"].as_bool();
        assert_eq!(is_complete.is_some(), since.is_some(), "{text}");
        let complete = is_complete
            .map(|is_complete| format!(r#","complete":{is_complete}"#))
            .unwrap_or_default();
        assert_eq!(text, self.list("subscribe", &complete));
        if let (Some(since), Some(is_complete)) = (since, is_complete) {
            let candidates: Vec<_> = (earliest..=latest)
                .filter(|&end| {
                    // Those who were closed across a gap have seen newer times meanwhile.
                    let may_be_false = feed.has_gap() && since <= feed.watermark();
                    feed.is_complete(end, since) == is_complete || may_be_false && !is_complete
                })
                .map(|end| (end, feed.replay(end, since, &bugs).into()))
                .collect();
            assert!(
                !candidates.is_empty(),
                "{text} at any of {earliest} to {latest}"
            );
            self.replay = Some(Replay {
                bugs: bugs.clone(),
                is_complete,
                candidates,
                received: BTreeSet::new(),
                over: None,
            });
        }
        let starts_anew = self.resuming.is_some() && is_complete != Some(true);
        self.effects.push((
            offset,
            Effect::Subscribed {
                bugs: named,
                from: latest,
                starts_anew,
            },
        ));
        if since.is_none() {
            self.resuming = None;
        }
    }

    fn receive_update(&mut self, text: &str, offset: usize, feed: &Feed) {
        let update: Value = serde_json::from_str(text).unwrap();
        let when = update["when"].as_str().unwrap();
        let at: usize = when
            .split('.')
            .nth(1)
            .and_then(|at| at.parse().ok())
            .unwrap_or_else(|| panic!("an update of nobody: {text}"));
        assert!(
            at < feed.log.len(),
            "{text} has not happened yet, or on another feed"
        );
        let (bug, seconds) = feed.update(at);
        assert_eq!(
            text,
            format!(
                r#"{{"command":"update","bug":{bug},"when":"{}"}}"#,
                feed.text(at)
            )
        );
        if let Some(replay) = &mut self.replay
            && replay
                .candidates
                .iter()
                .any(|(_, to_come)| to_come.front() == Some(&at))
        {
            let whole = replay
                .candidates
                .iter()
                .find(|(_, to_come)| to_come.is_empty());
            replay.over = replay.over.or(whole.map(|(end, _)| *end));
            replay
                .candidates
                .retain_mut(|(_, to_come)| to_come.pop_front() == Some(at));
            replay.received.insert(at);
            self.replayed += 1;
            // Of a slow client it may also be the first one after the replay, and stand for later
            // ones.
            let own = self.own.get_mut(&bug).unwrap();
            own.settled = own
                .settled
                .max(*places(at, self.is_fast, feed).last().unwrap() + 1);
            return self.effects.push((
                offset,
                Effect::Received {
                    entries: vec![at],
                    seconds,
                },
            ));
        }
        self.finish_replay(feed);
        self.updates += 1;
        let own = self
            .own
            .get_mut(&bug)
            .unwrap_or_else(|| panic!("{text}, which is not subscribed"));
        self.firehoses += usize::from(!own.is_named);
        assert!(
            at >= own.may,
            "{text} is older than its subscription: {own:?}"
        );
        assert!(
            at >= own.next,
            "{text} is out of order or comes twice: {own:?}"
        );
        for newer in feed.changes_of(bug, own.settled.max(own.must), at) {
            assert!(!self.is_fast, "update {newer} is left out before {text}");
            assert!(
                feed.update(newer).1 <= seconds,
                "{text} stands for update {newer}, which has a newer time"
            );
        }
        let places = places(at, self.is_fast, feed);
        let place = places.iter().find(|&&place| place >= self.position);
        let place = place.unwrap_or_else(|| {
            panic!(
                "{text} comes after one that arrived at {} or later",
                self.position - 1
            )
        });
        self.position = place + 1;
        let end = places.last().unwrap() + 1;
        let entries: Vec<usize> = feed
            .changes_of(bug, own.settled.max(own.may).min(at), end)
            .collect();
        self.folded += entries.len() - 1;
        (own.settled, own.next) = (own.settled.max(end), at + 1);
        if self.is_fast {
            self.check_settled(at, feed, "before a later one");
        }
        self.effects
            .push((offset, Effect::Received { entries, seconds }));
    }

    /// The next thing that comes, if any, is no part of the replay. Checks that the replay was
    /// whole, and that its user, where it has come back, has now got all that it has missed.
    fn finish_replay(&mut self, feed: &Feed) {
        let Some(replay) = self.replay.take() else {
            return;
        };
        let whole = replay
            .candidates
            .iter()
            .find(|(_, to_come)| to_come.is_empty())
            .map(|(end, _)| *end);
        let end = whole
            .or(replay.over)
            .unwrap_or_else(|| panic!("the replay is not whole: {:?}", replay.candidates));
        for bug in &replay.bugs {
            let own = self.own.get_mut(bug).unwrap();
            (own.settled, own.next) = (own.settled.max(end), own.next.max(end));
        }
        self.position = self.position.max(end);
        let Some(known) = self.resuming.take().filter(|_| replay.is_complete) else {
            return;
        };
        for (&bug, &from) in known
            .owed_from
            .iter()
            .filter(|(bug, _)| replay.bugs.contains(bug))
        {
            for at in feed.changes_of(bug, from, end) {
                // A newer time stands for all that arrived before it.
                let stands_for = |&later: &usize| {
                    feed.update(later).0 == bug && feed.update(later).1 >= feed.update(at).1
                };
                let is_known = known
                    .entries
                    .range(at..)
                    .chain(replay.received.range(at..))
                    .any(stands_for);
                assert!(
                    is_known,
                    "the answer is complete, and update {at} of bug {bug} is lost for one who resumes with {known:?}"
                );
            }
        }
    }
}

/// Where an update may stand in the order of arrival: it may stand for later ones of an older time,
/// and then comes in the place of the last of them.
fn places(at: usize, is_fast: bool, feed: &Feed) -> Vec<usize> {
    let (bug, seconds) = feed.update(at);
    let later = feed
        .changes_of(bug, at + 1, feed.log.len())
        .take_while(|&next| feed.update(next).1 < seconds);
    std::iter::once(at)
        .chain(later.filter(|_| !is_fast))
        .collect()
}
