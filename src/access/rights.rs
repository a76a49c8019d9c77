//! Who may see which bug, as Bugzilla says: what was said, what is still to be asked, and when. A
//! doubt is never decided in favour of showing. Given the time; knows no thread and no socket.

use super::queue::{Batch, Item, Queue};
use super::readers::{Reader, Readers, Standing};
use super::verdict::{Changes, Purpose, REMEMBERED, Verdict, Verdicts};
use super::{AddressId, Answer, Kept, Question, Rank, ReaderDigest, ReaderId, Said, Shown, Who};
use crate::metrics::RightsCounts;
use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::update::BugId;

/// How many bugs a request asks for.
const BUGS_PER_REQUEST: usize = 100;

/// How long an answer is waited for, in milliseconds; whoever asks gives up before that.
const ANSWER_PATIENCE: u32 = 30_000;

/// The longest pause after failures, in milliseconds.
const PAUSE_MAX: u32 = 30_000;

/// How often it is looked what can be forgotten, in milliseconds, while there is something: times are
/// compared within 24 days only.
const TIDY_INTERVAL: u32 = 300_000;

/// What becomes of somebody who shows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// Bugzilla knows the reader.
    Somebody(ReaderId),
    /// Bugzilla does not.
    Stranger,
    /// Bugzilla is asked.
    Waits,
    /// Bugzilla cannot be asked now.
    Busy,
}

/// What an answer has changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Those who have waited for it.
    pub waiting: Vec<ClientId>,
    /// A reader whom Bugzilla does not know any more.
    pub ended: Option<ReaderId>,
}

/// What Bugzilla has said, and what it is to be asked.
#[derive(Debug)]
pub struct Rights {
    readers: Readers,
    /// What nobody in particular sees.
    public: Verdicts,
    /// When Bugzilla has shown nothing to nobody.
    shut: Option<Moment>,
    changes: Changes,
    queue: Queue,
    /// The least time from one request to the next, in milliseconds.
    interval: u32,
    /// Before that, nothing is asked.
    next_at: Moment,
    asking: Option<Asking>,
    next_number: u64,
    /// Requests that have failed one after the other.
    failures: u32,
    /// When Bugzilla has answered last, or was asked for the first time since.
    answered_at: Moment,
    /// When it is looked next what can be forgotten; not while there is nothing.
    tidy_at: Option<Moment>,
    /// Questions that were answered, and those that were not.
    answered: u64,
    failed: u64,
}

/// The question that Bugzilla is being asked.
#[derive(Debug)]
struct Asking {
    number: u64,
    at: Moment,
    batch: Batch,
}

impl Rights {
    /// Nothing is known yet. Credentials are remembered by a hash with this key; from one request to
    /// the next it takes `interval` milliseconds at least.
    pub fn new(key: &[u8], interval: u32) -> Self {
        Self {
            readers: Readers::new(key),
            public: Verdicts::default(),
            shut: None,
            changes: Changes::default(),
            queue: Queue::default(),
            interval,
            next_at: Moment(0),
            asking: None,
            next_number: 0,
            failures: 0,
            answered_at: Moment(0),
            tidy_at: None,
            answered: 0,
            failed: 0,
        }
    }

    /// How Bugzilla is asked.
    pub(crate) fn counts(&self) -> RightsCounts {
        RightsCounts {
            answered: self.answered,
            failed: self.failed,
            waiting: self.queue.len(),
            readers: self.readers.len(),
        }
    }

    /// Remembers what was said before the start.
    pub fn remember(&mut self, kept: Kept, now: Moment) {
        let ago = |age: u32| Moment(now.0.wrapping_sub(age));
        for (digest, is_somebody, age) in kept.readers {
            let asked = ago(age);
            let standing = match is_somebody {
                true => Standing::Somebody { asked },
                false => Standing::Nobody { asked },
            };
            let reader = self.readers.by_digest(digest);
            if let Some(reader) = reader.and_then(|id| self.readers.get_mut(id)) {
                reader.set_standing(standing);
            }
        }
        for (digest, bug, is_yes, age) in kept.verdicts {
            let asked = ago(age);
            let verdict = Verdict { asked, is_yes };
            if digest == ReaderDigest::default() {
                self.public.insert(bug, verdict);
            } else if let Some(id) = self.readers.by_digest(digest)
                && let Some(reader) = self.readers.get_mut(id)
                && reader.is_somebody()
            {
                reader.verdicts.insert(bug, verdict);
            }
        }
        self.tidy_at = Some(now);
    }

