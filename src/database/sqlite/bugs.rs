//! Bugzilla's own tables in SQLite.

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::super::bugs::{Bugs, LARGEST, Largest, Look, LookFrom, touched_since};
use super::super::options::Shown;
use super::super::table::Row;
use super::{FileSettings, LOCK_WAIT, cannot_open, local, row as row_of, utc};
use crate::work::{Error, unix_now};

/// Bugzilla's own tables.
pub(crate) struct BugsTables {
    database: Connection,
    utc: String,
    local: String,
    shown: Shown,
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
            shown: settings.options.shown,
        })
    }

    fn try_look(&mut self, from: &LookFrom) -> rusqlite::Result<Look> {
        let transaction = self.database.transaction()?;
        let columns = format!(
            "SELECT bug_id, CAST(delta_ts AS TEXT), {} FROM bugs",
            self.utc
        );
        let shown = self.shown.condition();
        let now: String =
            transaction.query_row(&format!("SELECT {}", self.local), [], |row| row.get(0))?;
        let largest = largest(&transaction)?;
        let window = format!("-{} seconds", from.window.as_secs());
        // What is no time sorts behind all that are.
        let in_window = format!(
            "{columns} WHERE {shown} AND delta_ts >= datetime(min(coalesce(?1, (SELECT max(delta_ts) FROM bugs), ?3), ?3), ?2) ORDER BY delta_ts, bug_id"
        );
        let in_window = rows(&transaction, &in_window, params![from.newest, window, now])?;
        let touched = match (from.largest, largest) {
            (Some(before), Some(largest)) if before != largest => rows(
                &transaction,
                &format!("{columns} {} WHERE {shown}", touched_since(before)),
                [],
            )?,
            _ => Vec::new(),
        };
        Ok(Look {
            now,
            utc_now: unix_now(),
            in_window,
            touched,
            largest,
        })
    }
}

/// None where there are no such tables: a Bugzilla before 5.0 has no ids in them.
fn largest(database: &Connection) -> rusqlite::Result<Option<Largest>> {
    let largest = database.query_row(LARGEST, [], |row| {
        Ok(Largest {
            activity: row.get(0)?,
            comment: row.get(1)?,
        })
    });
    match largest {
        // The statement makes no sense in this file.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(None),
        largest => largest.map(Some),
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
