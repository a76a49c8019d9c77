//! The way in: takes changes from the table, keeps them in the backlog for all destinations, and
//! only then deletes them from the table. Owns the claim on the table, and what happens when the
//! database or the disk fails. Knows no destination.
//!
//! A crash at any point repeats changes, and never loses one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::End;
use super::backlog::{Backlog, Key};
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::source::{Error, Reader, Stop, unix_now};

/// How long a relay that is starting waits for the claim: the database may not know yet that the
/// one before has gone.
const CLAIM_PATIENCE: Duration = Duration::from_secs(2);
const CLAIM_EVERY: Duration = Duration::from_millis(100);

/// How long it must have worked before pauses are short again: what fails as soon as it works would
/// fail ten times a second otherwise.
const PROVEN: Duration = Duration::from_secs(10);

/// The way in, for a thread of its own.
pub struct Intake {
    /// The source's name in the log.
    pub name: String,
    pub reader: Reader,
    /// The pause between two looks into the table.
    pub poll: Duration,
    pub backlog: Backlog,
    pub destinations: Vec<Key>,
    /// Wake the destinations' threads.
    pub bells: Vec<SyncSender<()>>,
    pub stop: Stop,
    pub ends: Sender<End>,
    pub progress: Progress,
}

/// How well it goes.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whether the claim on the table was ever had.
    has_claimed: bool,
    /// Since when changes are taken, if they are.
    works_since: Option<Instant>,
    /// What the log was told last.
    said: Option<String>,
}

impl Intake {
    /// Takes changes until the stop is requested, or another relay turns out to be at work.
    pub fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        loop {
            // A panic is a failure like any other: the thread must not end in silence.
            let result = catch_unwind(AssertUnwindSafe(|| self.take()))
                .unwrap_or_else(|_| Err("it panicked, which is a bug".into()));
            let Err(error) = result else { return };
            if self.stop.is_requested() {
                return;
            }
            if error.is::<Claimed>() && !self.progress.has_claimed {
                // Nobody hears it when the relay is about to end anyway.
                let _ = self.ends.send(End::Failed(Failure::Unavailable(format!(
                    "{}: {error}.",
                    self.name
                ))));
                return;
            }
            if self
                .progress
                .works_since
                .take()
                .is_some_and(|since| since.elapsed() >= PROVEN)
            {
                backoff.reset();
            }
            self.say(error.to_string());
            if self.stop.wait(backoff.next_pause(fastrand::f64())) {
                return;
            }
        }
    }

    /// Takes changes over one connection.
    fn take(&mut self) -> Result<(), Error> {
        self.reader.connect()?;
        self.claim()?;
        loop {
            let mut batch = self.reader.read()?;
            let is_full = batch.is_full;
            let updates = std::mem::take(&mut batch.updates);
            if !updates.is_empty() {
                let appended = self
                    .backlog
                    .append(&updates, &self.destinations, unix_now());
                appended.map_err(|error| {
                    format!("cannot write the backlog (setting --backlog): {error}")
                })?;
                // What is in the backlog can be sent, whatever becomes of the row.
                self.ring();
            }
            self.reader.delete(batch)?;
            self.works();
            let is_stopped = if is_full {
                self.stop.is_requested()
            } else {
                self.reader.table()?.wait(self.poll, &self.stop)?
            };
            if is_stopped {
                return Ok(());
            }
        }
    }

    fn claim(&mut self) -> Result<(), Error> {
        let give_up = Instant::now() + CLAIM_PATIENCE;
        while !self.reader.table()?.claim()? {
            if Instant::now() >= give_up || self.stop.wait(CLAIM_EVERY) {
                return Err(Claimed.into());
            }
        }
        self.progress.has_claimed = true;
        Ok(())
    }

    fn ring(&self) {
        for bell in &self.bells {
            // A bell that rings already rings for this as well.
            let _ = bell.try_send(());
        }
    }

    fn works(&mut self) {
        if self.progress.works_since.is_none() {
            self.progress.works_since = Some(Instant::now());
            self.progress.said = None;
            info!("taking changes from {}", self.name);
        }
    }

    /// The log is told once per reason.
    fn say(&mut self, reason: String) {
        if self.progress.said.as_ref() == Some(&reason) {
            debug!("{}: still: {reason}", self.name);
        } else {
            warn!("{}: {reason}; trying again until it works", self.name);
            self.progress.said = Some(reason);
        }
    }
}

/// Another relay has the claim on the table.
#[derive(Debug)]
struct Claimed;

impl std::fmt::Display for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another relay takes changes from this table, and there must be only one: each would get a part of them")
    }
}

impl std::error::Error for Claimed {}
