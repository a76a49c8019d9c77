//! What the backlog keeps, numbers and survives.

use std::fs;

use super::*;
use crate::update::When;

fn update(bug: u32) -> Update {
    Update {
        bug: BugId::new(bug).unwrap(),
        when: When::from_unix_seconds(0),
    }
}

fn numbers(backlog: &Backlog, destination: Key) -> Vec<(String, u64)> {
    let waiting = backlog.first(destination, 0, 100).unwrap();
    waiting
        .into_iter()
        .map(|waiting| (waiting.number.stream, waiting.number.number))
        .collect()
}

fn bugs(backlog: &Backlog, destination: Key, after: i64) -> Vec<u32> {
    backlog
        .first(destination, after, 100)
        .unwrap()
        .iter()
        .map(|waiting| waiting.update.bug.get())
        .collect()
}

fn enroll<const N: usize>(backlog: &mut Backlog, names: [&str; N]) -> [Key; N] {
    backlog
        .enroll(&names.map(str::to_owned))
        .unwrap()
        .try_into()
        .unwrap()
}

#[test]
fn each_destination_has_its_own_changes_in_order_and_loses_only_those_that_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    backlog
        .append(&[update(3), update(1)], &[one, two], 100, None)
        .unwrap();
    backlog.append(&[update(3)], &[one], 200, None).unwrap();
    // A killed process closes nothing.
    std::mem::forget(backlog);
    let mut backlog = Backlog::open(&file, Commit::Fast).unwrap();
    assert_eq!(enroll(&mut backlog, ["two", "one"]), [two, one]);
    assert_eq!(
        (bugs(&backlog, one, 0), bugs(&backlog, two, 0)),
        (vec![3, 1, 3], vec![3, 1])
    );
    let second = backlog.first(one, 0, 2).unwrap()[1].id;
    assert_eq!(bugs(&backlog, one, second), [3]);
    backlog.delete(one, second).unwrap();
    assert_eq!(
        (bugs(&backlog, one, 0), bugs(&backlog, two, 0)),
        (vec![3], vec![3, 1])
    );
    assert_eq!(
        (backlog.depth(one).unwrap(), backlog.depth(two).unwrap()),
        (1, 2)
    );
}

#[test]
fn each_destination_numbers_its_changes_and_says_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    let at = |seconds| Update {
        when: When::from_unix_seconds(seconds),
        ..update(1)
    };
    backlog
        .append(&[at(50), at(40), at(86_501)], &[one], 100, None)
        .unwrap();
    std::mem::forget(backlog);
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    backlog.append(&[at(60)], &[one, two], 100, None).unwrap();
    let waiting = backlog.first(one, 0, 9).unwrap();
    let numbers: Vec<_> = waiting
        .iter()
        .map(|entry| (entry.number.number, entry.number.newest))
        .collect();
    // A time of more than a day ahead is not believed.
    assert_eq!(
        numbers,
        [(1, Some(50)), (2, Some(50)), (3, Some(50)), (4, Some(60))]
    );
    assert_ne!(
        waiting[0].number.stream,
        backlog.first(two, 0, 1).unwrap()[0].number.stream
    );
    let said = |backlog: &Backlog, after| {
        let said = backlog.announcement(one, after).unwrap();
        (said.sent.number, said.given)
    };
    assert_eq!(said(&backlog, 0), (0, 4));
    assert_eq!(said(&backlog, waiting[1].id), (2, 4));
    backlog.delete(one, waiting[3].id).unwrap();
    assert_eq!(said(&backlog, 0), (4, 4));
    backlog.append(&[at(86_500)], &[two], 100, None).unwrap();
    let newest = backlog.first(two, 0, 9).unwrap()[1].number.newest;
    assert_eq!(newest, Some(86_500));
}

#[test]
fn a_number_that_is_skipped_carries_the_databases_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    backlog.append(&[update(1)], &[one], 0, None).unwrap();
    backlog.skip_numbers(&[one, two], 700).unwrap();
    backlog.append(&[update(2)], &[one, two], 0, None).unwrap();
    let last = |of| backlog.first(of, 0, 9).unwrap().pop().unwrap().number;
    assert_eq!((last(one).number, last(one).newest), (3, Some(700)));
    assert_eq!(last(two).number, 1, "a stream that begins");
}

