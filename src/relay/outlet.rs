//! The way out: sends one destination its part of the backlog, in order, and deletes what has
//! arrived. Owns what happens when that fails: a pause, or the end of a change that nobody will
//! ever take. Knows no other destination, and no table.

use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use log::{debug, info, warn};

use super::End;
use super::backlog::{Backlog, Entry, Key};
use super::destination::{Destination, SendError};
use super::pauses::Pauses;
use crate::update::Update;
use crate::work::{Panicked, Stop, catch_panic, unix_now};

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
    pub pauses: Pauses,
    pub state: OutletState,
}

/// How well it goes.
#[derive(Debug, Default)]
pub(super) struct OutletState {
    /// The last change that has arrived, or was given up; it need not be deleted yet.
    done: i64,
    /// What was logged last, and noted in the backlog, if something is wrong.
    logged: Option<String>,
    /// Whether it was logged that the backlog file fails.
    is_backlog_failing: bool,
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
        while !self.stop.is_requested() {
            let step = self.step();
            self.log_backlog(step.as_ref().err());
            match step.unwrap_or(Step::Pause(BACKLOG_PAUSE)) {
                Step::Next => {}
                Step::Idle => drop(self.bell.recv()),
                Step::Pause(pause) => drop(self.stop.wait(pause)),
                Step::IdlePause(pause) => {
                    if self.bell.recv_timeout(pause).is_ok() {
                        self.pauses.reset();
                    }
                }
                Step::End => break,
            }
        }
        if self.stop.is_requested() {
            self.destination.close();
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
                    "{} refuses bug {bug}, {when}, for good, which it will not get: {why}",
                    self.name
                );
                self.succeed(&batch[count])?;
                self.backlog.note_error(
                    self.key,
                    &format!("bug {bug}, {when}, was refused: {why}"),
                    unix_now(),
                    None,
                )?;
                Ok(Step::Next)
            }
            Err(SendError::Failed(_)) if self.stop.is_requested() => Ok(Step::End),
            Err(SendError::Failed(why)) => self.fail(why).map(Step::Pause),
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
            Err(SendError::Failed(why) | SendError::Refused(why)) => {
                self.fail(why).map(Step::IdlePause)
            }
            Err(SendError::NobodyReads) => Ok(Step::End),
        }
    }

    fn send(&mut self, batch: &[Entry]) -> (usize, Result<(), SendError>) {
        let updates: Vec<Update> = batch.iter().map(|waiting| waiting.update.clone()).collect();
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
        let sent = catch_panic(|| destination.send(&updates, stop, &mut wait));
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
        if self.state.logged.take().is_some() {
            info!("{}: works again", self.name);
            self.backlog.note_success(self.key)?;
        }
        Ok(())
    }

    /// Notes a failure, and returns how long to wait. It is logged once per reason.
    fn fail(&mut self, why: String) -> rusqlite::Result<Duration> {
        let pause = self.pauses.next_pause();
        let next_attempt = unix_now().saturating_add_unsigned(pause.as_secs());
        if self.state.logged.as_ref() == Some(&why) {
            debug!("{}: still: {why}; trying again in {pause:?}", self.name);
        } else {
            warn!(
                "{}: {why}; trying again in {pause:?}, and then less and less often, until it works",
                self.name
            );
        }
        self.backlog
            .note_error(self.key, &why, unix_now(), Some(next_attempt))?;
        self.state.logged = Some(why);
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
