//! The table of notifications in SQLite.

use std::path::PathBuf;

use rusqlite::{Connection, TransactionBehavior, params};

use super::super::table::{BATCH_ROWS, Row, Table};
use super::{FileSettings, LOCK_WAIT, cannot_open, local, row as row_of, utc};
use crate::update::BugId;
use crate::work::{Error, FileLock, unix_now};

/// The table of notifications.
pub(crate) struct Notifications {
    database: Connection,
    select: String,
    delete: String,
    insert: String,
    /// SQLite has no lock that outlives a transaction, and does not hinder Bugzilla.
    claim_file: PathBuf,
    claim: Option<FileLock>,
}

impl Notifications {
    /// Opens the table; creates it, and the file, where they are not there.
    ///
    /// # Errors
    /// When that fails, or the file cannot be written.
    pub(crate) fn open(settings: &FileSettings) -> Result<Self, Error> {
        let mut database = Connection::open(&settings.file).map_err(cannot_open)?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL)",
            settings.options.table.quoted('"')
        );
        database
            .busy_timeout(LOCK_WAIT)
            .and_then(|()| database.execute_batch(&create))
            .map_err(cannot_open)?;
        // In WAL mode, which our own file is in, a deletion need not wait for the disk: a power
        // failure may bring rows back, and they are delivered again. Bugzilla's own file is in
        // another mode, and left alone.
        let journal: String = database
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .map_err(cannot_open)?;
        if journal == "wal" {
            database
                .pragma_update(None, "synchronous", "NORMAL")
                .map_err(cannot_open)?;
        }
        // A file that cannot be written is better known now than after the first update.
        database
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(cannot_open)?
            .rollback()
            .map_err(cannot_open)?;
        Self::new(database, settings)
    }

    fn new(database: Connection, settings: &FileSettings) -> Result<Self, Error> {
        let options = &settings.options;
        let (table, utc, local) = (
            options.table.quoted('"'),
            utc(&options.zone),
            local(&options.zone),
        );
        // By whatever name somebody else calls it.
        let mut claim_file = settings
            .file
            .canonicalize()
            .map_err(|error| format!("cannot find the file: {error}"))?
            .into_os_string();
        claim_file.push(".relay-lock");
        Ok(Self {
            database,
            select: format!(
                "SELECT id, CAST(bug_id AS INTEGER), CAST(delta_ts AS TEXT), {utc} FROM {table} ORDER BY id LIMIT {BATCH_ROWS}"
            ),
            delete: format!("DELETE FROM {table} WHERE id = ?1"),
            insert: format!("INSERT INTO {table} (bug_id, delta_ts) VALUES (?1, {local})"),
            claim_file: claim_file.into(),
            claim: None,
        })
    }
}

impl Table for Notifications {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        let mut select = self.database.prepare_cached(&self.select)?;
        let rows = select
            .query_map([], |row| {
                Ok(Row {
                    id: row.get(0)?,
                    ..row_of(row, 1)?
                })
            })?
            .collect::<Result<_, _>>();
        rows.map_err(|error| format!("cannot read the table of notifications: {error}").into())
    }

    fn delete(&mut self, rows: &[Row]) -> Result<(), Error> {
        let delete = |database: &mut Connection, statement: &str| {
            // The SELECT is over: a read lock that was to become a write lock would fail at once
            // when Bugzilla writes.
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut delete = transaction.prepare_cached(statement)?;
                for row in rows {
                    delete.execute([row.id])?;
                }
            }
            transaction.commit()
        };
        delete(&mut self.database, &self.delete).map_err(|error| {
            format!("cannot delete from the table of notifications: {error}").into()
        })
    }

    fn insert(&mut self, bugs: &[BugId]) -> Result<(), Error> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for bug in bugs {
            transaction.execute(&self.insert, params![bug.get()])?;
        }
        Ok(transaction.commit()?)
    }

    fn now(&mut self) -> Result<i64, Error> {
        // SQLite has no clock but that of whoever uses it.
        Ok(unix_now())
    }

    fn claim(&mut self) -> Result<bool, Error> {
        if self.claim.is_none() {
            let taken = FileLock::take(&self.claim_file);
            self.claim = taken
                .map_err(|error| format!("cannot lock {}: {error}", self.claim_file.display()))?;
        }
        Ok(self.claim.is_some())
    }
}
