//! Reads a table of notifications batch by batch: what is handed over, and that it is handed over
//! once. Knows no database.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::database::bookmark::Bookmark;
use crate::database::claim;
use crate::database::flaws::Flaws;
use crate::database::table::{BATCH_ROWS, Row, Table, Triggers};
use crate::update::{BugId, Update};
use crate::work::{Error, Stop};

/// How often the triggers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What is read from a table at once, to be handed over and then deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// To be deleted after `updates` were handed over.
    rows: Vec<Row>,
    /// To be handed over, in order. Fewer than the rows where some were handed over before, or
    /// record nothing.
    pub updates: Vec<Update>,
    /// The row that was handed over last, as soon as `updates` were: to be noted with them.
    pub bookmark: Option<Bookmark>,
    /// Why changes from before this batch may be missing, if they may.
    pub gap: Option<&'static str>,
    /// Whether more rows can be read at once.
    pub is_full: bool,
}

/// Opens the table anew: at the start, and after each failure.
pub(crate) type OpenTable = Box<dyn FnMut() -> Result<Box<dyn Table>, Error> + Send>;

/// Reads a table over as many connections as it takes. Each update comes once, even when the
/// database fails between reading and deleting; only a crash of this program can repeat one.
pub(crate) struct Reader {
    open: OpenTable,
    table: Option<Box<dyn Table>>,
    /// Whether other readers are waited for.
    is_standby: bool,
    /// Rows that were handed over, but of which it is not known whether they were deleted.
    in_doubt: HashSet<Row>,
    /// The row that was handed over last, which is still in the table.
    bookmark: Option<Bookmark>,
    /// Whether it is known since the table was opened that nobody else has read it.
    is_proven: bool,
    /// Whether rows stay that were to be deleted.
    has_undeleted: bool,
    has_warned: bool,
    /// Whether the log says that updates are left out.
    has_hidden: bool,
    flaws: Flaws,
    /// What was found when the triggers were looked at, and when.
    triggers: Option<(Triggers, Instant)>,
}

impl Reader {
    /// A reader that is not connected yet. A standby waits while another one has the table.
    pub(crate) fn new(open: OpenTable, is_standby: bool) -> Self {
        Self {
            open,
            table: None,
            is_standby,
            in_doubt: HashSet::new(),
            bookmark: None,
            is_proven: false,
            has_undeleted: false,
            has_warned: false,
            has_hidden: false,
            flaws: Flaws::default(),
            triggers: None,
        }
    }

