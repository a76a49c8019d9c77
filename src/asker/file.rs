//! The file that keeps what Bugzilla has said, so that a restart costs it nothing. Readers stand in
//! it under a keyed hash of what they show; the key is in a file beside it, for nobody else to read.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, params};

use super::Start;
use crate::access::{Kept, Question, ReaderDigest, Said};
use crate::update::BugId;

/// How long something is kept, in seconds: it counts no longer.
const KEPT_SECONDS: i64 = 3_600;

/// How often what is too old is removed, in seconds.
const REMOVE_SECONDS: i64 = 300;

/// The length of a key, in bytes.
const KEY_BYTES: usize = 32;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS reader (
        digest BLOB PRIMARY KEY, is_somebody INTEGER NOT NULL, asked INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS verdict (
        digest BLOB, bug INTEGER, is_yes INTEGER NOT NULL, asked INTEGER NOT NULL, PRIMARY KEY (digest, bug)
    ) WITHOUT ROWID;";

/// Why nobody can be asked.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The address of Bugzilla is none.
    Address(String),
    /// The file or its key cannot be read or made.
    File(io::Error),
    /// SQLite cannot use the file.
    Database(rusqlite::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Address(why) => f.write_str(why),
            OpenError::File(error) => error.fmt(f),
            OpenError::Database(error) => error.fmt(f),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        OpenError::Database(error)
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        OpenError::File(error)
    }
}

pub(super) struct RightsFile {
    database: Connection,
    /// When what is too old was removed last, in Unix seconds.
    removed_at: i64,
}

impl RightsFile {
    /// Opens the file, and reads what counts still at `now` (Unix seconds).
    pub(super) fn open(path: &Path, now: i64) -> Result<(Self, Start), OpenError> {
        let key = read_key(&beside(path, ".key"))?;
        // SQLite gives the files beside it the same rights.
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "NORMAL")?;
        database.execute_batch(SCHEMA)?;
        let mut file = Self {
            database,
            removed_at: now,
        };
        file.remove_old(now)?;
        let kept = file.read(now)?;
        Ok((file, Start { key, kept }))
    }

    /// Keeps what was said to a question that was asked at this time (Unix seconds).
    pub(super) fn keep(
        &mut self,
        question: &Question,
        said: &Said,
        asked: i64,
    ) -> rusqlite::Result<()> {
        if (asked - self.removed_at).abs() >= REMOVE_SECONDS {
            self.removed_at = asked;
            self.remove_old(asked)?;
        }
        let digest = question.digest;
        let transaction = self.database.transaction()?;
        let is_somebody = matches!(said, Said::Sees(_));
        transaction
            .prepare_cached("INSERT OR REPLACE INTO reader VALUES (?1, ?2, ?3)")?
            .execute(params![digest, is_somebody, asked])?;
        match said {
            Said::Sees(seen) => {
                let mut insert = transaction
                    .prepare_cached("INSERT OR REPLACE INTO verdict VALUES (?1, ?2, ?3, ?4)")?;
                for bug in &question.bugs {
                    insert.execute(params![digest, bug.get(), seen.contains(bug), asked])?;
                }
            }
            Said::Stranger => {
                transaction.execute("DELETE FROM verdict WHERE digest = ?1", [digest])?;
            }
        }
        transaction.commit()
    }

    /// A time that is still to come is one of another clock, and says nothing.
    fn remove_old(&mut self, now: i64) -> rusqlite::Result<()> {
        for table in ["reader", "verdict"] {
            self.database.execute(
                &format!("DELETE FROM {table} WHERE asked NOT BETWEEN ?1 AND ?2"),
                [now - KEPT_SECONDS, now],
            )?;
        }
        Ok(())
    }

    fn read(&self, now: i64) -> rusqlite::Result<Kept> {
        let age = |asked: i64| (now - asked).clamp(0, KEPT_SECONDS) as u32 * 1_000;
        let mut kept = Kept::default();
        let mut readers = self.database.prepare("SELECT * FROM reader")?;
        let mut rows = readers.query([])?;
        while let Some(row) = rows.next()? {
            let digest: ReaderDigest = row.get(0)?;
            // That nobody was shut out is asked again.
            if digest != ReaderDigest::default() {
                kept.readers.push((digest, row.get(1)?, age(row.get(2)?)));
            }
        }
        let mut verdicts = self.database.prepare("SELECT * FROM verdict")?;
        let mut rows = verdicts.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(bug) = BugId::new(row.get(1)?) {
                let verdict = (row.get(0)?, bug, row.get(2)?, age(row.get(3)?));
                kept.verdicts.push(verdict);
            }
        }
        Ok(kept)
    }
}

/// A key that nobody knows yet.
pub(super) fn make_key() -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(key)
}

/// Reads the key, or makes it where there is none.
fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(key) if key.len() == KEY_BYTES => return Ok(key),
        // One that was not written to its end.
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let key = make_key()?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::access::Shown;

    fn bug(number: u32) -> BugId {
        BugId::new(number).unwrap()
    }

    fn question(reader: u8, bugs: &[u32]) -> Question {
        Question {
            number: 0,
            shown: Shown::Nothing,
            digest: [reader; 32],
            bugs: bugs.iter().map(|&number| bug(number)).collect(),
        }
    }

    #[test]
    fn what_was_said_is_there_after_a_restart_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rights");
        let (mut file, start) = RightsFile::open(&path, 10_000).unwrap();
        assert!(start.kept.readers.is_empty());
        let mut keep = |question, said, at| file.keep(&question, &said, at).unwrap();
        keep(question(1, &[5, 6]), Said::Sees(vec![bug(5)]), 10_000);
        keep(question(0, &[7]), Said::Sees(vec![]), 10_001);
        keep(question(2, &[7]), Said::Sees(vec![bug(7)]), 10_002);
        keep(question(2, &[]), Said::Stranger, 10_003);
        drop(file);
        let (_, again) = RightsFile::open(&path, 10_005).unwrap();
        assert_eq!(again.key, start.key);
        assert_eq!(
            again.kept.readers,
            [([1; 32], true, 5_000), ([2; 32], false, 2_000)]
        );
        assert_eq!(
            again.kept.verdicts,
            [
                ([0; 32], bug(7), false, 4_000),
                ([1; 32], bug(5), true, 5_000),
                ([1; 32], bug(6), false, 5_000),
            ]
        );
        for later in [10_003 + KEPT_SECONDS + 1, 9_999] {
            let (_, start) = RightsFile::open(&path, later).unwrap();
            assert!(start.kept.readers.is_empty() && start.kept.verdicts.is_empty());
        }
    }

    #[test]
    fn nobody_else_may_read_the_file_or_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rights");
        let (mut file, _) = RightsFile::open(&path, 0).unwrap();
        file.keep(&question(1, &[5]), &Said::Stranger, 0).unwrap();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        }
    }

    #[test]
    fn a_key_that_is_not_whole_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_key(&path).unwrap().len(), KEY_BYTES);
        assert_eq!(read_key(&path).unwrap(), fs::read(&path).unwrap());
    }
}
