//! Learns from the kernel that somebody writes to an SQLite file, so that nobody has to look often.
//! Owns when the next look is worth it. Knows no table.
//!
//! The last write of a commit comes before others can see it: the disk may be waited for in between,
//! and the lock be given up. So a write is followed by several looks, with pauses that double.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::work::Stop;

/// The pause before the first look after the one that a write has caused.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The pause between two looks while something is written all the time.
const PAUSE_BUSY: Duration = Duration::from_millis(4);

/// Many events are read at once; what they say does not matter.
const EVENTS_BYTES: usize = 4 * 1024;

/// What wakes whoever waits for writes to one file.
pub(super) struct Writes {
    inotify: OwnedFd,
    /// Rung when a stop is requested.
    bell: Arc<OwnedFd>,
    /// The pause before the next look, unless something is written before.
    pause: Duration,
    /// The part of it that is kept whatever is written; none while nothing is, so that an idle wait
    /// wakes up once.
    rest: Duration,
}

impl Writes {
    /// Watches `file` and the log that it has in WAL mode, which is there as long as somebody has
    /// opened and used the file.
    ///
    /// # Errors
    /// When the kernel watches no more files for this user (`fs.inotify.max_user_instances`), or
    /// not this one.
    pub(super) fn watch(file: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, file, WatchFlags::MODIFY)?;
        let mut log = OsString::from(file);
        log.push("-wal");
        match inotify::add_watch(&inotify, &log, WatchFlags::MODIFY) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            inotify,
            bell: Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?),
            pause: PAUSE_MIN,
            rest: Duration::ZERO,
        })
    }

    /// Waits for `longest`, until there may be something new to see, or until `stop` is requested;
    /// returns whether it was.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn wait(&mut self, longest: Duration, stop: &Stop) -> io::Result<bool> {
        let bell = Arc::clone(&self.bell);
        stop.on_request(move || {
            // A bell that is full has been rung.
            let _ = rustix::io::write(&bell, &1_u64.to_ne_bytes());
        });
        let pause = self.pause.min(longest);
        let rest = self.rest.min(pause);
        if !rest.is_zero() && stop.wait(rest) {
            return Ok(true);
        }
        if self.is_written_within(pause - rest)? {
            self.pause = self.rest.max(PAUSE_MIN);
            self.rest = (2 * self.pause).min(PAUSE_BUSY);
        } else {
            self.pause = (2 * pause).min(longest);
            self.rest = Duration::ZERO;
        }
        Ok(stop.is_requested())
    }

    /// Waits until something is written, or the bell is rung; returns whether something was written.
    fn is_written_within(&self, duration: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(duration).map_err(io::Error::other)?;
        let mut waited_for = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::new(&*self.bell, PollFlags::IN),
        ];
        match poll(&mut waited_for, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut is_written = false;
        let mut events = [0; EVENTS_BYTES];
        loop {
            match rustix::io::read(&self.inotify, &mut events) {
                Ok(_) => is_written = true,
                Err(Errno::AGAIN) => return Ok(is_written),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rusqlite::Connection;

    use super::*;

    /// Longer than any test may take: a wait that ends was ended by a write, or by the stop.
    const LONGEST: Duration = Duration::from_hours(1);

    /// Ends a wait that should have ended by itself.
    fn stop_later(stop: &Stop) {
        let stop = stop.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(60));
            stop.request();
        });
    }

    #[test]
    fn what_others_commit_is_seen_at_once_with_and_without_a_write_ahead_log() {
        for journal in ["wal", "delete", "truncate", "persist"] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("bugs.db");
            let reader = Connection::open(&file).unwrap();
            // Without a write-ahead log, a commit keeps readers out for a moment.
            reader.busy_timeout(Duration::from_secs(60)).unwrap();
            reader.pragma_update(None, "journal_mode", journal).unwrap();
            reader.execute_batch("CREATE TABLE t (x)").unwrap();
            let mut writes = Writes::watch(&file).unwrap();
            let stop = Stop::default();
            stop_later(&stop);
            for count in 1..=20 {
                let file = file.clone();
                let writer = thread::spawn(move || {
                    let writer = Connection::open(file).unwrap();
                    writer.busy_timeout(Duration::from_secs(60)).unwrap();
                    writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
                });
                let seen =
                    || reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
                while seen().unwrap() < count {
                    assert!(!writes.wait(LONGEST, &stop).unwrap(), "{journal}");
                }
                writer.join().unwrap();
            }
        }
    }

    #[test]
    fn a_stop_ends_the_wait_whether_it_is_requested_before_or_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bugs.db");
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        let mut writes = Writes::watch(&file).unwrap();
        let stop = Stop::default();
        let waiting = {
            let stop = stop.clone();
            thread::spawn(move || {
                while !writes.wait(LONGEST, &stop).unwrap() {}
                assert!(writes.wait(LONGEST, &stop).unwrap());
            })
        };
        stop.request();
        waiting.join().unwrap();
    }

    #[test]
    fn the_pause_after_a_write_doubles_until_it_is_the_longest_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bugs.db");
        std::fs::write(&file, "").unwrap();
        let (mut writes, stop) = (Writes::watch(&file).unwrap(), Stop::default());
        let mut pauses = |is_written: bool| {
            let mut pauses = Vec::new();
            for _ in 0..5 {
                if is_written {
                    std::fs::write(&file, "x").unwrap();
                }
                writes.wait(Duration::from_millis(6), &stop).unwrap();
                pauses.push(writes.pause.as_millis());
            }
            pauses
        };
        assert_eq!(pauses(true), [1, 2, 4, 4, 4]);
        assert_eq!(pauses(false), [6, 6, 6, 6, 6]);
        assert_eq!(pauses(true), [1, 2, 4, 4, 4]);
    }

    #[test]
    fn one_write_is_followed_by_looks_with_pauses_that_double() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bugs.db");
        std::fs::write(&file, "").unwrap();
        let (mut writes, stop) = (Writes::watch(&file).unwrap(), Stop::default());
        std::fs::write(&file, "x").unwrap();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            writes.wait(Duration::from_millis(12), &stop).unwrap();
            pauses.push(writes.pause.as_millis());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 12, 12]);
    }
}
