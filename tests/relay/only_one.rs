//! There is one relay per Bugzilla.

use crate::program::{Place, terminate};

#[test]
fn a_second_relay_from_the_same_file_is_refused_until_the_first_has_gone() {
    let place = Place::new();
    let first = place.relay(&["jsonl:out"]);
    first.wait_for_line("taking changes from sqlite:bugzfeed.db");
    // Another name of the same file, and another backlog.
    let folder = place.path().display();
    let from = format!("sqlite:{folder}/../{}/bugzfeed.db", place.path().file_name().unwrap().display());
    let (status, log) = place.relay_with(&["--from", &from, "--backlog", "other.db"], &["jsonl:other"]).wait();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(log.contains("another relay takes changes from this table, and there must be only one"), "{log}");
    // Killed, it gives up the table as well.
    drop(first);
    let second = place.relay_with(&["--backlog", "other.db"], &["jsonl:other"]);
    second.wait_for_line("taking changes from sqlite:bugzfeed.db");
    terminate(second);
}

#[test]
fn a_second_relay_with_the_same_backlog_is_refused() {
    let place = Place::new();
    let first = place.relay(&["jsonl:out"]);
    first.wait_for_line("taking changes from");
    let (status, log) = place.relay_with(&["--from", "sqlite:other.db"], &["jsonl:other"]).wait();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(log.contains("another relay uses the backlog bugzfeed-relay.db"), "{log}");
    assert!(!place.file("other.db").exists());
    terminate(first);
}

#[test]
fn looking_at_the_status_keeps_no_relay_from_starting() {
    let place = Place::new();
    terminate(place.relay(&["jsonl:out"]));
    for _ in 0..5 {
        let relay = place.relay(&["jsonl:out"]);
        place.status();
        place.status();
        relay.wait_for_line("taking changes from");
        terminate(relay);
    }
}
