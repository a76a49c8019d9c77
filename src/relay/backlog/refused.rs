//! What destinations have refused for good: counted, and the latest kept for `relay --refused`.
//! Knows no reason why a destination refuses.

use rusqlite::{TransactionBehavior, params};

use super::{Backlog, Entry, Key};

/// How many are kept for each destination; the count goes on.
const KEPT_MAX: i64 = 10_000;

/// A change that a destination has refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The destination's name.
    pub destination: String,
    /// The bug that changed.
    pub bug: u32,
    /// When it changed, in the form of updates.
    pub when: String,
    /// The change's id, as the destination was sent it.
    pub id: String,
    /// When it was refused, in Unix seconds.
    pub at: i64,
    /// What the destination said.
    pub reason: String,
}

impl Backlog {
    /// Deletes a destination's changes up to this one, which it has refused at `now`, in Unix
    /// seconds, and keeps it with the reason: all of it, or nothing.
    ///
    /// # Errors
    /// When SQLite cannot write; nothing has changed then.
    pub(crate) fn refuse(
        &mut self,
        key: Key,
        entry: &Entry,
        reason: &str,
        now: i64,
    ) -> rusqlite::Result<()> {
        let Key(destination) = key;
        let (bug, when) = (entry.update.bug, entry.update.when.to_string());
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached("INSERT INTO push_refused (destination, bug_id, delta_ts, change_id, refused_at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![destination, bug.get(), when, entry.change_id(), now, reason])?;
        transaction
            .prepare_cached("DELETE FROM push_refused WHERE destination = ?1 AND id <= (SELECT id FROM push_refused WHERE destination = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)")?
            .execute([destination, KEPT_MAX])?;
        transaction
            .prepare_cached("UPDATE push_destination SET refused = refused + 1, error = ?2, error_at = ?3, next_attempt = NULL WHERE id = ?1")?
            .execute(params![destination, format!("bug {bug}, {when}, was refused: {reason}"), now])?;
        transaction
            .prepare_cached("DELETE FROM push_backlog WHERE destination = ?1 AND id <= ?2")?
            .execute([destination, entry.id])?;
        transaction.commit()
    }

    /// What was refused and is still kept, in order.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub(crate) fn refused(&self) -> rusqlite::Result<Vec<Refused>> {
        let mut select = self.database.prepare(
            "SELECT name, bug_id, delta_ts, change_id, refused_at, reason
             FROM push_refused AS r JOIN push_destination AS d ON d.id = r.destination ORDER BY r.id",
        )?;
        let rows = select.query_map([], |row| {
            Ok(Refused {
                destination: row.get(0)?,
                bug: row.get(1)?,
                when: row.get(2)?,
                id: row.get(3)?,
                at: row.get(4)?,
                reason: row.get(5)?,
            })
        })?;
        rows.collect()
    }
}
