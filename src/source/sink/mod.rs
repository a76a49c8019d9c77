//! Where a source's updates go: into the history file, then to the loop. Owns the order of the two,
//! what the feed can promise, and what the log says of the source. One for each feed, shared by the
//! source's thread and the catch-up's.

#[cfg(test)]
mod chain;
mod state;
#[cfg(test)]
mod tests;
mod zone;

use self::state::State;
#[cfg(test)]
pub(super) use self::tests::Test;
use super::completeness::Question;
use super::{HistoryFile, Kept};
use crate::bugzilla::{Found, Sees, Since};
use crate::inbox::{Closed, Sender};
use crate::metrics::SourceState;
use crate::post::{Answer, PostId};
use crate::update::{FeedId, Update};
use crate::work::{Error, Health, Now};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

impl Sink {
    /// A sink that goes on with what was `kept`, in `file` or nowhere.
    pub fn new(feed: Feed, file: Option<HistoryFile>, kept: &Kept, inbox: Sender) -> Self {
        Self::with_clock(feed, file, kept, inbox, Now::read)
    }

    fn with_clock(
        feed: Feed,
        file: Option<HistoryFile>,
        kept: &Kept,
        inbox: Sender,
        clock: fn() -> Now,
    ) -> Self {
        let health = Health::new("reading updates from", feed.source.clone());
        let state = State::new(feed, file, kept, inbox, clock);
        Self {
            health,
            shared: Shared(Arc::new(Mutex::new(state))),
        }
    }

    /// To be called by a source before it connects and when it has lost its connection: until it is
    /// [`Sink::connected`], clients are not promised that nothing is missing.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn doubt(&self) -> Result<(), Closed> {
        self.shared.lock().stopped_reading()
    }

    /// To be called by a source when it gets all updates from now on, and has reported what it has
    /// missed.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn connected(&mut self) -> Result<(), Closed> {
        self.health.working();
        let mut state = self.shared.lock();
        state.tell(SourceState::Reading)?;
        state.reads()
    }

    /// To be called by a source that cannot read updates for now and tries again by itself. Each
    /// reason is logged once.
    pub(crate) fn down(&mut self, reason: &str) {
        self.health.failing(reason);
        self.failed(reason);
    }

    /// The source has failed, for a reason that is in the log.
    pub(super) fn failed(&self, reason: &str) {
        let state = SourceState::Failing(reason.to_owned());
        // A loop that is gone need not know.
        let _ = self.shared.lock().tell(state);
    }

    /// Keeps updates, then hands them to the loop. After it has returned, the source may forget
    /// them.
    ///
    /// # Errors
    /// When the loop is gone; the updates are kept then, but should not be acknowledged.
    pub(crate) fn deliver(&self, updates: Vec<Update>) -> Result<(), Closed> {
        self.deliver_with_notes(updates, &[])
    }

    /// Like [`Sink::deliver`], and notes in the same transaction what the source needs to know
    /// after a restart.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn deliver_with_notes(
        &self,
        updates: Vec<Update>,
        notes: &[(&str, String)],
    ) -> Result<(), Closed> {
        self.shared.lock().deliver(updates, notes)
    }

    /// Whether it is known up to which time updates may be missing: there is a history, and it has
    /// no gap without an end.
    pub(crate) fn has_history(&self) -> bool {
        self.shared.lock().has_floor()
    }

    /// What was noted under this name with an earlier delivery, in this process or, where a history
    /// is kept, before.
    pub fn note(&self, name: &str) -> Option<String> {
        self.shared.lock().note(name)
    }

    /// Whether notes are kept for after a restart.
    pub fn keeps_notes(&self) -> bool {
        self.shared.lock().keeps_notes()
    }

    /// Whether what was delivered last is kept, or was not to be kept at all.
    pub(crate) fn is_keeping(&self) -> bool {
        self.shared.lock().is_keeping()
    }

    /// Sends a client the answer to its post.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn answer(&self, post: PostId, answer: Answer) -> Result<(), Closed> {
        self.shared.lock().answer(post, answer)
    }

    /// Has the feed's webhook take posts with this key, and with no other.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn use_key(&self, key: String) -> Result<(), Closed> {
        self.shared.lock().use_key(key)
    }

    /// To be called by a source that may have missed updates, such as after its queue was deleted:
    /// before it is [`Sink::connected`], or while it reads on. `reason` is for the log, behind a
    /// colon. `until` is the database's time (UTC, Unix seconds) after which nothing is missing, if
    /// the source knows it.
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn missed(&self, reason: &str, until: Option<i64>) -> Result<(), Closed> {
        self.shared.lock().missed(reason, until)
    }

    /// To be called by a source that has no history from before, and has lost nothing since this
    /// process started: nothing is known from before `floor` (UTC, Unix seconds, by the database's
    /// clock).
    ///
    /// # Errors
    /// When the loop is gone.
    pub(crate) fn begins(&self, floor: i64) -> Result<(), Closed> {
        self.shared.lock().begins(floor)
    }

    /// The source may not read, and does not try again: the loop is to end.
    pub(super) fn refused(&self, why: &Error) -> Result<(), Closed> {
        let why = format!("{}: {why}", self.health.name());
        self.shared.lock().refused(why)
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
        self.lock().set_bell(ring.clone());
        (ring, bell)
    }

    /// What the catch-up is to ask; it hands the question back with the answer.
    pub(super) fn question(&self) -> (Question, Since) {
        self.lock().question()
    }

    /// There is nobody to ask.
    pub(super) fn cannot_ask(&self) -> Result<(), Closed> {
        self.lock().cannot_ask()
    }

    /// There is somebody to ask, although there was nobody.
    pub(super) fn can_ask(&self, sees: Sees) {
        self.lock().can_ask(sees);
    }

    /// Hands on what Bugzilla knows and the source has not brought.
    pub(super) fn made_good(
        &self,
        question: Question,
        since: Since,
        found: Found,
    ) -> Result<(), Closed> {
        self.lock().made_good(question, since, found)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves nothing half done that matters: a repetition at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
