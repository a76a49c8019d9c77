//! Which rows stay, which go, and what rows are that hold something else.

use super::*;

#[test]
fn what_is_too_much_goes_and_the_newest_of_each_bug_last() {
    let folder = Folder::new();
    let mut file = folder.whole();
    keep(&mut file, &[update(1, 900), update(2, 901)]).unwrap();
    for at in 0..1_500 {
        keep(&mut file, &[update(7, 1_000 + at)]).unwrap();
    }
    let count = "SELECT count(*) FROM history";
    let rows: i64 = file
        .database
        .query_row(count, [], |row| row.get(0))
        .unwrap();
    assert!(rows <= 3 + SURPLUS_MAX, "{rows} rows");
    drop(file);
    let (mut file, kept) = folder.open();
    let bugs: Vec<u32> = kept
        .updates
        .iter()
        .map(|(_, update)| update.bug.get())
        .collect();
    assert_eq!((kept.floor, &bugs[..]), (Some(50), &[1, 2, 7][..]));
    keep(&mut file, &[update(8, 2_500), update(9, 2_501)]).unwrap();
    drop(file);
    let (_file, kept) = folder.open();
    assert_eq!((kept.floor, kept.updates.len()), (Some(901), 3));
}

/// Of the updates of one bug, the later ones are of no use to nobody before the oldest go.
#[test]
fn only_what_a_later_update_of_its_bug_is_newer_than_is_of_no_use() {
    for (times, left) in [
        ([100, 200, 300], vec![300]),
        // The oldest of them go first.
        ([100, 200, 300], vec![200, 300]),
        ([100, 100, 100], vec![100]),
        // Two that were committed late: who has seen 300 lacks them.
        ([300, 100, 200], vec![300, 200]),
        ([100, 300, 200], vec![300, 200]),
    ] {
        let folder = Folder::new();
        let mut file = folder.whole();
        keep(&mut file, &times.map(|at| update(1, at))).unwrap();
        drop(file);
        let open = |max| HistoryFile::open(&folder.path(), "/", "sqlite:x", max).unwrap();
        let kept = open(left.len()).1;
        let seconds = kept.updates.iter().map(|(_, it)| it.when.unix_seconds());
        assert!(seconds.eq(left), "{times:?}: {kept:?}");
        assert_eq!(kept.floor, Some(50), "{times:?}");
    }
}

#[test]
fn the_oldest_that_go_raise_the_floor_to_the_watermark_of_the_last_of_them() {
    let folder = Folder::new();
    let mut file = folder.whole();
    // The second was committed late, and the third and the fifth are of one bug.
    let updates = [(1, 100), (2, 90), (3, 110), (4, 120), (3, 130), (5, 140)];
    keep(&mut file, &updates.map(|(bug, at)| update(bug, at))).unwrap();
    drop(file);
    let kept = folder.open().1;
    let bugs = kept.updates.iter().map(|(_, update)| update.bug.get());
    assert!(bugs.eq([4, 3, 5]), "{kept:?}");
    assert_eq!(kept.floor, Some(100));
}

#[test]
fn what_cannot_be_read_and_goes_leaves_a_gap_up_to_its_watermark_or_without_an_end() {
    for (set, floor) in [
        ("time = 'x'", Some(102)),
        ("time = 5.5", Some(102)),
        ("bug_id = 'x'", Some(102)),
        ("bug_id = -1, time = '1970-01-01T00:01:40'", Some(102)),
        ("watermark = 'x'", None),
    ] {
        let folder = Folder::new();
        let mut file = folder.whole();
        let updates = [101, 102, 103, 104, 105].map(|at| update(at, at.into()));
        keep(&mut file, &updates).unwrap();
        let change = format!("UPDATE history SET {set} WHERE seq <= 2");
        assert_eq!(file.database.execute(&change, []), Ok(2));
        drop(file);
        let kept = folder.open().1;
        assert_eq!((kept.updates.len(), kept.floor), (3, floor), "{set}");
        assert_eq!(folder.open().1.floor, floor, "{set}");
    }
}

