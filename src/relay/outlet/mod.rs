//! The way out: sends one destination its part of the backlog, in order, and deletes what has
//! arrived. Owns what happens when that fails: a pause, or the end of a change that nobody will
//! ever take. Knows no other destination, and no table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::End;
use super::backlog::{Backlog, Entry, Key};
use super::destination::{Destination, SendError};
use super::pauses::Pauses;
use crate::amqp::Announcement;
use crate::update::Update;
use crate::work::{Backoff, Panicked, Stop, catch_panic, unix_now};

/// How long a backlog file that fails is left alone.
const BACKLOG_PAUSE: Duration = Duration::from_secs(1);

/// The way out to one destination, for a thread of its own.
pub(super) struct Outlet {
    /// The destination's name in the log.
    pub name: String,
    pub destination: Box<dyn Destination>,
    pub backlog: Backlog,
    pub key: Key,
    /// Rings when the backlog has grown, and when the stop is requested.
    pub bell: Receiver<()>,
    pub stop: Stop,
    pub ends: Sender<End>,
    /// After failures to reach the destination.
    pub backoff: Backoff,
    /// After refusals of a change.
    pub pauses: Pauses,
    /// Whether the relay has the claim on the table.
    pub is_claimed: Arc<AtomicBool>,
    pub state: OutletState,
    pub counts: Arc<OutletCounts>,
}

/// What a destination's thread has counted since the start, for others to read.
#[derive(Debug, Default)]
pub(super) struct OutletCounts {
    /// Changes that have arrived.
    pub arrived: AtomicU64,
    /// Changes that were refused for good.
    pub refused: AtomicU64,
    /// Attempts that have failed.
    pub failed: AtomicU64,
}

/// How often those behind a destination are to hear how far it is.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);

/// How long a change that nobody takes is kept back before it is sent again.
const NOT_TAKEN_PAUSE: Duration = Duration::from_secs(1);

/// How well it goes.
#[derive(Debug, Default)]
pub(super) struct OutletState {
    /// The last change that has arrived, or was given up; it need not be deleted yet.
    done: i64,
    /// What was logged last, and noted in the backlog, if something is wrong.
    logged: Option<String>,
    /// Whether it was logged that the backlog file fails.
    is_backlog_failing: bool,
    /// When it was announced last how far the destination is.
    announced: Option<Instant>,
}

/// What an attempt has come to.
enum Step {
    /// There may be more to send.
    Next,
    /// Nothing waits.
    Idle,
    /// The destination has failed, and is left alone.
    Pause(Duration),
    /// The destination has failed although nothing waits; what comes is worth a new attempt.
    IdlePause(Duration),
    /// Nobody wants more.
    End,
}

impl Outlet {
    /// Sends until the stop is requested.
    pub(super) fn run(mut self) {
        // Another relay, which has the claim, may send changes of the same stream.
        while !self.is_claimed.load(Ordering::Relaxed) && !self.stop.is_requested() {
            // It rings when the claim is there, too.
            let _ = self.bell.recv();
        }
        while !self.stop.is_requested() {
            let step = self.step();
            self.log_backlog(step.as_ref().err());
            self.announce_now_and_then();
            match step.unwrap_or(Step::Pause(BACKLOG_PAUSE)) {
                Step::Next => {}
                Step::Idle => self.wait_for_changes(),
                Step::Pause(pause) => self.rest(pause),
                Step::IdlePause(pause) => {
                    if self.bell.recv_timeout(pause).is_ok() {
                        self.backoff.reset();
                    }
                }
                Step::End => break,
            }
        }
        if self.stop.is_requested() {
            self.announce(true);
            self.destination.close();
        }
    }

    /// Waits until the backlog has grown, or it is time to announce.
    fn wait_for_changes(&mut self) {
        if self.destination.is_announced_to() {
            // What ends the wait matters no more than what comes next.
            let _ = self.bell.recv_timeout(ANNOUNCE_EVERY);
        } else {
            let _ = self.bell.recv();
        }
    }

