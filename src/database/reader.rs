//! Reads a table of notifications batch by batch: what is handed over, and that it is handed over
//! once. Knows no database.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use log::{info, warn};

use super::bookmark::Bookmark;
use super::claim;
use super::flaws::Flaws;
use super::table::{BATCH_ROWS, Row, Table, Triggers};
use crate::update::{BugId, Update};
use crate::work::{Error, Stop};

/// How often the triggers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What is read from a table at once, to be handed over and then deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
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
pub type OpenTable = Box<dyn FnMut() -> Result<Box<dyn Table>, Error> + Send>;

/// Reads a table over as many connections as it takes. Each update comes once, even when the
/// database fails between reading and deleting; only a crash of this program can repeat one.
pub struct Reader {
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
    flaws: Flaws,
    /// What was found when the triggers were looked at, and when.
    triggers: Option<(Triggers, Instant)>,
}

impl Reader {
    /// A reader that is not connected yet. A standby waits while another one has the table.
    pub fn new(open: OpenTable, is_standby: bool) -> Self {
        Self {
            open,
            table: None,
            is_standby,
            in_doubt: HashSet::new(),
            bookmark: None,
            is_proven: false,
            has_undeleted: false,
            has_warned: false,
            flaws: Flaws::default(),
            triggers: None,
        }
    }

    /// Connects, in place of the connection before.
    ///
    /// # Errors
    /// When the table cannot be opened, or its rows could not be deleted.
    pub fn connect(&mut self) -> Result<(), Error> {
        self.table = None;
        self.is_proven = false;
        self.table = Some((self.open)()?);
        Ok(())
    }

    /// Claims the table; returns whether that has succeeded before the stop was requested. `waits`
    /// is called with the reason while another reader has the table.
    ///
    /// # Errors
    /// [`super::Claimed`] when another reader has the table and this one does not wait; or when the
    /// database does not answer.
    pub fn claim(&mut self, stop: &Stop, waits: impl FnMut(&str)) -> Result<bool, Error> {
        let is_standby = self.is_standby;
        let is_claimed = claim::claim(self.table()?, is_standby, stop, waits)?;
        // A reader that has been at work waits until the database notices that its own connection
        // has gone.
        self.is_standby |= is_claimed;
        Ok(is_claimed)
    }

    /// Goes on behind the row that was noted with an earlier batch, unless a later one is known.
    pub fn resume(&mut self, note: Option<&str>) {
        if self.bookmark.is_none() {
            self.bookmark = note.and_then(|note| note.parse().ok());
        }
    }

    /// The open table.
    ///
    /// # Errors
    /// When [`Reader::connect`] has not succeeded yet.
    pub fn table(&mut self) -> Result<&mut dyn Table, Error> {
        match &mut self.table {
            Some(table) => Ok(table.as_mut()),
            None => Err("the table is not open".into()),
        }
    }