#[test]
fn the_latest_10_000_refused_changes_of_a_destination_are_kept_for_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Fast).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    backlog.append(&[update(1)], &[one, two], 0, None).unwrap();
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO push_refused (destination, bug_id, delta_ts, change_id, refused_at, reason)
         SELECT 1, i, '', '', 0, '' FROM n";
    backlog.database.execute(many, []).unwrap();
    for of in [two, one] {
        let first = backlog.first(of, 0, 1).unwrap().remove(0);
        backlog.refuse(of, &first, "never", 50).unwrap();
    }
    let kept = backlog.refused().unwrap();
    assert_eq!(kept.len(), 10_001);
    assert_eq!((kept[0].bug, kept[10_000].bug), (2, 1));
    // A new one may get its key.
    assert_eq!(backlog.forget("two", true).unwrap(), Some(0));
    enroll(&mut backlog, ["one", "three"]);
    let kept = backlog.refused().unwrap();
    assert!(kept.iter().all(|it| it.destination == "one"));
}

#[test]
fn the_row_that_was_taken_last_is_noted_with_what_it_brought() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    let mut backlog = Backlog::open(&file, Commit::Fast).unwrap();
    assert_eq!(backlog.bookmark().unwrap(), None);
    for (bookmark, noted) in [(Some("7"), "7"), (None, "7"), (Some("8"), "8")] {
        backlog.append(&[], &[], 0, bookmark).unwrap();
        let reopened = Backlog::open(&file, Commit::Fast).unwrap();
        assert_eq!(reopened.bookmark().unwrap().as_deref(), Some(noted));
    }
}

#[test]
fn streams_that_begin_anew_number_what_waits_from_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Fast).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    backlog
        .append(&[update(1), update(2)], &[one, two], 0, None)
        .unwrap();
    let first = backlog.first(one, 0, 1).unwrap()[0].id;
    backlog.delete(one, first).unwrap();
    let before = [one, two].map(|of| numbers(&backlog, of));
    backlog.begin_streams().unwrap();
    let after = [one, two].map(|of| numbers(&backlog, of));
    assert_ne!(before[0][0].0, after[0][0].0);
    assert_ne!(before[1][0].0, after[1][0].0);
    let counted = after.map(|of| of.iter().map(|(_, number)| *number).collect::<Vec<_>>());
    assert_eq!(counted, [vec![1], vec![1, 2]]);
}

#[test]
fn a_destination_gets_another_name_unless_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Fast).unwrap();
    enroll(&mut backlog, ["old", "other", "taken"]);
    let name = |old: &str| match old {
        "old" => Some("new".to_owned()),
        "other" => Some("taken".to_owned()),
        _ => None,
    };
    backlog.rename(name).unwrap();
    let names: Vec<_> = backlog
        .status()
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["new", "other", "taken"]);
}

#[test]
fn a_file_that_is_no_database_is_moved_aside_only_where_a_relay_has_claimed_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog.db");
    fs::write(&file, "x".repeat(4_096)).unwrap();
    examine(&file).unwrap_err();
    assert!(file.exists());
    let claimed = claim(&file).unwrap().unwrap();
    assert!(claim(&file).unwrap().is_none());
    claimed.sign().unwrap();
    examine(&file).unwrap();
    assert!(!file.exists());
}

#[test]
fn what_was_rescued_replaces_no_file_that_cannot_be_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog.db");
    let backlog = Backlog::open(&file, Commit::Fast).unwrap();
    backlog.rescue().unwrap();
    drop(backlog);
    fs::create_dir(folder.path().join("backlog.db.replaced")).unwrap();
    put_back(&file).unwrap_err();
    assert!(folder.path().join("backlog.db.rescued").exists());
}

#[test]
fn a_destination_that_was_not_in_use_begins_a_new_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
    let [one] = enroll(&mut backlog, ["one"]);
    backlog
        .append(&[update(1), update(2)], &[one], 0, None)
        .unwrap();
    let before = numbers(&backlog, one);
    enroll(&mut backlog, ["one"]);
    assert_eq!(numbers(&backlog, one), before);
    enroll(&mut backlog, ["two"]);
    enroll(&mut backlog, ["one"]);
    let after = numbers(&backlog, one);
    assert_ne!(after[0].0, before[0].0);
    assert_eq!((after[0].1, after[1].1), (1, 2));
}

