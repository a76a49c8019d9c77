//! A reader and a table that fails in all the ways that a database can.

use std::sync::{Arc, Mutex};

use super::*;
use crate::update::{BugId, When};

/// A table in memory, whose deletions can fail, before they are done or after.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<FakeState>>);

#[derive(Default)]
struct FakeState {
    rows: Vec<Row>,
    failure: Option<Failure>,
    is_in_place: bool,
    private: HashSet<BugId>,
    /// Whether the bugs' groups cannot be read.
    hides_groups: bool,
    /// How often another reader is still found to have the table.
    claimed_for: u32,
    /// How often the triggers were looked at.
    looks: u32,
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

    fn has_old_times(&self) -> bool {
        true
    }

    fn private(&mut self, bugs: &[BugId]) -> Result<HashSet<BugId>, Error> {
        let state = self.0.lock().unwrap();
        if state.hides_groups {
            return Err("the groups are hidden".into());
        }
        let private = &state.private;
        Ok(bugs
            .iter()
            .copied()
            .filter(|bug| private.contains(bug))
            .collect())
    }

    fn now(&mut self) -> Result<i64, Error> {
        Ok(0)
    }

    fn claim(&mut self) -> Result<bool, Error> {
        let left = &mut self.0.lock().unwrap().claimed_for;
        let is_free = *left == 0;
        *left = left.saturating_sub(1);
        Ok(is_free)
    }

    fn holder(&mut self) -> Option<String> {
        Some("another".to_owned())
    }

    fn triggers(&mut self) -> Result<Triggers, Error> {
        self.0.lock().unwrap().looks += 1;
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
    // They have just been handed over, and may go with the next ones.
    let batch = reader.read().unwrap();
    reader.delete(batch).unwrap();
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
    // What was proven once stays so without a bookmark.
    next.clear().unwrap();
    assert!(!finds_gap(&mut next));
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
        // Nothing is there in its place.
        assert!(finds_gap(&mut reader));
        assert!(!finds_gap(&mut reader));
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
    reader.connect().unwrap();
    assert!(
        finds_gap(&mut reader),
        "others may have been there meanwhile"
    );
}

#[test]
fn a_batch_is_full_when_more_rows_wait() {
    let fake = Fake::default();
    let mut reader = fake.reader();
    for id in 1..=BATCH_ROWS as i64 {
        fake.write(id, id, 100);
    }
    let batch = reader.read().unwrap();
    assert_eq!((batch.is_full, batch.updates.len()), (false, BATCH_ROWS));
    fake.write(1_000, 1_000, 100);
    assert!(reader.read().unwrap().is_full);
}

#[test]
fn a_table_whose_groups_cannot_be_read_is_not_opened_and_nothing_is_left_of_the_one_before() {
    let fake = Fake::default();
    let mut reader = fake.reader();
    fake.0.lock().unwrap().hides_groups = true;
    let why = reader.connect().unwrap_err().to_string();
    assert_eq!(why, "the groups are hidden");
    fake.0.lock().unwrap().hides_groups = false;
    let why = reader.read().unwrap_err().to_string();
    assert_eq!(why, "the table is not open");
}

#[test]
fn a_reader_that_starts_gives_up_while_another_has_the_table_and_one_that_was_at_work_waits() {
    let (fake, stop) = (Fake::default(), Stop::default());
    let mut reader = fake.reader();
    let claimed_for = |times| fake.0.lock().unwrap().claimed_for = times;
    claimed_for(u32::MAX);
    let why = reader.claim(&stop, |_| panic!("it waits")).unwrap_err();
    assert!(why.to_string().contains("another server or relay"), "{why}");
    assert!(why.to_string().contains("(another)"), "{why}");
    // The database has not noticed yet that the one before has gone.
    claimed_for(1);
    assert!(reader.claim(&stop, |_| panic!("it waits")).unwrap());
    claimed_for(u32::MAX);
    let mut told = 0;
    let is_claimed = reader.claim(&stop, |why| {
        assert!(why.contains("(another)"), "{why}");
        told += 1;
        claimed_for(0);
    });
    assert!(is_claimed.unwrap());
    assert_eq!(told, 1);
    claimed_for(u32::MAX);
    stop.request();
    assert!(!reader.claim(&stop, |_| panic!("it waits")).unwrap());
}

#[test]
fn triggers_are_looked_at_at_the_start_and_then_now_and_then() {
    let fake = Fake::default();
    let mut reader = fake.reader();
    (0..3).for_each(|_| _ = reader.read().unwrap());
    assert_eq!(fake.0.lock().unwrap().looks, 1);
}

#[test]
fn of_an_sqlite_file_each_edit_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.db");
    let database: crate::database::Database =
        format!("sqlite:{}?tz=UTC", file.display()).parse().unwrap();
    let mut reader = Reader::new(Box::new(move || database.table()), false);
    reader.connect().unwrap();
    let insert = "INSERT INTO push_notify (bug_id, delta_ts) VALUES
        (7, '2014-04-03 21:13:45'), (7, '2014-04-03 21:13:46'), (7, '2014-04-03 21:13:46')";
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer.execute(insert, []).unwrap();
    let updates = reader.read().unwrap().updates;
    let times: Vec<_> = updates
        .iter()
        .map(|update| update.when.to_string())
        .collect();
    assert_eq!(times, ["2014-04-03T21:13:45", "2014-04-03T21:13:46"]);
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

#[test]
fn where_no_row_has_an_old_time_rows_of_the_same_bug_and_time_are_one_update() {
    let update = |bug, seconds| Update {
        bug: BugId::new(bug).unwrap(),
        when: When::from_unix_seconds(seconds),
    };
    let mut updates = vec![update(7, 1), update(7, 2), update(8, 2), update(7, 2)];
    keep_last_of_each(&mut updates, |update| {
        (update.bug, update.when.unix_seconds())
    });
    assert_eq!(updates, [update(7, 1), update(8, 2), update(7, 2)]);
}

#[test]
fn updates_of_private_bugs_are_left_out_and_their_rows_deleted() {
    let fake = Fake::default();
    fake.0.lock().unwrap().private.extend(BugId::new(2));
    let mut reader = fake.reader();
    for (id, bug) in [(1, 1), (2, 2), (3, 3), (4, 2)] {
        fake.write(id, bug, 1_000);
    }
    assert_eq!(bugs(&mut reader), [1, 3]);
    // The last row that was handed over marks the place, and goes with the next batch.
    assert_eq!(fake.ids(), [3]);
    fake.write(5, 2, 1_001);
    assert_eq!(bugs(&mut reader), [0_u32; 0]);
    assert_eq!(fake.ids(), [3]);
}
