//! The backlog: an SQLite file with the changes that a relay has taken from its source and not yet
//! sent on, one row per change and destination. Owns the file's form, and that only one relay
//! uses it. Knows no destination but by its name.
//!
//! A row of the source is deleted after it is in here, so what is written here must survive a power
//! failure. What is deleted here may come back after one: its destination gets it twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::update::{BugId, Update};
use crate::work::FileLock;

/// How long the file's other users are waited for: the relay's own threads, and the disk behind
/// them.
const LOCK_WAIT: Duration = Duration::from_secs(30);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS push_destination (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_in_use INTEGER NOT NULL, error TEXT, error_at INTEGER,
        next_attempt INTEGER);
    CREATE TABLE IF NOT EXISTS push_backlog (
        id INTEGER PRIMARY KEY AUTOINCREMENT, destination INTEGER NOT NULL REFERENCES push_destination (id),
        bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL, since INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS push_backlog_order ON push_backlog (destination, id);";

/// A destination's key in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(i64);

/// One connection to the file.
#[derive(Debug)]
pub(crate) struct Backlog {
    database: Connection,
}

/// A change that waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the order.
    pub id: i64,
    /// What changed.
    pub update: Update,
}

/// The state of a destination. Times are in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The destination's name.
    pub name: String,
    /// Whether the relay that used the file last sends anything to it.
    pub is_in_use: bool,
    /// How many changes wait.
    pub depth: u64,
    /// When the first of them was taken from the source.
    pub oldest: Option<i64>,
    /// What went wrong last, and when.
    pub error: Option<(String, i64)>,
    /// When it is tried again, where the last attempt has failed.
    pub next_attempt: Option<i64>,
}

/// How much a commit may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Nothing: it waits for the disk.
    Durable,
    /// What was committed last, when the power fails. A killed process loses nothing.
    Fast,
}

impl Backlog {
    /// Opens the file, and makes it where it is not there.
    ///
    /// # Errors
    /// When SQLite cannot open or write the file.
    pub(crate) fn open(file: &Path, commit: Commit) -> rusqlite::Result<Self> {
        let database = Connection::open(file)?;
        database.busy_timeout(LOCK_WAIT)?;
        // In this mode readers and the writer do not wait for each other, and whether a commit
        // waits for the disk is each connection's own choice.
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(
            None,
            "synchronous",
            if commit == Commit::Durable {
                "FULL"
            } else {
                "NORMAL"
            },
        )?;
        database.execute_batch(TABLES)?;
        Ok(Self { database })
    }

    /// Opens a file that is there, to look at it while a relay may use it.
    ///
    /// # Errors
    /// When SQLite cannot open the file, or it is no backlog.
    pub(crate) fn look(file: &Path) -> rusqlite::Result<Self> {
        // Not read-only: what a killed relay has left behind could not be read.
        let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database.busy_timeout(LOCK_WAIT)?;
        database
            .query_row("SELECT 1 FROM push_destination LIMIT 1", [], |_| Ok(()))
            .optional()?;
        Ok(Self { database })
    }

