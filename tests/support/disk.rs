//! A small disk that can be full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A small disk of its own.
pub struct Disk(TempDir);

impl Disk {
    /// Mounts one; `None` where that is not allowed.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(folder))
        } else {
            super::not_tested("a full disk, since only root can mount one of its own");
            None
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes up all that is left.
    pub fn fill(&self) {
        fs::write(self.file("filling"), vec![1; 4 << 20]).unwrap_err();
    }

    pub fn make_room(&self) {
        fs::remove_file(self.file("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open on it loses nothing by that.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
