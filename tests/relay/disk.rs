//! The backlog's disk is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Place, terminate};
use crate::support::server::wait_until;

/// A small disk of its own.
struct Disk(TempDir);

impl Disk {
    /// Mounts one; `None` where that is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(folder))
        } else {
            eprintln!("not tested: a disk of its own can be mounted by root only");
            None
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes up all that is left.
    fn fill(&self) {
        fs::write(self.file("filling"), vec![1; 4 << 20]).unwrap_err();
    }

    fn make_room(&self) {
        fs::remove_file(self.file("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open on it loses nothing by that.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn depth(backlog: &Path) -> i64 {
    let backlog = rusqlite::Connection::open(backlog).unwrap();
    let count = "SELECT count(*) FROM push_backlog";
    backlog.query_row(count, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_relay_whose_disk_is_full_waits_for_room_and_loses_nothing() {
    let Some(disk) = Disk::mount() else { return };
    let place = Place::new();
    let bugs: Vec<u32> = (1..=40_000).collect();
    place.table().record(bugs.clone());
    disk.fill();
    let backlog = disk.file("backlog.db");
    let options = ["--backlog", backlog.to_str().unwrap()];
    let relay = place.relay_with(&options, &["jsonl:later/out"]);
    relay.wait_for_line("is full; trying again");
    disk.make_room();
    relay.wait_for_line("so changes stay in the table");
    assert!(depth(&backlog) > 1_000);
    // All changes together are more than the disk holds.
    fs::create_dir(place.file("later")).unwrap();
    wait_until("the last change has arrived", || {
        place
            .lines("later/out")
            .ends_with(&bugs[39_999..])
            .then_some(())
    });
    assert_eq!(place.lines("later/out"), bugs);
    wait_until("the backlog is empty", || {
        (depth(&backlog) == 0).then_some(())
    });
    let log = terminate(relay);
    assert_eq!(
        log.matches("so changes stay in the table; trying").count(),
        1,
        "{log}"
    );
}
