//! Where a source's updates go: into the history file, then to the loop. Owns the order of the two,
//! what the feed can promise, and what the log says of the source. One for each feed, shared by the
//! source's thread and the catch-up's.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::{error, info, warn};

use super::completeness::{Completeness, Question};
use super::{HistoryFile, Kept};
use crate::bugzilla::{Found, Sees, Since};
use crate::inbox::{Closed, Event, Sender};
use crate::post::Answer;
use crate::promise::Promise;
use crate::update::{BugId, FeedId, Update};
use crate::work::{Health, unix_now};

/// How far ahead of the database's clock a time may lie and be believed, in seconds. Where that
/// clock is not known, ours stands for it.
const CREDIBLE_SECONDS: i64 = 86_400;

/// How much later than its time an edit may be committed, in seconds.
const LATE_COMMIT_SECONDS: i64 = 600;

/// How much earlier than needed Bugzilla is asked, in seconds: for edits that are committed late,
/// and for the hour that local time repeats in autumn.
const LOOK_BACK_SECONDS: i64 = LATE_COMMIT_SECONDS + 3_600;

/// How many updates are known at most to need no making good. Where more arrive while Bugzilla
/// does not answer, it is asked anew for what changed last.
const SEEN_MAX: usize = 1_000_000;

/// How young an update may be, in seconds, that the source has not brought and need not have.
const ON_ITS_WAY_SECONDS: i64 = 5;

/// The note that says up to which time of the database Bugzilla has been asked.
const ASKED_UNTIL: &str = "asked-until";

/// What a source does with what it reads.
#[derive(Debug)]
pub struct Sink {
    health: Health,
    shared: Shared,
}

/// What a source and the catch-up fill together.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<State>>);

/// What a sink is made for.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The feed that is filled.
    pub id: FeedId,
    /// The source's name in the log, without its password.
    pub source: String,
    /// How many updates are remembered.
    pub updates_max: usize,
    /// What can be asked for what the source lacks.
    pub catch_up: Option<Sees>,
}

#[derive(Debug)]
struct State {
    feed: Feed,
    file: Option<HistoryFile>,
    is_keeping: bool,
    inbox: Sender,
    completeness: Completeness,
    /// What the loop and the file know of `completeness`.
    promised: Promise,
    kept_floor: Option<i64>,
    /// What is noted beside the history, by name.
    notes: HashMap<String, String>,
    /// Updates that need not be made good, where there is a catch-up: bug and Unix seconds.
    seen: HashSet<(BugId, i64), foldhash::fast::RandomState>,
    /// Up to which time Bugzilla has been asked (its own, Unix seconds).
    asked_until: Option<i64>,
    /// When `seen` began: what has changed since then may be waited for by somebody.
    seen_since: Instant,
    /// How far the database's clock is ahead of ours, in seconds.
    clock_offset: i64,
    /// Why updates were missed last.
    gap_reason: String,
    /// Wakes the catch-up.
    bell: Option<SyncSender<()>>,
}

impl Sink {
    /// A sink that goes on with what was `kept`, in `file` or nowhere.
    pub fn new(feed: Feed, file: Option<HistoryFile>, kept: &Kept, inbox: Sender) -> Self {
        let completeness = Completeness::new(kept.floor, feed.catch_up == Some(Sees::All));
        let seen = match feed.catch_up {
            Some(_) => kept
                .updates
                .iter()
                .map(|(_, update)| pair(update))
                .collect(),
            None => HashSet::default(),
        };
        let asked_until = kept
            .notes
            .get(ASKED_UNTIL)
            .and_then(|text| text.parse().ok());
        let state = State {
            file,
            is_keeping: true,
            inbox,
            completeness,
            promised: Promise::InDoubt,
            kept_floor: kept.floor,
            notes: kept.notes.clone(),
            seen,
            asked_until,
            seen_since: Instant::now(),
            clock_offset: 0,
            gap_reason: "there was no history".to_owned(),
            bell: None,
            feed: feed.clone(),
        };
        Self {
            health: Health::new("reading updates from", feed.source),
            shared: Shared(Arc::new(Mutex::new(state))),
        }
    }

