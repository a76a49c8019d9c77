//! The backlog: an SQLite file with the changes that a relay has taken from its source and not yet
//! sent on, one row per change and destination. Owns the file's form, and that only one relay
//! uses it. Knows no destination but by its name.
//!
//! A row of the source is deleted after it is in here, so what is written here must survive a power
//! failure. What is deleted here may come back after one: its destination gets it twice.
//!
//! Each destination has a stream ([`Number`]): the transaction that appends a change numbers it.

mod bound;
mod format;
mod guard;
mod refused;
mod room;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, TransactionBehavior, params};

use self::guard::Place;
pub(crate) use self::guard::{examine, put_back};
pub(crate) use self::refused::Refused;
pub(crate) use self::room::is_full;
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
pub(crate) struct Key(i64);

/// One connection to the file.
#[derive(Debug)]
pub(crate) struct Backlog {
    database: Connection,
    place: Place,
}

/// A change that waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the order.
    pub id: i64,
    /// What changed.
    pub update: Update,
    /// Its place in its destination's stream.
    pub number: Number,
}

impl Entry {
    /// What is the same at each attempt to send the change, and differs from that of all others.
    pub(crate) fn change_id(&self) -> String {
        format!("{}/{}", self.number.stream, self.number.number)
    }
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
    /// How many changes it has refused for good.
    pub refused: u64,
    /// How many changes were dropped, since too many waited.
    pub dropped: u64,
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
    /// When SQLite cannot open or write the file, or a newer version made it.
    pub(crate) fn open(file: &Path, commit: Commit) -> rusqlite::Result<Self> {
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
    pub(crate) fn look(file: &Path) -> rusqlite::Result<Self> {
        // Not read-only: what a killed relay has left behind could not be read.
        let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database.busy_timeout(LOCK_WAIT)?;
        database
            .query_row("SELECT 1 FROM push_destination LIMIT 1", [], |_| Ok(()))
            .optional()?;
        let place = Place::now(file);
        Ok(Self { database, place })
    }

    /// Whether the relay before has not ended as it should.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub(crate) fn was_left_open(&self) -> rusqlite::Result<bool> {
        format::was_left_open(&self.database)
    }

    /// Notes that a relay begins, so that the file itself says it and not only its log: a log that is
    /// missing at the next start was deleted.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn begin(&self) -> rusqlite::Result<()> {
        format::set_open(&self.database, true)?;
        self.database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Notes that the relay ends as it should.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn end(&self) -> rusqlite::Result<()> {
        format::set_open(&self.database, false)
    }

    /// Whether the disk has room for more changes, and for the deletion of all of them.
    pub(crate) fn has_room(&self) -> bool {
        room::make_room(&self.database, self.place.file())
    }

    /// Whether the file and its log are still those that were opened.
    pub(crate) fn is_in_place(&self) -> bool {
        self.place.is_unchanged()
    }

    /// Saves all changes beside the file, for [`put_back`].
    ///
    /// # Errors
    /// When SQLite cannot read or write.
    pub(crate) fn rescue(&self) -> rusqlite::Result<()> {
        // The copy has no log, which then must not look like one that was deleted.
        self.end()?;
        self.place.rescue(&self.database)
    }

    /// Gives destinations the names that `name` makes of those they have, unless one has it already.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing has changed then.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Option<String>) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known: Vec<String> = transaction
            .prepare("SELECT name FROM push_destination")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for old in &known {
            if let Some(new) = name(old).filter(|new| new != old) {
                let set = "UPDATE OR IGNORE push_destination SET name = ?2 WHERE name = ?1";
                transaction.execute(set, [old, &new])?;
            }
        }
        transaction.commit()
    }

    /// Makes the destinations known that are in use from now on, and forgets others for which
    /// nothing waits and nothing is kept that they have refused.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing has changed then.
    pub(crate) fn enroll(&mut self, names: &[String]) -> rusqlite::Result<Vec<Key>> {
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
        let forget = "DELETE FROM push_destination WHERE NOT is_in_use AND id NOT IN (SELECT destination FROM push_backlog UNION SELECT destination FROM push_refused)";
        transaction.execute(forget, [])?;
        transaction.commit()?;
        Ok(keys)
    }

    /// Adds changes behind all others for each of the destinations, and notes the row of the source
    /// that was taken last: all of it, or nothing. `now` is the time in Unix seconds.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing was added then.
    pub(crate) fn append(
        &mut self,
        updates: &[Update],
        destinations: &[Key],
        now: i64,
        bookmark: Option<&str>,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(bookmark) = bookmark {
            transaction
                .prepare_cached("REPLACE INTO push_bookmark VALUES (1, ?1)")?
                .execute([bookmark])?;
        }
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

    /// Skips a number of each destination's stream: its receivers may have missed changes up to
    /// `until` (Unix seconds, by the database's clock). One that has not begun yet is new to its
    /// receivers, which tells them as much.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn skip_numbers(
        &mut self,
        destinations: &[Key],
        until: i64,
    ) -> rusqlite::Result<()> {
        let skip = "UPDATE push_destination SET number = number + 1, newest = max(ifnull(newest, ?2), ?2) WHERE id = ?1 AND number > 0";
        let mut skip = self.database.prepare_cached(skip)?;
        for &Key(destination) in destinations {
            skip.execute([destination, until])?;
        }
        Ok(())
    }

    /// Begins new streams: what was appended last is not there any more, and its numbers were given.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn begin_streams(&mut self) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        format::begin_all_streams(&transaction)?;
        transaction.commit()
    }

    /// The row of the source that was taken last, as it was noted.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub(crate) fn bookmark(&self) -> rusqlite::Result<Option<String>> {
        let select = "SELECT note FROM push_bookmark";
        self.database
            .query_row(select, [], |row| row.get(0))
            .optional()
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
    pub(crate) fn announcement(
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
        let sent = waiting.map_or(given.number, |first| {
            first.saturating_sub(1).cast_unsigned()
        });
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
    pub(crate) fn delete(&mut self, Key(destination): Key, last: i64) -> rusqlite::Result<()> {
        let delete = "DELETE FROM push_backlog WHERE destination = ?1 AND id <= ?2";
        self.write(delete, params![destination, last])
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
        self.write(set, params![destination, error, now, next_attempt])
    }

    /// Notes that the destination works. What went wrong last stays known.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub(crate) fn note_success(&mut self, Key(destination): Key) -> rusqlite::Result<()> {
        let set = "UPDATE push_destination SET next_attempt = NULL WHERE id = ?1";
        self.write(set, params![destination])
    }

    /// Writes what lets the file grow by nothing. A disk that is full has room for that, since what
    /// is appended leaves as much: the log takes it up meanwhile.
    fn write(&self, statement: &str, parameters: &[&dyn ToSql]) -> rusqlite::Result<()> {
        let mut statement = self.database.prepare_cached(statement)?;
        let mut written = statement.execute(parameters);
        if written.as_ref().is_err_and(is_full) {
            room::shorten_log(&self.database);
            written = statement.execute(parameters);
        }
        written.map(drop)
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
                 (SELECT since FROM push_backlog WHERE destination = d.id ORDER BY id LIMIT 1), error, error_at, next_attempt, is_in_use, refused, dropped
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
                refused: row.get::<_, i64>(7)?.cast_unsigned(),
                dropped: row.get::<_, i64>(8)?.cast_unsigned(),
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
    FileLock::take(&guard::beside(backlog, guard::LOCK))
}

#[cfg(test)]
mod tests;
