//! The backlog's file itself: whether it is sound, and still the one that was opened. SQLite goes on
//! with a file that was deleted or replaced, and what is written there is lost. Knows no table.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::warn;
use rusqlite::{Connection, ErrorCode};

use super::format;
use crate::work::FileLock;

/// Which files a connection has open: device and inode of the file and of its log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
    opened: [Option<(u64, u64)>; 2],
}

impl Place {
    /// What is there now. The database has been written to since it was opened: its log is there.
    pub(super) fn now(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            opened: [identity(file), identity(&beside(file, "-wal"))],
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the same files are still there.
    pub(super) fn is_unchanged(&self) -> bool {
        *self == Self::now(&self.file)
    }

    /// Saves what a connection to the files holds, for [`put_back`].
    pub(super) fn rescue(&self, database: &Connection) -> rusqlite::Result<()> {
        let rescued = beside(&self.file, RESCUED);
        // What an earlier attempt has left behind, if anything.
        let _ = fs::remove_file(&rescued);
        database
            .execute("VACUUM INTO ?1", [rescued.to_string_lossy()])
            .map(drop)
    }
}

/// What the file's lock is called behind its own name.
pub(super) const LOCK: &str = ".lock";

const RESCUED: &str = ".rescued";

/// Puts in place what was rescued, if anything was. No connection to the files is open any more:
/// the last one to close deletes the log.
pub(crate) fn put_back(file: &Path) -> io::Result<()> {
    let rescued = beside(file, RESCUED);
    if !rescued.exists() {
        return Ok(());
    }
    move_aside(file, ".replaced")?;
    fs::rename(rescued, file)
}

/// Looks at the file before a relay begins with it, which nobody else uses. What is corrupt is moved
/// aside; where the log is missing that a killed relay has left, streams begin anew.
pub(crate) fn examine(file: &Path) -> rusqlite::Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let has_log = beside(file, "-wal").exists();
    match look(file, has_log) {
        Err(error) if is_corrupt(file, &error) => {
            let moved = move_aside(file, ".corrupt");
            let to = beside(file, ".corrupt");
            match moved {
                Ok(()) => warn!(
                    "the backlog {} is corrupt ({error}) and was moved to {}: the changes in it are not sent, and a new one begins, so that servers know that they miss some",
                    file.display(),
                    to.display()
                ),
                Err(why) => warn!(
                    "cannot move the corrupt backlog {} aside: {why}",
                    file.display()
                ),
            }
            Ok(())
        }
        result => result,
    }
}

fn look(file: &Path, has_log: bool) -> rusqlite::Result<()> {
    let mut database = Connection::open(file)?;
    database.busy_timeout(super::LOCK_WAIT)?;
    let verdict: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(verdict),
        ));
    }
    let transaction = database.transaction()?;
    if !has_log && format::was_left_open(&transaction)? {
        warn!(
            "the log of the backlog, {}-wal, was deleted: changes may be lost, and servers will know it",
            file.display()
        );
        format::begin_all_streams(&transaction)?;
    }
    transaction.commit()
}

/// A file that never was a backlog is somebody else's, and is refused where it is. One whose header
/// is destroyed is known by the signature in its lock.
fn is_corrupt(file: &Path, error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => true,
        Some(ErrorCode::NotADatabase) => FileLock::signature(&beside(file, LOCK)).is_some(),
        _ => false,
    }
}

/// Moves the file and its log away, so that nothing of it is used.
fn move_aside(file: &Path, suffix: &str) -> io::Result<()> {
    for part in ["", "-wal", "-shm"] {
        let from = beside(file, part);
        let to = beside(&beside(file, suffix), part);
        match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    let known = fs::metadata(file).ok()?;
    Some((known.dev(), known.ino()))
}

/// A file beside the file.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}
