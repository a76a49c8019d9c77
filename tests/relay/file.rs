//! Destinations `jsonl:`, and what all destinations have in common.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::program::{Place, terminate};
use crate::support::server::{Program, wait_until};

#[test]
fn changes_go_from_the_table_to_each_destination_in_order() {
    let place = Place::new();
    place.table().record([3, 1, 2]);
    let relay = place.relay(&["jsonl:one", "jsonl:two"]);
    place.expect_lines("one", &[3, 1, 2]);
    place.table().record([1]);
    place.expect_lines("one", &[3, 1, 2, 1]);
    place.expect_lines("two", &[3, 1, 2, 1]);
    assert!(
        fs::read_to_string(place.file("one"))
            .unwrap()
            .starts_with("{\"bug\":3,\"when\":\"2014-04-03T21:13:45\",\"id\":\"")
    );
    place.drained();
    terminate(relay);
}

#[test]
fn a_destination_that_is_down_all_the_time_costs_the_others_nothing_and_gets_everything_when_it_is_back()
 {
    let place = Place::new();
    // Nothing can be written to a folder.
    fs::create_dir(place.file("down")).unwrap();
    let relay = place.relay(&["jsonl:down", "jsonl:up"]);
    for bug in 1..=20 {
        place.table().record([bug]);
        place.expect_lines("up", &(1..=bug).collect::<Vec<_>>());
    }
    let log = terminate(relay);
    assert!(
        log.contains("jsonl:down: cannot write: Is a directory"),
        "{log}"
    );
    assert_eq!(place.table().rows(), 1);
    let relay = place.relay(&["jsonl:down", "jsonl:up"]);
    place.table().record([21]);
    place.expect_lines("up", &(1..=21).collect::<Vec<_>>());
    fs::remove_dir(place.file("down")).unwrap();
    place.expect_lines("down", &(1..=21).collect::<Vec<_>>());
    relay.wait_for_line("jsonl:down: works again");
    place.drained();
    terminate(relay);
}

#[test]
fn a_relay_whose_backlog_is_deleted_or_replaced_ends_and_the_next_one_sends_what_was_in_it() {
    for harm in [
        "rm bugzfeed-relay.db",
        "rm bugzfeed-relay.db-wal",
        "rm bugzfeed-relay.db*",
        "cp bugzfeed-relay.db x && mv x bugzfeed-relay.db",
    ] {
        let place = Place::new();
        fs::create_dir(place.file("down")).unwrap();
        let relay = place.relay(&["jsonl:down"]);
        place.table().record([1, 2]);
        // The last one stays as a bookmark.
        wait_until("they are taken", || {
            (place.table().rows() == 1).then_some(())
        });
        let harmed = Command::new("sh")
            .args(["-c", harm])
            .current_dir(place.path())
            .status();
        assert!(harmed.unwrap().success());
        place.table().record([3]);
        let (status, log) = relay.wait();
        assert_eq!(status.code(), Some(69), "{harm}: {log}");
        assert!(
            log.contains("was deleted or replaced while this relay used it, which therefore ends; what was in it is put back"),
            "{harm}: {log}"
        );
        fs::remove_dir(place.file("down")).unwrap();
        let relay = place.relay(&["jsonl:down"]);
        place.drained();
        assert_eq!(place.lines("down")[..3], [1, 2, 3], "{harm}");
        terminate(relay);
    }
}

#[test]
fn a_long_backlog_goes_out_in_order() {
    let place = Place::new();
    let bugs: Vec<u32> = (1..=5_000).collect();
    place.table().record(bugs.clone());
    let relay = place.relay(&["jsonl:out"]);
    place.expect_lines("out", &bugs);
    place.drained();
    terminate(relay);
}

#[test]
fn a_row_that_is_no_notification_is_dropped_and_stops_nothing() {
    let place = Place::new();
    place.table().record([1, 0, 2]);
    let relay = place.relay(&["jsonl:out"]);
    place.expect_lines("out", &[1, 2]);
    place.drained();
    assert!(terminate(relay).contains("is no notification"));
}

#[test]
fn a_killed_relay_loses_nothing() {
    let place = Place::new();
    // What is recorded goes out in several batches, and the relay is killed at another point of it
    // each time.
    for round in 0..10 {
        let first = round * 2_000 + 1;
        place.table().record(first..first + 2_000);
        let relay = place.relay(&["jsonl:out"]);
        wait_until("something has arrived", || {
            place
                .lines("out")
                .iter()
                .any(|&bug| bug >= first + round * 150)
                .then_some(())
        });
        // Dropped, it is killed.
        drop(relay);
    }
    let relay = place.relay(&["jsonl:out"]);
    place.drained();
    terminate(relay);
    let mut seen = 0;
    for bug in place.lines("out") {
        assert!(bug <= seen + 1, "{bug} came after {seen}");
        seen = seen.max(bug);
    }
    assert_eq!(seen, 20_000);
}

#[test]
fn a_reader_of_stdout_that_goes_ends_the_relay_well() {
    let place = Place::new();
    place.table().record([7]);
    let mut relay = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args([
            "relay",
            "--from",
            "sqlite:bugzfeed.db?poll=5ms",
            "--to",
            "jsonl:-",
        ])
        .current_dir(place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(relay.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"bug\":7,\"when\":\""), "{line}");
    drop(stdout);
    place.table().record([8]);
    let status = wait_until("the relay ends", || relay.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let place = Place::new();
    fs::write(place.file("no-database"), "hello").unwrap();
    for (arguments, code, said) in [
        (
            &["--from", "amqp://u:secret@h", "--to", "jsonl:x"][..],
            2,
            "is no table of notifications",
        ),
        (
            &["--from", "webhook:?key=k", "--to", "jsonl:x"],
            2,
            "is no table of notifications",
        ),
        (
            &["--from", "sqlite:x?mode=bugs", "--to", "jsonl:x"],
            2,
            "is no table of notifications",
        ),
        (
            &["--from", "sqlite:x", "--to", "jsonl:x", "jsonl:x"],
            2,
            "names jsonl:x twice",
        ),
        (
            &["--from", "sqlite:x", "--to", "sqlite:y"],
            2,
            "it is no destination; accepted are amqp://",
        ),
        (&["--from", "sqlite:x"], 2, "--to"),
        (&["--to", "jsonl:x"], 2, "--from"),
        (
            &[
                "--from",
                "sqlite:x",
                "--to",
                "jsonl:x",
                "--backlog",
                "no/folder/x",
            ],
            78,
            "cannot use the backlog no/folder/x",
        ),
        (
            &[
                "--from",
                "sqlite:x",
                "--to",
                "jsonl:x",
                "--backlog",
                "no-database",
            ],
            78,
            "cannot use the backlog no-database",
        ),
        (
            &["--from", "sqlite:x", "--to", "https://h/#key_file=/no/key"],
            78,
            "cannot read the password from /no/key",
        ),
        (
            &["--from", "sqlite:x", "--to", "https://h/#cacert=/no/ca"],
            78,
            "cannot use the certificates in /no/ca",
        ),
        (
            &["--status", "--backlog", "none"],
            78,
            "cannot read the backlog none",
        ),
    ] {
        let (status, log) = Program::start(place.path(), &[&["relay"], arguments].concat()).wait();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {log}");
        assert!(
            log.contains(said) && !log.contains("secret"),
            "{arguments:?}: {log}"
        );
    }
    assert!(!place.file("none").exists());
}
