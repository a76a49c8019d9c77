//! The way in: takes changes from the table, keeps them in the backlog for all destinations, and
//! only then deletes them from the table. Owns the claim on the table, and what happens when the
//! database or the disk fails. Knows no destination.
//!
//! A crash at any point repeats changes, and never loses one.

use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use super::End;
use super::backlog::{Backlog, Key};
use crate::database::Reader;
use crate::failure::Failure;
use crate::work::{Error, Health, Stop, Supervised, unix_now};

/// How long a relay that is starting waits for the claim: the database may not know yet that the
/// one before has gone.
const CLAIM_PATIENCE: Duration = Duration::from_secs(2);
const CLAIM_EVERY: Duration = Duration::from_millis(100);

/// The way in, for a thread of its own.
pub(super) struct Intake {
    pub health: Health,
    pub reader: Reader,
    /// The pause between two looks into the table.
    pub poll: Duration,
    pub backlog: Backlog,
    pub destinations: Vec<Key>,
    /// Wake the destinations' threads.
    pub bells: Vec<SyncSender<()>>,
    pub ends: Sender<End>,
    /// Whether the claim on the table was ever had.
    pub has_claimed: bool,
}

impl Supervised for Intake {
    /// Takes changes over one connection.
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        self.reader.connect()?;
        self.claim(stop)?;
        while !self.take(stop)? {}
        Ok(())
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    /// Another relay that is at work ends one that is starting. One that has been at work waits
    /// until the database notices that its own connection has gone.
    fn is_final(&mut self, error: &Error) -> bool {
        let is_other = error.is::<Claimed>() && !self.has_claimed;
        if is_other {
            // There is no receiver any more when the relay is about to end anyway.
            let _ = self.ends.send(End::Failed(Failure::Unavailable(format!(
                "{}: {error}.",
                self.health.name()
            ))));
        }
        is_other
    }
}

impl Intake {
    /// Takes what is there, and waits for more; returns whether the stop was requested.
    fn take(&mut self, stop: &Stop) -> Result<bool, Error> {
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
        self.health.working();
        if is_full {
            Ok(stop.is_requested())
        } else {
            self.reader.table()?.wait(self.poll, stop)
        }
    }

    fn claim(&mut self, stop: &Stop) -> Result<(), Error> {
        let give_up = Instant::now() + CLAIM_PATIENCE;
        while !self.reader.table()?.claim()? {
            if Instant::now() >= give_up || stop.wait(CLAIM_EVERY) {
                return Err(Claimed.into());
            }
        }
        self.has_claimed = true;
        Ok(())
    }

    fn ring(&self) {
        for bell in &self.bells {
            // A bell that rings already rings for this as well.
            let _ = bell.try_send(());
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
