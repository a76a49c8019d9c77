//! A lock on a file, held until it is dropped or its process ends, however it ends. Knows nothing
//! of what it protects.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// A lock that is held.
#[derive(Debug)]
pub struct FileLock {
    /// The system ends the lock with the file. The file itself stays: whoever removed it could
    /// remove that of the next one.
    file: File,
}

impl FileLock {
    /// Takes the lock on the file `path`, which is made where it is not there; `None` when somebody
    /// else holds it.
    ///
    /// # Errors
    /// When the file cannot be opened, or its file system knows no locks.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Writes into the file who holds the lock.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sign(&self) -> io::Result<()> {
        self.write(&format!("process {}", std::process::id()))
    }

    /// Writes something into the file, in place of what stood there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        (&self.file).write_all(text.as_bytes())
    }

    /// Who has signed the file at `path` last.
    pub fn signature(path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::take(&path).unwrap();
        assert!(held.is_some());
        assert!(FileLock::take(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::take(&path).unwrap().is_some());
        FileLock::take(&folder.path().join("no/such/folder")).unwrap_err();
    }
}
