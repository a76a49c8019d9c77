//! A server: a source that reads its queue, the real sink behind it, a catch-up, and the real hub.
//! What the loop and the broker's source do around them is modelled here. Knows no client.

use std::cell::Cell;
use std::fs;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use fastrand::Rng;
use mio::{Poll, Token};
use tempfile::TempDir;

use super::broker::{Broker, Messages, Queue};
use super::bugzilla::{Bugzilla, FIRST_SECOND};
use crate::amqp::topology::Gap;
use crate::bugzilla::{Found, Sees, Since};
use crate::history::History;
use crate::hub::Hub;
use crate::inbox::{self, Inbox, Notice};
use crate::promise::Promise;
use crate::source::completeness::Question;
use crate::source::sink::Feed;
use crate::source::sink::state::State;
use crate::source::streams::{Missed, Proof};
use crate::source::{HistoryFile, Kept};
use crate::update::{FeedId, Update};
use crate::work::Now;

/// How often Bugzilla is asked, and a binding is looked at, in seconds.
const ASK_EVERY: i64 = 50;
const CHECK_EVERY: i64 = 10;

/// The note that says which numbered messages have been delivered.
const STREAMS: &str = "streams";

thread_local! {
    static NOW: Cell<Option<Now>> = const { Cell::new(None) };
}

fn simulated() -> Now {
    NOW.get().expect("a time")
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    Killed,
}

pub(super) struct Server {
    number: usize,
    start: Instant,
    /// How far its clock is ahead, in seconds.
    pub ahead: i64,
    can_ask: bool,
    updates_max: usize,
    /// Where its history is kept, if it is.
    folder: Option<TempDir>,
    pub running: Option<Running>,
    pub returns_at: i64,
}

/// What a process has.
pub(super) struct Running {
    state: State,
    inbox: Inbox,
    _poll: Poll,
    bell: Receiver<()>,
    pub hub: Hub,
    /// The largest time that the hub has seen.
    pub newest: i64,
    proof: Proof,
    /// What is noted of it.
    noted: String,
    is_in_doubt: bool,
    /// Since when the source reads.
    pub reads_since: Option<i64>,
    checked_at: i64,
    ask_at: i64,
    /// A question under way: what was asked, and the answer with its time.
    asking: Option<(Question, Since, Found, i64)>,
    pub doubt_since: i64,
}

impl Server {
    pub(super) fn new(number: usize, can_ask: bool, random: &mut Rng) -> Self {
        Self {
            number,
            start: Instant::now(),
            ahead: random.i64(-120..120),
            can_ask,
            updates_max: [6, 30, 1_000][random.usize(0..3)],
            folder: random.bool().then(|| tempfile::tempdir().unwrap()),
            running: None,
            returns_at: 0,
        }
    }

    fn set_clock(&self, now: i64) {
        let passed = Duration::from_secs((now - FIRST_SECOND) as u64);
        NOW.set(Some(Now {
            instant: self.start + passed,
            unix: now + self.ahead,
        }));
    }

    pub(super) fn start(&mut self, now: i64) {
        self.set_clock(now);
        let opened = self.folder.as_ref().map(|folder| {
            HistoryFile::open(&folder.path().join("h.db"), "/", "chain", self.updates_max).unwrap()
        });
        let (file, kept) = match opened {
            Some((file, kept)) => (Some(file), kept),
            None => (None, Kept::default()),
        };
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let feed = Feed {
            id: FeedId(0),
            source: format!("server {}", self.number),
            updates_max: self.updates_max,
            catch_up: self.can_ask.then_some(Sees::All),
        };
        let mut history = History::new(self.updates_max, i64::MIN);
        for (watermark, update) in &kept.updates {
            history.restore(*watermark, update.clone());
        }
        let mut state = State::new(feed, file, &kept, sender, simulated);
        let (ring, bell) = mpsc::sync_channel(1);
        state.set_bell(ring);
        state.stopped_reading().unwrap();
        let mut proof = Proof::default();
        proof.read(state.note(STREAMS).as_deref());
        self.running = Some(Running {
            state,
            newest: kept.updates.last().map_or(i64::MIN, |kept| kept.0),
            proof,
            noted: String::new(),
            is_in_doubt: true,
            inbox,
            _poll: poll,
            bell,
            hub: Hub::new(history, 100),
            reads_since: None,
            checked_at: now,
            ask_at: now,
            asking: None,
            doubt_since: now,
        });
    }

