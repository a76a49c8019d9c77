//! The table of notifications, whatever database it is in: its rows, and what can be done with it.
//! Knows no database.

use std::time::Duration;

use crate::update::{BugId, Update, When};
use crate::work::{Error, Stop};

/// How many rows are read at once; a full batch is followed by the next without a pause.
pub(super) const BATCH_ROWS: usize = 500;

/// One connection to a table of notifications.
pub trait Table: Send {
    /// The rows with the lowest ids, at most `BATCH_ROWS` of them, ascending.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn read(&mut self) -> Result<Vec<Row>, Error>;

    /// Deletes these rows and no other: ids commit out of order, so "all up to the last" would take
    /// rows that were never read.
    ///
    /// # Errors
    /// When the database does not answer, or refuses. Some or all of the rows may be gone then.
    fn delete(&mut self, rows: &[Row]) -> Result<(), Error>;

    /// Records that bugs changed just now, in one transaction.
    ///
    /// # Errors
    /// When the database does not answer, or refuses; nothing was recorded then.
    fn insert(&mut self, bugs: &[BugId]) -> Result<(), Error>;

    /// The database's time (UTC, Unix seconds).
    ///
    /// # Errors
    /// When the database does not answer.
    fn now(&mut self) -> Result<i64, Error>;

    /// Claims what the table holds for this connection, for as long as it lasts: two relays would
    /// each hand over a part of it. Returns false when another connection has claimed it.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn claim(&mut self) -> Result<bool, Error>;

    /// Whether one edit can leave several rows, of which the last is the one that counts.
    fn has_surplus_rows(&self) -> bool {
        false
    }

    /// Waits for `poll`, until something may be there to read, or until `stop` is requested;
    /// returns whether it was.
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
    pub(crate) fn update(&self) -> Option<Update> {
        let bug = u32::try_from(self.bug_id).ok().and_then(BugId::new)?;
        // Bugzilla writes a space where its REST interface, and so every client, has a T.
        let when = self.utc.as_ref()?.parse::<When>().ok()?;
        Some(Update {
            bug,
            when: When::from_unix_seconds(when.unix_seconds()),
        })
    }
}
