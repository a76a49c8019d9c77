//! The backlog's disk is full.

use std::fs;
use std::path::Path;

use crate::program::{Place, terminate};
use crate::support::disk::Disk;
use crate::support::server::wait_until;

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
