//! The history on disk, so that a restart forgets nothing. Written by the source's thread, never by
//! the loop. Knows no client.
//!
//! Beside the file lies a **witness** for each feed: an empty file that is removed when something
//! could not be kept, since removing a file needs no space. Where it is missing at a start, the
//! history has a gap.

mod rows;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

pub use self::rows::{Kept, OpenError};
use self::rows::{begin, evict, prepare};
use crate::update::Update;
use crate::work::FileLock;

/// How many rows may stand beyond what is kept before they are deleted: deleting at each write
/// would double its cost.
const SURPLUS_MAX: i64 = 1_000;

/// How long somebody else's lock on the file is waited for. Updates wait as long.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The kept history of one feed, open for writing.
#[derive(Debug)]
pub struct HistoryFile {
    database: Connection,
    feed: String,
    updates_max: i64,
    progress: Progress,
    witness: PathBuf,
    /// Whether something could not be kept since the file was opened.
    has_lost: bool,
}

/// How far the file has come; a write that fails changes nothing of it.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Of the last update kept: they are numbered in order of arrival.
    seq: i64,
    /// Of the last update kept, in Unix seconds.
    watermark: i64,
    /// Rows beyond what is kept that have not been deleted yet.
    surplus: i64,
}

/// Claims the file for one server; `None` when another one has it. Two servers would each erase
/// what the other has kept.
///
/// # Errors
/// When the lock beside the file cannot be made.
pub fn claim(path: &Path) -> io::Result<Option<FileLock>> {
    FileLock::take(&beside(path, ".lock"))
}

