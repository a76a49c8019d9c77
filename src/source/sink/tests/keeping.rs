//! What is kept, and what the loop is told when it cannot be.

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// A sink that keeps its history in a folder, and somebody who can break it.
struct Keeping {
    test: Test,
    folder: TempDir,
}

impl Keeping {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, kept) = open(&folder);
        let test = Test::keeping(Some(Sees::All), Some(file), &kept);
        Self { test, folder }
    }

    fn execute(&self, sql: &str) {
        let database = Connection::open(self.folder.path().join("h.db")).unwrap();
        database.execute_batch(sql).unwrap();
    }

    /// Makes each write of an update fail.
    fn break_it(&self) {
        self.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON history BEGIN SELECT RAISE(ABORT, ''); END",
        );
    }

    fn mend_it(&self) {
        self.execute("DROP TRIGGER broken");
    }

    /// Whether the history can be written, as often as the loop is told.
    fn told(&self) -> Vec<bool> {
        let notices = std::iter::from_fn(|| self.test.inbox.take());
        let told = notices.filter_map(|notice| match notice {
            Notice::Keeping { is_keeping, .. } => Some(is_keeping),
            _ => None,
        });
        told.collect()
    }

    fn deliver(&self, bug: u32) {
        self.test.sink.deliver(vec![update(bug, now())]).unwrap();
    }

    fn restart(self) -> Kept {
        drop(self.test);
        open(&self.folder).1
    }
}

fn open(folder: &TempDir) -> (HistoryFile, Kept) {
    HistoryFile::open(&folder.path().join("h.db"), "/", "test", 10).unwrap()
}

#[test]
fn that_the_history_cannot_be_written_or_can_again_is_told_once_and_updates_go_out() {
    let keeping = Keeping::new();
    keeping.deliver(1);
    assert_eq!(
        (keeping.told(), keeping.test.sink.is_keeping()),
        (vec![], true)
    );
    keeping.break_it();
    keeping.deliver(2);
    keeping.deliver(3);
    assert!(!keeping.test.sink.is_keeping());
    assert_eq!(keeping.told(), [false]);
    keeping.deliver(4);
    assert_eq!(keeping.test.sent(), "4");
    keeping.mend_it();
    keeping.deliver(5);
    keeping.deliver(6);
    assert!(keeping.test.sink.is_keeping());
    assert_eq!(keeping.told(), [true]);
    let kept = keeping.restart();
    let bugs = kept.updates.iter().map(|(_, update)| update.bug.get());
    assert!(bugs.eq([1, 5, 6]), "{kept:?}");
    assert_eq!(kept.floor, None);
}

#[test]
fn that_what_was_before_or_a_promise_cannot_be_kept_is_told_as_well() {
    let keeping = Keeping::new();
    keeping.break_it();
    keeping.test.answer(found(now(), &[(1, now() - 1_000)]));
    assert_eq!(keeping.told(), [false]);
    let keeping = Keeping::new();
    keeping.execute("DROP TABLE history_feeds");
    keeping.test.sink.begins(500).unwrap();
    assert_eq!(keeping.told(), [false]);
}

#[test]
fn what_could_not_be_kept_is_asked_for_once_more_after_the_next_start() {
    for is_broken in [false, true] {
        let keeping = Keeping::new();
        let time = now();
        keeping.test.answer(found(time, &[]));
        if is_broken {
            keeping.break_it();
            keeping.deliver(1);
            keeping.mend_it();
        }
        pass(50);
        keeping.test.answer(found(now(), &[]));
        let (_, since) = keeping.test.sink.shared.question();
        assert_eq!(since, Since::Time(now() - 4_200));
        let noted = keeping.restart().notes[state::ASKED_UNTIL].parse();
        let expected = if is_broken { time } else { now() };
        assert_eq!(noted, Ok(expected), "{is_broken}");
    }
}

#[test]
fn what_is_noted_and_what_is_promised_are_there_after_a_restart() {
    let mut keeping = Keeping::new();
    assert!(keeping.test.sink.keeps_notes());
    let note = [("bookmark", "7".to_owned())];
    let sink = &mut keeping.test.sink;
    assert!(!sink.has_history());
    sink.begins(500).unwrap();
    assert!(sink.has_history());
    sink.deliver_with_notes(Vec::new(), &note).unwrap();
    assert_eq!(keeping.test.sent(), "");
    let kept = keeping.restart();
    assert_eq!(kept.floor, Some(500));
    let test = Test::new(None, &kept);
    assert_eq!(test.sink.note("bookmark").as_deref(), Some("7"));
    assert!(test.sink.has_history() && !test.sink.keeps_notes());
}

#[test]
fn a_time_that_cannot_be_believed_ends_no_gap() {
    let mut test = Test::new(None, &Kept::default());
    test.sink.connected().unwrap();
    assert_eq!(test.sent(), "nothing");
    let day = 86_400;
    test.sink.deliver(vec![update(1, now() + day)]).unwrap();
    let end = now() + day;
    pass(600);
    let later = now() + day + 1;
    test.sink.deliver(vec![update(2, later)]).unwrap();
    assert_eq!(test.sent(), "1, 2");
    test.sink.deliver(vec![update(3, now())]).unwrap();
    assert_eq!(test.sent(), format!("3, after {end}"));
}
