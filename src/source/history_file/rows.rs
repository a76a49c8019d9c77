//! The rows of the history file: their form, what is read from them at a start, and which go when
//! there are too many. Knows no process and no other file.

use std::collections::HashMap;
use std::fmt;
use std::fs;

use rusqlite::{ErrorCode, OptionalExtension, Row, Transaction, ffi, params};

use crate::update::{BugId, Update};

/// The form of the file that this program reads and writes; 1 is that of bugzfeed 0.10.
const FORMAT: i64 = 2;

/// What a file had kept when it was opened.
#[derive(Debug, Default)]
pub struct Kept {
    /// Updates at or before it may be missing, in Unix seconds; none where there is no such time,
    /// since the history is new or has a gap.
    pub floor: Option<i64>,
    /// In order of arrival, each with its watermark in Unix seconds.
    pub updates: Vec<(i64, Update)>,
    /// What the source and the catch-up have noted, by name.
    pub notes: HashMap<String, String>,
}

/// Why a history file cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// SQLite cannot open, read or write it.
    Sqlite(rusqlite::Error),
    /// A later version of this program has written it.
    Newer(i64),
}

impl OpenError {
    /// Whether the disk is full, which may pass.
    pub fn is_full(&self) -> bool {
        matches!(self, OpenError::Sqlite(error) if is_full(error))
    }
}

/// Whether an error says that the disk is full. SQLite has a code of its own for the index of its
/// log.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(why, _)
        if why.code == ErrorCode::DiskFull || why.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Sqlite(error) if is_damaged(error) => write!(
                f,
                "it is damaged ({error}). Move it away together with the files beside it that begin with its name, and start again: \
                 what is lost with it is the remembered updates, so that clients are told once to ask Bugzilla itself, and where the \
                 file is also the source, the changes that wait in it"
            ),
            OpenError::Sqlite(error) => error.fmt(f),
            OpenError::Newer(format) => write!(
                f,
                "its format is {format}, and this bugzfeed knows formats up to {FORMAT}: a newer one has written it"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Whether SQLite says that the file's content is wrong.
fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    )
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        OpenError::Sqlite(error)
    }
}

/// Makes the tables, or brings those of an older version into this form. Returns the format that
/// the file had.
pub(super) fn prepare(transaction: &Transaction<'_>) -> Result<i64, OpenError> {
    let has_table = |name: &str| {
        let count = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
        transaction.query_row(count, [name], |row| row.get::<_, i64>(0))
    };
    let format = if has_table("history_format")? > 0 {
        transaction.query_row("SELECT version FROM history_format", [], |row| row.get(0))?
    } else if has_table("history_feeds")? > 0 {
        1
    } else {
        0
    };
    if format > FORMAT {
        return Err(OpenError::Newer(format));
    }
    transaction.execute_batch(match format {
        0 => {
            "CREATE TABLE history (
                 feed TEXT NOT NULL, seq INTEGER NOT NULL, bug_id INTEGER NOT NULL,
                 time TEXT NOT NULL, watermark INTEGER NOT NULL,
                 PRIMARY KEY (feed, seq)) WITHOUT ROWID;
             CREATE TABLE history_feeds (
                 feed TEXT PRIMARY KEY, source TEXT NOT NULL, floor INTEGER NOT NULL,
                 boot_id TEXT NOT NULL);"
        }
        _ => "",
    })?;
    if format < FORMAT {
        // A feed that an older version wrote is as whole as its floor says.
        transaction.execute_batch(&format!(
            "ALTER TABLE history_feeds ADD COLUMN is_whole INTEGER NOT NULL DEFAULT 1;
             CREATE TABLE history_notes (
                 feed TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
                 PRIMARY KEY (feed, name)) WITHOUT ROWID;
             CREATE TABLE history_format (version INTEGER NOT NULL);
             INSERT INTO history_format VALUES ({FORMAT});"
        ))?;
    }
    Ok(format)
}

/// Reads what was kept and notes that this process writes from now on.
pub(super) fn begin(
    transaction: &Transaction<'_>,
    feed: &str,
    source: &str,
    updates_max: i64,
    had_witness: bool,
) -> rusqlite::Result<Kept> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let known: Option<(String, String)> = transaction
        .query_row(
            "SELECT source, boot_id FROM history_feeds WHERE feed = ?1",
            [feed],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    match known {
        Some((known_source, last_boot)) if known_source == source => {
            evict(transaction, feed, updates_max)?;
            let is_whole = had_witness && (last_boot.is_empty() || last_boot == boot_id);
            transaction.execute(
                "UPDATE history_feeds SET boot_id = ?2, is_whole = is_whole AND ?3 WHERE feed = ?1",
                params![feed, boot_id, is_whole],
            )?;
        }
        _ => {
            transaction.execute("DELETE FROM history WHERE feed = ?1", [feed])?;
            transaction.execute("DELETE FROM history_notes WHERE feed = ?1", [feed])?;
            transaction.execute(
                "REPLACE INTO history_feeds (feed, source, floor, boot_id, is_whole)
                 VALUES (?1, ?2, ?3, ?4, 0)",
                params![feed, source, i64::MIN, boot_id],
            )?;
        }
    }
    read(transaction, feed)
}