    /// Makes the destinations known that are in use from now on, and forgets others for which
    /// nothing waits.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing has changed then.
    pub(crate) fn enroll(&mut self, names: &[String]) -> rusqlite::Result<Vec<Key>> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "UPDATE push_destination SET is_in_use = 0, next_attempt = NULL",
            [],
        )?;
        let enroll = "INSERT INTO push_destination (name, is_in_use) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET is_in_use = 1 RETURNING id";
        let keys = names
            .iter()
            .map(|name| transaction.query_row(enroll, [name], |row| row.get(0).map(Key)))
            .collect::<Result<_, _>>()?;
        let forget = "DELETE FROM push_destination WHERE NOT is_in_use AND id NOT IN (SELECT destination FROM push_backlog)";
        transaction.execute(forget, [])?;
        transaction.commit()?;
        Ok(keys)
    }

    /// Adds changes behind all others for each of the destinations: all of them, or none. `now` is
    /// the time in Unix seconds.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing was added then.
    pub(crate) fn append(
        &mut self,
        updates: &[Update],
        destinations: &[Key],
        now: i64,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO push_backlog (destination, bug_id, delta_ts, since) VALUES (?1, ?2, ?3, ?4)")?;
            for update in updates {
                for Key(destination) in destinations {
                    insert.execute(params![
                        destination,
                        update.bug.get(),
                        update.when.to_string(),
                        now
                    ])?;
                }
            }
        }
        transaction.commit()
    }

    /// The first `max` changes that wait for a destination behind the one with the id `after`, in
    /// order.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub(crate) fn first(
        &self,
        Key(destination): Key,
        after: i64,
        max: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        let mut select = self
            .database
            .prepare_cached("SELECT id, bug_id, delta_ts FROM push_backlog WHERE destination = ?1 AND id > ?2 ORDER BY id LIMIT ?3")?;
        let rows = select.query_map(params![destination, after, max as i64], |row| {
            let (bug, when): (u32, String) = (row.get(1)?, row.get(2)?);
            let update = BugId::new(bug)
                .zip(when.parse().ok())
                .map(|(bug, when)| Update { bug, when });
            let update = update.ok_or(rusqlite::Error::InvalidQuery)?;
            Ok(Entry {
                id: row.get(0)?,
                update,
            })
        })?;
        rows.collect()
    }

    /// Deletes a destination's changes up to the one with the id `last`. Only this relay adds any,
    /// so none comes to stand before it.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn delete(&mut self, Key(destination): Key, last: i64) -> rusqlite::Result<()> {
        let mut delete = self
            .database
            .prepare_cached("DELETE FROM push_backlog WHERE destination = ?1 AND id <= ?2")?;
        delete.execute([destination, last]).map(drop)
    }

    /// Notes what went wrong at `now` and when the destination is tried again, if it is to wait, in
    /// Unix seconds.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn note_error(
        &mut self,
        Key(destination): Key,
        error: &str,
        now: i64,
        next_attempt: Option<i64>,
    ) -> rusqlite::Result<()> {
        let set = "UPDATE push_destination SET error = ?2, error_at = ?3, next_attempt = ?4 WHERE id = ?1";
        self.database
            .execute(set, params![destination, error, now, next_attempt])
            .map(drop)
    }

    /// Notes that the destination works. What went wrong last stays known.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn note_success(&mut self, Key(destination): Key) -> rusqlite::Result<()> {
        self.database
            .execute(
                "UPDATE push_destination SET next_attempt = NULL WHERE id = ?1",
                [destination],
            )
            .map(drop)
    }

    /// How many changes wait for a destination.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub(crate) fn depth(&self, Key(destination): Key) -> rusqlite::Result<u64> {
        let mut count = self
            .database
            .prepare_cached("SELECT count(*) FROM push_backlog WHERE destination = ?1")?;
        count
            .query_row([destination], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    }

    /// What is known about each destination, in the order in which they came.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub(crate) fn status(&self) -> rusqlite::Result<Vec<Status>> {
        let mut select = self.database.prepare(
            "SELECT name, (SELECT count(*) FROM push_backlog WHERE destination = d.id),
                 (SELECT since FROM push_backlog WHERE destination = d.id ORDER BY id LIMIT 1), error, error_at, next_attempt, is_in_use
             FROM push_destination AS d ORDER BY id",
        )?;
        let rows = select.query_map([], |row| {
            let error: Option<String> = row.get(3)?;
            Ok(Status {
                name: row.get(0)?,
                depth: row.get::<_, i64>(1)?.cast_unsigned(),
                oldest: row.get(2)?,
                error: error.zip(row.get(4)?),
                next_attempt: row.get(5)?,
                is_in_use: row.get(6)?,
            })
        })?;
        rows.collect()
    }
}

