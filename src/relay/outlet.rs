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
pub struct Outlet {
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
pub struct OutletState {
    /// The last change that has arrived, or was given up; it need not be deleted yet.
    done: i64,
    /// What the log and the backlog's status were told last, if something is wrong.
    said: Option<String>,
    /// Whether the log was told that the backlog file fails.
    is_backlog_failing: bool,
}

/// What an attempt has come to.
enum Turn {
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
    pub fn run(mut self) {
        while !self.stop.is_requested() {
            let turn = self.turn();
            self.say_backlog(turn.as_ref().err());
            match turn.unwrap_or(Turn::Pause(BACKLOG_PAUSE)) {
                Turn::Next => {}
                Turn::Idle => drop(self.bell.recv()),
                Turn::Pause(pause) => drop(self.stop.wait(pause)),
                Turn::IdlePause(pause) => {
                    if self.bell.recv_timeout(pause).is_ok() {
                        self.pauses.reset();
                    }
                }
                Turn::End => break,
            }
        }
        if self.stop.is_requested() {
            self.destination.close();
        }
    }

    /// Sends the next batch. Fails when the backlog file does.
    fn turn(&mut self) -> rusqlite::Result<Turn> {
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
            Ok(()) => Ok(Turn::Next),
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
                Ok(Turn::Next)
            }
            Err(SendError::Failed(_)) if self.stop.is_requested() => Ok(Turn::End),
            Err(SendError::Failed(why)) => self.fail(why).map(Turn::Pause),
            Err(SendError::NobodyReads) => {
                // Nobody hears it when the relay is about to end anyway.
                let _ = self.ends.send(End::NobodyReads);
                Ok(Turn::End)
            }
        }
    }

    /// Nothing waits: a good time to get ready, if it is not.
    fn connect(&mut self) -> rusqlite::Result<Turn> {
        let connected = catch_panic(|| self.destination.connect(&self.stop));
        match connected.unwrap_or_else(|panicked| Err(panicked.into())) {
            _ if self.stop.is_requested() => Ok(Turn::End),
            Ok(()) => self.work().map(|()| Turn::Idle),
            Err(SendError::Failed(why) | SendError::Refused(why)) => {
                self.fail(why).map(Turn::IdlePause)
            }
            Err(SendError::NobodyReads) => Ok(Turn::End),
        }
    }

    fn send(&mut self, batch: &[Entry]) -> (usize, Result<(), SendError>) {
        let updates: Vec<Update> = batch.iter().map(|waiting| waiting.update.clone()).collect();
        let (name, backlog, key, said) = (
            &self.name,
            &mut self.backlog,
            self.key,
            &mut self.state.said,
        );
        let mut wait = |why: &str| {
            if said.as_deref() != Some(why) {
                warn!("{name}: {why}; waiting until it works");
                *said = Some(why.to_owned());
                // The status says less then; the change itself is safe.
                let _ = backlog.note_error(key, why, unix_now(), None);
            }
        };
        let (destination, stop) = (&mut self.destination, &self.stop);
        let sent = catch_panic(|| destination.send(&updates, stop, &mut wait));
        sent.unwrap_or_else(|panicked| (0, Err(panicked.into())))
    }

    /// Forgets changes up to this one. The destination answers, whatever it says.
    fn succeed(&mut self, last: &Entry) -> rusqlite::Result<()> {
        self.state.done = last.id;
        self.work()?;
        self.backlog.delete(self.key, last.id)
    }

    fn work(&mut self) -> rusqlite::Result<()> {
        self.pauses.reset();
        if self.state.said.take().is_some() {
            info!("{}: works again", self.name);
            self.backlog.note_success(self.key)?;
        }
        Ok(())
    }

    /// Notes a failure, and says how long to wait. The log is told once per reason.
    fn fail(&mut self, why: String) -> rusqlite::Result<Duration> {
        let pause = self.pauses.next_pause();
        let next_attempt = unix_now().saturating_add_unsigned(pause.as_secs());
        if self.state.said.as_ref() == Some(&why) {
            debug!("{}: still: {why}; trying again in {pause:?}", self.name);
        } else {
            warn!(
                "{}: {why}; trying again in {pause:?}, and then less and less often, until it works",
                self.name
            );
        }
        self.backlog
            .note_error(self.key, &why, unix_now(), Some(next_attempt))?;
        self.state.said = Some(why);
        Ok(pause)
    }

    fn say_backlog(&mut self, error: Option<&rusqlite::Error>) {
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