    /// The next batch. The same again as long as it is not deleted.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer.
    pub fn read(&mut self) -> Result<Batch, Error> {
        self.look_at_triggers()?;
        let mut rows = self.table()?.read()?;
        let is_full = rows.len() > BATCH_ROWS;
        let is_in_place = self.table()?.is_in_place();
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
        let mut updates = Vec::new();
        let mut last = None;
        for row in rows.iter().filter(|row| !self.in_doubt.contains(*row)) {
            match row.judge() {
                Ok(update) => {
                    updates.push(update);
                    last = Some(row.clone());
                }
                Err(flaw) => self.flaws.dropped(row, flaw),
            }
        }
        keep_last_of_each_bug(&mut updates);
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
    pub fn delete(&mut self, batch: Batch) -> Result<(), Error> {
        let is_stuck = batch.is_full && batch.updates.is_empty();
        self.bookmark = batch.bookmark.or(self.bookmark.take());
        if batch.rows.is_empty() {
            return Ok(());
        }
        let result = match &mut self.table {
            Some(table) => table.delete(&batch.rows),
            None => Err("the table is not open".into()),
        };
        if matches!(result, Ok(deleted) if deleted >= batch.rows.len()) {
            for row in &batch.rows {
                self.in_doubt.remove(row);
            }
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
    pub fn clear(&mut self) -> Result<(), Error> {
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

fn keep_last_of_each_bug(updates: &mut Vec<Update>) {
    let last: HashMap<BugId, usize> = updates
        .iter()
        .enumerate()
        .map(|(at, update)| (update.bug, at))
        .collect();
    let mut at = 0;
    updates.retain(|update| {
        at += 1;
        last.get(&update.bug) == Some(&(at - 1))
    });
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::update::When;

    /// A table in memory, whose deletions can fail, before they are done or after.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<FakeState>>);

    #[derive(Default)]
    struct FakeState {
        rows: Vec<Row>,
        failure: Option<Failure>,
        is_in_place: bool,
    }

    #[derive(Clone, Copy)]
    enum Failure {
        Refused,
        AnswerLost,
        /// Nothing is deleted, and nobody says so.
        Ignored,
    }

    impl Table for Fake {
        fn read(&mut self) -> Result<Vec<Row>, Error> {
            Ok(self
                .0
                .lock()
                .unwrap()
                .rows
                .iter()
                .take(BATCH_ROWS + 1)
                .cloned()
                .collect())
        }

        fn delete(&mut self, rows: &[Row]) -> Result<usize, Error> {
            let mut state = self.0.lock().unwrap();
            let before = state.rows.len();
            match state.failure {
                Some(Failure::Refused) => return Err("refused".into()),
                Some(Failure::Ignored) => return Ok(0),
                Some(Failure::AnswerLost) | None => state.rows.retain(|row| !rows.contains(row)),
            }
            let deleted = before - state.rows.len();
            state
                .failure
                .map_or(Ok(deleted), |_| Err("the answer is lost".into()))
        }

        fn find(&mut self, id: i64) -> Result<Option<Row>, Error> {
            let state = self.0.lock().unwrap();
            Ok(state.rows.iter().find(|row| row.id == id).cloned())
        }

        fn insert(&mut self, _: &[BugId]) -> Result<(), Error> {
            Ok(())
        }

        fn now(&mut self) -> Result<i64, Error> {
            Ok(0)
        }

        fn claim(&mut self) -> Result<bool, Error> {
            Ok(true)
        }

        fn holder(&mut self) -> Option<String> {
            None
        }

        fn triggers(&mut self) -> Result<Triggers, Error> {
            Ok(Triggers::Intact)
        }

        fn is_in_place(&self) -> bool {
            self.0.lock().unwrap().is_in_place
        }
    }

    impl Fake {
        fn write(&self, id: i64, bug_id: i64, second: i64) {
            let delta_ts = When::from_unix_seconds(second).to_string();
            self.0.lock().unwrap().rows.push(Row {
                id,
                bug_id,
                utc: Some(delta_ts.clone()),
                delta_ts,
            });
        }

        fn fail(&self, failure: Option<Failure>) {
            self.0.lock().unwrap().failure = failure;
        }

        fn ids(&self) -> Vec<i64> {
            let state = self.0.lock().unwrap();
            state.rows.iter().map(|row| row.id).collect()
        }

        fn clear(&self) {
            self.0.lock().unwrap().rows.clear();
        }

        fn reader(&self) -> Reader {
            let fake = self.clone();
            let mut reader = Reader::new(Box::new(move || Ok(Box::new(fake.clone()))), false);
            reader.connect().unwrap();
            reader
        }
    }

    /// Reads a batch, hands its updates over, and tries to delete its rows.
    fn bugs(reader: &mut Reader) -> Vec<u32> {
        let batch = reader.read().unwrap();
        let bugs = batch
            .updates
            .iter()
            .map(|update| update.bug.get())
            .collect();
        if reader.delete(batch).is_err() {
            reader.connect().unwrap();
        }
        bugs
    }

    /// Whether a gap was found before a batch.
    fn finds_gap(reader: &mut Reader) -> bool {
        let batch = reader.read().unwrap();
        let gap = batch.gap.is_some();
        reader.delete(batch).unwrap();
        gap
    }

    #[test]
    fn what_was_handed_over_but_could_not_be_deleted_does_not_come_again() {
        for failure in [Failure::Refused, Failure::AnswerLost, Failure::Ignored] {
            let fake = Fake::default();
            let mut reader = fake.reader();
            fake.write(1, 7, 100);
            fake.write(2, 8, 100);
            fake.fail(Some(failure));
            assert_eq!(bugs(&mut reader), [7, 8]);
            fake.write(3, 9, 100);
            assert_eq!(bugs(&mut reader), [9]);
            assert_eq!(bugs(&mut reader), [0; 0]);
            fake.fail(None);
            assert_eq!(bugs(&mut reader), [0; 0]);
            assert_eq!(bugs(&mut reader), [0; 0]);
            assert_eq!((fake.ids(), reader.in_doubt.len()), (vec![3], 0));
            // The id is used again, as after the crash of a database that had lost its counter.
            fake.write(1, 7, 101);
            assert_eq!(bugs(&mut reader), [7]);
        }
    }

    #[test]
    fn rows_that_cannot_be_deleted_and_hide_all_others_are_a_failure() {
        let fake = Fake::default();
        let mut reader = fake.reader();
        for id in 1..=600 {
            fake.write(id, id, 100);
        }
        fake.fail(Some(Failure::Ignored));
        bugs(&mut reader);
        let batch = reader.read().unwrap();
        assert_eq!(batch.updates, []);
        let why = reader.delete(batch).unwrap_err().to_string();
        assert!(why.contains("cannot be deleted"), "{why}");
    }

    #[test]
    fn the_row_that_was_handed_over_last_stays_until_the_next_ones_go() {
        let fake = Fake::default();
        let mut reader = fake.reader();
        assert!(finds_gap(&mut reader));
        fake.write(1, 7, 100);
        fake.write(2, 8, 100);
        assert_eq!(bugs(&mut reader), [7, 8]);
        assert_eq!((bugs(&mut reader), fake.ids()), (vec![], vec![2]));
        // It was committed late.
        fake.write(1, 9, 99);
        assert_eq!((bugs(&mut reader), fake.ids()), (vec![9], vec![1]));
        reader.clear().unwrap();
        assert_eq!(fake.ids(), [0; 0]);
    }

    #[test]
    fn a_table_in_which_the_bookmark_is_found_again_was_read_by_nobody_else() {
        let fake = Fake::default();
        let mut reader = fake.reader();
        fake.write(1, 7, 100);
        let batch = reader.read().unwrap();
        assert!(batch.gap.is_some());
        let note = batch.bookmark.as_ref().unwrap().to_string();
        reader.delete(batch).unwrap();
        reader.connect().unwrap();
        assert!(!finds_gap(&mut reader));
        // The next process, which finds more than a batch.
        for id in 2..=1_200 {
            fake.write(id - 3_000, id, 100);
        }
        fake.0.lock().unwrap().rows.sort_by_key(|row| row.id);
        let mut next = fake.reader();
        next.resume(Some(&note));
        assert!(!finds_gap(&mut next));
        assert!(!fake.ids().contains(&1));
    }

    #[test]
    fn a_bookmark_that_is_missing_or_another_row_is_a_gap_once() {
        let fake = Fake::default();
        for backlog in [0, 600] {
            let mut reader = fake.reader();
            fake.write(1, 7, 100);
            bugs(&mut reader);
            fake.clear();
            fake.write(1, 7, 101);
            for id in 2..backlog {
                fake.write(id, id, 100);
            }
            assert!(finds_gap(&mut reader));
            assert!(!finds_gap(&mut reader));
            fake.clear();
        }
    }

    #[test]
    fn the_originals_table_is_emptied_and_proves_nothing() {
        let fake = Fake::default();
        fake.0.lock().unwrap().is_in_place = true;
        let mut reader = fake.reader();
        fake.write(1, 7, 100);
        assert!(finds_gap(&mut reader));
        assert_eq!(fake.ids(), [0; 0]);
        assert!(!finds_gap(&mut reader));
        assert!(finds_gap(&mut fake.reader()));
    }

    #[test]
    fn a_row_that_records_nothing_goes_and_is_no_bookmark() {
        let fake = Fake::default();
        let mut reader = fake.reader();
        fake.write(1, 7, 100);
        fake.write(2, 0, 100);
        assert_eq!((bugs(&mut reader), fake.ids()), (vec![7], vec![1]));
    }

    #[test]
    fn the_last_row_of_each_bug_counts() {
        let fake = Fake::default();
        for (id, bug, second) in [(1, 7, 90), (2, 8, 100), (3, 7, 100)] {
            fake.write(id, bug, second);
        }
        assert_eq!(bugs(&mut fake.reader()), [8, 7]);
    }

    #[test]
    fn a_full_batch_leaves_the_last_bug_for_the_next() {
        let fake = Fake::default();
        let mut reader = fake.reader();
        for bug in 1..=251 {
            fake.write(2 * bug - 1, bug, 90);
            fake.write(2 * bug, bug, 100);
        }
        // Bug 251 has its first row at the end of the first batch.
        assert_eq!(bugs(&mut reader), (1..=250).collect::<Vec<u32>>());
        assert_eq!(
            reader.read().unwrap().updates,
            [Update {
                bug: BugId::new(251).unwrap(),
                when: When::from_unix_seconds(100)
            }]
        );
        assert_eq!(bugs(&mut reader), [251]);
        // A batch of one bug alone must not stay forever.
        for id in 1_000..1_600 {
            fake.write(id, 7, 200);
        }
        assert_eq!((bugs(&mut reader), bugs(&mut reader)), (vec![7], vec![7]));
        assert_eq!(fake.ids(), [1_599]);
    }
}
