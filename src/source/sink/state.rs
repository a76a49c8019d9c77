//! What a feed knows: its history on disk, what it can promise, and which updates it has seen. Owns
//! the order keep → hand over. Knows no source and no thread.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use log::{error, info, warn};

use super::Feed;
use super::zone::ZoneWatch;
use crate::bugzilla::{Found, Sees, Since};
use crate::inbox::{Closed, Notice, Sender};
use crate::metrics::SourceState;
use crate::post::{Answer, PostId};
use crate::promise::Promise;
use crate::source::completeness::{Completeness, Question};
use crate::source::{HistoryFile, Kept};
use crate::update::{BugId, Update};
use crate::work::Now;

/// How far ahead of the database's clock a time may lie and be believed, in seconds. Where that
/// clock is not known, ours stands for it.
const CREDIBLE_SECONDS: i64 = 86_400;

/// The same for what Bugzilla answers. A time further ahead is from before its clock was put back: a
/// client that has seen it may lack what arrived here earlier and happened later.
const FOUND_CREDIBLE_SECONDS: i64 = 60;

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
pub(super) const ASKED_UNTIL: &str = "asked-until";

/// Of one feed.
#[derive(Debug)]
pub(super) struct State {
    feed: Feed,
    file: Option<HistoryFile>,
    is_keeping: bool,
    /// Whether the loop knows that the source is read.
    is_reading: bool,
    inbox: Sender,
    completeness: Completeness,
    /// What the loop and the file know of `completeness`.
    promised: Promise,
    kept_floor: Option<i64>,
    /// What is noted beside the history, by name.
    notes: HashMap<String, String>,
    /// Updates that need not be made good, where there is a catch-up: bug and Unix seconds.
    seen: HashSet<(BugId, i64), foldhash::fast::RandomState>,
    zone: ZoneWatch,
    /// Up to which time Bugzilla has been asked (its own, Unix seconds).
    asked_until: Option<i64>,
    /// When `seen` began: what has changed since then may be waited for by somebody.
    seen_since: Instant,
    /// How far the database's clock is ahead of ours, in seconds, if that is known.
    clock_offset: Option<i64>,
    /// Why updates were missed last.
    gap_reason: String,
    /// Wakes the catch-up.
    bell: Option<SyncSender<()>>,
    clock: fn() -> Now,
}

impl State {
    pub(super) fn new(
        feed: Feed,
        file: Option<HistoryFile>,
        kept: &Kept,
        inbox: Sender,
        clock: fn() -> Now,
    ) -> Self {
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
        Self {
            file,
            is_keeping: true,
            is_reading: false,
            inbox,
            completeness,
            promised: Promise::InDoubt,
            kept_floor: kept.floor,
            notes: kept.notes.clone(),
            seen,
            zone: ZoneWatch::default(),
            asked_until,
            seen_since: clock().instant,
            clock_offset: None,
            gap_reason: "there was no history".to_owned(),
            bell: None,
            clock,
            feed,
        }
    }

    pub(super) fn stopped_reading(&mut self) -> Result<(), Closed> {
        self.completeness.stopped_reading();
        self.report()
    }

    pub(super) fn reads(&mut self) -> Result<(), Closed> {
        if self.completeness.reads((self.clock)().instant) {
            self.ring();
        }
        self.report()
    }

    pub(super) fn missed(&mut self, reason: &str, until: Option<i64>) -> Result<(), Closed> {
        info!("{}: {reason}", self.feed.source);
        reason.clone_into(&mut self.gap_reason);
        self.completeness.missed(until, (self.clock)().instant);
        self.ring();
        self.report()
    }

    pub(super) fn begins(&mut self, floor: i64) -> Result<(), Closed> {
        info!("updates from {} are known from now on", self.feed.source);
        self.completeness.begins(floor);
        self.report()
    }

    pub(super) fn has_floor(&self) -> bool {
        self.kept_floor.is_some()
    }

    pub(super) fn note(&self, name: &str) -> Option<String> {
        self.notes.get(name).cloned()
    }

