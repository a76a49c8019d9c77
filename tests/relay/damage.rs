//! A backlog that was damaged while no relay used it.

use std::fs;

use crate::program::{Place, terminate};
use crate::support::server::wait_until;

/// Where nobody listens, so that changes stay in the backlog.
const NOWHERE: &str = "http://127.0.0.1:1/";

fn stream(place: &Place) -> String {
    let backlog = rusqlite::Connection::open(place.file("bugzfeed-relay.db")).unwrap();
    let select = "SELECT stream FROM push_destination";
    backlog.query_row(select, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_log_that_was_torn_begins_new_streams_so_that_servers_know_that_they_miss_some() {
    let place = Place::new();
    let mut table = place.table();
    let relay = place.relay(&[NOWHERE]);
    relay.wait_for_line("taking changes from");
    for taken in [10, 20] {
        table.record(taken - 9..=taken);
        wait_until(
            "they are in the backlog, and but one not in the table",
            || (place.depth() == i64::from(taken) && table.rows() == 1).then_some(()),
        );
    }
    let before = stream(&place);
    // Dropped, it is killed.
    drop(relay);
    let log = place.file("bugzfeed-relay.db-wal");
    let length = fs::metadata(&log).unwrap().len();
    let torn = fs::File::options().write(true).open(&log).unwrap();
    torn.set_len(length / 2).unwrap();
    let relay = place.relay(&[NOWHERE]);
    relay.wait_for_line("changes may be missing");
    wait_until("there is a new stream", || {
        (stream(&place) != before).then_some(())
    });
    terminate(relay);
}

#[test]
fn a_backlog_without_a_header_is_moved_aside_and_what_never_was_one_is_refused() {
    let place = Place::new();
    terminate(place.relay(&["jsonl:out"]));
    let backlog = place.file("bugzfeed-relay.db");
    let mut bytes = fs::read(&backlog).unwrap();
    bytes[..100].fill(0xff);
    fs::write(&backlog, &bytes).unwrap();
    let relay = place.relay(&["jsonl:out"]);
    relay.wait_for_line("is corrupt");
    place.table().record([7]);
    place.expect_lines("out", &[7]);
    terminate(relay);
    assert_eq!(
        fs::read(place.file("bugzfeed-relay.db.corrupt")).unwrap(),
        bytes
    );

    let precious = "what somebody has written. ".repeat(100);
    fs::write(place.file("precious"), &precious).unwrap();
    for _ in 0..2 {
        let relay = place.relay_with(&["--backlog", "precious"], &["jsonl:out"]);
        let (status, log) = relay.wait();
        assert_eq!(status.code(), Some(78), "{log}");
        assert_eq!(
            fs::read_to_string(place.file("precious")).unwrap(),
            precious
        );
    }
}