    /// A killed process leaves its files as they are.
    pub(super) fn end(&mut self, end: End, now: i64, random: &mut Rng) {
        self.returns_at = now + random.i64(1..90);
        let image = self.folder.as_ref().filter(|_| end == End::Killed);
        let image = image.map(|folder| {
            let image = tempfile::tempdir().unwrap();
            for file in fs::read_dir(folder.path()).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
            }
            image
        });
        self.running = None;
        self.folder = image.or(self.folder.take());
    }

    /// The connection to the broker is lost.
    pub(super) fn disconnect(&mut self, now: i64) {
        self.set_clock(now);
        if let Some(running) = &mut self.running
            && running.reads_since.is_some()
        {
            running.hang_up();
        }
    }

    /// What happens in a second; returns what the loop gets.
    pub(super) fn work(
        &mut self,
        now: i64,
        broker: &mut Broker,
        bugzilla: &Bugzilla,
        random: &mut Rng,
    ) -> Vec<Notice> {
        self.set_clock(now);
        let (number, can_ask) = (self.number, self.can_ask);
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        if broker.is_up {
            running.read(
                now,
                &mut broker.queues[number],
                broker.has_exchange,
                bugzilla,
                random,
            );
        }
        if can_ask {
            running.catch_up(now, bugzilla, random);
        }
        let notices: Vec<Notice> = std::iter::from_fn(|| running.inbox.take()).collect();
        for notice in &notices {
            match notice {
                Notice::Promise {
                    promise: Promise::InDoubt,
                    ..
                } => running.doubt_since = now,
                Notice::Updates {
                    updates,
                    credible_until,
                    ..
                } => {
                    let times = updates.iter().map(|update| update.when.unix_seconds());
                    let newest = times.filter(|seconds| seconds <= credible_until).max();
                    running.newest = newest.map_or(running.newest, |at| at.max(running.newest));
                }
                _ => {}
            }
        }
        notices
    }
}

impl Running {
    /// Connects, looks at the queue, and takes what is in it.
    fn read(
        &mut self,
        now: i64,
        queue: &mut Queue,
        has_exchange: bool,
        bugzilla: &Bugzilla,
        random: &mut Rng,
    ) {
        if self.reads_since.is_none() {
            if !has_exchange || random.u8(0..3) > 0 {
                return;
            }
            if !queue.is_bound {
                self.proof.gap.get_or_insert(Gap::NoMarker);
            }
            (queue.exists, queue.is_bound, queue.announced) = (true, true, None);
            self.proof.connected(simulated().instant);
            self.reads_since = Some(now);
            self.checked_at = now;
            self.settle();
        }
        if !queue.exists {
            self.proof.gap = Some(Gap::QueueDeleted);
            self.hang_up();
            return;
        }
        if now - self.checked_at >= CHECK_EVERY {
            self.checked_at = now;
            // What was published meanwhile is not in the queue, and nothing says so.
            queue.is_bound |= has_exchange;
        }
        let hears_first = random.bool();
        if hears_first {
            self.hear(queue);
        }
        let count = queue.messages.len().min(random.usize(0..20));
        let taken: Messages = queue.messages.drain(..count).collect();
        self.take(&taken, bugzilla);
        if !hears_first {
            self.hear(queue);
        }
        self.settle();
        if random.u8(0..200) == 0 {
            // The connection is lost before it could acknowledge, and all comes again.
            taken
                .into_iter()
                .rev()
                .for_each(|message| queue.messages.push_front(message));
            self.hang_up();
        }
    }

    fn take(&mut self, taken: &Messages, bugzilla: &Bugzilla) {
        for message in taken {
            let (number, has_history) = (message.number.as_ref(), self.state.has_floor());
            let missed = self.proof.arrived(number, has_history, simulated().instant);
            self.report(missed);
        }
        let updates = taken
            .iter()
            .map(|message| bugzilla.commits[message.commit].update());
        self.deliver(updates.collect());
    }

    fn deliver(&mut self, updates: Vec<Update>) {
        let note = self.proof.note();
        let notes = [(STREAMS, note.clone())];
        let is_noted = std::mem::replace(&mut self.noted, note) == self.noted;
        let notes: &[_] = if is_noted { &[] } else { &notes };
        self.state.deliver(updates, notes).unwrap();
    }

    fn hear(&mut self, queue: &mut Queue) {
        if let Some(said) = queue.announced.take() {
            let has_history = self.state.has_floor();
            let missed = self
                .proof
                .announced(&said, has_history, simulated().instant);
            self.report(missed);
            self.deliver(Vec::new());
        }
    }

    fn settle(&mut self) {
        let has_history = self.state.has_floor();
        let settled = self.proof.settle(has_history, simulated().instant);
        self.report(settled.missed);
        match (self.is_in_doubt, settled.is_in_doubt) {
            (false, true) => self.state.stopped_reading().unwrap(),
            (true, false) => self.state.reads().unwrap(),
            (true, true) | (false, false) => {}
        }
        self.is_in_doubt = settled.is_in_doubt;
    }

    fn report(&mut self, missed: impl IntoIterator<Item = Missed>) {
        for Missed { reason, until } in missed {
            self.state.missed(&reason, until).unwrap();
        }
    }

    fn hang_up(&mut self) {
        self.reads_since = None;
        self.is_in_doubt = true;
        self.state.stopped_reading().unwrap();
    }

    /// Asks Bugzilla when it is time, and takes its answer, which may take a while.
    fn catch_up(&mut self, now: i64, bugzilla: &Bugzilla, random: &mut Rng) {
        if let Some((question, since, found, at)) = self.asking.take() {
            if at > now {
                self.asking = Some((question, since, found, at));
                return;
            }
            self.state.made_good(question, since, found).unwrap();
        }
        let is_rung = self.bell.try_recv().is_ok();
        if !is_rung && now < self.ask_at {
            return;
        }
        if !bugzilla.answers {
            self.ask_at = now + random.i64(1..30);
            return;
        }
        self.ask_at = now + ASK_EVERY;
        let (question, since) = self.state.question();
        let found = bugzilla.answer(since, now);
        self.asking = Some((question, since, found, now + random.i64(0..3)));
    }
}
