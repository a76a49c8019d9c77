//! `bugzfeed relay --status`, and the progress that a terminal sees.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::program::{Place, terminate};
use crate::support::server::{PATIENCE, wait_until};

#[test]
fn the_status_says_what_waits_since_when_what_went_wrong_and_when_it_is_tried_again() {
    let place = Place::new();
    fs::create_dir(place.file("down")).unwrap();
    place.table().record([1, 2, 3]);
    let relay = place.relay_with(&["--retry", "1h"], &["jsonl:down", "jsonl:up"]);
    place.expect_lines("up", &[1, 2, 3]);
    relay.wait_for_line("Is a directory (os error 21); trying again until it works");
    let status = wait_until("the status says so", || {
        Some(place.status()).filter(|status| status.contains("next attempt:  in 59 min"))
    });
    let (down, up) = status.split_once("\njsonl:up\n").unwrap();
    assert!(
        down.starts_with(
            "A relay is running.\n\njsonl:down\n  waiting:       3\n  oldest:        "
        ),
        "{status}"
    );
    assert!(
        down.contains("  last error:    cannot write: Is a directory (os error 21) ("),
        "{status}"
    );
    assert_eq!(up, "  waiting:       0\n");
    terminate(relay);
    let status = place.status();
    assert!(
        status.starts_with("No relay is running.\n")
            && status.contains("next attempt:  at the next start\n"),
        "{status}"
    );
}

#[test]
fn changes_that_wait_for_a_destination_with_another_name_are_not_forgotten_in_silence() {
    let place = Place::new();
    fs::create_dir(place.file("down")).unwrap();
    let relay = place.relay(&["jsonl:down"]);
    place.table().record([1, 2]);
    relay.wait_for_line("Is a directory");
    terminate(relay);
    let relay = place.relay(&["jsonl:renamed"]);
    relay.wait_for_line(
        "2 changes wait for jsonl:down, which is no destination (setting --to) of this relay",
    );
    assert!(place.status().contains("jsonl:down\n  waiting:       2\n"));
    terminate(relay);
    fs::remove_dir(place.file("down")).unwrap();
    let relay = place.relay(&["jsonl:down"]);
    place.expect_lines("down", &[1, 2]);
    place.drained();
    assert!(!terminate(relay).contains("which is no destination"));
}

#[test]
fn a_terminal_sees_how_much_of_a_long_backlog_is_left() {
    let place = Place::new();
    fs::create_dir(place.file("down")).unwrap();
    place.table().record(1..=3_000);
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    let stderr = File::options().read(true).write(true).open(name).unwrap();
    let mut relay = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args([
            "relay",
            "--from",
            "sqlite:bugzfeed.db?poll=5ms",
            "--to",
            "jsonl:down",
            "--retry",
            "5ms",
        ])
        .current_dir(place.path())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let (seen, screen) = mpsc::channel();
    thread::spawn(move || {
        let mut terminal = File::from(terminal);
        let mut bytes = [0; 4_096];
        // A terminal that nobody writes to any more is an error.
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            let _ = seen.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    let mut text = String::new();
    while !text.contains("\r\x1b[K3000 changes wait") {
        text += &screen
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no progress: {text:?}"));
    }
    fs::remove_dir(place.file("down")).unwrap();
    place.expect_lines("down", &(1..=3_000).collect::<Vec<_>>());
    place.drained();
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    let status = wait_until("the relay ends", || relay.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    text.extend(screen.iter());
    // A line of the log takes the place of the progress.
    assert!(
        text.contains("\r\x1b[K2") || text.ends_with("\r\x1b[K"),
        "{text:?}"
    );
}
