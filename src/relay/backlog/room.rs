//! The room on the backlog's disk. SQLite appends to a log what it deletes, too, and moves the log
//! into the file only where the file has room to grow: a disk that is full to the last byte could
//! not be emptied any more. So changes are appended only as long as there is room for that. Knows no
//! table.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use super::guard::beside;
use crate::machine;

/// What is left, in bytes, beside what the log needs when it is moved into the file: for deletions
/// until the log is moved again.
const RESERVE: u64 = 512 << 10;

/// What a batch of changes may add to the log, in bytes.
const BATCH: u64 = 128 << 10;

/// Whether there is room for more changes. Moves the log into the file where that helps.
pub(super) fn make_room(database: &Connection, file: &Path) -> bool {
    is_enough(database, file) || {
        shorten_log(database);
        is_enough(database, file)
    }
}

/// Moves the log into the file, and cuts it off. Where that fails, it stays as it was.
pub(super) fn shorten_log(database: &Connection) {
    let _ = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

/// Whether an error says that the disk is full.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || matches!(error, rusqlite::Error::SqliteFailure(why, _) if why.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// A file system that does not say how much is left is written to until it refuses.
fn is_enough(database: &Connection, file: &Path) -> bool {
    let Ok(free) = machine::free_bytes(file) else {
        return true;
    };
    let log = fs::metadata(beside(file, "-wal")).map_or(0, |log| log.len());
    suffices(free, log, || deleted_bytes(database).unwrap_or(0))
}

/// The file does not shrink; what was deleted in it is room, too.
fn suffices(free: u64, log: u64, deleted: impl FnOnce() -> u64) -> bool {
    free >= log + RESERVE || free >= BATCH && free + deleted() >= log + RESERVE
}

fn deleted_bytes(database: &Connection) -> rusqlite::Result<u64> {
    let deleted = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
    database
        .query_row(deleted, [], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn there_is_room_for_the_log_and_a_reserve_where_what_was_deleted_in_the_file_counts() {
        for (free, log, deleted, is_enough) in [
            (512, 0, 0, true),
            (511, 0, 0, false),
            (612, 100, 0, true),
            (611, 100, 0, false),
            (611, 100, 1, true),
            (128, 100, 484, true),
            (128, 100, 483, false),
            // What was deleted is no room in the log.
            (127, 100, 4_096, false),
        ] {
            let deleted = || deleted * KIB;
            assert_eq!(
                suffices(free * KIB, log * KIB, deleted),
                is_enough,
                "{free} KiB of the disk and {} of the file for a log of {log}",
                deleted() / KIB
            );
        }
    }

    #[test]
    fn what_was_deleted_is_room_in_the_file_and_the_log_can_be_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let database = Connection::open(&file).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        let fill = "CREATE TABLE t (x BLOB); INSERT INTO t VALUES (zeroblob(100000))";
        database.execute_batch(fill).unwrap();
        assert_eq!(deleted_bytes(&database).unwrap(), 0);
        database.execute_batch("DELETE FROM t").unwrap();
        let deleted = deleted_bytes(&database).unwrap();
        assert!((90_000..110_000).contains(&deleted), "{deleted}");
        let log = || fs::metadata(beside(&file, "-wal")).unwrap().len();
        assert!(log() > 0);
        shorten_log(&database);
        assert_eq!(log(), 0);
    }

    #[test]
    fn a_disk_is_full_where_sqlite_cannot_write_or_map_more() {
        let is_full = |code| is_full(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(is_full(ffi::SQLITE_FULL));
        assert!(is_full(ffi::SQLITE_IOERR_SHMSIZE));
        assert!(!is_full(ffi::SQLITE_BUSY));
        assert!(!is_full(ffi::SQLITE_IOERR_WRITE));
    }
}
