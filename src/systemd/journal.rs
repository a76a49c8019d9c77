//! Whether what is written goes to systemd's journal.

use std::env;
use std::os::fd::AsFd;

use rustix::fs::fstat;

/// Whether a file is the one that systemd has connected to its journal: `$JOURNAL_STREAM` has its
/// device and inode (systemd.exec(5)), and a file that something else was put in place of has
/// others.
pub(crate) fn is_journal(file: impl AsFd) -> bool {
    let named = env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(file).is_ok_and(|file| named == format!("{}:{}", file.st_dev, file.st_ino))
}