#[test]
fn a_file_of_the_last_version_goes_on_and_one_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    let database = Connection::open(&file).unwrap();
    database
        .execute_batch(
            "CREATE TABLE push_destination (
                 id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_in_use INTEGER NOT NULL, error TEXT, error_at INTEGER,
                 next_attempt INTEGER);
             CREATE TABLE push_backlog (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, destination INTEGER NOT NULL REFERENCES push_destination (id),
                 bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL, since INTEGER NOT NULL);
             INSERT INTO push_destination VALUES (1, 'one', 1, NULL, NULL, NULL), (2, 'two', 1, NULL, NULL, NULL);
             INSERT INTO push_backlog VALUES
                 (3, 1, 7, '1970-01-01T00:01:40', 0), (4, 2, 7, '1970-01-01T00:01:40', 0), (5, 1, 8, '1970-01-01T00:01:30', 0);",
        )
        .unwrap();
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    backlog.append(&[update(9)], &[one], 0, None).unwrap();
    let waiting = backlog.first(one, 0, 9).unwrap();
    let of_one: Vec<_> = waiting
        .iter()
        .map(|entry| (entry.update.bug.get(), entry.number.number))
        .collect();
    assert_eq!(of_one, [(7, 1), (8, 2), (9, 3)]);
    assert_eq!(waiting[2].number.newest, Some(100));
    assert_eq!(numbers(&backlog, two)[0].1, 1);
    database
        .execute("UPDATE push_format SET version = 3", [])
        .unwrap();
    let refused = Backlog::open(&file, Commit::Durable).unwrap_err();
    assert!(refused.to_string().contains("a newer one"), "{refused}");
}

#[test]
fn what_a_relay_of_the_last_version_appends_in_between_is_numbered_in_a_new_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
    let [one] = enroll(&mut backlog, ["one"]);
    backlog.append(&[update(1)], &[one], 0, None).unwrap();
    let before = numbers(&backlog, one);
    let append = "INSERT INTO push_backlog (destination, bug_id, delta_ts, since) VALUES (1, 2, '1970-01-01T00:00:00', 0)";
    backlog.database.execute(append, []).unwrap();
    enroll(&mut backlog, ["one"]);
    let after = numbers(&backlog, one);
    assert_ne!(after[0].0, before[0].0);
    assert_eq!((after[0].1, after[1].1), (1, 2));
}

#[test]
fn a_file_that_is_deleted_or_replaced_or_whose_log_is_deleted_is_noticed_and_rescued() {
    let replace = |file: &Path| {
        fs::copy(file, file.with_extension("copy")).unwrap();
        fs::rename(file.with_extension("copy"), file).unwrap();
    };
    let delete = |file: &Path| fs::remove_file(file).unwrap();
    let delete_log = |file: &Path| fs::remove_file(file.with_extension("db-wal")).unwrap();
    for harm in [&delete as &dyn Fn(&Path), &delete_log, &replace] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog.db");
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one] = enroll(&mut backlog, ["one"]);
        backlog.begin().unwrap();
        backlog.append(&[update(1)], &[one], 0, None).unwrap();
        assert!(backlog.is_in_place());
        harm(&file);
        assert!(!backlog.is_in_place());
        backlog.append(&[update(2)], &[one], 0, None).unwrap();
        let before = numbers(&backlog, one);
        backlog.rescue().unwrap();
        drop(backlog);
        put_back(&file).unwrap();
        examine(&file).unwrap();
        let backlog = Backlog::open(&file, Commit::Durable).unwrap();
        assert_eq!(numbers(&backlog, one), before);
        assert_eq!(bugs(&backlog, one, 0), [1, 2]);
    }
}

#[test]
fn a_log_that_was_deleted_after_a_crash_begins_new_streams() {
    let mut streams = Vec::new();
    let mut folder = tempfile::tempdir().unwrap();
    for left in [&["", "-wal"][..], &[""], &[]] {
        let file = folder.path().join("backlog.db");
        examine(&file).unwrap();
        assert!(!file.with_extension("db.corrupt").exists());
        let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
        let [one] = enroll(&mut backlog, ["one"]);
        backlog.begin().unwrap();
        backlog.append(&[update(1)], &[one], 0, None).unwrap();
        streams.push(backlog.announcement(one, 0).unwrap().sent.stream);
        // What is open here is no part of what a crash has left.
        let crashed = tempfile::tempdir().unwrap();
        for part in left {
            let name = format!("backlog.db{part}");
            fs::copy(folder.path().join(&name), crashed.path().join(&name)).unwrap();
        }
        folder = crashed;
    }
    assert_eq!(streams[0], streams[1]);
    assert_ne!(streams[1], streams[2]);
}

#[test]
fn a_corrupt_file_is_moved_aside_and_a_new_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog.db");
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    let [one] = enroll(&mut backlog, ["one"]);
    backlog
        .append(&vec![update(1); 1_000], &[one], 0, None)
        .unwrap();
    let before = backlog.announcement(one, 0).unwrap().sent.stream;
    drop(backlog);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    fs::write(&file, bytes).unwrap();
    examine(&file).unwrap();
    assert!(folder.path().join("backlog.db.corrupt").exists());
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    let [one] = enroll(&mut backlog, ["one"]);
    assert_ne!(backlog.announcement(one, 0).unwrap().sent.stream, before);
}

