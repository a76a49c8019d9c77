//! The table of notifications, whatever database it is in: read a batch, hand it over, delete exactly what was read. Owns the order
//! of these steps and what happens when one fails in between. Knows no database.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Error, Sink, Source, Stop};
use crate::update::{BugId, Update, When};

/// How many rows are read at once; a full batch is followed by the next without a pause.
pub const BATCH_ROWS: usize = 500;

/// One connection to a table of notifications.
pub trait Table: Send {
    /// The rows with the lowest ids, at most `BATCH_ROWS` of them, ascending.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn read(&mut self) -> Result<Vec<Row>, Error>;

    /// Deletes these rows and no other: ids commit out of order, so "all up to the last" would take rows that were never read.
    ///
    /// # Errors
    /// When the database does not answer, or refuses. Some or all of the rows may be gone then.
    fn delete(&mut self, rows: &[Row]) -> Result<(), Error>;

    /// Records that bugs changed just now, in one transaction.
    ///
    /// # Errors
    /// When the database does not answer, or refuses; nothing was recorded then.
    fn insert(&mut self, bugs: &[BugId]) -> Result<(), Error>;

    /// Claims what the table holds for this connection, for as long as it lasts: two relays would each hand over a part of it. Returns
    /// false when another connection has claimed it.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn claim(&mut self) -> Result<bool, Error>;

    /// Whether one edit can leave several rows, of which the last is the one that counts.
    fn has_surplus_rows(&self) -> bool {
        false
    }

    /// Waits for `poll`, until something may be there to read, or until `stop` is requested; returns whether it was.
    ///
    /// # Errors
    /// When the connection is lost.
    fn wait(&mut self, poll: Duration, stop: &Stop) -> Result<bool, Error> {
        Ok(stop.wait(poll))
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Its key.
    pub id: i64,
    /// The bug that changed, if the row is sound.
    pub bug_id: i64,
    /// As it stands in the table, without a time zone.
    pub delta_ts: String,
    /// `delta_ts` in UTC, if the database could tell.
    pub utc: Option<String>,
}

impl Row {
    /// The update that the row records, if it records one.
    pub fn update(&self) -> Option<Update> {
        let bug = u32::try_from(self.bug_id).ok().and_then(BugId::new)?;
        // Bugzilla writes a space where its REST interface, and so every client, has a T.
        let when = self.utc.as_ref()?.parse::<When>().ok()?;
        Some(Update { bug, when: When::from_unix_seconds(when.unix_seconds()) })
    }
}

/// What is read from a table at once, to be handed over and then deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// To be deleted after `updates` were handed over.
    pub rows: Vec<Row>,
    /// To be handed over, in order. Fewer than the rows where some were handed over before, or record nothing.
    pub updates: Vec<Update>,
    /// Whether more rows can be read at once.
    pub is_full: bool,
}

/// Opens the table anew: at the start, and after each failure.
pub type Connect = Box<dyn FnMut() -> Result<Box<dyn Table>, Error> + Send>;

/// Reads a table over as many connections as it takes. Each update comes once, even when the database fails between reading and
/// deleting; only a crash of this program can repeat one.
pub struct Reader {
    connect: Connect,
    table: Option<Box<dyn Table>>,
    /// Rows that were handed over, but of which it is not known whether they were deleted.
    in_doubt: HashSet<Row>,
}

impl Reader {
    /// A reader that is not connected yet.
    pub fn new(connect: Connect) -> Self {
        Self { connect, table: None, in_doubt: HashSet::new() }
    }

    /// Connects, in place of the connection before.
    ///
    /// # Errors
    /// When the table cannot be opened, or its rows could not be deleted.
    pub fn connect(&mut self) -> Result<(), Error> {
        self.table = None;
        self.table = Some((self.connect)()?);
        Ok(())
    }

    /// The open table.
    ///
    /// # Errors
    /// When [`Reader::connect`] has not succeeded yet.
    pub fn table(&mut self) -> Result<&mut dyn Table, Error> {
        match &mut self.table {
            Some(table) => Ok(table.as_mut()),
            None => Err("the table is not open".into()),
        }
    }

    /// The next batch. The same again as long as it is not deleted.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer.
    pub fn read(&mut self) -> Result<Batch, Error> {
        let table = self.table()?;
        let (mut rows, folds) = (table.read()?, table.has_surplus_rows());
        let is_full = rows.len() >= BATCH_ROWS;
        if is_full && folds {
            leave_last_bug(&mut rows);
        }
        if !is_full {
            // What is not there any more was deleted, although nobody said so.
            let found: HashSet<&Row> = rows.iter().collect();
            self.in_doubt.retain(|row| found.contains(row));
        }
        let fresh = rows.iter().filter(|row| !self.in_doubt.contains(*row));
        let mut updates: Vec<Update> = fresh.filter_map(update_or_warn).collect();
        if folds {
            keep_last_of_each_bug(&mut updates);
        }
        Ok(Batch { rows, updates, is_full })
    }

    /// Deletes the rows of a batch that was handed over.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer. The rows may be read again, but not their updates.
    pub fn delete(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        let result = match &mut self.table {
            Some(table) => table.delete(&batch.rows),
            None => Err("the table is not open".into()),
        };
        if result.is_ok() {
            for row in &batch.rows {
                self.in_doubt.remove(row);
            }
        } else {
            self.in_doubt.extend(batch.rows);
        }
        result
    }
}

/// A row that records nothing is logged, since it goes with the others.
fn update_or_warn(row: &Row) -> Option<Update> {
    let update = row.update();
    if update.is_none() {
        let Row { id, bug_id, delta_ts, .. } = row;
        log::warn!("row {id} of the table is no notification (bug_id {bug_id}, delta_ts {delta_ts:?}); it is dropped");
    }
    update
}

/// Takes the rows of the last row's bug from a full batch: further ones of the same edit may follow in the next.
fn leave_last_bug(rows: &mut Vec<Row>) {
    if let Some(last) = rows.last().map(|row| row.bug_id)
        && rows.iter().any(|row| row.bug_id != last)
    {
        rows.retain(|row| row.bug_id != last);
    }
}

fn keep_last_of_each_bug(updates: &mut Vec<Update>) {
    let last: HashMap<BugId, usize> = updates.iter().enumerate().map(|(at, update)| (update.bug, at)).collect();
    let mut at = 0;
    updates.retain(|update| {
        at += 1;
        last.get(&update.bug) == Some(&(at - 1))
    });
}

/// The source that hands over what a table holds.
pub struct Poller {
    reader: Reader,
    poll: Duration,
}

impl Poller {
    /// A source that looks into the table after each `poll`.
    pub fn new(connect: Connect, poll: Duration) -> Self {
        Self { reader: Reader::new(connect), poll }
    }
}

impl Source for Poller {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        self.reader.connect()?;
        loop {
            let mut batch = self.reader.read()?;
            let is_full = batch.is_full;
            sink.deliver(std::mem::take(&mut batch.updates))?;
            self.reader.delete(batch)?;
            // Only now all that it takes is known to work.
            sink.connected();
            let is_stopped = if is_full { stop.is_requested() } else { self.reader.table()?.wait(self.poll, stop)? };
            if is_stopped {
                return Ok(());
            }
        }
    }
}