/// Claims the file for one relay; `None` when another one has it. It is a file beside the backlog
/// that is locked: SQLite's own locks would keep out `--status` as well.
///
/// # Errors
/// When the file cannot be made or locked.
pub(crate) fn claim(backlog: &Path) -> std::io::Result<Option<FileLock>> {
    let mut name = backlog.as_os_str().to_owned();
    name.push(".lock");
    FileLock::take(&PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::When;

    fn update(bug: u32) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(0),
        }
    }

    fn bugs(backlog: &Backlog, destination: Key, after: i64) -> Vec<u32> {
        backlog
            .first(destination, after, 100)
            .unwrap()
            .iter()
            .map(|waiting| waiting.update.bug.get())
            .collect()
    }

    fn enroll<const N: usize>(backlog: &mut Backlog, names: [&str; N]) -> [Key; N] {
        backlog
            .enroll(&names.map(str::to_owned))
            .unwrap()
            .try_into()
            .unwrap()
    }

    #[test]
    fn each_destination_has_its_own_changes_in_order_and_loses_only_those_that_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog");
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one, two] = enroll(&mut backlog, ["one", "two"]);
        backlog
            .append(&[update(3), update(1)], &[one, two], 100)
            .unwrap();
        backlog.append(&[update(3)], &[one], 200).unwrap();
        // A killed process closes nothing.
        std::mem::forget(backlog);
        let mut backlog = Backlog::open(&file, Commit::Fast).unwrap();
        assert_eq!(enroll(&mut backlog, ["two", "one"]), [two, one]);
        assert_eq!(
            (bugs(&backlog, one, 0), bugs(&backlog, two, 0)),
            (vec![3, 1, 3], vec![3, 1])
        );
        let second = backlog.first(one, 0, 2).unwrap()[1].id;
        assert_eq!(bugs(&backlog, one, second), [3]);
        backlog.delete(one, second).unwrap();
        assert_eq!(
            (bugs(&backlog, one, 0), bugs(&backlog, two, 0)),
            (vec![3], vec![3, 1])
        );
        assert_eq!(
            (backlog.depth(one).unwrap(), backlog.depth(two).unwrap()),
            (1, 2)
        );
    }

    #[test]
    fn a_durable_commit_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (full, normal) = (2, 1);
        for (commit, synchronous) in [(Commit::Durable, full), (Commit::Fast, normal)] {
            let backlog = Backlog::open(&folder.path().join("backlog"), commit).unwrap();
            let get = |name: &str| {
                backlog
                    .database
                    .query_row(&format!("PRAGMA {name}"), [], |row| {
                        row.get::<_, rusqlite::types::Value>(0)
                    })
            };
            assert_eq!(get("synchronous").unwrap(), synchronous.into());
            assert_eq!(get("journal_mode").unwrap(), "wal".to_owned().into());
        }
    }

    #[test]
    fn a_destination_that_is_in_use_no_more_is_known_as_long_as_changes_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
        let [one, _] = enroll(&mut backlog, ["one", "two"]);
        backlog.append(&[update(1)], &[one], 100).unwrap();
        enroll(&mut backlog, ["three"]);
        let names = |backlog: &Backlog| {
            backlog
                .status()
                .unwrap()
                .into_iter()
                .map(|known| (known.name, known.is_in_use))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&backlog),
            [("one".to_owned(), false), ("three".to_owned(), true)]
        );
        assert_eq!(enroll(&mut backlog, ["one"]), [one]);
        assert_eq!(names(&backlog), [("one".to_owned(), true)]);
        assert_eq!(bugs(&backlog, one, 0), [1]);
    }

    #[test]
    fn the_status_names_depth_age_error_and_the_next_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog");
        Backlog::look(&file).unwrap_err();
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one, two] = enroll(&mut backlog, ["one", "two"]);
        backlog.append(&[update(1)], &[two], 100).unwrap();
        backlog.append(&[update(2)], &[two], 200).unwrap();
        backlog.note_error(two, "no route", 150, Some(160)).unwrap();
        backlog.note_error(one, "gone", 150, Some(160)).unwrap();
        backlog.note_success(one).unwrap();
        let known = |name: &str, error: &str| Status {
            name: name.to_owned(),
            is_in_use: true,
            depth: 0,
            oldest: None,
            error: Some((error.to_owned(), 150)),
            next_attempt: None,
        };
        assert_eq!(
            Backlog::look(&file).unwrap().status().unwrap(),
            [
                known("one", "gone"),
                Status {
                    depth: 2,
                    oldest: Some(100),
                    next_attempt: Some(160),
                    ..known("two", "no route")
                }
            ]
        );
    }
}
