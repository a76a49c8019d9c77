//! `watch --exec`: a command for each update.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use tungstenite::Message;

use crate::feed::{Feed, update};
use crate::program::Program;
use crate::support::server::PATIENCE;
use crate::terminal::start_bugzilla;

const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[1,2]}"#;
const OK: &str = r#"{"command":"subscribe","result":"ok","bugs":[1,2]}"#;

#[test]
fn the_command_learns_bug_and_time_and_all_have_run_when_the_watch_ends() {
    let feed = Feed::open();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let command = format!(
        "cat && echo $BUGZFEED_BUG $BUGZFEED_WHEN >> '{}'",
        log.display()
    );
    let watch = Program::start([
        "watch",
        "--quiet",
        "--count",
        "3",
        "--exec",
        &command,
        &feed.url(),
        "1",
        "2",
    ]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    for bug in [2, 1, 2] {
        client.send(&update(bug, "2014-04-03T21:13:45"));
    }
    let (code, lines, said) = watch.ends();
    assert_eq!((code, lines.len(), said.as_str()), (Some(0), 3, ""));
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "2 2014-04-03T21:13:45\n1 2014-04-03T21:13:45\n2 2014-04-03T21:13:45\n"
    );
}

#[test]
fn the_command_learns_what_bugzilla_tells_of_the_bug_and_nothing_that_it_does_not() {
    let (feed, bugzilla) = (Feed::open(), start_bugzilla());
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let command = format!(
        "echo \"$BUGZFEED_PAGE, $BUGZFEED_STATUS, $BUGZFEED_SUMMARY\" >> '{}'",
        log.display()
    );
    let options = ["watch", "--quiet", "--count", "2", "--bugzilla", &bugzilla];
    let watch =
        Program::start([&options[..], &["--exec", &command, &feed.url(), "1", "2"]].concat());
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    for bug in [2, 1] {
        client.send(&update(bug, "2014-04-03T21:13:45"));
        assert_eq!(watch.line(), format!("2014-04-03T21:13:45 bug {bug}"));
    }
    assert_eq!(watch.ends(), (Some(0), Vec::new(), String::new()));
    let page = format!("{bugzilla}show_bug.cgi?id=");
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        format!("{page}2, RESOLVED FIXED, It breaks\n{page}1, , \n")
    );
}

#[test]
fn a_command_that_fails_is_reported_and_does_not_stop_the_watch() {
    let feed = Feed::open();
    let watch = Program::start([
        "watch",
        "--quiet",
        "--count",
        "2",
        "--exec",
        "exit $BUGZFEED_BUG",
        &feed.url(),
        "1",
        "2",
    ]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    client.send(&update(2, "2014-04-03T21:13:45"));
    watch.says("the command of --exec failed for bug 2: exit status: 2");
    client.send(&update(1, "2014-04-03T21:13:46"));
    let (code, lines, said) = watch.ends();
    assert_eq!((code, lines.len()), (Some(0), 2));
    assert!(said.contains("failed for bug 1: exit status: 1"), "{said}");
}

#[test]
fn while_a_command_runs_the_next_ones_wait_and_the_watch_goes_on_and_does_not_end_before_them() {
    let feed = Feed::open();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let gates = ["gate1", "gate2", "gate3"].map(|gate| directory.path().join(gate));
    assert!(
        Command::new("mkfifo")
            .args(&gates)
            .status()
            .unwrap()
            .success()
    );
    let command = format!(
        "cd '{}'; echo begin $BUGZFEED_BUG >> log; cat gate$BUGZFEED_BUG; echo end $BUGZFEED_BUG >> log",
        directory.path().display()
    );
    let watch = Program::start([
        "watch",
        "--count",
        "3",
        "--exec",
        &command,
        &feed.url(),
        "1",
        "2",
        "3",
    ]);
    let mut client = feed.accept();
    client.subscribed(r#"{"command":"subscribe","bugs":[1,2,3]}"#, OK, &[]);
    for bug in [1, 2] {
        client.send(&update(bug, "2014-04-03T21:13:45"));
        assert_eq!(watch.line(), format!("2014-04-03T21:13:45 bug {bug}"));
    }
    client.ping(b"there?");
    assert_eq!(client.read(), Message::Pong("there?".into()));
    client.send(&update(3, "2014-04-03T21:13:46"));
    client.expect_gone();
    let logs = [
        "begin 1\n",
        "begin 1\nend 1\nbegin 2\n",
        "begin 1\nend 1\nbegin 2\nend 2\nbegin 3\n",
    ];
    for (gate, begun) in gates.into_iter().zip(logs) {
        let gate = command_waits_at(gate);
        assert_eq!(fs::read_to_string(&log).unwrap(), begun);
        drop(gate);
    }
    assert_eq!(watch.ends().0, Some(0));
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "begin 1\nend 1\nbegin 2\nend 2\nbegin 3\nend 3\n"
    );
}

/// Waits until a command waits at the gate, which passes when what this returns is dropped.
fn command_waits_at(gate: PathBuf) -> File {
    let (sender, opened) = channel();
    // A pipe can be opened for writing only when somebody reads it.
    thread::spawn(move || sender.send(OpenOptions::new().write(true).open(gate).unwrap()));
    opened
        .recv_timeout(PATIENCE)
        .expect("a command waits at the gate")
}