    /// Connects, in place of the connection before.
    ///
    /// # Errors
    /// When the table cannot be opened, or its rows could not be deleted.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        self.table = None;
        self.is_proven = false;
        let mut table = (self.open)()?;
        // That the groups cannot be read is better known now than at the first update.
        table.private(BugId::new(1).as_slice())?;
        self.table = Some(table);
        Ok(())
    }

    /// Claims the table; returns whether that has succeeded before the stop was requested. `waits`
    /// is called with the reason while another reader has the table.
    ///
    /// # Errors
    /// [`super::Claimed`] when another reader has the table and this one does not wait; or when the
    /// database does not answer.
    pub(crate) fn claim(&mut self, stop: &Stop, waits: impl FnMut(&str)) -> Result<bool, Error> {
        let is_standby = self.is_standby;
        let is_claimed = claim::claim(self.table()?, is_standby, stop, waits)?;
        // A reader that has been at work waits until the database notices that its own connection
        // has gone.
        self.is_standby |= is_claimed;
        Ok(is_claimed)
    }

    /// Goes on behind the row that was noted with an earlier batch, unless a later one is known.
    pub(crate) fn resume(&mut self, note: Option<&str>) {
        if self.bookmark.is_none() {
            self.bookmark = note.and_then(|note| note.parse().ok());
        }
    }

    /// The open table.
    ///
    /// # Errors
    /// When [`Reader::connect`] has not succeeded yet.
    pub(crate) fn table(&mut self) -> Result<&mut dyn Table, Error> {
        match &mut self.table {
            Some(table) => Ok(table.as_mut()),
            None => Err("the table is not open".into()),
        }
    }

    /// The next batch. The same again as long as it is not deleted.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer.
    pub(crate) fn read(&mut self) -> Result<Batch, Error> {
        self.look_at_triggers()?;
        let mut rows = self.table()?.read()?;
        let is_full = rows.len() > BATCH_ROWS;
        let is_in_place = self.table()?.is_in_place();
        let has_old_times = self.table()?.has_old_times();
        let marked = self.take_marked(&mut rows, is_full)?;
        let gap = self.prove(marked.is_some());
        if is_full {
            leave_last_bug(&mut rows);
        } else {
            // What is not there any more was deleted, although nobody said so.
            let found: HashSet<&Row> = rows.iter().collect();
            self.in_doubt.retain(|row| found.contains(row));
            self.warn_of_undeleted();
        }
        let private = self.private(&rows)?;
        let mut updates = Vec::new();
        let mut last = None;
        for row in rows.iter().filter(|row| !self.in_doubt.contains(*row)) {
            match row.judge() {
                Ok(update) if private.contains(&update.bug) => {}
                Ok(update) => {
                    updates.push(update);
                    last = Some(row.clone());
                }
                Err(flaw) => self.flaws.dropped(row, flaw),
            }
        }
        keep_last_of_each(&mut updates, |update| {
            // Where an edit can leave rows with times from before, the last row of a bug counts.
            let seconds = (!has_old_times).then(|| update.when.unix_seconds());
            (update.bug, seconds)
        });
        let last = last.filter(|_| !is_in_place);
        if let Some(last) = &last {
            rows.retain(|row| row != last);
            rows.extend(marked);
        }
        Ok(Batch {
            rows,
            updates,
            bookmark: last.as_ref().map(Bookmark::of),
            gap,
            is_full,
        })
    }

    /// Deletes the rows of a batch that was handed over, all but the one that is the bookmark now.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer. The rows may be read again,
    /// but not their updates.
    pub(crate) fn delete(&mut self, batch: Batch) -> Result<(), Error> {
        let is_stuck = batch.is_full && batch.updates.is_empty();
        self.bookmark = batch.bookmark.or(self.bookmark.take());
        if batch.rows.is_empty() {
            return Ok(());
        }
        let result = match &mut self.table {
            Some(table) => table.delete(&batch.rows),
            None => Err("the table is not open".into()),
        };
        // What was in doubt of them is not any more with the next read.
        if matches!(result, Ok(deleted) if deleted >= batch.rows.len()) {
            return Ok(());
        }
        self.in_doubt.extend(batch.rows);
        match result? {
            0 if is_stuck => Err("the rows with the lowest ids cannot be deleted, and hide all others: is there row-level security, or a rule?".into()),
            _ => {
                self.has_undeleted = true;
                Ok(())
            }
        }
    }

    /// Deletes the row that was handed over last: for a reader that cannot note which one it is.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer.
    pub(crate) fn clear(&mut self) -> Result<(), Error> {
        if let Some(bookmark) = self.bookmark.take()
            && let Some(row) = self.table()?.find(bookmark.id())?
            && bookmark.marks(&row)
        {
            self.table()?.delete(&[row])?;
        }
        Ok(())
    }

    /// Without its triggers a table stays empty, as if nobody edited anything. What is found is
    /// logged once.
    fn look_at_triggers(&mut self) -> Result<(), Error> {
        let known = self.triggers.map(|(triggers, _)| triggers);
        if self
            .triggers
            .is_some_and(|(_, looked)| looked.elapsed() < LOOK_EVERY)
        {
            return Ok(());
        }
        let found = self.table()?.triggers()?;
        self.triggers = Some((found, Instant::now()));
        match found {
            _ if known == Some(found) => {}
            Triggers::Missing => warn!(
                "the triggers on the table bugs that record changes are missing or switched off: no edit is noticed (bugzfeed schema --check says more)"
            ),
            Triggers::Hidden => info!(
                "this account may not see the triggers on the table bugs: that they are missing or switched off would not be noticed"
            ),
            Triggers::Intact if known == Some(Triggers::Missing) => {
                info!("the triggers on the table bugs are there again");
            }
            Triggers::Intact => {}
        }
        Ok(())
    }

    /// Takes the bookmark's row from those that were read. In a table with more rows than a batch
    /// it may lie behind them.
    fn take_marked(&mut self, rows: &mut Vec<Row>, is_full: bool) -> Result<Option<Row>, Error> {
        let Some(bookmark) = self.bookmark.clone() else {
            return Ok(None);
        };
        if let Some(at) = rows.iter().position(|row| bookmark.marks(row)) {
            return Ok(Some(rows.remove(at)));
        }
        let found = match is_full {
            true => self.table()?.find(bookmark.id())?,
            false => None,
        };
        Ok(found.filter(|row| bookmark.marks(row)))
    }

    /// The bugs of these rows that are not to be shown.
    fn private(&mut self, rows: &[Row]) -> Result<HashSet<BugId>, Error> {
        let updates = rows.iter().filter_map(Row::update);
        let bugs: Vec<BugId> = updates.map(|update| update.bug).collect();
        let private = self.table()?.private(&bugs)?;
        if !private.is_empty() && !self.has_hidden {
            self.has_hidden = true;
            info!("updates of bugs that are in a group are left out (bugs=public)");
        }
        Ok(private)
    }

    /// Why changes may be missing, if they may.
    fn prove(&mut self, is_marked: bool) -> Option<&'static str> {
        let had_bookmark = self.bookmark.is_some();
        if had_bookmark && !is_marked {
            self.bookmark = None;
        }
        if is_marked || self.is_proven && !had_bookmark {
            self.is_proven = true;
            return None;
        }
        self.is_proven = true;
        Some(if had_bookmark {
            "the row that was read last is not in the table any more: it was read, restored or replaced by somebody else"
        } else {
            "it is not known whether somebody else has read the table"
        })
    }

    fn warn_of_undeleted(&mut self) {
        let has_undeleted = std::mem::take(&mut self.has_undeleted);
        if has_undeleted && !self.in_doubt.is_empty() && !self.has_warned {
            self.has_warned = true;
            warn!(
                "{} rows that were handed over are still in the table of notifications after their deletion; they are not handed over again (is there row-level security, or a rule?)",
                self.in_doubt.len()
            );
        }
    }
}

/// Takes the rows of the last row's bug from a full batch: further ones of the same edit may follow
/// in the next.
fn leave_last_bug(rows: &mut Vec<Row>) {
    if let Some(last) = rows.last().map(|row| row.bug_id)
        && rows.iter().any(|row| row.bug_id != last)
    {
        rows.retain(|row| row.bug_id != last);
    }
}

/// Of the updates with the same key, keeps the last one.
fn keep_last_of_each<K: Eq + Hash>(updates: &mut Vec<Update>, key: impl Fn(&Update) -> K) {
    let keyed = updates.iter().enumerate();
    let last: HashMap<K, usize> = keyed.map(|(at, update)| (key(update), at)).collect();
    let mut at = 0;
    updates.retain(|update| {
        at += 1;
        last.get(&key(update)) == Some(&(at - 1))
    });
}

#[cfg(test)]
mod tests;
