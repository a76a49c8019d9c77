//! The way in: takes changes from the table, keeps them in the backlog for all destinations, and
//! only then deletes them from the table. Owns the claim on the table, and what happens when the
//! database or the disk fails. Knows no destination.
//!
//! A crash at any point repeats changes, and never loses one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

use log::warn;

use super::End;
use super::backlog::{self, Backlog, Key};
use super::bound::Bound;
use crate::database::{Claimed, Reader};
use crate::failure::Failure;
use crate::work::{Error, Health, Stop, Supervised, unix_now};

/// How often a backlog whose disk is full is tried again.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// The way in, for a thread of its own.
pub(super) struct Intake {
    pub health: Health,
    pub reader: Reader,
    /// The pause between two looks into the table.
    pub poll: Duration,
    /// The longest pause after failures.
    pub pause_max: Duration,
    pub backlog: Backlog,
    /// Whether the backlog's log may lack what the relay before has written last, as long as the
    /// table has not shown otherwise.
    pub may_be_torn: bool,
    pub destinations: Vec<Key>,
    pub bound: Bound,
    /// Wake the destinations' threads.
    pub bells: Vec<SyncSender<()>>,
    pub ends: Sender<End>,
    /// Whether the claim on the table was ever had; the destinations wait for it.
    pub has_claimed: Arc<AtomicBool>,
}

impl Supervised for Intake {
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        loop {
            match self.run_once(stop) {
                // A disk is no server that needs to be spared.
                Err(error) if error.is::<NoRoom>() => self.health.failing(&error.to_string()),
                result => return result,
            }
            if stop.wait(ROOM_EVERY) {
                return Ok(());
            }
        }
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    /// Another reader that is at work ends one that is starting.
    fn is_final(&mut self, error: &Error) -> bool {
        if error.is::<BacklogMoved>() {
            let rescued = match self.backlog.rescue() {
                Ok(()) => "what was in it is put back".to_owned(),
                Err(error) => format!("what was in it is lost: {error}"),
            };
            let _ = self.ends.send(End::Failed(Failure::Unavailable(format!(
                "{error}; {rescued}."
            ))));
            return true;
        }
        let is_other = error.is::<Claimed>();
        if is_other {
            // There is no receiver any more when the relay is about to end anyway.
            let _ = self.ends.send(End::Failed(Failure::Unavailable(format!(
                "{}: {error}.",
                self.health.name()
            ))));
        }
        is_other
    }

    fn pause_max(&self) -> Duration {
        self.pause_max
    }
}

impl Intake {
    /// Takes changes over one connection.
    fn run_once(&mut self, stop: &Stop) -> Result<(), Error> {
        self.reader.connect()?;
        let health = &mut self.health;
        if !self.reader.claim(stop, |why| health.failing(why))? {
            return Ok(());
        }
        self.has_claimed.store(true, Ordering::Relaxed);
        self.ring();
        self.reader.resume(self.backlog.bookmark()?.as_deref());
        while !self.take(stop)? {}
        Ok(())
    }

    /// Takes what is there, and waits for more; returns whether the stop was requested. While there
    /// is no room for it, it stays in the table.
    fn take(&mut self, stop: &Stop) -> Result<bool, Error> {
        if !self.backlog.has_room() {
            self.health.failing(&NoRoom.to_string());
            return Ok(stop.wait(ROOM_EVERY));
        }
        let mut batch = self.reader.read()?;
        let is_full = batch.is_full;
        if let Some(reason) = batch.gap {
            warn!("changes may be missing: {reason}; servers are told so");
            let told = match self.may_be_torn {
                true => self.backlog.begin_streams(),
                false => {
                    let until = self.reader.table()?.now()?;
                    self.backlog.skip_numbers(&self.destinations, until)
                }
            };
            told.map_err(cannot_write)?;
        }
        self.may_be_torn = false;
        let updates = std::mem::take(&mut batch.updates);
        if !updates.is_empty() {
            let bookmark = batch.bookmark.as_ref().map(ToString::to_string);
            let appended = self.backlog.append(
                &updates,
                &self.destinations,
                unix_now(),
                bookmark.as_deref(),
            );
            appended.map_err(cannot_write)?;
            // What is in the backlog can be sent, whatever becomes of the row.
            self.ring();
            self.bound.keep(&mut self.backlog).map_err(cannot_write)?;
        }
        if !self.backlog.is_in_place() {
            return Err(BacklogMoved.into());
        }
        self.reader.delete(batch)?;
        self.health.working();
        if is_full {
            Ok(stop.is_requested())
        } else {
            self.reader.table()?.wait(self.poll, stop)
        }
    }

    fn ring(&self) {
        for bell in &self.bells {
            // A bell that rings already rings for this as well.
            let _ = bell.try_send(());
        }
    }
}

fn cannot_write(error: rusqlite::Error) -> Error {
    if backlog::is_full(&error) {
        return NoRoom.into();
    }
    format!("cannot write the backlog (setting --backlog): {error}").into()
}

/// The backlog's disk is full.
#[derive(Debug)]
struct NoRoom;

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the disk of the backlog (setting --backlog) is full, so changes stay in the table",
        )
    }
}

impl std::error::Error for NoRoom {}

/// What was written to the backlog is in no file that a start would find.
#[derive(Debug)]
struct BacklogMoved;

impl std::fmt::Display for BacklogMoved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the backlog (setting --backlog) or its log was deleted or replaced while this relay used it, which therefore ends")
    }
}

impl std::error::Error for BacklogMoved {}