impl HistoryFile {
    /// Opens or creates the file at `path`, and reads what it has kept for the feed at the path
    /// `feed`: `updates_max` updates at most. What was kept from another `source` is forgotten.
    ///
    /// # Errors
    /// When SQLite cannot open, read or write the file, or it has a newer format.
    pub fn open(
        path: &Path,
        feed: &str,
        source: &str,
        updates_max: usize,
    ) -> Result<(Self, Kept), OpenError> {
        let updates_max = i64::try_from(updates_max).unwrap_or(i64::MAX);
        let mut database = Connection::open(path)?;
        database.busy_timeout(LOCK_WAIT)?;
        // In WAL mode with synchronous=NORMAL a commit does not wait for the disk: a killed process
        // loses nothing, and what a power failure may have lost is recognised by the boot id,
        // below.
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "NORMAL")?;
        let witness = beside(
            path,
            &format!("-whole{}", feed.trim_end_matches('/').replace('/', "-")),
        );
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let had_witness = prepare(&transaction)? < 2 || witness.exists();
        let kept = begin(&transaction, feed, source, updates_max, had_witness)?;
        transaction.commit()?;
        let seq = database.query_row(
            "SELECT ifnull(max(seq), 0) FROM history WHERE feed = ?1",
            [feed],
            |row| row.get(0),
        )?;
        let watermark = kept
            .updates
            .last()
            .map_or(i64::MIN, |(watermark, _)| *watermark);
        let file = Self {
            database,
            feed: feed.to_owned(),
            updates_max,
            progress: Progress {
                seq,
                watermark,
                surplus: 0,
            },
            witness,
            has_lost: false,
        };
        file.bear_witness();
        Ok((file, kept))
    }

    /// Keeps updates in order of arrival, with what is to be noted together with them: all of it,
    /// or nothing. Times after `credible_until` (Unix seconds) do not count for the watermark.
    ///
    /// # Errors
    /// When SQLite cannot write. A later start knows then that updates are missing.
    pub(crate) fn keep(
        &mut self,
        updates: &[Update],
        credible_until: i64,
        notes: &[(&str, String)],
    ) -> rusqlite::Result<()> {
        let watermarked = |progress: &Progress, update: &Update| {
            let seconds = update.when.unix_seconds();
            if seconds <= credible_until {
                progress.watermark.max(seconds)
            } else {
                progress.watermark
            }
        };
        self.write(notes, updates.iter(), |progress, update| {
            (watermarked(progress, update), update)
        })
    }

    /// Keeps updates from before, each with its watermark in Unix seconds.
    ///
    /// # Errors
    /// As [`HistoryFile::keep`].
    pub(crate) fn keep_earlier(&mut self, updates: &[(i64, Update)]) -> rusqlite::Result<()> {
        self.write(&[], updates.iter(), |progress, (watermark, update)| {
            (progress.watermark.max(*watermark), update)
        })
    }

    /// Records up to which time (Unix seconds) updates may be missing, if that is known.
    ///
    /// # Errors
    /// When SQLite cannot write. A later start knows then that updates are missing.
    pub fn set_floor(&mut self, floor: Option<i64>) -> rusqlite::Result<()> {
        let floor = if self.has_lost { None } else { floor };
        let result = self.database.execute(
            "UPDATE history_feeds SET floor = ifnull(?2, floor), is_whole = ?3 WHERE feed = ?1",
            params![self.feed, floor, floor.is_some()],
        );
        self.see(result.map(drop))
    }

    /// Whether something could not be kept since the file was opened: what is noted about the
    /// future must not hide it.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Inserts updates, and their notes, in one transaction.
    fn write<'a, T: 'a>(
        &mut self,
        notes: &[(&str, String)],
        updates: impl ExactSizeIterator<Item = &'a T>,
        entry: impl Fn(&Progress, &'a T) -> (i64, &'a Update),
    ) -> rusqlite::Result<()> {
        let mut progress = self.progress;
        let result = self.try_write(&mut progress, notes, updates, entry);
        if result.is_ok() {
            self.progress = progress;
        }
        self.see(result)
    }

    fn try_write<'a, T: 'a>(
        &mut self,
        progress: &mut Progress,
        notes: &[(&str, String)],
        updates: impl ExactSizeIterator<Item = &'a T>,
        entry: impl Fn(&Progress, &'a T) -> (i64, &'a Update),
    ) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self.has_lost {
            let gap = "UPDATE history_feeds SET is_whole = 0 WHERE feed = ?1 AND is_whole";
            transaction.prepare_cached(gap)?.execute([&self.feed])?;
        }
        progress.surplus += updates.len() as i64;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO history (feed, seq, bug_id, time, watermark) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for update in updates {
                let (watermark, update) = entry(progress, update);
                progress.seq += 1;
                progress.watermark = watermark;
                let time = update.when.to_string();
                insert.execute(params![
                    self.feed,
                    progress.seq,
                    update.bug.get(),
                    time,
                    watermark
                ])?;
            }
            let mut note =
                transaction.prepare_cached("REPLACE INTO history_notes VALUES (?1, ?2, ?3)")?;
            for (name, value) in notes {
                note.execute(params![self.feed, name, value])?;
            }
        }
        if progress.surplus > SURPLUS_MAX {
            evict(&transaction, &self.feed, self.updates_max)?;
            progress.surplus = 0;
        }
        transaction.commit()
    }

    /// What could not be written is lost to the next start, which must know it.
    fn see(&mut self, result: rusqlite::Result<()>) -> rusqlite::Result<()> {
        if result.is_err() {
            self.has_lost = true;
            if let Err(error) = fs::remove_file(&self.witness)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::error!("cannot remove {}: {error}", self.witness.display());
            }
        }
        result
    }

    fn bear_witness(&self) {
        if let Err(error) = File::create(&self.witness) {
            log::warn!(
                "cannot make {}, without which the next start takes the history for incomplete: {error}",
                self.witness.display()
            );
        }
    }
}

impl Drop for HistoryFile {
    /// Closing SQLite writes everything to the disk, so a power failure after it loses nothing.
    fn drop(&mut self) {
        let closed = self.database.execute(
            "UPDATE history_feeds SET boot_id = '', is_whole = is_whole AND NOT ?2 WHERE feed = ?1",
            params![self.feed, self.has_lost],
        );
        match closed {
            Ok(_) if self.has_lost => self.bear_witness(),
            Ok(_) => {}
            Err(error) => log::warn!("cannot close the history file: {error}"),
        }
    }
}