    pub(super) fn keeps_notes(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn is_keeping(&self) -> bool {
        self.is_keeping
    }

    pub(super) fn answer(&self, post: PostId, answer: Answer) -> Result<(), Closed> {
        self.inbox.send(Notice::Answer { post, answer })
    }

    pub(super) fn refused(&self, why: String) -> Result<(), Closed> {
        self.inbox.send(Notice::Refused { why })
    }

    /// The source is read, or has failed once more. That it is still read wakes nobody.
    pub(super) fn tell(&mut self, state: SourceState) -> Result<(), Closed> {
        let was_reading = self.is_reading;
        self.is_reading = state == SourceState::Reading;
        if was_reading && self.is_reading {
            return Ok(());
        }
        let feed = self.feed.id;
        self.inbox.send(Notice::Source { feed, state })
    }

    pub(super) fn use_key(&self, key: String) -> Result<(), Closed> {
        let feed = self.feed.id;
        self.inbox.send(Notice::Key { feed, key })
    }

    pub(super) fn set_bell(&mut self, bell: SyncSender<()>) {
        self.bell = Some(bell);
    }

    /// What is to be asked, and from when on.
    pub(super) fn question(&self) -> (Question, Since) {
        (self.completeness.question(), self.since())
    }

    /// There is nobody to ask.
    pub(super) fn cannot_ask(&mut self) -> Result<(), Closed> {
        self.feed.catch_up = None;
        self.seen = HashSet::default();
        self.completeness.cannot_ask((self.clock)().instant);
        self.report()
    }

    /// There is somebody to ask, although there was nobody. The answer will end the doubt that begins
    /// with it.
    pub(super) fn can_ask(&mut self, sees: Sees) {
        self.feed.catch_up = Some(sees);
        // What was delivered meanwhile was not remembered: it must not look as if it were lacking.
        self.seen_since = (self.clock)().instant;
        self.asked_until = None;
        self.completeness.can_ask(sees == Sees::All);
    }

    pub(super) fn made_good(
        &mut self,
        question: Question,
        since: Since,
        found: Found,
    ) -> Result<(), Closed> {
        self.set_clock(found.now)?;
        match since {
            Since::Newest(_) => self.fill(question, found)?,
            Since::Time(_) => self.make_good(question, found)?,
        }
        self.report()
    }

    /// Keeps updates and notes, then hands the updates to the loop.
    pub(super) fn deliver(
        &mut self,
        updates: Vec<Update>,
        notes: &[(&str, String)],
    ) -> Result<(), Closed> {
        let database_now = (self.clock)().unix + self.clock_offset.unwrap_or(0);
        self.hand_over(updates, notes, database_now + CREDIBLE_SECONDS)
    }

    fn hand_over(
        &mut self,
        updates: Vec<Update>,
        notes: &[(&str, String)],
        credible_until: i64,
    ) -> Result<(), Closed> {
        if updates.is_empty() && notes.is_empty() {
            return Ok(());
        }
        let read_at = (self.clock)().instant;
        let result = match &mut self.file {
            Some(file) => file.keep(&updates, credible_until, notes),
            None => Ok(()),
        };
        self.report_keeping(result);
        self.remember(notes);
        for update in &updates {
            let seconds = update.when.unix_seconds();
            if seconds <= credible_until {
                self.completeness.delivered(seconds, (self.clock)().instant);
            }
            if self.feed.catch_up.is_some() {
                self.seen.insert(pair(update));
            }
        }
        if self.seen.len() > SEEN_MAX {
            self.seen = HashSet::default();
            self.seen_since = (self.clock)().instant;
            self.asked_until = None;
        }
        if !updates.is_empty() {
            self.inbox.send(Notice::Updates {
                feed: self.feed.id,
                updates,
                credible_until,
                read_at,
            })?;
        }
        self.report()
    }

    /// The first answer of all: the bugs that changed last. What changed before this process looked
    /// is remembered and sent to nobody.
    fn fill(&mut self, question: Question, found: Found) -> Result<(), Closed> {
        let floor = match found.updates.first() {
            Some(oldest) if !found.is_whole => earlier_watermark(oldest, found.now),
            _ => i64::MIN,
        };
        let looked_since = found.now - self.looked_for();
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
        self.inbox.send(Notice::Earlier {
            feed: self.feed.id,
            updates: earlier,
        })?;
        self.deliver_found(live, found.now)?;
        self.completeness
            .filled(question, floor, (self.clock)().instant);
        Ok(())
    }

    fn make_good(&mut self, question: Question, found: Found) -> Result<(), Closed> {
        let is_in_doubt = self.promised == Promise::InDoubt;
        // What is this young may be on its way; the next answer contains it again.
        let until = match is_in_doubt {
            true => i64::MAX,
            false => found.now - ON_ITS_WAY_SECONDS,
        };
        // A time that is ahead of now is not young: some clock or zone is wrong.
        let ahead = found.now + ON_ITS_WAY_SECONDS;
        let is_lacking = |update: &Update| {
            let seconds = update.when.unix_seconds();
            (seconds <= until || seconds > ahead) && !self.seen.contains(&pair(update))
        };
        let lacking: Vec<Update> = found.updates.into_iter().filter(is_lacking).collect();
        let source = &self.feed.source;
        if let Some(why) = self.zone.look(&lacking, &self.seen) {
            warn!("{source}: {why}");
        }
        if !found.is_whole || lacking.len() > self.feed.updates_max {
            warn!(
                "{source}: more changes were missed than the history holds ({}); clients that ask for them get \"complete\":false",
                self.feed.updates_max
            );
            // Where the database's clock was put back, changes may be newer than its time.
            let credible = found.now + CREDIBLE_SECONDS;
            let times = lacking.iter().map(|update| update.when.unix_seconds());
            let newest = times.filter(|&seconds| seconds <= credible).max();
            self.seen.extend(lacking.iter().map(pair));
            self.deliver_found(Vec::new(), found.now)?;
            let floor = newest.map_or(found.now, |newest| newest.max(found.now));
            self.completeness
                .answered(question, Some(floor), (self.clock)().instant);
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
            self.completeness
                .answered(question, None, (self.clock)().instant);
        }
        let oldest = found.now - 2 * LOOK_BACK_SECONDS;
        self.seen.retain(|(_, seconds)| *seconds >= oldest);
        Ok(())
    }

    /// Delivers what Bugzilla has answered, and notes that it was asked up to `now`, unless what
    /// could not be kept must be asked for once more at the next start.
    fn deliver_found(&mut self, mut updates: Vec<Update>, now: i64) -> Result<(), Closed> {
        // The newest goes first: a client may have seen it elsewhere, and resumes with its time. An
        // older one that arrived before it would not be sent to that client.
        if !updates.is_empty() {
            updates.rotate_right(1);
        }
        self.asked_until = Some(now);
        let note = [(ASKED_UNTIL, now.to_string())];
        let has_lost = self.file.as_ref().is_some_and(HistoryFile::has_lost);
        let notes: &[_] = if has_lost { &[] } else { &note };
        self.hand_over(updates, notes, now + FOUND_CREDIBLE_SECONDS)
    }

    /// Where the next question begins.
    fn since(&self) -> Since {
        match self.asked_until {
            Some(time) => Since::Time(time.saturating_sub(LOOK_BACK_SECONDS)),
            None => Since::Newest(self.feed.updates_max),
        }
    }

    /// The database's clock is at `now`.
    fn set_clock(&mut self, now: i64) -> Result<(), Closed> {
        let ahead = now - (self.clock)().unix;
        // An answer takes a while, and clocks are read in whole seconds.
        let is_known = |known: i64| ahead.abs_diff(known) <= 2;
        if !self.clock_offset.is_some_and(is_known) {
            self.clock_offset = Some(ahead);
            let feed = self.feed.id;
            self.inbox.send(Notice::Clock { feed, ahead })?;
        }
        Ok(())
    }

    /// How long this process has looked, in seconds.
    fn looked_for(&self) -> i64 {
        let now = (self.clock)().instant;
        now.duration_since(self.seen_since).as_secs().cast_signed()
    }

    fn remember(&mut self, notes: &[(&str, String)]) {
        let notes = notes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.notes.extend(notes);
    }

    /// Passes on what has changed: a gap, the promise, the floor.
    fn report(&mut self) -> Result<(), Closed> {
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
            self.inbox.send(Notice::Promise {
                feed: self.feed.id,
                promise,
            })?;
        }
        if self.completeness.take_gap() {
            warn!(
                "updates from {} may have been missed up to now: {}; clients that ask for them get \"complete\":false",
                self.feed.source, self.gap_reason
            );
            self.inbox.send(Notice::Gap { feed: self.feed.id })?;
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
        if result.is_ok() == self.is_keeping {
            return;
        }
        self.is_keeping = result.is_ok();
        match result {
            Ok(()) => info!(
                "the history file works again; what it could not keep is missing after the next start"
            ),
            Err(error) => error!(
                "cannot write the history file (setting --history): {error}; updates still go out, but a restart would forget them"
            ),
        }
        // A loop that is gone need not know.
        let _ = self.inbox.send(Notice::Keeping {
            feed: self.feed.id,
            is_keeping: self.is_keeping,
        });
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