#[test]
fn a_durable_commit_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (full, normal) = (2, 1);
    for (commit, synchronous) in [(Commit::Durable, full), (Commit::Fast, normal)] {
        let backlog = Backlog::open(&folder.path().join("backlog"), commit).unwrap();
        let get = |name: &str| {
            backlog
                .database
                .query_row(&format!("PRAGMA {name}"), [], |row| {
                    row.get::<_, rusqlite::types::Value>(0)
                })
        };
        assert_eq!(get("synchronous").unwrap(), synchronous.into());
        assert_eq!(get("busy_timeout").unwrap(), 30_000.into());
        assert_eq!(get("journal_mode").unwrap(), "wal".to_owned().into());
    }
}

#[test]
fn a_destination_that_is_in_use_no_more_is_known_as_long_as_changes_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Durable).unwrap();
    let [one, _] = enroll(&mut backlog, ["one", "two"]);
    backlog.append(&[update(1)], &[one], 100, None).unwrap();
    enroll(&mut backlog, ["three"]);
    let names = |backlog: &Backlog| {
        backlog
            .status()
            .unwrap()
            .into_iter()
            .map(|known| (known.name, known.is_in_use))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&backlog),
        [("one".to_owned(), false), ("three".to_owned(), true)]
    );
    assert_eq!(enroll(&mut backlog, ["one"]), [one]);
    assert_eq!(names(&backlog), [("one".to_owned(), true)]);
    assert_eq!(bugs(&backlog, one, 0), [1]);
}

#[test]
fn the_status_names_depth_age_error_and_the_next_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    Backlog::look(&file).unwrap_err();
    let other = folder.path().join("other");
    fs::write(&other, "").unwrap();
    Backlog::look(&other).unwrap_err();
    let mut backlog = Backlog::open(&file, Commit::Durable).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    backlog.append(&[update(1)], &[two], 100, None).unwrap();
    backlog.append(&[update(2)], &[two], 200, None).unwrap();
    backlog.note_error(two, "no route", 150, Some(160)).unwrap();
    backlog.note_error(one, "gone", 150, Some(160)).unwrap();
    backlog.note_success(one).unwrap();
    let known = |name: &str, error: &str| Status {
        name: name.to_owned(),
        is_in_use: true,
        depth: 0,
        oldest: None,
        error: Some((error.to_owned(), 150)),
        next_attempt: None,
        refused: 0,
        dropped: 0,
    };
    assert_eq!(
        Backlog::look(&file).unwrap().status().unwrap(),
        [
            known("one", "gone"),
            Status {
                depth: 2,
                oldest: Some(100),
                next_attempt: Some(160),
                ..known("two", "no route")
            }
        ]
    );
}

#[test]
fn what_is_refused_waits_no_more_and_is_kept_until_its_destination_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    let mut backlog = Backlog::open(&file, Commit::Fast).unwrap();
    let [one, two] = enroll(&mut backlog, ["one", "two"]);
    let updates = [update(1), update(2), update(3)];
    backlog.append(&updates, &[one, two], 100, None).unwrap();
    let entries = backlog.first(one, 0, 3).unwrap();
    backlog.refuse(one, &entries[1], "not that", 200).unwrap();
    // What stands before it was sent, even if it could not be deleted.
    assert_eq!(bugs(&backlog, one, 0), [3]);
    assert_eq!(bugs(&backlog, two, 0), [1, 2, 3]);
    let status = backlog.status().unwrap();
    assert_eq!((status[0].refused, status[1].refused), (1, 0));
    let refused = backlog.refused().unwrap();
    assert_eq!(refused[0].id, entries[1].change_id());

    enroll(&mut backlog, ["two"]);
    backlog.delete(one, entries[2].id).unwrap();
    enroll(&mut backlog, ["two"]);
    assert_eq!(backlog.refused().unwrap().len(), 1, "it is still kept");
    assert_eq!(backlog.forget("two", false).unwrap(), None, "it is in use");
    assert_eq!(backlog.forget("one", false).unwrap(), Some(0));
    assert!(backlog.refused().unwrap().is_empty());
    assert_eq!(backlog.forget("two", true).unwrap(), Some(3));
    assert!(backlog.status().unwrap().is_empty());
}

#[test]
fn a_relay_that_has_not_ended_as_it_should_is_known_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backlog");
    let backlog = Backlog::open(&file, Commit::Durable).unwrap();
    assert!(!backlog.was_left_open().unwrap());
    backlog.begin().unwrap();
    assert!(backlog.was_left_open().unwrap());
    backlog.end().unwrap();
    assert!(!backlog.was_left_open().unwrap());
}
