//! The table of notifications in SQLite.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::debug;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, TransactionBehavior, params};

use super::super::options::{ReadOptions, Shown};
use super::super::table::{BATCH_ROWS, Change, Recorder, Row, Table, Triggers};
use super::writes::Writes;
use super::{FileSettings, LOCK_WAIT, cannot_open, row as row_of, shift_to_local, utc};
use crate::update::BugId;
use crate::work::{Error, FileLock, Stop, unix_now};

/// The table of notifications.
pub(crate) struct Notifications {
    database: Connection,
    select: String,
    find: String,
    delete: String,
    insert: String,
    /// SQLite has no lock that outlives a transaction, and does not hinder Bugzilla.
    claim_file: PathBuf,
    claim: Option<FileLock>,
    is_in_place: bool,
    is_own_table: bool,
    shown: Shown,
    file: PathBuf,
    /// Device and inode of the file that is open.
    identity: (u64, u64),
    /// What wakes the reader, where the kernel can tell.
    writes: Option<Writes>,
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
        let (table, utc, shift) = (
            options.table.quoted('"'),
            utc(&options.zone),
            shift_to_local(&options.zone),
        );
        // By whatever name somebody else calls it.
        let mut claim_file = settings
            .file
            .canonicalize()
            .map_err(|error| format!("cannot find the file: {error}"))?
            .into_os_string();
        claim_file.push(".relay-lock");
        let is_in_place = has_one_row_per_bug(&database, options).map_err(cannot_open)?;
        let select = format!(
            "SELECT id, CAST(bug_id AS INTEGER), CAST(delta_ts AS TEXT), {utc} FROM {table}"
        );
        Ok(Self {
            database,
            find: format!("{select} WHERE id = ?1"),
            select: format!("{select} ORDER BY id LIMIT {}", BATCH_ROWS + 1),
            delete: format!("DELETE FROM {table} WHERE id = ?1"),
            insert: format!(
                "INSERT INTO {table} (bug_id, delta_ts) VALUES (?1, strftime('%Y-%m-%d %H:%M:%S', COALESCE(?2, 'now'), '{shift}'))"
            ),
            claim_file: claim_file.into(),
            claim: None,
            is_in_place,
            is_own_table: options.is_own_table(),
            shown: options.shown,
            identity: identity(&settings.file)?,
            writes: Writes::watch(&settings.file)
                .inspect_err(|error| {
                    debug!("{}: cannot be watched: {error}", settings.file.display())
                })
                .ok(),
            file: settings.file.clone(),
        })
    }

    /// A file that was moved away can be read and written without end, and nobody else would see
    /// it.
    fn expect_same_file(&self) -> Result<(), Error> {
        if identity(&self.file)? == self.identity {
            Ok(())
        } else {
            Err("the file was replaced by another one".into())
        }
    }
}

fn identity(file: &Path) -> Result<(u64, u64), Error> {
    let metadata = fs::metadata(file).map_err(|error| format!("cannot find the file: {error}"))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether the table has a unique index on `bug_id` alone, as the original's.
fn has_one_row_per_bug(database: &Connection, options: &ReadOptions) -> rusqlite::Result<bool> {
    let find = "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) AS i WHERE i.\"unique\" \
         AND (SELECT group_concat(lower(name)) FROM pragma_index_info(i.name)) = 'bug_id')";
    database.query_row(find, [options.table.unqualified()], |row| row.get(0))
}

fn row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        ..row_of(row, 1)?
    })
}

impl Recorder for Notifications {
    fn record(&mut self, changes: &[Change]) -> Result<(), Error> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (bug, when) in changes {
            let when = when.as_ref().map(ToString::to_string);
            transaction.execute(&self.insert, params![bug.get(), when])?;
        }
        Ok(transaction.commit()?)
    }
}

impl Table for Notifications {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        self.expect_same_file()?;
        let select = |database: &Connection| {
            let mut select = database.prepare_cached(&self.select)?;
            select.query_map([], row)?.collect::<Result<_, _>>()
        };
        select(&self.database).map_err(cannot_read)
    }

    fn find(&mut self, id: i64) -> Result<Option<Row>, Error> {
        let found = self.database.query_row(&self.find, [id], row);
        found.optional().map_err(cannot_read)
    }

    fn delete(&mut self, rows: &[Row]) -> Result<usize, Error> {
        self.expect_same_file()?;
        let delete = |database: &mut Connection, statement: &str| {
            // The SELECT is over: a read lock that was to become a write lock would fail at once
            // when Bugzilla writes.
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut deleted = 0;
            {
                let mut delete = transaction.prepare_cached(statement)?;
                for row in rows {
                    deleted += delete.execute([row.id])?;
                }
            }
            transaction.commit()?;
            Ok(deleted)
        };
        delete(&mut self.database, &self.delete).map_err(|error: rusqlite::Error| {
            format!("cannot delete from the table of notifications: {error}").into()
        })
    }

    fn private(&mut self, bugs: &[BugId]) -> Result<HashSet<BugId>, Error> {
        let Some(find) = self.shown.find_private(bugs) else {
            return Ok(HashSet::new());
        };
        let find = |database: &Connection| {
            let mut find = database.prepare(&find)?;
            let bugs = find.query_map([], |row| row.get(0))?;
            bugs.collect::<rusqlite::Result<Vec<u32>>>()
        };
        let bugs = find(&self.database)
            .map_err(|error| format!("cannot read which bugs are in a group: {error}"))?;
        Ok(bugs.into_iter().filter_map(BugId::new).collect())
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
        if let Some(claim) = &self.claim {
            claim.sign()?;
        }
        Ok(self.claim.is_some())
    }

    fn triggers(&mut self) -> Result<Triggers, Error> {
        let select = "SELECT count(*) FILTER (WHERE type = 'table'), count(*) FILTER (WHERE type = 'trigger' AND name LIKE 'push\\_notify\\_%' ESCAPE '\\') \
             FROM sqlite_master WHERE tbl_name = 'bugs' COLLATE NOCASE";
        let (tables, triggers): (i64, i64) = self
            .database
            .query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(cannot_read)?;
        // Our own file has no other table.
        Ok(if tables == 0 || !self.is_own_table {
            Triggers::Intact
        } else {
            Triggers::of(triggers)
        })
    }

    fn holder(&mut self) -> Option<String> {
        FileLock::signature(&self.claim_file)
    }

    fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    fn wait(&mut self, poll: Duration, stop: &Stop) -> Result<bool, Error> {
        match &mut self.writes {
            Some(writes) => Ok(writes.wait(poll, stop)?),
            None => Ok(stop.wait(poll)),
        }
    }
}

fn cannot_read(error: rusqlite::Error) -> Error {
    format!("cannot read the table of notifications: {error}").into()
}
