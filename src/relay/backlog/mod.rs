//! The backlog: an SQLite file with the changes that a relay has taken from its source and not yet
//! sent on, one row per change and destination. Owns the file's form, and that only one relay
//! uses it. Knows no destination but by its name.
//!
//! A row of the source is deleted after it is in here, so what is written here must survive a power
//! failure. What is deleted here may come back after one: its destination gets it twice.
//!
//! Each destination has a stream ([`Number`]): the transaction that appends a change numbers it.

mod format;
mod guard;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use self::guard::Place;
pub use self::guard::{examine, put_back};
use crate::amqp::{Announcement, Number};
use crate::update::{BugId, Update};
use crate::work::FileLock;

/// How far ahead of our clock the time of a change may lie and be believed, in seconds.
const CREDIBLE_SECONDS: i64 = 86_400;

/// How long the file's other users are waited for: the relay's own threads, and the disk behind
/// them.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A destination's key in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(i64);

/// One connection to the file.
#[derive(Debug)]
pub struct Backlog {
    database: Connection,
    place: Place,
}

/// A change that waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the order.
    pub id: i64,
    /// What changed.
    pub update: Update,
    /// Its place in its destination's stream.
    pub number: Number,
}

/// The state of a destination. Times are in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
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
pub enum Commit {
    /// Nothing: it waits for the disk.
    Durable,
    /// What was committed last, when the power fails. A killed process loses nothing.
    Fast,
}

impl Backlog {
    /// Opens the file, and makes it where it is not there.
    ///
    /// # Errors
    /// When SQLite cannot open or write the file, or a newer version made it.
    pub fn open(file: &Path, commit: Commit) -> rusqlite::Result<Self> {
        let mut database = Connection::open(file)?;
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
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        format::prepare(&transaction)?;
        transaction.commit()?;
        let place = Place::now(file);
        Ok(Self { database, place })
    }

    /// Opens a file that is there, to look at it while a relay may use it.
    ///
    /// # Errors
    /// When SQLite cannot open the file, or it is no backlog.
    pub fn look(file: &Path) -> rusqlite::Result<Self> {
        // Not read-only: what a killed relay has left behind could not be read.
        let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database.busy_timeout(LOCK_WAIT)?;
        database
            .query_row("SELECT 1 FROM push_destination LIMIT 1", [], |_| Ok(()))
            .optional()?;
        let place = Place::now(file);
        Ok(Self { database, place })
    }

    /// Notes that a relay begins, so that the file itself says it and not only its log: a log that is
    /// missing at the next start was deleted.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn begin(&self) -> rusqlite::Result<()> {
        format::set_open(&self.database, true)?;
        self.database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Notes that the relay ends as it should.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn end(&self) -> rusqlite::Result<()> {
        format::set_open(&self.database, false)
    }

    /// Whether the file and its log are still those that were opened.
    pub fn is_in_place(&self) -> bool {
        self.place.is_unchanged()
    }

    /// Saves all changes beside the file, for [`put_back`].
    ///
    /// # Errors
    /// When SQLite cannot read or write.
    pub fn rescue(&self) -> rusqlite::Result<()> {
        // The copy has no log, which then must not look like one that was deleted.
        self.end()?;
        self.place.rescue(&self.database)
    }

    /// Makes the destinations known that are in use from now on, and forgets others for which
    /// nothing waits.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing has changed then.
    pub fn enroll(&mut self, names: &[String]) -> rusqlite::Result<Vec<Key>> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let keys = names
            .iter()
            .map(|name| format::enroll(&transaction, name).map(Key))
            .collect::<Result<Vec<_>, _>>()?;
        let others = "UPDATE push_destination SET is_in_use = 0, next_attempt = NULL WHERE id NOT IN (SELECT value FROM json_each(?1))";
        let ids: Vec<String> = keys.iter().map(|Key(id)| id.to_string()).collect();
        transaction.execute(others, [format!("[{}]", ids.join(","))])?;
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
    pub fn append(
        &mut self,
        updates: &[Update],
        destinations: &[Key],
        now: i64,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for &Key(destination) in destinations {
            let mut stream = format::stream(&transaction, destination)?;
            let mut insert = transaction.prepare_cached("INSERT INTO push_backlog (destination, bug_id, delta_ts, since, number, newest) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for Update { bug, when } in updates {
                stream.number += 1;
                if when.unix_seconds() <= now + CREDIBLE_SECONDS {
                    stream.newest = stream.newest.max(Some(when.unix_seconds()));
                }
                insert.execute(params![
                    destination,
                    bug.get(),
                    when.to_string(),
                    now,
                    stream.number as i64,
                    stream.newest
                ])?;
            }
            let given = "UPDATE push_destination SET number = ?2, newest = ?3 WHERE id = ?1";
            transaction.prepare_cached(given)?.execute(params![
                destination,
                stream.number as i64,
                stream.newest
            ])?;
        }
        transaction.commit()
    }

