//! What the guard remembers over its own restart: what it has told, and what is still to be told.
//! One JSON file, replaced as a whole. Knows no broker and nobody who is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::warn;
use serde::{Deserialize, Serialize};

use super::notice::Notice;
use crate::work::FileLock;

/// How much waits to be told. A guard whose mail does not go out must not fill the disk.
const WAITING_MAX: usize = 1_000;

/// A way of telling: `mail` or `webhook`.
pub(super) type Way = String;

/// What is remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// When the broker was looked at last, in Unix seconds.
    pub(crate) looked: Option<i64>,
    /// How many queues there were.
    pub(crate) queues: usize,
    /// Queues that were warned of, with how many messages they had last.
    pub(crate) warned: BTreeMap<String, u64>,
    /// Queues without a lawful name that the administrators know of.
    pub(super) nameless: BTreeSet<String>,
    /// Since when the broker cannot be asked, and why.
    pub(crate) outage: Option<(i64, String)>,
    /// Whether the administrators know of that.
    pub(super) is_outage_told: bool,
    /// What is still to be told, and how.
    pub(super) waiting: VecDeque<(Way, Notice)>,
    /// What went wrong last with telling, and when.
    pub(crate) trouble: Option<(String, i64)>,
}

impl Memory {
    /// Notes that something is to be told.
    pub(super) fn tell(&mut self, way: &str, notice: &Notice) {
        if self.waiting.len() == WAITING_MAX
            && let Some((way, notice)) = self.waiting.pop_front()
        {
            warn!(
                "more than {WAITING_MAX} notices wait; by {way}, this one is never told: {}",
                notice.title()
            );
        }
        self.waiting.push_back((way.to_owned(), notice.clone()));
    }

    /// How much is still to be told.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The file of a guard, which nobody else writes to.
pub(super) struct Keeper {
    path: PathBuf,
    /// None in a dry run, which changes nothing.
    lock: Option<FileLock>,
    memory: Mutex<Memory>,
}

impl Keeper {
    /// Opens a file, which is made where it is not there; `None` where another guard has it.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = FileLock::take(&lock_of(path))? else {
            return Ok(None);
        };
        let keeper = Self {
            path: path.to_owned(),
            lock: Some(lock),
            memory: Mutex::new(read(path)?.unwrap_or_default()),
        };
        // To fail now rather than later.
        keeper.change(|_| ())?;
        Ok(Some(keeper))
    }

    /// Begins with what a file says, and never writes to it.
    pub(super) fn dry(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            lock: None,
            memory: Mutex::new(read(path)?.unwrap_or_default()),
        })
    }

    /// What is remembered now.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered, and has it on the disk.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> io::Result<T> {
        let mut memory = self.memory();
        let result = change(&mut memory);
        if self.lock.is_none() {
            return Ok(result);
        }
        let text = serde_json::to_string_pretty(&*memory)?;
        let draft = beside(&self.path, ".new");
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        Ok(result)
    }
}

/// What a guard remembers, without being it, and whether it is running; `None` where there is none.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn look(path: &Path) -> io::Result<Option<(Memory, bool)>> {
    let Some(memory) = read(path)? else {
        return Ok(None);
    };
    let is_running = FileLock::take(&lock_of(path))?.is_none();
    Ok(Some((memory, is_running)))
}

fn read(path: &Path) -> io::Result<Option<Memory>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn lock_of(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::notice::Event;
    use super::*;

    #[test]
    fn what_was_told_is_known_after_a_restart_and_one_guard_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.json");
        assert!(look(&path).unwrap().is_none());
        let keeper = Keeper::open(&path).unwrap().unwrap();
        assert!(Keeper::open(&path).unwrap().is_none());
        keeper
            .change(|memory| memory.warned.insert("queue/u/q".to_owned(), 2_001))
            .unwrap();
        assert!(look(&path).unwrap().unwrap().1);
        drop(keeper);
        let (memory, is_running) = look(&path).unwrap().unwrap();
        assert_eq!(memory.warned["queue/u/q"], 2_001);
        assert!(!is_running);
        let dry = Keeper::dry(&path).unwrap();
        dry.change(|memory| memory.warned.clear()).unwrap();
        assert_eq!(look(&path).unwrap().unwrap().0.warned.len(), 1);
        fs::write(&path, "{").unwrap();
        assert!(Keeper::open(&path).is_err());
    }

    #[test]
    fn no_more_waits_than_fits() {
        let mut memory = Memory::default();
        for at in 0..WAITING_MAX as i64 + 5 {
            let notice = Notice {
                event: Event::Deleted,
                subject: "q".to_owned(),
                detail: String::new(),
                to: Vec::new(),
                at,
            };
            memory.tell("mail", &notice);
        }
        assert_eq!(memory.waiting(), WAITING_MAX);
        assert_eq!(memory.waiting[0].1.at, 5);
    }
}
