//! A lock on a file, held until it is dropped or its process ends, however it ends. Knows nothing
//! of what it protects.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// A lock that is held.
#[derive(Debug)]
pub struct FileLock {
    /// The system ends the lock with the file. The file itself stays: whoever removed it could
    /// remove that of the next one.
    _file: File,
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
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
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