    /// To be called by a source before it connects and when it has lost its connection: until it is
    /// [`Sink::connected`], clients are not promised that nothing is missing.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn doubt(&self) -> Result<(), Closed> {
        let mut state = self.shared.lock();
        state.completeness.stopped_reading();
        state.tell()
    }

    /// To be called by a source when it gets all updates from now on, and has reported what it has
    /// missed.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn connected(&mut self) -> Result<(), Closed> {
        self.health.working();
        let mut state = self.shared.lock();
        state.completeness.reads(Instant::now());
        state.ring();
        state.tell()
    }

    /// To be called by a source that cannot read updates for now and tries again by itself. Each
    /// reason is logged once.
    pub fn down(&mut self, reason: &str) {
        self.health.failing(reason);
    }

    /// Keeps updates, then hands them to the loop. After it has returned, the source may forget
    /// them.
    ///
    /// # Errors
    /// When the loop is gone; the updates are kept then, but should not be acknowledged.
    pub fn deliver(&self, updates: Vec<Update>) -> Result<(), Closed> {
        self.deliver_with_notes(updates, &[])
    }

    /// Like [`Sink::deliver`], and notes in the same transaction what the source needs to know
    /// after a restart.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn deliver_with_notes(
        &self,
        updates: Vec<Update>,
        notes: &[(&str, String)],
    ) -> Result<(), Closed> {
        self.shared.lock().deliver(updates, notes)
    }

    /// Whether it is known up to which time updates may be missing: there is a history, and it has
    /// no gap without an end.
    pub fn has_history(&self) -> bool {
        self.shared.lock().kept_floor.is_some()
    }

    /// What was noted under this name with an earlier delivery, in this process or, where a history
    /// is kept, before.
    pub fn note(&self, name: &str) -> Option<String> {
        self.shared.lock().notes.get(name).cloned()
    }

    /// Whether notes are kept for after a restart.
    pub fn keeps_notes(&self) -> bool {
        self.shared.lock().file.is_some()
    }

    /// Whether what was delivered last is kept, or was not to be kept at all.
    pub fn is_keeping(&self) -> bool {
        self.shared.lock().is_keeping
    }

    /// Sends a client the answer to its post.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn answer(&self, post: u64, answer: Answer) -> Result<(), Closed> {
        self.shared
            .lock()
            .inbox
            .send(Event::Answer { post, answer })
    }

    /// To be called by a source that may have missed updates, such as after its queue was deleted:
    /// before it is [`Sink::connected`], or while it reads on. `reason` is for the log, behind a
    /// colon. `until` is the database's time (UTC, Unix seconds) after which nothing is missing, if
    /// the source knows it.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn missed(&self, reason: &str, until: Option<i64>) -> Result<(), Closed> {
        let mut state = self.shared.lock();
        info!("{}: {reason}", state.feed.source);
        reason.clone_into(&mut state.gap_reason);
        state.completeness.missed(until, Instant::now());
        state.ring();
        state.tell()
    }

    /// The state of the source.
    pub(super) fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    /// What the catch-up fills.
    pub(super) fn shared(&self) -> Shared {
        self.shared.clone()
    }
}

impl Shared {
    /// What rings when the catch-up has something to ask at once.
    pub(super) fn bell(&self) -> (SyncSender<()>, Receiver<()>) {
        let (ring, bell) = mpsc::sync_channel(1);
        self.lock().bell = Some(ring.clone());
        (ring, bell)
    }

    /// What the catch-up is to ask, if the source reads; it hands the question back with the answer.
    pub(super) fn question(&self) -> Option<(Question, Since)> {
        let state = self.lock();
        let question = state.completeness.question()?;
        Some((question, state.since()))
    }

    /// There is nobody to ask.
    pub(super) fn cannot_ask(&self) -> Result<(), Closed> {
        let mut state = self.lock();
        state.feed.catch_up = None;
        state.seen = HashSet::default();
        state.completeness.cannot_ask(Instant::now());
        state.tell()
    }

