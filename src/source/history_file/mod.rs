//! The history on disk, so that a restart forgets nothing. Written by the source's thread, never by
//! the loop. Knows no client.

mod rows;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

pub use self::rows::Kept;
use self::rows::{TABLES, begin, evict, raise_floor};
use crate::update::Update;
use crate::work::unix_now;

/// How many rows may stand beyond what is kept before they are deleted: deleting at each write
/// would double its cost.
const SURPLUS_MAX: i64 = 1_000;

/// The kept history of one feed, open for writing.
#[derive(Debug)]
pub struct HistoryFile {
    database: Connection,
    feed: String,
    updates_max: i64,
    position: Position,
    /// Set when a write failed: updates up to this time, in Unix seconds, may be missing.
    lost_until: Option<i64>,
}

/// How far the file has come; a write that fails changes nothing of it.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Of the last update kept: they are numbered in order of arrival.
    seq: i64,
    /// Of the last update kept, in Unix seconds.
    watermark: i64,
    /// Rows beyond what is kept that have not been deleted yet.
    surplus: i64,
}

impl HistoryFile {
    /// Opens or creates the file at `path`, and reads what it has kept for the feed at the path
    /// `feed`: the last `updates_max` updates. What was kept from another `source` is forgotten.
    /// `now` is the time in Unix seconds.
    ///
    /// # Errors
    /// When SQLite cannot open, read or write the file.
    pub fn open(
        path: &Path,
        feed: &str,
        source: &str,
        updates_max: usize,
        now: i64,
    ) -> rusqlite::Result<(Self, Kept)> {
        let mut database = Connection::open(path)?;
        database.busy_timeout(Duration::from_secs(5))?;
        // In WAL mode with synchronous=NORMAL a commit does not wait for the disk: a killed process
        // loses nothing, and what a power failure may have lost is recognised by the boot id,
        // below.
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "NORMAL")?;
        database.execute_batch(TABLES)?;
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let kept = begin(&transaction, feed, source, updates_max as i64, now)?;
        transaction.commit()?;
        let watermark = kept
            .updates
            .iter()
            .map(|update| update.when.unix_seconds())
            .fold(kept.watermark, i64::max);
        let seq = database.query_row(
            "SELECT ifnull(max(seq), 0) FROM history WHERE feed = ?1",
            [feed],
            |row| row.get(0),
        )?;
        let position = Position {
            seq,
            watermark,
            surplus: 0,
        };
        let file = Self {
            database,
            feed: feed.to_owned(),
            updates_max: updates_max as i64,
            position,
            lost_until: None,
        };
        Ok((file, kept))
    }

    /// The largest time of an update that was kept, in Unix seconds.
    pub fn watermark(&self) -> i64 {
        self.position.watermark
    }

    /// Keeps updates in order of arrival: all of them, or none.
    ///
    /// # Errors
    /// When SQLite cannot write. The next write that succeeds records that updates are missing.
    pub fn keep(&mut self, updates: &[Update]) -> rusqlite::Result<()> {
        let (feed, updates_max) = (self.feed.clone(), self.updates_max);
        let newest = updates
            .iter()
            .map(|update| update.when.unix_seconds())
            .max()
            .unwrap_or(i64::MIN);
        self.write(newest, |position, transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT INTO history (feed, seq, bug_id, time, watermark) VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for update in updates {
                position.seq += 1;
                position.watermark = position.watermark.max(update.when.unix_seconds());
                insert.execute(params![feed, position.seq, update.bug.get(), update.when.to_string(), position.watermark])?;
            }
            position.surplus += updates.len() as i64;
            if position.surplus > SURPLUS_MAX {
                evict(transaction, &feed, updates_max)?;
                position.surplus = 0;
            }
            Ok(())
        })
    }

    /// Records that updates up to `floor` (Unix seconds) may be missing.
    ///
    /// # Errors
    /// When SQLite cannot write. The next write that succeeds records it.
    pub fn raise_floor(&mut self, floor: i64) -> rusqlite::Result<()> {
        let feed = self.feed.clone();
        self.write(floor, |_, transaction| {
            raise_floor(transaction, &feed, floor)
        })
    }

    /// Makes a change in one transaction, and notes whether it could be made: if not, updates up to
    /// `until` are missing.
    fn write(
        &mut self,
        until: i64,
        change: impl FnOnce(&mut Position, &Transaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut position = self.position;
        let lost_before = self.lost_until;
        self.lost_until = self.lost_until.max(Some(until));
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(lost) = lost_before {
            raise_floor(
                &transaction,
                &self.feed,
                unix_now().max(position.watermark).max(lost),
            )?;
        }
        change(&mut position, &transaction)?;
        transaction.commit()?;
        self.position = position;
        self.lost_until = None;
        Ok(())
    }
}