/// Reads what is kept. What cannot be read is missed: up to its watermark, or, where that cannot be
/// read either, up to nobody knows when.
fn read(transaction: &Transaction<'_>, feed: &str) -> rusqlite::Result<Kept> {
    let mut kept = Kept::default();
    let mut select = transaction
        .prepare("SELECT bug_id, time, watermark FROM history WHERE feed = ?1 ORDER BY seq")?;
    let mut rows = select.query([feed])?;
    let (mut unreadable, mut is_readable) = (i64::MIN, true);
    while let Some(row) = rows.next()? {
        match (row.get(2), update(row)) {
            (Ok(watermark), Some(update)) => kept.updates.push((watermark, update)),
            (Ok(watermark), None) => unreadable = unreadable.max(watermark),
            (Err(_), _) => is_readable = false,
        }
    }
    let mut select =
        transaction.prepare("SELECT name, value FROM history_notes WHERE feed = ?1")?;
    let mut rows = select.query([feed])?;
    while let Some(row) = rows.next()? {
        match (row.get(0), row.get(1)) {
            (Ok(name), Ok(value)) => drop(kept.notes.insert(name, value)),
            // What was noted may be that something is missing.
            _ => is_readable = false,
        }
    }
    let (floor, is_whole): (i64, bool) = transaction.query_row(
        "SELECT floor, is_whole FROM history_feeds WHERE feed = ?1",
        [feed],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    kept.floor = (is_whole && is_readable).then_some(floor.max(unreadable));
    Ok(kept)
}

/// The update in a row of `bug_id` and `time`.
fn update(row: &Row<'_>) -> Option<Update> {
    let time: String = row.get(1).ok()?;
    Some(Update {
        bug: BugId::new(row.get(0).ok()?)?,
        when: time.parse().ok()?,
    })
}

/// Deletes what is beyond `updates_max` updates: first those that a newer one of the same bug has
/// made redundant, then the oldest, which raises the floor to what went.
pub(super) fn evict(
    transaction: &Transaction<'_>,
    feed: &str,
    updates_max: i64,
) -> rusqlite::Result<()> {
    let count = "SELECT count(*) FROM history WHERE feed = ?1";
    let count: i64 = transaction.query_row(count, [feed], |row| row.get(0))?;
    let surplus = count.saturating_sub(updates_max);
    if surplus <= 0 {
        return Ok(());
    }
    let mut delete = transaction.prepare("DELETE FROM history WHERE feed = ?1 AND seq = ?2")?;
    let redundant = redundant(transaction, feed)?;
    let redundant = &redundant[..redundant.len().min(surplus as usize)];
    for seq in redundant {
        delete.execute(params![feed, seq])?;
    }
    let surplus = surplus - redundant.len() as i64;
    if surplus <= 0 {
        return Ok(());
    }
    // The last of them has the largest watermark, unless somebody else has written to the file.
    let (seq, watermark): (i64, Option<i64>) = transaction.query_row(
        "SELECT max(seq), iif(min(typeof(watermark) = 'integer'), max(watermark), NULL)
         FROM (SELECT seq, watermark FROM history WHERE feed = ?1 ORDER BY seq LIMIT ?2)",
        params![feed, surplus],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    transaction.execute(
        "DELETE FROM history WHERE feed = ?1 AND seq <= ?2",
        params![feed, seq],
    )?;
    transaction.execute(
        "UPDATE history_feeds SET floor = max(floor, ifnull(?2, floor)), is_whole = is_whole AND ?2 IS NOT NULL WHERE feed = ?1",
        params![feed, watermark],
    )?;
    Ok(())
}

/// The updates of a feed that a later one of the same bug has made redundant, oldest first. One
/// that was committed late, with an older time, makes none redundant.
fn redundant(transaction: &Transaction<'_>, feed: &str) -> rusqlite::Result<Vec<i64>> {
    let mut select = transaction
        .prepare("SELECT bug_id, time, seq FROM history WHERE feed = ?1 ORDER BY seq DESC")?;
    let mut rows = select.query([feed])?;
    let mut latest: HashMap<BugId, i64> = HashMap::new();
    let mut redundant = Vec::new();
    while let Some(row) = rows.next()? {
        // What cannot be read is as old as its place says, and goes with the oldest.
        let Some(update) = update(row) else { continue };
        let seconds = update.when.unix_seconds();
        let later = latest.entry(update.bug).or_insert(i64::MIN);
        if *later >= seconds {
            redundant.push(row.get(2)?);
        }
        *later = seconds.max(*later);
    }
    redundant.reverse();
    Ok(redundant)
}
