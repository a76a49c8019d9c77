//! Bugzilla's own tables in SQLite.

use rusqlite::{Connection, OpenFlags, params};

use super::super::bugs::{Bugs, LARGEST, Largest, Look, LookFrom, touched_since};
use super::super::table::Row;
use super::{FileSettings, LOCK_WAIT, cannot_open, local, row as row_of, utc};
use crate::work::Error;

/// Bugzilla's own tables.
pub(crate) struct BugsTables {
    database: Connection,
    utc: String,
    local: String,
}

impl Bugs for BugsTables {
    fn look(&mut self, from: &LookFrom) -> Result<Look, Error> {
        self.try_look(from)
            .map_err(|error| format!("cannot read Bugzilla's tables: {error}").into())
    }
}

impl BugsTables {
    /// Opens the file, for reading only.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &FileSettings) -> Result<Self, Error> {
        Ok(Self {
            database: open_to_read(settings)?,
            utc: utc(&settings.options.zone),
            local: local(&settings.options.zone),
        })
    }

    fn try_look(&mut self, from: &LookFrom) -> rusqlite::Result<Look> {
        let transaction = self.database.transaction()?;
        let columns = format!(
            "SELECT bug_id, CAST(delta_ts AS TEXT), {} FROM bugs",
            self.utc
        );
        let now: String =
            transaction.query_row(&format!("SELECT {}", self.local), [], |row| row.get(0))?;
        // A Bugzilla before 5.0 has no ids there.
        let largest = transaction
            .query_row(LARGEST, [], |row| {
                Ok(Largest {
                    activity: row.get(0)?,
                    comment: row.get(1)?,
                })
            })
            .ok();
        let newest = from
            .newest
            .as_deref()
            .map_or(now.as_str(), |newest| newest.min(&now));
        let window = format!("-{} seconds", from.window.as_secs());
        let in_window =
            format!("{columns} WHERE delta_ts >= datetime(?1, ?2) ORDER BY delta_ts, bug_id");
        let in_window = rows(&transaction, &in_window, params![newest, window])?;
        let touched = match (from.largest, largest) {
            (Some(before), Some(largest)) if before != largest => rows(
                &transaction,
                &format!("{columns} {}", touched_since(before)),
                [],
            )?,
            _ => Vec::new(),
        };
        Ok(Look {
            now,
            in_window,
            touched,
            largest,
        })
    }
}

pub(super) fn open_to_read(settings: &FileSettings) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(&settings.file, flags).map_err(cannot_open)?;
    database.busy_timeout(LOCK_WAIT).map_err(cannot_open)?;
    Ok(database)
}

pub(super) fn rows(
    database: &Connection,
    select: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Row>> {
    database
        .prepare_cached(select)?
        .query_map(values, |row| row_of(row, 0))?
        .collect()
}