impl Drop for HistoryFile {
    /// Closing SQLite writes everything to the disk, so a power failure after it loses nothing.
    /// What was lost before must be known then.
    fn drop(&mut self) {
        let known = if self.lost_until.is_some() {
            self.write(i64::MIN, |_, _| Ok(()))
        } else {
            Ok(())
        };
        let closed = known.and_then(|()| {
            self.database.execute(
                "UPDATE history_feeds SET boot_id = '' WHERE feed = ?1",
                [&self.feed],
            )
        });
        if let Err(error) = closed {
            log::warn!("cannot close the history file: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{BugId, When};

    fn update(bug: u32, seconds: i64) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(seconds),
        }
    }

    fn open(path: &Path, now: i64) -> (HistoryFile, Kept) {
        HistoryFile::open(path, "/", "sqlite:x", 3, now).unwrap()
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let (mut file, kept) = open(&path, 50);
        assert_eq!((kept.floor, kept.updates.len()), (50, 0));
        file.keep(&[update(1, 200), update(2, 150)]).unwrap();
        // A killed process drops nothing; the file must be good without it.
        std::mem::forget(file);
        let (_file, kept) = open(&path, 1000);
        assert_eq!((kept.floor, kept.watermark), (50, 200));
        assert_eq!(kept.updates, [update(1, 200), update(2, 150)]);
    }

    #[test]
    fn a_time_comes_back_as_it_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let odd = Update {
            bug: BugId::new(1).unwrap(),
            when: "2014-04-03 21:13:45Z".parse().unwrap(),
        };
        open(&path, 0).0.keep(std::slice::from_ref(&odd)).unwrap();
        assert_eq!(open(&path, 0).1.updates, [odd]);
    }

    #[test]
    fn what_is_too_much_goes_and_raises_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let (mut file, _) = open(&path, 0);
        for at in 0..1_500 {
            file.keep(&[update(7, 1_000 + at)]).unwrap();
        }
        let rows: i64 = file
            .database
            .query_row("SELECT count(*) FROM history", [], |row| row.get(0))
            .unwrap();
        assert!(rows <= 3 + SURPLUS_MAX, "{rows} rows");
        drop(file);
        let (_file, kept) = open(&path, 0);
        assert_eq!(
            (kept.floor, kept.watermark, kept.updates.len()),
            (2_496, 2_497, 3)
        );
    }

    #[test]
    fn another_source_starts_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        open(&path, 0).0.keep(&[update(1, 200)]).unwrap();
        let (_file, kept) = HistoryFile::open(&path, "/", "sqlite:y", 3, 900).unwrap();
        assert_eq!((kept.floor, kept.updates.len()), (900, 0));
    }

    #[test]
    fn feeds_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let (mut file, _) = open(&path, 0);
        let (mut dev, _) = HistoryFile::open(&path, "/dev/", "sqlite:x", 3, 0).unwrap();
        file.keep(&[update(1, 200)]).unwrap();
        dev.keep(&[update(2, 300)]).unwrap();
        drop((file, dev));
        assert_eq!(open(&path, 0).1.updates, [update(1, 200)]);
    }

    #[test]
    fn a_power_failure_is_a_known_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let (mut file, _) = open(&path, 0);
        file.keep(&[update(1, 200)]).unwrap();
        file.database
            .execute("UPDATE history_feeds SET boot_id = 'an earlier boot'", [])
            .unwrap();
        std::mem::forget(file);
        let (_file, kept) = open(&path, 900);
        assert_eq!((kept.floor, kept.updates.len()), (900, 1));
    }

    #[test]
    fn a_write_that_failed_is_a_known_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let (mut file, _) = open(&path, 0);
        file.database
            .pragma_update(None, "query_only", true)
            .unwrap();
        file.keep(&[update(1, 200)]).unwrap_err();
        file.database
            .pragma_update(None, "query_only", false)
            .unwrap();
        let before = unix_now();
        file.keep(&[update(2, 300)]).unwrap();
        drop(file);
        let (_file, kept) = open(&path, 0);
        assert!(kept.floor >= before);
        assert_eq!(kept.updates, [update(2, 300)]);
    }

    #[test]
    fn a_write_that_failed_is_known_to_the_next_run_too_also_where_the_databases_clock_is_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.db");
        let (mut file, _) = open(&path, 0);
        let ahead = unix_now() + 3_600;
        file.database
            .pragma_update(None, "query_only", true)
            .unwrap();
        file.keep(&[update(1, ahead)]).unwrap_err();
        file.database
            .pragma_update(None, "query_only", false)
            .unwrap();
        drop(file);
        assert_eq!(open(&path, 0).1.floor, ahead);
    }
}