    /// Somebody shows a credential.
    pub(crate) fn present(
        &mut self,
        shown: &Shown,
        address: AddressId,
        client: ClientId,
        now: Moment,
    ) -> Presented {
        let Some(id) = self.readers.by_shown(shown, now) else {
            return Presented::Busy;
        };
        self.tidy_at.get_or_insert(now.plus(TIDY_INTERVAL));
        let standing = self.readers.get(id).map(|reader| reader.standing(now));
        match standing.unwrap_or(Standing::Unknown) {
            Standing::Somebody { .. } => Presented::Somebody(id),
            Standing::Nobody { .. } => Presented::Stranger,
            // Who waits already stands for all others until Bugzilla answers again.
            Standing::Unknown if self.is_failing() && !self.queue.is_empty() => Presented::Busy,
            Standing::Unknown => {
                let item = Item {
                    who: Who::Reader(id),
                    bug: None,
                };
                match self.queue.add(item, address, Rank::New, Some(client)) {
                    true => Presented::Waits,
                    false => Presented::Busy,
                }
            }
        }
    }

    /// A client has come with this credential.
    pub(crate) fn enter(&mut self, reader: ReaderId) {
        self.readers.enter(reader);
    }

    /// The same client has gone.
    pub(crate) fn leave(&mut self, reader: ReaderId) {
        self.readers.leave(reader);
    }

    /// A bug has changed: who has not seen it may see it now.
    pub(crate) fn note_change(&mut self, bug: BugId, now: Moment) {
        self.changes.note(bug, now);
        self.tidy_at.get_or_insert(now.plus(TIDY_INTERVAL));
    }

    /// Whether somebody sees a bug, by what was said and still counts for this purpose.
    ///
    /// # Errors
    /// For whom Bugzilla must be asked.
    pub(crate) fn look(
        &self,
        who: Who,
        bug: BugId,
        purpose: Purpose,
        now: Moment,
    ) -> Result<bool, Who> {
        let public = self.public.on(bug, purpose, &self.changes, now);
        if public == Some(true) {
            return Ok(true);
        }
        let own = self.reader(who);
        let own = own.and_then(|reader| reader.verdicts.on(bug, purpose, &self.changes, now));
        match (own, who) {
            (Some(is_yes), _) => Ok(is_yes),
            (None, _) if public.is_none() && !self.is_shut(now) => Err(Who::Nobody),
            (None, Who::Nobody) => Ok(false),
            (None, Who::Reader(_)) => Err(who),
        }
    }

    /// Whether it was said last that somebody sees a bug; not, where it was never said.
    pub(crate) fn last(&self, who: Who, bug: BugId) -> bool {
        let own = self.reader(who);
        let own = own.and_then(|reader| reader.verdicts.last(bug));
        own == Some(true) || self.public.last(bug) == Some(true)
    }

    /// Has Bugzilla asked whether `who` sees a bug, since somebody at this address wants to know.
    /// Returns false where too much is to be asked already.
    pub(crate) fn ask(
        &mut self,
        who: Who,
        bug: BugId,
        address: AddressId,
        rank: Rank,
        client: ClientId,
    ) -> bool {
        let bug = Some(bug);
        let item = Item { who, bug };
        self.queue.add(item, address, rank, Some(client))
    }

    /// Whether Bugzilla knows this reader, as it was said last.
    pub(crate) fn rank(&self, who: Who) -> Rank {
        match self.reader(who).is_some_and(Reader::is_somebody) {
            true => Rank::Known,
            false => Rank::New,
        }
    }

    /// How long Bugzilla has not answered what it is asked, in milliseconds.
    pub(crate) fn silent(&self, now: Moment) -> u32 {
        now.since(self.answered_at)
    }

    /// Whether the last request has failed.
    fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// What Bugzilla is to be asked now, if anything: one question at a time.
    pub(crate) fn next_question(&mut self, now: Moment) -> Option<Question> {
        if self.asking.is_some() || self.next_at.since(now) > 0 {
            return None;
        }
        let (batch, shown, digest) = loop {
            let batch = self.queue.take(BUGS_PER_REQUEST)?;
            match self.credential(batch.who) {
                Some((shown, digest)) => break (batch, shown, digest),
                // Nobody is here any more who could show it.
                None => drop(self.queue.end(&batch)),
            }
        };
        let number = self.next_number;
        self.next_number += 1;
        self.next_at = now.plus(self.interval);
        if !self.is_failing() {
            self.answered_at = now;
        }
        let bugs = batch.items.iter().filter_map(|(_, bug)| *bug).collect();
        self.asking = Some(Asking {
            number,
            at: now,
            batch,
        });
        Some(Question {
            number,
            shown,
            digest,
            bugs,
        })
    }

