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

/// The file does not shrink; what was deleted in it is room, too. A file system that does not say how
/// much is left is written to until it refuses.
fn is_enough(database: &Connection, file: &Path) -> bool {
    let Ok(free) = machine::free_bytes(file) else {
        return true;
    };
    let log = fs::metadata(beside(file, "-wal")).map_or(0, |log| log.len());
    free >= log + RESERVE
        || free >= BATCH && free + deleted_bytes(database).unwrap_or(0) >= log + RESERVE
}

fn deleted_bytes(database: &Connection) -> rusqlite::Result<u64> {
    let deleted = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
    database
        .query_row(deleted, [], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}
