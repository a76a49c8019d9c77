//! The history on disk, so that a restart forgets nothing. Written by the source's thread, never by
//! the loop. Knows no client.
//!
//! Beside the file lies a **witness** for each feed: it holds the number of the last update kept, and
//! is removed when something could not be kept, since removing a file needs no space. Where it is
//! missing at a start, or knows of a later update than the file, the history has a gap.

mod rows;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
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

/// How many pages of 4 KiB SQLite's log may have before they are moved into the file. What moves needs
/// room in the file, which a disk that the log has filled would not have.
const LOG_PAGES: i64 = 256;

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
    /// The witness, as long as it can be written.
    witnessed: Option<File>,
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
        database.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        let witness = beside(path, &format!("-whole{}", in_file_name(feed)));
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let is_older = prepare(&transaction)? < 2;
        let is_believed = is_older || is_witnessed(&witness, last_seq(&transaction, feed)?);
        let kept = begin(&transaction, feed, source, updates_max, is_believed)?;
        transaction.commit()?;
        let seq = last_seq(&database, feed)?;
        let watermark = kept
            .updates
            .last()
            .map_or(i64::MIN, |(watermark, _)| *watermark);
        let mut file = Self {
            database,
            feed: feed.to_owned(),
            updates_max,
            progress: Progress {
                seq,
                watermark,
                surplus: 0,
            },
            witness,
            witnessed: None,
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
        // The witness knows nothing of floors: one must not get lost with the log.
        let move_log = "PRAGMA wal_checkpoint(PASSIVE)";
        let _ = self.database.query_row(move_log, [], |_| Ok(()));
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
        if result.as_ref().is_err_and(rows::is_full) {
            // The log may take up what the next attempt needs. Where it cannot be moved, it stays.
            let move_log = "PRAGMA wal_checkpoint(TRUNCATE)";
            let _ = self.database.query_row(move_log, [], |_| Ok(()));
        }
        if result.is_ok() {
            self.progress = progress;
            self.witness_progress();
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

    /// Makes the witness.
    fn bear_witness(&mut self) {
        match File::create(&self.witness) {
            Ok(file) => self.witnessed = Some(file),
            Err(error) => log::warn!(
                "cannot make {}, without which the next start takes the history for incomplete: {error}",
                self.witness.display()
            ),
        }
        self.witness_progress();
    }

    /// Writes how far the file has come. Where there is no room for it, the witness knows less.
    fn witness_progress(&self) {
        if let Some(file) = &self.witnessed {
            // Of one length, so that it is written over in place.
            let _ = file.write_all_at(format!("{:020}", self.progress.seq).as_bytes(), 0);
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
        if let Err(error) = closed {
            log::warn!("cannot close the history file: {error}");
        }
    }
}

/// The number of the last update kept for a feed.
fn last_seq(database: &Connection, feed: &str) -> rusqlite::Result<i64> {
    let select = "SELECT ifnull(max(seq), 0) FROM history WHERE feed = ?1";
    database.query_row(select, [feed], |row| row.get(0))
}

/// Whether there is a witness, and it knows of no update after `seq`. That of an older version is
/// empty.
fn is_witnessed(witness: &Path, seq: i64) -> bool {
    fs::read_to_string(witness)
        .is_ok_and(|text| text.parse().map_or(true, |witnessed: i64| witnessed <= seq))
}

/// The path of a feed as a part of a file's name, which no other feed has.
fn in_file_name(feed: &str) -> String {
    let path = feed.strip_suffix('/').unwrap_or(feed);
    path.replace('%', "%25")
        .replace('-', "%2D")
        .replace('/', "-")
}

/// A file beside the history file.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