/// A file beside the history file.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
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

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("h.db")
        }

        /// Opens the history of the feed `/` with room for three updates.
        fn open(&self) -> (HistoryFile, Kept) {
            HistoryFile::open(&self.path(), "/", "sqlite:x", 3).unwrap()
        }

        /// A history that is whole from the beginning.
        fn whole(&self) -> HistoryFile {
            let mut file = self.open().0;
            file.set_floor(Some(50)).unwrap();
            file
        }
    }

    fn keep(file: &mut HistoryFile, updates: &[Update]) -> rusqlite::Result<()> {
        file.keep(updates, 1_000_000, &[])
    }

    /// Makes each write fail, as a full disk does, or work again.
    fn fail(file: &HistoryFile, fails: bool) {
        file.database
            .pragma_update(None, "query_only", fails)
            .unwrap();
    }

    #[test]
    fn a_new_history_has_no_floor() {
        assert_eq!(Folder::new().open().1.floor, None);
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let folder = Folder::new();
        let mut file = folder.whole();
        let note = [("bookmark", "7".to_owned())];
        file.keep(&[update(1, 200), update(2, 150)], 1_000, &note)
            .unwrap();
        // A killed process drops nothing; the file must be good without it.
        std::mem::forget(file);
        let (_file, kept) = folder.open();
        assert_eq!(kept.floor, Some(50));
        assert_eq!(kept.updates, [(200, update(1, 200)), (200, update(2, 150))]);
        assert_eq!(kept.notes["bookmark"], "7");
    }

    #[test]
    fn a_time_comes_back_as_it_was_sent() {
        let folder = Folder::new();
        let odd = Update {
            bug: BugId::new(1).unwrap(),
            when: "2014-04-03 21:13:45Z".parse().unwrap(),
        };
        keep(&mut folder.open().0, std::slice::from_ref(&odd)).unwrap();
        assert_eq!(folder.open().1.updates[0].1, odd);
    }

    #[test]
    fn a_time_that_is_not_credible_raises_no_watermark() {
        let folder = Folder::new();
        let mut file = folder.open().0;
        file.keep(&[update(1, 200), update(2, 5_000)], 1_000, &[])
            .unwrap();
        drop(file);
        assert_eq!(folder.open().1.updates[1], (200, update(2, 5_000)));
    }

    #[test]
    fn what_is_too_much_goes_and_the_newest_of_each_bug_last() {
        let folder = Folder::new();
        let mut file = folder.whole();
        keep(&mut file, &[update(1, 900), update(2, 901)]).unwrap();
        for at in 0..1_500 {
            keep(&mut file, &[update(7, 1_000 + at)]).unwrap();
        }
        let count = "SELECT count(*) FROM history";
        let rows: i64 = file
            .database
            .query_row(count, [], |row| row.get(0))
            .unwrap();
        assert!(rows <= 3 + SURPLUS_MAX, "{rows} rows");
        drop(file);
        let (mut file, kept) = folder.open();
        let bugs: Vec<u32> = kept
            .updates
            .iter()
            .map(|(_, update)| update.bug.get())
            .collect();
        assert_eq!((kept.floor, &bugs[..]), (Some(50), &[1, 2, 7][..]));
        keep(&mut file, &[update(8, 2_500), update(9, 2_501)]).unwrap();
        drop(file);
        let (_file, kept) = folder.open();
        assert_eq!((kept.floor, kept.updates.len()), (Some(901), 3));
    }

    #[test]
    fn another_source_starts_anew() {
        let folder = Folder::new();
        keep(&mut folder.whole(), &[update(1, 200)]).unwrap();
        let (_file, kept) = HistoryFile::open(&folder.path(), "/", "sqlite:y", 3).unwrap();
        assert_eq!((kept.floor, kept.updates.len()), (None, 0));
    }

    #[test]
    fn feeds_are_kept_apart() {
        let folder = Folder::new();
        let mut file = folder.whole();
        let (mut dev, _) = HistoryFile::open(&folder.path(), "/dev/", "sqlite:x", 3).unwrap();
        keep(&mut file, &[update(1, 200)]).unwrap();
        fail(&dev, true);
        keep(&mut dev, &[update(2, 300)]).unwrap_err();
        std::mem::forget(dev);
        drop(file);
        let (_file, kept) = folder.open();
        assert_eq!((kept.floor, kept.updates.len()), (Some(50), 1));
    }

    #[test]
    fn a_power_failure_is_a_known_gap() {
        let folder = Folder::new();
        let mut file = folder.whole();
        keep(&mut file, &[update(1, 200)]).unwrap();
        let earlier = "UPDATE history_feeds SET boot_id = 'an earlier boot'";
        file.database.execute(earlier, []).unwrap();
        std::mem::forget(file);
        let (_file, kept) = folder.open();
        assert_eq!((kept.floor, kept.updates.len()), (None, 1));
    }

    /// A disk that was full, and has space again before the next start.
    #[test]
    fn what_could_not_be_kept_is_known_to_the_next_start_however_the_process_ended() {
        for is_killed in [true, false] {
            let folder = Folder::new();
            let mut file = folder.whole();
            fail(&file, true);
            keep(&mut file, &[update(1, 200)]).unwrap_err();
            if is_killed {
                std::mem::forget(file);
            } else {
                drop(file);
            }
            assert_eq!(folder.open().1.floor, None);
        }
    }

    #[test]
    fn what_could_not_be_kept_stays_a_gap_when_the_file_works_again() {
        let folder = Folder::new();
        let mut file = folder.whole();
        fail(&file, true);
        keep(&mut file, &[update(1, 200)]).unwrap_err();
        fail(&file, false);
        keep(&mut file, &[update(2, 300)]).unwrap();
        file.set_floor(Some(50)).unwrap();
        drop(file);
        let (_file, kept) = folder.open();
        assert_eq!((kept.floor, kept.updates.len()), (None, 1));
    }

    #[test]
    fn a_copy_without_its_witness_is_not_believed() {
        let folder = Folder::new();
        drop(folder.whole());
        fs::remove_file(folder.0.path().join("h.db-whole")).unwrap();
        assert_eq!(folder.open().1.floor, None);
    }

    #[test]
    fn one_server_at_a_time_may_have_the_file() {
        let folder = Folder::new();
        let claimed = claim(&folder.path()).unwrap();
        assert!(claimed.is_some());
        assert!(claim(&folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_file_of_the_last_version_goes_on_and_one_of_a_newer_version_is_refused() {
        let folder = Folder::new();
        let database = Connection::open(folder.path()).unwrap();
        database
            .execute_batch(
                "CREATE TABLE history (
                     feed TEXT NOT NULL, seq INTEGER NOT NULL, bug_id INTEGER NOT NULL, time TEXT NOT NULL, watermark INTEGER NOT NULL,
                     PRIMARY KEY (feed, seq)) WITHOUT ROWID;
                 CREATE TABLE history_feeds (feed TEXT PRIMARY KEY, source TEXT NOT NULL, floor INTEGER NOT NULL, boot_id TEXT NOT NULL);
                 INSERT INTO history VALUES ('/', 1, 7, '1970-01-01T00:01:40', 100);
                 INSERT INTO history_feeds VALUES ('/', 'sqlite:x', 60, '');",
            )
            .unwrap();
        let (file, kept) = folder.open();
        assert_eq!(
            (kept.floor, kept.updates),
            (Some(60), vec![(100, update(7, 100))])
        );
        drop(file);
        database
            .execute("UPDATE history_format SET version = 3", [])
            .unwrap();
        let refused = HistoryFile::open(&folder.path(), "/", "sqlite:x", 3).unwrap_err();
        assert!(refused.to_string().contains("a newer one"), "{refused}");
    }
}