#[test]
fn a_thousand_more_than_there_is_room_for_are_waited_for() {
    let folder = Folder::new();
    let mut file = folder.whole();
    let rows = |file: &HistoryFile| {
        let count = "SELECT count(*) FROM history";
        file.database.query_row(count, [], |row| row.get(0))
    };
    let updates: Vec<Update> = (1..=1_000).map(|bug| update(bug, 100)).collect();
    keep(&mut file, &updates).unwrap();
    assert_eq!(rows(&file), Ok(1_000));
    keep(&mut file, &updates[..1]).unwrap();
    assert_eq!(rows(&file), Ok(3));
    keep(&mut file, &updates[..1]).unwrap();
    assert_eq!(rows(&file), Ok(4));
}

#[test]
fn a_file_that_is_none_of_sqlites_is_said_to_be_damaged() {
    let folder = Folder::new();
    fs::write(folder.path(), "no database".repeat(100)).unwrap();
    let why = HistoryFile::open(&folder.path(), "/", "sqlite:x", 3).unwrap_err();
    assert!(why.to_string().contains("Move it away"), "{why}");
}

#[test]
fn as_many_as_there_is_room_for_stay() {
    let folder = Folder::new();
    let mut file = folder.whole();
    keep(&mut file, &[1, 2, 3].map(|bug| update(bug, 100))).unwrap();
    drop(file);
    let kept = folder.open().1;
    assert_eq!((kept.updates.len(), kept.floor), (3, Some(50)));
}

#[test]
fn a_file_of_the_last_version_goes_on_and_one_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    let database = Connection::open(folder.path()).unwrap();
    database
        .execute_batch(
            "CREATE TABLE history (
                 feed TEXT NOT NULL, seq INTEGER NOT NULL, bug_id INTEGER NOT NULL, time TEXT NOT NULL, watermark INTEGER NOT NULL,
                 PRIMARY KEY (feed, seq)) WITHOUT ROWID;
             CREATE TABLE history_feeds (feed TEXT PRIMARY KEY, source TEXT NOT NULL, floor INTEGER NOT NULL, boot_id TEXT NOT NULL);
             INSERT INTO history VALUES ('/', 1, 7, '1970-01-01T00:01:40', 100);
             INSERT INTO history_feeds VALUES ('/', 'sqlite:x', 60, '');",
        )
        .unwrap();
    let (file, kept) = folder.open();
    assert_eq!(
        (kept.floor, kept.updates),
        (Some(60), vec![(100, update(7, 100))])
    );
    drop(file);
    database
        .execute("UPDATE history_format SET version = 3", [])
        .unwrap();
    let refused = HistoryFile::open(&folder.path(), "/", "sqlite:x", 3).unwrap_err();
    assert!(refused.to_string().contains("a newer one"), "{refused}");
}

#[test]
fn a_full_disk_is_told_from_other_trouble() {
    let folder = Folder::new();
    let database = Connection::open(folder.path()).unwrap();
    let small = "CREATE TABLE small (x); PRAGMA max_page_count = 3";
    database.execute_batch(small).unwrap();
    let insert = |table: &str| {
        let insert = format!("INSERT INTO {table} VALUES (zeroblob(100000))");
        OpenError::from(database.execute(&insert, []).unwrap_err())
    };
    assert!(insert("small").is_full());
    assert!(!insert("nowhere").is_full());
}

#[test]
fn a_row_with_something_else_in_it_is_missed_and_the_others_are_kept() {
    for (set, floor) in [
        ("bug_id = 'x'", Some(102)),
        ("bug_id = -1", Some(102)),
        ("bug_id = 0", Some(102)),
        ("time = 5.5", Some(102)),
        ("time = x'00'", Some(102)),
        ("watermark = 'x'", None),
    ] {
        let folder = Folder::new();
        let mut file = folder.whole();
        let updates = [update(1, 101), update(2, 102), update(3, 103)];
        file.keep(&updates, i64::MAX, &[]).unwrap();
        drop(file);
        let database = Connection::open(folder.path()).unwrap();
        let change = format!("UPDATE history SET {set} WHERE seq = 2");
        assert_eq!(database.execute(&change, []), Ok(1));
        drop(database);
        let (_, kept) = folder.open();
        let kept_updates: Vec<_> = kept.updates.into_iter().map(|(_, update)| update).collect();
        assert_eq!(kept_updates, [update(1, 101), update(3, 103)], "{set}");
        assert_eq!(kept.floor, floor, "{set}");
    }
}
