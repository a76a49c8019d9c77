//! The table of notifications, whatever database it is in: its rows, and what can be done with it.
//! Knows no database.

use std::collections::HashSet;
use std::time::Duration;

use crate::update::{BugId, Update, When};
use crate::work::{Error, Stop};

/// How many rows are read at once; a full batch is followed by the next without a pause.
pub(super) const BATCH_ROWS: usize = 500;

/// How long a server keeps the claim of a host that is gone, unless the pauses between two looks
/// are longer than half of that.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) const CLAIM_TIMEOUT: Duration = Duration::from_secs(40);

/// One connection to a table of notifications.
pub trait Table: Send {
    /// The rows with the lowest ids, ascending: a batch at most, and one more, since one of them
    /// may be the bookmark.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn read(&mut self) -> Result<Vec<Row>, Error>;

    /// Deletes these rows and no other: ids commit out of order, so "all up to the last" would take
    /// rows that were never read. Returns how many were there and are gone.
    ///
    /// # Errors
    /// When the database does not answer, or refuses. Some or all of the rows may be gone then.
    fn delete(&mut self, rows: &[Row]) -> Result<usize, Error>;

    /// The row with this key, if there is one.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn find(&mut self, id: i64) -> Result<Option<Row>, Error>;

    /// Those of these bugs that are not to be shown.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn private(&mut self, bugs: &[BugId]) -> Result<HashSet<BugId>, Error>;

    /// The database's time (UTC, Unix seconds).
    ///
    /// # Errors
    /// When the database does not answer.
    fn now(&mut self) -> Result<i64, Error>;

    /// Whether one edit of a bug can leave several rows with different times, of which the last one
    /// counts.
    fn has_old_times(&self) -> bool {
        false
    }

    /// Claims what the table holds for this connection, for as long as it lasts: two readers would
    /// each hand over a part of it. The database gives the claim up within a minute when this host
    /// is gone. Returns false when another connection has claimed the table.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn claim(&mut self) -> Result<bool, Error>;

    /// Who has claimed the table, as far as the database tells.
    fn holder(&mut self) -> Option<String>;

    /// Whether the table is the original's: it has one row per bug, which each edit writes anew. No
    /// row may stay in it then.
    fn is_in_place(&self) -> bool;

    /// Whether the triggers that fill the table are there and switched on.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn triggers(&mut self) -> Result<Triggers, Error>;

    /// Waits for `poll`, until something may be there to read, or until `stop` is requested;
    /// returns whether it was.
    ///
    /// # Errors
    /// When the connection is lost.
    fn wait(&mut self, poll: Duration, stop: &Stop) -> Result<bool, Error> {
        Ok(stop.wait(poll))
    }
}

/// One connection that records changes in a table of notifications, as Bugzilla's triggers do. Its
/// account needs no right but INSERT, and UPDATE on the original's table.
pub(crate) trait Recorder: Send {
    /// Records changes, in one transaction.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses; nothing was recorded then.
    fn record(&mut self, changes: &[Change]) -> Result<(), Error>;
}

/// A change to be recorded: of which bug, and when (UTC); just now where there is no time.
pub(crate) type Change = (BugId, Option<When>);

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
        self.judge().ok()
    }

    /// The update that the row records, or why it records none.
    pub(crate) fn judge(&self) -> Result<Update, Flaw> {
        let bug = u32::try_from(self.bug_id).ok().and_then(BugId::new);
        let bug = bug.ok_or(Flaw::Bug)?;
        // Bugzilla writes a space where its REST interface, and so every client, has a T.
        let when = self.utc.as_ref().and_then(|utc| utc.parse::<When>().ok());
        let when = when.ok_or(Flaw::Time)?;
        Ok(Update {
            bug,
            when: When::from_unix_seconds(when.unix_seconds()),
        })
    }
}

/// What is known of the triggers that fill the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triggers {
    /// There is nothing to say.
    Intact,
    /// One of them, or both.
    Missing,
    /// The account may not see them.
    Hidden,
}

impl Triggers {
    /// What is known when so many of the two are switched on.
    pub(super) fn of(active: i64) -> Self {
        match active {
            2.. => Triggers::Intact,
            _ => Triggers::Missing,
        }
    }
}

/// Why a row records no update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Its `bug_id` is none.
    Bug,
    /// Its `delta_ts` is no time.
    Time,
}

/// Text that a database holds, whatever bytes it is made of: what is not UTF-8 is judged like any
/// other row.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
