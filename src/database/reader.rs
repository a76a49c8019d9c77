//! Reads a table of notifications batch by batch: what is handed over, and that it is handed over
//! once. Knows no database.

use std::collections::{HashMap, HashSet};

use super::table::{BATCH_ROWS, Row, Table};
use crate::update::{BugId, Update};
use crate::work::Error;

/// What is read from a table at once, to be handed over and then deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// To be deleted after `updates` were handed over.
    pub rows: Vec<Row>,
    /// To be handed over, in order. Fewer than the rows where some were handed over before, or
    /// record nothing.
    pub updates: Vec<Update>,
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
    /// Rows that were handed over, but of which it is not known whether they were deleted.
    in_doubt: HashSet<Row>,
}

impl Reader {
    /// A reader that is not connected yet.
    pub(crate) fn new(open: OpenTable) -> Self {
        Self {
            open,
            table: None,
            in_doubt: HashSet::new(),
        }
    }

    /// Connects, in place of the connection before.
    ///
    /// # Errors
    /// When the table cannot be opened, or its rows could not be deleted.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        self.table = None;
        self.table = Some((self.open)()?);
        Ok(())
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
        let table = self.table()?;
        let (mut rows, folds) = (table.read()?, table.has_surplus_rows());
        let is_full = rows.len() >= BATCH_ROWS;
        if is_full && folds {
            leave_last_bug(&mut rows);
        }
        if !is_full {
            // What is not there any more was deleted, although nobody said so.
            let found: HashSet<&Row> = rows.iter().collect();
            self.in_doubt.retain(|row| found.contains(row));
        }
        let fresh = rows.iter().filter(|row| !self.in_doubt.contains(*row));
        let mut updates: Vec<Update> = fresh.filter_map(update_or_warn).collect();
        if folds {
            keep_last_of_each_bug(&mut updates);
        }
        Ok(Batch {
            rows,
            updates,
            is_full,
        })
    }

    /// Deletes the rows of a batch that was handed over.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer. The rows may be read again,
    /// but not their updates.
    pub(crate) fn delete(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        let result = match &mut self.table {
            Some(table) => table.delete(&batch.rows),
            None => Err("the table is not open".into()),
        };
        if result.is_ok() {
            for row in &batch.rows {
                self.in_doubt.remove(row);
            }
        } else {
            self.in_doubt.extend(batch.rows);
        }
        result
    }
}

/// A row that records nothing is logged, since it goes with the others.
fn update_or_warn(row: &Row) -> Option<Update> {
    let update = row.update();
    if update.is_none() {
        let Row {
            id,
            bug_id,
            delta_ts,
            ..
        } = row;
        log::warn!(
            "row {id} of the table is no notification (bug_id {bug_id}, delta_ts {delta_ts:?}); it is dropped"
        );
    }
    update
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
        has_surplus_rows: bool,
    }

    #[derive(Clone, Copy)]
    enum Failure {
        Refused,
        AnswerLost,
    }

    impl Table for Fake {
        fn read(&mut self) -> Result<Vec<Row>, Error> {
            Ok(self
                .0
                .lock()
                .unwrap()
                .rows
                .iter()
                .take(BATCH_ROWS)
                .cloned()
                .collect())
        }

        fn delete(&mut self, rows: &[Row]) -> Result<(), Error> {
            let mut state = self.0.lock().unwrap();
            match state.failure {
                Some(Failure::Refused) => return Err("refused".into()),
                Some(Failure::AnswerLost) | None => state.rows.retain(|row| !rows.contains(row)),
            }
            state
                .failure
                .map_or(Ok(()), |_| Err("the answer is lost".into()))
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

        fn has_surplus_rows(&self) -> bool {
            self.0.lock().unwrap().has_surplus_rows
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

        fn reader(&self) -> Reader {
            let fake = self.clone();
            let mut reader = Reader::new(Box::new(move || Ok(Box::new(fake.clone()))));
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

    #[test]
    fn what_was_handed_over_but_could_not_be_deleted_does_not_come_again() {
        for failure in [Failure::Refused, Failure::AnswerLost] {
            let fake = Fake::default();
            let mut reader = fake.reader();
            fake.write(1, 7, 100);
            fake.fail(Some(failure));
            assert_eq!(bugs(&mut reader), [7]);
            fake.write(2, 8, 100);
            assert_eq!(bugs(&mut reader), [8]);
            fake.fail(None);
            assert_eq!(bugs(&mut reader), [0; 0]);
            assert_eq!(
                (fake.0.lock().unwrap().rows.len(), reader.in_doubt.len()),
                (0, 0)
            );
            // The id is used again, as after the crash of a database that had lost its counter.
            fake.write(1, 7, 101);
            assert_eq!(bugs(&mut reader), [7]);
        }
    }

    #[test]
    fn the_last_row_of_each_bug_counts_where_one_edit_can_leave_several() {
        for (has_surplus_rows, expected) in [(true, vec![8, 7]), (false, vec![7, 8, 7])] {
            let fake = Fake::default();
            fake.0.lock().unwrap().has_surplus_rows = has_surplus_rows;
            for (id, bug, second) in [(1, 7, 90), (2, 8, 100), (3, 7, 100)] {
                fake.write(id, bug, second);
            }
            assert_eq!(bugs(&mut fake.reader()), expected);
            assert!(fake.0.lock().unwrap().rows.is_empty());
        }
    }

    #[test]
    fn a_full_batch_leaves_the_last_bug_for_the_next_where_one_edit_can_leave_several() {
        let fake = Fake::default();
        fake.0.lock().unwrap().has_surplus_rows = true;
        let mut reader = fake.reader();
        for bug in 1..=251 {
            fake.write(2 * bug - 1, bug, 90);
            if bug != 3 {
                fake.write(2 * bug, bug, 100);
            }
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
        assert!(fake.0.lock().unwrap().rows.is_empty());
    }
}