    /// Leaves the destination alone, but for announcements.
    fn rest(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.stop.wait(left.min(ANNOUNCE_EVERY)) || left.is_zero() {
                return;
            }
            self.announce_now_and_then();
        }
    }

    fn announce_now_and_then(&mut self) {
        let is_due = |announced: Instant| announced.elapsed() >= ANNOUNCE_EVERY;
        if self.state.announced.is_none_or(is_due) {
            self.announce(false);
        }
    }

    /// Lets those behind the destination know how far it is.
    fn announce(&mut self, is_end: bool) {
        if !self.destination.is_announced_to() {
            return;
        }
        // A backlog that fails is logged with the next step.
        if let Ok(announcement) = self.backlog.announcement(self.key, self.state.done) {
            self.destination.announce(&Announcement {
                is_end,
                ..announcement
            });
            self.state.announced = Some(Instant::now());
        }
    }

    /// Sends the next batch. Fails when the backlog file does.
    fn step(&mut self) -> rusqlite::Result<Step> {
        let batch = self
            .backlog
            .first(self.key, self.state.done, self.destination.batch_max())?;
        if batch.is_empty() {
            return self.connect();
        }
        let (count, result) = self.send(&batch);
        self.counts
            .arrived
            .fetch_add(count as u64, Ordering::Relaxed);
        if let Some(last) = count.checked_sub(1) {
            self.succeed(&batch[last])?;
        }
        match result {
            Ok(()) => Ok(Step::Next),
            Err(SendError::Refused(why)) => {
                let Entry {
                    update: Update { bug, when },
                    ..
                } = &batch[count];
                warn!(
                    "{} refuses bug {bug}, {when}, for good, which it will not get (relay --refused shows it): {why}",
                    self.name
                );
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                self.state.done = batch[count].id;
                self.work()?;
                self.backlog
                    .refuse(self.key, &batch[count], &why, unix_now())?;
                Ok(Step::Next)
            }
            Err(
                SendError::Failed(_)
                | SendError::PutOff(_)
                | SendError::PutOffFor(..)
                | SendError::NotTaken(_),
            ) if self.stop.is_requested() => Ok(Step::End),
            Err(SendError::Failed(why)) => {
                let pause = self.backoff.next_pause(fastrand::f64());
                self.fail(why, pause).map(Step::Pause)
            }
            Err(SendError::PutOff(why)) => {
                let pause = self.pauses.next_pause();
                self.fail(why, pause).map(Step::Pause)
            }
            Err(SendError::PutOffFor(why, pause)) => self.fail(why, pause).map(Step::Pause),
            Err(SendError::NotTaken(why)) => self.fail(why, NOT_TAKEN_PAUSE).map(Step::Pause),
            Err(SendError::NobodyReads) => {
                // There is no receiver any more when the relay is about to end anyway.
                let _ = self.ends.send(End::NobodyReads);
                Ok(Step::End)
            }
        }
    }

    /// Nothing waits: a good time to get ready, if it is not.
    fn connect(&mut self) -> rusqlite::Result<Step> {
        let connected = catch_panic(|| self.destination.connect(&self.stop));
        match connected.unwrap_or_else(|panicked| Err(panicked.into())) {
            _ if self.stop.is_requested() => Ok(Step::End),
            Ok(()) => self.work().map(|()| Step::Idle),
            Err(
                SendError::Failed(why)
                | SendError::Refused(why)
                | SendError::PutOff(why)
                | SendError::PutOffFor(why, _)
                | SendError::NotTaken(why),
            ) => {
                let pause = self.backoff.next_pause(fastrand::f64());
                self.fail(why, pause).map(Step::IdlePause)
            }
            Err(SendError::NobodyReads) => Ok(Step::End),
        }
    }

    fn send(&mut self, batch: &[Entry]) -> (usize, Result<(), SendError>) {
        let (name, backlog, key, logged) = (
            &self.name,
            &mut self.backlog,
            self.key,
            &mut self.state.logged,
        );
        let mut wait = |why: &str| {
            if logged.as_deref() != Some(why) {
                warn!("{name}: {why}; waiting until it works");
                *logged = Some(why.to_owned());
                // Only the output of --status is poorer then; the change itself is safe.
                let _ = backlog.note_error(key, why, unix_now(), None);
            }
        };
        let (destination, stop) = (&mut self.destination, &self.stop);
        let sent = catch_panic(|| destination.send(batch, stop, &mut wait));
        sent.unwrap_or_else(|panicked| (0, Err(panicked.into())))
    }

    /// Forgets changes up to this one. The destination has answered, if only by a refusal.
    fn succeed(&mut self, last: &Entry) -> rusqlite::Result<()> {
        self.state.done = last.id;
        self.work()?;
        self.backlog.delete(self.key, last.id)
    }

    fn work(&mut self) -> rusqlite::Result<()> {
        self.pauses.reset();
        self.backoff.reset();
        if self.state.logged.take().is_some() {
            info!("{}: works again", self.name);
            self.backlog.note_success(self.key)?;
        }
        Ok(())
    }

    /// Notes a failure, and returns how long to wait. It is logged once per reason.
    fn fail(&mut self, why: String, pause: Duration) -> rusqlite::Result<Duration> {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        let next_attempt = unix_now().saturating_add_unsigned(pause.as_secs());
        if self.state.logged.as_ref() == Some(&why) {
            debug!("{}: still: {why}; trying again in {pause:?}", self.name);
        } else {
            warn!("{}: {why}; trying again until it works", self.name);
        }
        // Logged, even if it cannot be noted.
        let why = self.state.logged.insert(why);
        self.backlog
            .note_error(self.key, why, unix_now(), Some(next_attempt))?;
        Ok(pause)
    }

    fn log_backlog(&mut self, error: Option<&rusqlite::Error>) {
        match error {
            Some(error) if !self.state.is_backlog_failing => {
                warn!(
                    "{}: cannot use the backlog (setting --backlog): {error}; trying again until it works",
                    self.name
                );
            }
            Some(error) => debug!("{}: still: cannot use the backlog: {error}", self.name),
            None if self.state.is_backlog_failing => {
                info!("{}: the backlog can be used again", self.name)
            }
            None => {}
        }
        self.state.is_backlog_failing = error.is_some();
    }
}

impl From<Panicked> for SendError {
    fn from(panicked: Panicked) -> Self {
        SendError::Failed(panicked.to_string())
    }
}

#[cfg(test)]
mod tests;
