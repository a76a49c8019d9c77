//! How much of the backlog one destination may take up, and how a destination is forgotten: what
//! keeps one that is gone for ever from filling the disk. Knows no setting.

use rusqlite::{OptionalExtension, TransactionBehavior};

use super::{Backlog, Key, format};

/// How many changes wait for a destination, and how many were dropped just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Fill {
    pub waiting: u64,
    pub dropped: u64,
}

impl Backlog {
    /// Drops a destination's oldest changes, so that at most `max` wait. The numbers of its stream
    /// say how many wait, without counting them: one that was skipped counts, too.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing was dropped then.
    pub(in crate::relay) fn trim(
        &mut self,
        Key(destination): Key,
        max: u64,
    ) -> rusqlite::Result<Fill> {
        let given = format::stream(&self.database, destination)?.number;
        let first = "SELECT number FROM push_backlog WHERE destination = ?1 ORDER BY id LIMIT 1";
        let first: Option<i64> = self
            .database
            .prepare_cached(first)?
            .query_row([destination], |row| row.get(0))
            .optional()?;
        let waiting = first.map_or(0, |first| (given + 1).saturating_sub(first.cast_unsigned()));
        let Some(excess) = waiting.checked_sub(max).filter(|excess| *excess > 0) else {
            return Ok(Fill {
                waiting,
                dropped: 0,
            });
        };
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let oldest = "DELETE FROM push_backlog WHERE number <= ?2 AND id IN (SELECT id FROM push_backlog WHERE destination = ?1 ORDER BY id LIMIT ?3)";
        let dropped = transaction.prepare_cached(oldest)?.execute([
            destination,
            (given - max).cast_signed(),
            excess.cast_signed(),
        ])?;
        let count = "UPDATE push_destination SET dropped = dropped + ?2 WHERE id = ?1";
        transaction
            .prepare_cached(count)?
            .execute([destination, dropped as i64])?;
        transaction.commit()?;
        Ok(Fill {
            waiting: max,
            dropped: dropped as u64,
        })
    }

    /// Deletes a destination, what waits for it and what it has refused. Returns how many changes
    /// waited, or `None` when there is no destination of this name, or one that is in use and
    /// `may_be_in_use` does not allow it.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing has changed then.
    pub(crate) fn forget(
        &mut self,
        name: &str,
        may_be_in_use: bool,
    ) -> rusqlite::Result<Option<u64>> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known = "SELECT id FROM push_destination WHERE name = ?1 AND (?2 OR NOT is_in_use)";
        let Some(id) = transaction
            .query_row(known, (name, may_be_in_use), |row| row.get::<_, i64>(0))
            .optional()?
        else {
            return Ok(None);
        };
        let waiting =
            transaction.execute("DELETE FROM push_backlog WHERE destination = ?1", [id])?;
        transaction.execute("DELETE FROM push_refused WHERE destination = ?1", [id])?;
        transaction.execute("DELETE FROM push_destination WHERE id = ?1", [id])?;
        transaction.commit()?;
        Ok(Some(waiting as u64))
    }

    /// Gives the room of what was deleted back to the disk.
    ///
    /// # Errors
    /// When SQLite cannot write: the file stays as large as it is, and is used again from within.
    pub(crate) fn shrink(&self) -> rusqlite::Result<()> {
        self.database
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
    }
}
