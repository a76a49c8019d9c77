//! What the file holds of one feed: reads it at a start, and deletes what is too much. Opens no
//! file, and knows no time but what it is given.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::machine;
use crate::update::{BugId, Update};

/// The history of all feeds, and what is known about each.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS history (
        feed TEXT NOT NULL, seq INTEGER NOT NULL, bug_id INTEGER NOT NULL, time TEXT NOT NULL, watermark INTEGER NOT NULL,
        PRIMARY KEY (feed, seq)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS history_feeds (feed TEXT PRIMARY KEY, source TEXT NOT NULL, floor INTEGER NOT NULL, boot_id TEXT NOT NULL);";

/// What a file had kept when it was opened.
#[derive(Debug)]
pub struct Kept {
    /// Updates at or before it may be missing; Unix seconds.
    pub floor: i64,
    /// The watermark of the first of `updates`; Unix seconds.
    pub watermark: i64,
    /// In order of arrival.
    pub updates: Vec<Update>,
}

/// Reads what was kept and notes that this process writes from now on.
pub(super) fn begin(
    transaction: &Transaction<'_>,
    feed: &str,
    source: &str,
    updates_max: i64,
    now: i64,
) -> rusqlite::Result<Kept> {
    let boot_id = machine::sysctl("kernel.random.boot_id");
    let known: Option<(String, String)> = transaction
        .query_row(
            "SELECT source, boot_id FROM history_feeds WHERE feed = ?1",
            [feed],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    if known
        .as_ref()
        .is_some_and(|(known_source, _)| known_source == source)
    {
        evict(transaction, feed, updates_max)?;
        if known.is_some_and(|(_, boot)| !boot.is_empty() && boot != boot_id) {
            raise_floor(transaction, feed, now)?;
        }
        transaction.execute(
            "UPDATE history_feeds SET boot_id = ?2 WHERE feed = ?1",
            [feed, &boot_id],
        )?;
    } else {
        transaction.execute("DELETE FROM history WHERE feed = ?1", [feed])?;
        transaction.execute(
            "REPLACE INTO history_feeds VALUES (?1, ?2, ?3, ?4)",
            params![feed, source, now, boot_id],
        )?;
    }
    read(transaction, feed)
}

/// Reads what was kept.
fn read(transaction: &Transaction<'_>, feed: &str) -> rusqlite::Result<Kept> {
    let floor = transaction.query_row(
        "SELECT floor FROM history_feeds WHERE feed = ?1",
        [feed],
        |row| row.get(0),
    )?;
    let mut select = transaction
        .prepare("SELECT bug_id, time, watermark FROM history WHERE feed = ?1 ORDER BY seq")?;
    let mut rows = select.query([feed])?;
    let mut kept = Kept {
        floor,
        watermark: i64::MIN,
        updates: Vec::new(),
    };
    while let Some(row) = rows.next()? {
        let (bug, time): (u32, String) = (row.get(0)?, row.get(1)?);
        if kept.updates.is_empty() {
            kept.watermark = row.get(2)?;
        }
        match (BugId::new(bug), time.parse()) {
            (Some(bug), Ok(when)) => kept.updates.push(Update { bug, when }),
            _ => kept.floor = kept.floor.max(row.get(2)?),
        }
    }
    Ok(kept)
}

/// Deletes what is beyond the last `updates_max` updates and raises the floor to what went.
pub(super) fn evict(
    transaction: &Transaction<'_>,
    feed: &str,
    updates_max: i64,
) -> rusqlite::Result<()> {
    let evicted: Option<(i64, i64)> = transaction
        .query_row(
            "SELECT seq, watermark FROM history WHERE feed = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2",
            params![feed, updates_max],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    if let Some((seq, watermark)) = evicted {
        transaction.execute(
            "DELETE FROM history WHERE feed = ?1 AND seq <= ?2",
            params![feed, seq],
        )?;
        raise_floor(transaction, feed, watermark)?;
    }
    Ok(())
}

pub(super) fn raise_floor(
    transaction: &Transaction<'_>,
    feed: &str,
    floor: i64,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE history_feeds SET floor = max(floor, ?2) WHERE feed = ?1",
        params![feed, floor],
    )?;
    Ok(())
}
