//! SQLite, `sqlite:FILE`: Bugzilla's own file, or one that holds nothing but the table of
//! notifications.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row as SqlRow, TransactionBehavior, params};

use super::bugs::{self, Bugs, From, Largest, Look};
use super::options::{self, Mode, Options, Zone, offset_text};
use super::table::{self, BATCH_ROWS, Row};
use crate::address::read_options;
use crate::update::BugId;
use crate::work::{Error, FileLock};

/// How long a lock of Bugzilla's is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Which file, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    file: PathBuf,
    pub(super) options: Options,
}

impl Settings {
    /// Reads `FILE[?OPTION=VALUE&…]`, what stands behind `sqlite:`.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (file, query) = text.split_once('?').unwrap_or((text, ""));
        if file.is_empty() {
            return Err("the file's name is missing; accepted is sqlite:FILE".to_owned());
        }
        let mut settings = Self {
            file: file.into(),
            options: Options::default(),
        };
        read_options(query, options::ACCEPTED, |name, value| {
            settings.options.set(name, value)
        })?;
        if let Zone::Named(name) = &settings.options.zone {
            return Err(format!(
                "tz: SQLite knows no zone '{name}'; accepted are UTC and offsets such as +02:00, or set TZ for bugzfeed"
            ));
        }
        Ok(settings)
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Opens the table of notifications; creates it, and the file, where they are not there.
    ///
    /// # Errors
    /// When that fails, or the file cannot be written.
    pub fn table(&self) -> Result<Box<dyn table::Table>, Error> {
        if self.options.mode == Mode::Bugs {
            return Err("mode=bugs has no table of notifications".into());
        }
        let mut database = Connection::open(&self.file).map_err(cannot_open)?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL)",
            self.options.table.quoted('"')
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
        Ok(Box::new(Table::new(database, self)?))
    }

    /// Opens Bugzilla's own tables.
    ///
    /// # Errors
    /// When that fails.
    pub fn bugs(&self) -> Result<Box<dyn Bugs>, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(&self.file, flags).map_err(cannot_open)?;
        database.busy_timeout(LOCK_WAIT).map_err(cannot_open)?;
        Ok(Box::new(BugsTable {
            database,
            utc: utc(&self.options.zone),
            local: local(&self.options.zone),
        }))
    }
}

fn cannot_open(error: rusqlite::Error) -> Error {
    format!("cannot open the file: {error}").into()
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.file.display())?;
        match self.options.mode {
            Mode::Bugs => f.write_str("?mode=bugs"),
            Mode::Table if self.options.table != Options::default().table => {
                write!(f, "?table={}", self.options.table)
            }
            Mode::Table => Ok(()),
        }
    }
}

/// SQL for `delta_ts` in UTC. What SQLite cannot read is passed on as it is.
fn utc(zone: &Zone) -> String {
    let shift = match zone {
        Zone::Own | Zone::Named(_) => "utc".to_owned(),
        Zone::Offset(seconds) => offset_text(-seconds),
    };
    format!("COALESCE(strftime('%Y-%m-%dT%H:%M:%S', delta_ts, '{shift}'), CAST(delta_ts AS TEXT))")
}

/// SQL for the time now, as Bugzilla writes it.
fn local(zone: &Zone) -> String {
    let shift = match zone {
        Zone::Own | Zone::Named(_) => "localtime".to_owned(),
        Zone::Offset(seconds) => offset_text(*seconds),
    };
    format!("strftime('%Y-%m-%d %H:%M:%S', 'now', '{shift}')")
}

/// The table of notifications.
struct Table {
    database: Connection,
    select: String,
    delete: String,
    insert: String,
    /// SQLite has no lock that outlives a transaction, and does not hinder Bugzilla.
    claim_file: PathBuf,
    claim: Option<FileLock>,
}

impl Table {
    fn new(database: Connection, settings: &Settings) -> Result<Self, Error> {
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

impl table::Table for Table {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        let mut select = self.database.prepare_cached(&self.select)?;
        let rows = select
            .query_map([], |row| {
                Ok(Row {
                    id: row.get(0)?,
                    ..bug(row, 1)?
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

    fn claim(&mut self) -> Result<bool, Error> {
        if self.claim.is_none() {
            let taken = FileLock::take(&self.claim_file);
            self.claim = taken
                .map_err(|error| format!("cannot lock {}: {error}", self.claim_file.display()))?;
        }
        Ok(self.claim.is_some())
    }
}

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn bug(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Row> {
    Ok(Row {
        id: 0,
        bug_id: row.get::<_, Option<i64>>(first)?.unwrap_or(0),
        delta_ts: row.get::<_, Option<String>>(first + 1)?.unwrap_or_default(),
        utc: row.get(first + 2)?,
    })
}

/// Bugzilla's own tables.
struct BugsTable {
    database: Connection,
    utc: String,
    local: String,
}

impl Bugs for BugsTable {
    fn look(&mut self, from: &From) -> Result<Look, Error> {
        self.try_look(from)
            .map_err(|error| format!("cannot read Bugzilla's tables: {error}").into())
    }
}

impl BugsTable {
    fn try_look(&mut self, from: &From) -> rusqlite::Result<Look> {
        let transaction = self.database.transaction()?;
        let columns = format!(
            "SELECT bug_id, CAST(delta_ts AS TEXT), {} FROM bugs",
            self.utc
        );
        let now: String =
            transaction.query_row(&format!("SELECT {}", self.local), [], |row| row.get(0))?;
        // A Bugzilla before 5.0 has no ids there.
        let largest = transaction
            .query_row(bugs::LARGEST, [], |row| {
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
                &format!("{columns} {}", bugs::touched(before)),
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

fn rows(
    database: &Connection,
    select: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Row>> {
    database
        .prepare_cached(select)?
        .query_map(values, |row| bug(row, 0))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_those_of_other_databases_and_the_file_as_it_stands() {
        let settings = Settings::parse("a+b%20c.db?tz=%2B02:00").unwrap();
        assert_eq!(settings.file(), Path::new("a+b%20c.db"));
        assert_eq!(settings.options.zone, Zone::Offset(7_200));
        assert_eq!(Settings::parse("a+b%20c.db?tz=+02:00"), Ok(settings));
        for (text, said) in [
            ("", "sqlite:FILE"),
            ("x?tz=Europe/Berlin", "tz: SQLite knows no zone"),
            ("x?colour=red", "accepted are table=NAME"),
        ] {
            let why = Settings::parse(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