    /// Hands on what Bugzilla knows and the source has not brought.
    pub(super) fn made_good(
        &self,
        question: Question,
        since: Since,
        found: Found,
    ) -> Result<(), Closed> {
        let mut state = self.lock();
        state.clock_offset = found.now - unix_now();
        match since {
            Since::Newest(_) => state.fill(question, found)?,
            Since::Time(_) => state.make_good(question, found)?,
        }
        state.tell()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves nothing half done that matters: a repetition at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn deliver(&mut self, updates: Vec<Update>, notes: &[(&str, String)]) -> Result<(), Closed> {
        if updates.is_empty() && notes.is_empty() {
            return Ok(());
        }
        let credible_until = unix_now() + self.clock_offset + CREDIBLE_SECONDS;
        let result = match &mut self.file {
            Some(file) => file.keep(&updates, credible_until, notes),
            None => Ok(()),
        };
        self.report_keeping(result);
        self.remember(notes);
        for update in &updates {
            let seconds = update.when.unix_seconds();
            if seconds <= credible_until {
                self.completeness.delivered(seconds, Instant::now());
            }
            if self.feed.catch_up.is_some() {
                self.seen.insert(pair(update));
            }
        }
        if self.seen.len() > SEEN_MAX {
            self.seen = HashSet::default();
            self.seen_since = Instant::now();
            self.asked_until = None;
        }
        if !updates.is_empty() {
            self.inbox.send(Event::Updates {
                feed: self.feed.id,
                updates,
                credible_until,
            })?;
        }
        self.tell()
    }

    /// The first answer of all: the bugs that changed last. What changed before this process looked
    /// is remembered and sent to nobody.
    fn fill(&mut self, question: Question, found: Found) -> Result<(), Closed> {
        let floor = match found.updates.first() {
            Some(oldest) if !found.is_whole => earlier_watermark(oldest, found.now),
            _ => i64::MIN,
        };
        let looked_since = found.now - self.seen_since.elapsed().as_secs().cast_signed();
        let unknown = found
            .updates
            .into_iter()
            .filter(|update| !self.seen.contains(&pair(update)));
        let (live, earlier): (Vec<_>, Vec<_>) =
            unknown.partition(|update| update.when.unix_seconds() >= looked_since);
        info!(
            "{}: {} bugs that changed last are known from Bugzilla",
            self.feed.source,
            earlier.len() + live.len()
        );
        self.seen.extend(earlier.iter().map(pair));
        let earlier: Vec<_> = earlier
            .into_iter()
            .map(|update| (earlier_watermark(&update, found.now), update))
            .collect();
        let result = match &mut self.file {
            Some(file) => file.keep_earlier(&earlier),
            None => Ok(()),
        };
        self.report_keeping(result);
        self.inbox.send(Event::Earlier {
            feed: self.feed.id,
            updates: earlier,
        })?;
        self.deliver_found(live, found.now)?;
        self.completeness.filled(question, floor);
        Ok(())
    }

    fn make_good(&mut self, question: Question, found: Found) -> Result<(), Closed> {
        let is_in_doubt = self.promised == Promise::InDoubt;
        // What is this young may be on its way; the next answer contains it again.
        let until = match is_in_doubt {
            true => i64::MAX,
            false => found.now - ON_ITS_WAY_SECONDS,
        };
        let is_lacking = |update: &Update| {
            update.when.unix_seconds() <= until && !self.seen.contains(&pair(update))
        };
        let lacking: Vec<Update> = found.updates.into_iter().filter(is_lacking).collect();
        let source = &self.feed.source;
        if !found.is_whole || lacking.len() > self.feed.updates_max {
            warn!(
                "{source}: more changes were missed than the history holds ({}); clients that ask for them are told so",
                self.feed.updates_max
            );
            self.seen.extend(lacking.iter().map(pair));
            self.deliver_found(Vec::new(), found.now)?;
            self.completeness.answered(question, Some(found.now));
        } else {
            match lacking.len() {
                0 => {}
                count if is_in_doubt => {
                    info!("{source}: {count} changes come from Bugzilla itself");
                }
                count => warn!(
                    "{source}: it has not brought {count} changes, which come from Bugzilla itself"
                ),
            }
            self.deliver_found(lacking, found.now)?;
            self.completeness.answered(question, None);
        }
        let oldest = found.now - 2 * LOOK_BACK_SECONDS;
        self.seen.retain(|(_, seconds)| *seconds >= oldest);
        Ok(())
    }

    /// Delivers what Bugzilla has answered, and notes that it was asked up to `now`, unless what
    /// could not be kept must be asked for once more at the next start.
    fn deliver_found(&mut self, updates: Vec<Update>, now: i64) -> Result<(), Closed> {
        self.asked_until = Some(now);
        let note = [(ASKED_UNTIL, now.to_string())];
        let has_lost = self.file.as_ref().is_some_and(HistoryFile::has_lost);
        self.deliver(updates, if has_lost { &[] } else { &note })
    }

    /// Where the next question begins.
    fn since(&self) -> Since {
        match self.asked_until {
            Some(time) => Since::Time(time.saturating_sub(LOOK_BACK_SECONDS)),
            None => Since::Newest(self.feed.updates_max),
        }
    }

    fn remember(&mut self, notes: &[(&str, String)]) {
        let notes = notes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.notes.extend(notes);
    }

    /// Passes on what has changed: a gap, the promise, the floor.
    fn tell(&mut self) -> Result<(), Closed> {
        let floor = self.completeness.floor();
        if floor != self.kept_floor {
            self.kept_floor = floor;
            if let Some(file) = &mut self.file {
                let result = file.set_floor(floor);
                self.report_keeping(result);
            }
        }
        let promise = self.completeness.promise();
        if promise != self.promised {
            self.promised = promise;
            self.inbox.send(Event::Promise {
                feed: self.feed.id,
                promise,
            })?;
        }
        if self.completeness.take_gap() {
            warn!(
                "updates from {} may have been missed up to now: {}; clients that ask for them are told so",
                self.feed.source, self.gap_reason
            );
            self.inbox.send(Event::Gap { feed: self.feed.id })?;
        }
        Ok(())
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // A bell that rings already rings for this as well.
            let _ = bell.try_send(());
        }
    }

