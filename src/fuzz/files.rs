//! Files that somebody else has written to: the rows of the history and of the backlog with any values
//! in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::script::Script;
use crate::relay::backlog::{Backlog, Commit};
use crate::source::{HistoryFile, Kept};
use crate::update::{BugId, Update, When};

/// A folder that is gone with its owner.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bugzfeed-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn updates() -> Vec<Update> {
    let update = |number| Update {
        bug: BugId::new(number).unwrap(),
        when: When::from_unix_seconds(1_000 + i64::from(number)),
    };
    (1..6).map(update).collect()
}

/// A value of any kind.
fn value(script: &mut Script<'_>) -> Value {
    match script.byte() % 8 {
        0 => Value::Null,
        1 => Value::Integer(-1),
        2 => Value::Integer([i64::MIN, i64::MAX, 1 << 31, 0][usize::from(script.byte() % 4)]),
        3 => Value::Integer(script.number() as i64),
        4 => Value::Real(f64::from(script.byte()) / 3.0),
        5 => Value::Blob(script.bytes(5).to_vec()),
        6 => Value::Text("2014-04-03T21:13:45".to_owned()),
        _ => {
            let length = usize::from(script.byte() % 50);
            Value::Text(String::from_utf8_lossy(script.bytes(length)).into_owned())
        }
    }
}

/// A copy of a file that is made once.
fn copy(template: &OnceLock<Vec<u8>>, make: impl FnOnce(&Path)) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.path().join("file.db");
    let bytes = template.get_or_init(|| {
        make(&path);
        let made = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        made
    });
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn open(path: &Path, updates_max: usize) -> (HistoryFile, Kept) {
    HistoryFile::open(path, "/", "source", updates_max).expect("any row can be read")
}

/// First how many updates are kept, then rows of the history, each with another value in one place.
/// What can be read is kept, and what was there and is not kept is missed, up to the latest watermark
/// of that.
pub(super) fn history(input: &[u8]) {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    let (_folder, path) = copy(&TEMPLATE, |path| {
        let (mut file, _) = open(path, 100);
        file.set_floor(Some(900)).unwrap();
        let notes = [("note", "value".to_owned())];
        file.keep(&updates(), i64::MAX, &notes).unwrap();
        drop(file);
        // Not in the order of the rows, as only somebody else leaves them.
        let watermarks = "UPDATE history SET watermark = 1000 + seq * 2 % 5";
        Connection::open(path)
            .unwrap()
            .execute(watermarks, [])
            .unwrap();
    });
    // Without its witness, a file is not believed.
    fs::write(path.with_file_name("file.db-whole"), format!("{:020}", 5)).unwrap();
    let mut script = Script(input);
    let updates_max = [100, 3][usize::from(script.byte() & 1)];
    let database = Connection::open(&path).unwrap();
    let mut is_noted = true;
    for row in 1..=5 {
        let statement = match script.byte() % 5 {
            0 => "UPDATE history SET bug_id = ifnull(?1, 0) WHERE seq = ?2",
            1 => "UPDATE history SET time = ifnull(?1, '') WHERE seq = ?2",
            2 => "UPDATE history SET watermark = ifnull(?1, '') WHERE seq = ?2",
            3 => "UPDATE history_notes SET value = ifnull(?1, x'') WHERE ?2",
            _ => continue,
        };
        let changes = params![value(&mut script), row];
        database.execute(statement, changes).unwrap();
        is_noted &= !statement.contains("notes");
    }
    let readable = "SELECT count(*) FROM history WHERE typeof(bug_id) = 'integer' AND bug_id BETWEEN 1 AND 0x7fffffff
         AND typeof(time) = 'text' AND typeof(watermark) = 'integer'";
    let readable: usize = database
        .query_row(readable, [], |row| Ok(row.get::<_, i64>(0)? as usize))
        .unwrap();
    let mut missed = watermarks(&database);
    // With room for all, or where each row counts.
    let bugs = "SELECT count(DISTINCT bug_id) FROM history";
    let is_exact = updates_max >= 5 || database.query_row(bugs, [], |row| row.get(0)) == Ok(5);
    database.close().unwrap();
    let (mut file, kept) = open(&path, updates_max);
    assert!(kept.updates.len() <= readable.min(updates_max));
    let are_known = missed.len() == 5;
    for (watermark, _) in &kept.updates {
        missed.swap_remove(missed.iter().position(|each| each == watermark).unwrap());
    }
    let floor = missed.into_iter().fold(900, i64::max);
    if is_exact && (is_noted || kept.floor.is_some()) {
        assert_eq!(kept.floor, are_known.then_some(floor), "{kept:?}");
    }
    file.keep(&updates()[..1], i64::MAX, &[]).unwrap();
    drop(file);
    let (_, again) = open(&path, 100);
    assert_eq!(again.updates.len(), kept.updates.len() + 1);
}

/// The watermarks of the rows where one can be read.
fn watermarks(database: &Connection) -> Vec<i64> {
    let select = "SELECT watermark FROM history WHERE typeof(watermark) = 'integer'";
    let mut select = database.prepare(select).unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The same of the backlog, which ends a relay with an error where it is wrong, and never with a
/// panic.
pub(super) fn backlog(input: &[u8]) {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    let (_folder, path) = copy(&TEMPLATE, |path| {
        let mut backlog = Backlog::open(path, Commit::Fast).unwrap();
        let keys = backlog.enroll(&["a".to_owned(), "b".to_owned()]).unwrap();
        backlog.append(&updates(), &keys, 2_000, Some("5")).unwrap();
    });
    let mut script = Script(input);
    let database = Connection::open(&path).unwrap();
    while !script.is_over() {
        let row = script.byte() % 6 + 1;
        let (table, column) = [
            ("push_backlog", "bug_id"),
            ("push_backlog", "delta_ts"),
            ("push_backlog", "since"),
            ("push_backlog", "number"),
            ("push_backlog", "newest"),
            ("push_destination", "stream"),
            ("push_destination", "number"),
            ("push_destination", "newest"),
            ("push_destination", "error"),
            ("push_destination", "error_at"),
            ("push_destination", "next_attempt"),
            ("push_destination", "refused"),
            ("push_bookmark", "note"),
        ][usize::from(script.byte() % 13)];
        // What must not be null stays as it is.
        let statement = format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE id = ?2");
        database
            .execute(&statement, params![value(&mut script), row])
            .unwrap();
    }
    database.close().unwrap();
    let Ok(mut backlog) = Backlog::open(&path, Commit::Fast) else {
        return;
    };
    let _ = backlog.status();
    let _ = backlog.bookmark();
    let Ok(keys) = backlog.enroll(&["a".to_owned(), "b".to_owned()]) else {
        return;
    };
    for key in keys {
        if let Ok(entries) = backlog.first(key, 0, 100) {
            assert!(entries.iter().is_sorted_by_key(|entry| entry.id));
        }
        let _ = backlog.announcement(key, 0);
        let _ = backlog.skip_numbers(&[key], 3_000);
        let _ = backlog.append(&updates(), &[key], 2_000, None);
    }
    let _ = backlog.begin_streams();
}