    /// Takes an answer. One to a question that was given up changes nothing.
    pub(crate) fn take(&mut self, answer: Answer, now: Moment) -> Changed {
        let is_asked = |asking: &mut Asking| asking.number == answer.number;
        let Some(Asking { at, batch, .. }) = self.asking.take_if(is_asked) else {
            return Changed::default();
        };
        let Some(said) = answer.said else {
            self.fail(batch, now);
            return Changed::default();
        };
        self.failures = 0;
        self.answered += 1;
        self.answered_at = now;
        self.tidy_at.get_or_insert(now.plus(TIDY_INTERVAL));
        let mut waiting = self.queue.end(&batch);
        let mut ended = None;
        match (batch.who, said) {
            (Who::Nobody, said) => self.note_public(&batch, &said, at),
            (Who::Reader(id), Said::Sees(seen)) => {
                if let Some(reader) = self.readers.get_mut(id) {
                    reader.set_standing(Standing::Somebody { asked: at });
                    note(&mut reader.verdicts, &batch, &seen, at);
                }
            }
            (Who::Reader(id), Said::Stranger) => {
                if let Some(reader) = self.readers.get_mut(id) {
                    reader.set_standing(Standing::Nobody { asked: at });
                }
                waiting.extend(self.queue.retain(|who| who != batch.who));
                ended = Some(id);
            }
        }
        Changed { waiting, ended }
    }

    fn note_public(&mut self, batch: &Batch, said: &Said, at: Moment) {
        match said {
            Said::Sees(seen) => {
                self.shut = None;
                note(&mut self.public, batch, seen, at);
            }
            Said::Stranger => {
                self.shut = Some(at);
                self.public = Verdicts::default();
            }
        }
    }

    /// Does what is due: gives up a question that was not answered, and forgets what is too old. To be
    /// called every few days at least.
    pub(crate) fn tick(&mut self, now: Moment) {
        let is_late = |asking: &mut Asking| now.since(asking.at) >= ANSWER_PATIENCE;
        if let Some(asking) = self.asking.take_if(is_late) {
            self.fail(asking.batch, now);
        }
        if self.tidy_at.is_some_and(|at| at.since(now) == 0) {
            self.tidy(now);
        }
        if self.next_at.since(now) == 0 {
            // Moments of more than 24 days ago would seem to lie ahead.
            self.next_at = now;
        }
    }

    /// The milliseconds until [`Rights::next_question`] or [`Rights::tick`] has something to do, if
    /// they ever have.
    pub(crate) fn until_due(&self, now: Moment) -> Option<u32> {
        let question = match &self.asking {
            Some(asking) => Some(asking.at.plus(ANSWER_PATIENCE).since(now)),
            None if self.queue.is_empty() => None,
            None => Some(self.next_at.since(now)),
        };
        let tidy = self.tidy_at.map(|at| at.since(now));
        question.into_iter().chain(tidy).min()
    }

    fn reader(&self, who: Who) -> Option<&Reader> {
        match who {
            Who::Nobody => None,
            Who::Reader(id) => self.readers.get(id),
        }
    }

    fn credential(&self, who: Who) -> Option<(Shown, ReaderDigest)> {
        match who {
            Who::Nobody => Some((Shown::Nothing, ReaderDigest::default())),
            Who::Reader(id) => {
                let reader = self.readers.get(id)?;
                Some((reader.shown.clone()?, reader.digest))
            }
        }
    }

    fn is_shut(&self, now: Moment) -> bool {
        self.shut.is_some_and(|at| now.since(at) <= REMEMBERED)
    }

    /// A question was not answered: it is asked again after a pause, which doubles.
    fn fail(&mut self, batch: Batch, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failed += 1;
        let pause = self.interval.clamp(500, PAUSE_MAX) << self.failures.min(10);
        self.next_at = now.plus(pause.min(PAUSE_MAX));
        self.queue.put_back(batch);
    }

    fn tidy(&mut self, now: Moment) {
        self.public.forget_old(now);
        self.changes.forget_old(now);
        self.readers.forget_old(now);
        self.shut.take_if(|at| now.since(*at) > REMEMBERED);
        let readers = &self.readers;
        let is_there = |who| match who {
            Who::Nobody => true,
            Who::Reader(id) => readers.get(id).is_some(),
        };
        drop(self.queue.retain(is_there));
        let is_empty = self.public.is_empty()
            && self.changes.is_empty()
            && self.readers.is_empty()
            && self.shut.is_none();
        self.tidy_at = (!is_empty).then(|| now.plus(TIDY_INTERVAL));
    }
}

/// Notes a verdict on each bug of a batch.
fn note(verdicts: &mut Verdicts, batch: &Batch, seen: &[BugId], asked: Moment) {
    for bug in batch.items.iter().filter_map(|(_, bug)| *bug) {
        let is_yes = seen.contains(&bug);
        verdicts.insert(bug, Verdict { asked, is_yes });
    }
}