    /// Live updates still go out while the history file fails.
    fn report_keeping(&mut self, result: rusqlite::Result<()>) {
        let was_keeping = self.is_keeping;
        self.is_keeping = result.is_ok();
        match result {
            Ok(()) if !was_keeping => info!(
                "the history file works again; what it could not keep is missing after the next start"
            ),
            Err(error) if was_keeping => error!(
                "cannot write the history file (setting --history): {error}; updates still go out, but a restart would forget them"
            ),
            Ok(()) | Err(_) => {}
        }
    }
}

/// The watermark of an update from before: an edit that was committed late carries an older time
/// than others that a client may have seen.
fn earlier_watermark(update: &Update, now: i64) -> i64 {
    (update.when.unix_seconds() + LATE_COMMIT_SECONDS).min(now)
}

/// What makes two updates the same.
fn pair(update: &Update) -> (BugId, i64) {
    (update.bug, update.when.unix_seconds())
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;
    use crate::inbox::{self, Inbox};
    use crate::update::When;

    /// Bugzilla's time in these tests: like ours, so that its times are credible.
    fn now() -> i64 {
        unix_now()
    }

    fn update(bug: u32, seconds: i64) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(seconds),
        }
    }

    fn found(now: i64, updates: &[(u32, i64)]) -> Found {
        Found {
            updates: updates
                .iter()
                .map(|&(bug, seconds)| update(bug, seconds))
                .collect(),
            now,
            is_whole: true,
        }
    }

    /// A sink for ten updates, and what comes out of it.
    struct Test {
        sink: Sink,
        inbox: Inbox,
        _poll: Poll,
    }

    impl Test {
        fn new(catch_up: Option<Sees>, kept: &Kept) -> Self {
            let poll = Poll::new().unwrap();
            let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
            let feed = Feed {
                id: FeedId(0),
                source: "test".to_owned(),
                updates_max: 10,
                catch_up,
            };
            Self {
                sink: Sink::new(feed, None, kept, sender),
                inbox,
                _poll: poll,
            }
        }

        /// What the loop got since the last call: bugs, `+` for those from before, `promise …` and
        /// `gap`.
        fn sent(&self) -> String {
            let mut words = Vec::new();
            while let Some(event) = self.inbox.take() {
                match event {
                    Event::Updates { updates, .. } => {
                        words.extend(updates.iter().map(|update| update.bug.to_string()));
                    }
                    Event::Earlier { updates, .. } => {
                        words.extend(updates.iter().map(|(_, update)| format!("+{}", update.bug)));
                    }
                    Event::Promise { promise, .. } => words.push(match promise {
                        Promise::InDoubt => "doubt".to_owned(),
                        Promise::Nothing => "nothing".to_owned(),
                        Promise::After(i64::MIN) => "all".to_owned(),
                        Promise::After(floor) => format!("after {floor}"),
                    }),
                    Event::Gap { .. } => words.push("gap".to_owned()),
                    Event::Answer { .. } => words.push("answer".to_owned()),
                }
            }
            words.join(", ")
        }

        /// Bugzilla answers the question that is due.
        fn answer(&self, found: Found) -> Since {
            let (question, since) = self.sink.shared.question().expect("a question");
            self.sink.shared.made_good(question, since, found).unwrap();
            since
        }
    }

    /// A history that is whole after time 100 and was caught up `ago` seconds ago.
    fn kept(ago: i64, updates: &[(u32, i64)]) -> Kept {
        Kept {
            floor: Some(100),
            updates: updates
                .iter()
                .map(|&(bug, seconds)| (seconds, update(bug, seconds)))
                .collect(),
            notes: [(ASKED_UNTIL.to_owned(), (now() - ago).to_string())].into(),
        }
    }

    #[test]
    fn the_first_answer_fills_the_history_and_leaves_no_doubt() {
        let mut test = Test::new(Some(Sees::All), &Kept::default());
        assert!(test.sink.shared.question().is_none());
        test.sink.connected().unwrap();
        assert_eq!(test.sent(), "");
        let since = test.answer(found(now(), &[(7, 1_000), (8, 2_000)]));
        assert_eq!(since, Since::Newest(10));
        assert_eq!(test.sent(), "+7, +8, all");
    }

    #[test]
    fn a_first_answer_that_is_cut_off_promises_what_it_holds() {
        let mut test = Test::new(Some(Sees::All), &Kept::default());
        test.sink.connected().unwrap();
        let mut cut_off = found(now(), &[(7, 1_000), (8, 2_000)]);
        cut_off.is_whole = false;
        test.answer(cut_off);
        assert_eq!(test.sent(), "+7, +8, after 1600");
    }

    #[test]
    fn what_changed_while_nobody_looked_is_made_good_and_no_gap() {
        let known = now() - 50;
        let mut test = Test::new(Some(Sees::All), &kept(60, &[(1, known)]));
        test.sink.missed("the queue was deleted", None).unwrap();
        test.sink.connected().unwrap();
        let since = test.answer(found(now(), &[(1, known), (2, now() - 30), (3, now())]));
        assert!(matches!(since, Since::Time(time) if time < known));
        assert_eq!(test.sent(), "2, 3, after 100");
    }

    #[test]
    fn what_the_source_loses_while_it_reads_is_made_good_unless_it_may_be_on_its_way() {
        let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
        test.sink.connected().unwrap();
        test.answer(found(now(), &[]));
        test.sink.deliver(vec![update(1, now() - 20)]).unwrap();
        assert_eq!(test.sent(), "after 100, 1");
        test.answer(found(
            now(),
            &[(1, now() - 20), (2, now() - 19), (3, now())],
        ));
        assert_eq!(test.sent(), "2");
    }

    #[test]
    fn more_than_the_history_holds_is_a_gap_and_no_flood() {
        let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
        test.sink.connected().unwrap();
        let time = now();
        let many: Vec<_> = (1..=11).map(|bug| (bug, time - 100)).collect();
        test.answer(found(time, &many));
        assert_eq!(test.sent(), format!("after {time}, gap"));
        test.answer(found(time, &many));
        assert_eq!(test.sent(), "");
    }

    #[test]
    fn one_who_sees_some_bugs_makes_them_good_and_proves_nothing() {
        let mut test = Test::new(Some(Sees::Some), &kept(60, &[]));
        test.sink.connected().unwrap();
        assert_eq!(test.sent(), "after 100");
        let time = now();
        test.sink.missed("a test", Some(time)).unwrap();
        assert_eq!(test.sent(), format!("after {time}, gap"));
        test.answer(found(time, &[(2, time - 20)]));
        assert_eq!(test.sent(), "2");
    }

    #[test]
    fn where_nobody_can_be_asked_a_loss_is_a_gap() {
        let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
        test.sink.missed("a test", Some(500)).unwrap();
        test.sink.connected().unwrap();
        assert_eq!(test.sent(), "");
        test.sink.shared.cannot_ask().unwrap();
        assert_eq!(test.sent(), "after 500, gap");
    }

    #[test]
    fn an_answer_that_was_under_way_when_the_source_failed_ends_no_doubt() {
        let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
        test.sink.connected().unwrap();
        let (question, since) = test.sink.shared.question().unwrap();
        test.sink.doubt().unwrap();
        let late = found(now(), &[(2, now() - 20)]);
        test.sink.shared.made_good(question, since, late).unwrap();
        assert_eq!(test.sent(), "2");
        assert!(test.sink.shared.question().is_none());
    }

    #[test]
    fn notes_are_there_as_soon_as_they_are_made() {
        let test = Test::new(None, &Kept::default());
        let note = [("bookmark", "7".to_owned())];
        test.sink.deliver_with_notes(Vec::new(), &note).unwrap();
        assert_eq!(test.sink.note("bookmark").as_deref(), Some("7"));
        assert_eq!(test.sink.note("another"), None);
    }
}