    /// The first `max` changes that wait for a destination behind the one with the id `after`, in
    /// order.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn first(
        &self,
        Key(destination): Key,
        after: i64,
        max: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        let mut select = self
            .database
            .prepare_cached("SELECT b.id, bug_id, delta_ts, stream, b.number, b.newest FROM push_backlog AS b JOIN push_destination AS d ON d.id = destination WHERE destination = ?1 AND b.id > ?2 ORDER BY b.id LIMIT ?3")?;
        let rows = select.query_map(params![destination, after, max as i64], |row| {
            let (bug, when): (u32, String) = (row.get(1)?, row.get(2)?);
            let update = BugId::new(bug)
                .zip(when.parse().ok())
                .map(|(bug, when)| Update { bug, when });
            let update = update.ok_or(rusqlite::Error::InvalidQuery)?;
            Ok(Entry {
                id: row.get(0)?,
                update,
                number: Number {
                    stream: row.get(3)?,
                    number: row.get::<_, i64>(4)?.cast_unsigned(),
                    newest: row.get(5)?,
                },
            })
        })?;
        rows.collect()
    }

    /// How far a destination's stream is, when everything up to the change with the id `after` has
    /// been sent.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn announcement(
        &self,
        Key(destination): Key,
        after: i64,
    ) -> rusqlite::Result<Announcement> {
        let given = format::stream(&self.database, destination)?;
        let first = "SELECT number FROM push_backlog WHERE destination = ?1 AND id > ?2 ORDER BY id LIMIT 1";
        let waiting = self
            .database
            .prepare_cached(first)?
            .query_row([destination, after], |row| row.get::<_, i64>(0))
            .optional()?;
        let sent = waiting.map_or(given.number, |first| (first - 1).cast_unsigned());
        Ok(Announcement {
            given: given.number,
            sent: Number {
                number: sent,
                ..given
            },
            is_end: false,
        })
    }

    /// Deletes a destination's changes up to the one with the id `last`. Only this relay adds any,
    /// so none comes to stand before it.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn delete(&mut self, Key(destination): Key, last: i64) -> rusqlite::Result<()> {
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
    pub fn note_error(
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
    pub fn note_success(&mut self, Key(destination): Key) -> rusqlite::Result<()> {
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
    pub fn depth(&self, Key(destination): Key) -> rusqlite::Result<u64> {
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
    pub fn status(&self) -> rusqlite::Result<Vec<Status>> {
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
pub fn claim(backlog: &Path) -> std::io::Result<Option<FileLock>> {
    let mut name = backlog.as_os_str().to_owned();
    name.push(".lock");
    FileLock::take(&PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::update::When;

    fn update(bug: u32) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(0),
        }
    }

    fn numbers(backlog: &Backlog, destination: Key) -> Vec<(String, u64)> {
        let waiting = backlog.first(destination, 0, 100).unwrap();
        waiting
            .into_iter()
            .map(|waiting| (waiting.number.stream, waiting.number.number))
            .collect()
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
    fn each_destination_numbers_its_changes_and_says_how_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog");
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one, two] = enroll(&mut backlog, ["one", "two"]);
        let at = |seconds| Update {
            when: When::from_unix_seconds(seconds),
            ..update(1)
        };
        backlog
            .append(&[at(50), at(40), at(90_000)], &[one], 100)
            .unwrap();
        std::mem::forget(backlog);
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        backlog.append(&[at(60)], &[one, two], 100).unwrap();
        let waiting = backlog.first(one, 0, 9).unwrap();
        let numbers: Vec<_> = waiting
            .iter()
            .map(|entry| (entry.number.number, entry.number.newest))
            .collect();
        // The time of tomorrow is not believed.
        assert_eq!(
            numbers,
            [(1, Some(50)), (2, Some(50)), (3, Some(50)), (4, Some(60))]
        );
        assert_ne!(
            waiting[0].number.stream,
            backlog.first(two, 0, 1).unwrap()[0].number.stream
        );
        let said = |backlog: &Backlog, after| {
            let said = backlog.announcement(one, after).unwrap();
            (said.sent.number, said.given)
        };
        assert_eq!(said(&backlog, 0), (0, 4));
        assert_eq!(said(&backlog, waiting[1].id), (2, 4));
        backlog.delete(one, waiting[3].id).unwrap();
        assert_eq!(said(&backlog, 0), (4, 4));
    }

    #[test]
    fn a_destination_that_was_not_in_use_begins_a_new_stream() {
        let folder = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
        let [one] = enroll(&mut backlog, ["one"]);
        backlog.append(&[update(1), update(2)], &[one], 0).unwrap();
        let before = numbers(&backlog, one);
        enroll(&mut backlog, ["one"]);
        assert_eq!(numbers(&backlog, one), before);
        enroll(&mut backlog, ["two"]);
        enroll(&mut backlog, ["one"]);
        let after = numbers(&backlog, one);
        assert_ne!(after[0].0, before[0].0);
        assert_eq!((after[0].1, after[1].1), (1, 2));
    }

    #[test]
    fn a_file_of_the_last_version_goes_on_and_one_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog");
        let database = Connection::open(&file).unwrap();
        database
            .execute_batch(
                "CREATE TABLE push_destination (
                     id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_in_use INTEGER NOT NULL, error TEXT, error_at INTEGER,
                     next_attempt INTEGER);
                 CREATE TABLE push_backlog (
                     id INTEGER PRIMARY KEY AUTOINCREMENT, destination INTEGER NOT NULL REFERENCES push_destination (id),
                     bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL, since INTEGER NOT NULL);
                 INSERT INTO push_destination VALUES (1, 'one', 1, NULL, NULL, NULL), (2, 'two', 1, NULL, NULL, NULL);
                 INSERT INTO push_backlog VALUES
                     (3, 1, 7, '1970-01-01T00:01:40', 0), (4, 2, 7, '1970-01-01T00:01:40', 0), (5, 1, 8, '1970-01-01T00:01:30', 0);",
            )
            .unwrap();
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one, two] = enroll(&mut backlog, ["one", "two"]);
        backlog.append(&[update(9)], &[one], 0).unwrap();
        let waiting = backlog.first(one, 0, 9).unwrap();
        let of_one: Vec<_> = waiting
            .iter()
            .map(|entry| (entry.update.bug.get(), entry.number.number))
            .collect();
        assert_eq!(of_one, [(7, 1), (8, 2), (9, 3)]);
        assert_eq!(waiting[2].number.newest, Some(100));
        assert_eq!(numbers(&backlog, two)[0].1, 1);
        database
            .execute("UPDATE push_format SET version = 3", [])
            .unwrap();
        let refused = Backlog::open(&file, Commit::Durable).unwrap_err();
        assert!(refused.to_string().contains("a newer one"), "{refused}");
    }

    #[test]
    fn what_a_relay_of_the_last_version_appends_in_between_is_numbered_in_a_new_stream() {
        let folder = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
        let [one] = enroll(&mut backlog, ["one"]);
        backlog.append(&[update(1)], &[one], 0).unwrap();
        let before = numbers(&backlog, one);
        let append = "INSERT INTO push_backlog (destination, bug_id, delta_ts, since) VALUES (1, 2, '1970-01-01T00:00:00', 0)";
        backlog.database.execute(append, []).unwrap();
        enroll(&mut backlog, ["one"]);
        let after = numbers(&backlog, one);
        assert_ne!(after[0].0, before[0].0);
        assert_eq!((after[0].1, after[1].1), (1, 2));
    }

    #[test]
    fn a_file_that_is_deleted_or_replaced_or_whose_log_is_deleted_is_noticed_and_rescued() {
        let replace = |file: &Path| {
            fs::copy(file, file.with_extension("copy")).unwrap();
            fs::rename(file.with_extension("copy"), file).unwrap();
        };
        let delete = |file: &Path| fs::remove_file(file).unwrap();
        let delete_log = |file: &Path| fs::remove_file(file.with_extension("db-wal")).unwrap();
        for harm in [&delete as &dyn Fn(&Path), &delete_log, &replace] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("backlog.db");
            let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
            let [one] = enroll(&mut backlog, ["one"]);
            backlog.begin().unwrap();
            backlog.append(&[update(1)], &[one], 0).unwrap();
            assert!(backlog.is_in_place());
            harm(&file);
            assert!(!backlog.is_in_place());
            backlog.append(&[update(2)], &[one], 0).unwrap();
            let before = numbers(&backlog, one);
            backlog.rescue().unwrap();
            drop(backlog);
            put_back(&file).unwrap();
            examine(&file).unwrap();
            let backlog = Backlog::open(&file, Commit::Durable).unwrap();
            assert_eq!(numbers(&backlog, one), before);
            assert_eq!(bugs(&backlog, one, 0), [1, 2]);
        }
    }

    #[test]
    fn a_log_that_was_deleted_after_a_crash_begins_new_streams() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog.db");
        let mut streams = Vec::new();
        for is_log_deleted in [false, false, true] {
            if is_log_deleted {
                fs::remove_file(file.with_extension("db-wal")).unwrap();
            }
            examine(&file).unwrap();
            let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
            let [one] = enroll(&mut backlog, ["one"]);
            backlog.begin().unwrap();
            backlog.append(&[update(1)], &[one], 0).unwrap();
            streams.push(backlog.announcement(one, 0).unwrap().sent.stream);
            std::mem::forget(backlog);
        }
        assert_eq!(streams[0], streams[1]);
        assert_ne!(streams[1], streams[2]);
    }

    #[test]
    fn a_corrupt_file_is_moved_aside_and_a_new_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog.db");
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one] = enroll(&mut backlog, ["one"]);
        backlog.append(&vec![update(1); 1_000], &[one], 0).unwrap();
        let before = backlog.announcement(one, 0).unwrap().sent.stream;
        drop(backlog);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xff);
        fs::write(&file, bytes).unwrap();
        examine(&file).unwrap();
        assert!(folder.path().join("backlog.db.corrupt").exists());
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one] = enroll(&mut backlog, ["one"]);
        assert_ne!(backlog.announcement(one, 0).unwrap().sent.stream, before);
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
