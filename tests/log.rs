//! What the log looks like: for people, for programs, and for systemd's journal.

mod support;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::server::{Program, Server};

/// Ends at once, and logs before that.
const WRONG: [&str; 5] = [
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--source",
    "webhook:?key_file=none",
];

fn relay(folder: &Path, format: &str) -> Program {
    let arguments = [
        "relay",
        "--from",
        "sqlite:b.db",
        "--to",
        "jsonl:-",
        "--log-format",
        format,
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command.args(arguments).current_dir(folder);
    Program::run(command)
}

#[test]
fn each_line_of_json_is_an_object_with_time_level_and_message() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&WRONG[..], &["--log-format", "json", "--config", "c.toml"]].concat();
    std::fs::write(folder.path().join("c.toml"), "").unwrap();
    let (status, log) = Program::start(folder.path(), &arguments).wait();
    assert_eq!(status.code(), Some(78), "{log}");
    let objects: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let levels: Vec<&str> = objects
        .iter()
        .map(|object| object["level"].as_str().unwrap())
        .collect();
    assert_eq!(levels, ["info", "error"], "{log}");
    assert!(
        objects.iter().all(|object| object["time"].is_string()),
        "{log}"
    );
    assert!(
        objects[1]["message"]
            .as_str()
            .unwrap()
            .contains("cannot read the password from none"),
        "{log}"
    );
}

#[test]
fn the_line_of_the_start_has_the_form_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let line = relay(folder.path(), "json").wait_for_line(" relays from ");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(
        object["message"]
            .as_str()
            .unwrap()
            .contains("relays from sqlite:b.db")
    );
    let line = relay(folder.path(), "journal").wait_for_line(" relays from ");
    assert!(line.starts_with("<5>bugzfeed "), "{line}");
    let line = relay(folder.path(), "text").wait_for_line(" relays from ");
    assert!(line.starts_with("bugzfeed "), "{line}");
}

/// What a server writes that ends at once, to a file that is the journal, or is not.
fn written(folder: &Path, is_journal: bool) -> String {
    let path = folder.join("journal");
    let file = File::create(&path).unwrap();
    let metadata = file.metadata().unwrap();
    let inode = metadata.ino() + u64::from(!is_journal);
    Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(WRONG)
        .args(["--config", "c.toml"])
        .current_dir(folder)
        .env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()))
        .stderr(Stdio::from(file))
        .status()
        .unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_journal_is_told_priorities_and_no_time_where_stderr_is_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.toml"), "").unwrap();
    let log = written(folder.path(), true);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[0], "<6>the settings are those of c.toml, too",
        "{log}"
    );
    assert!(lines[1].starts_with("<3>"), "{log}");
    let log = written(folder.path(), false);
    assert!(
        log.contains(" [INFO] the settings are those of c.toml, too"),
        "{log}"
    );
    assert!(log.contains("bugzfeed: "), "{log}");
}

#[test]
fn from_time_to_time_and_in_the_end_a_line_says_what_has_happened() {
    let server = Server::start(&["--summary", "100ms"]);
    let _clients = [server.connect(), server.connect()];
    server
        .program()
        .wait_for_line("2 connections; since the last such line: ");
    server.record(&[(1, "2030-01-01T00:00:00"), (2, "2030-01-01T00:00:00")]);
    server.program().wait_for_line("0 ended, 2 updates, ");
    server.program().signal(Signal::TERM);
    let (_, log) = server.wait();
    let last = log.lines().last().unwrap();
    assert!(last.contains("stopped after "), "{log}");
    assert!(
        last.contains(": 2 connections accepted, 2 ended, 2 updates, "),
        "{log}"
    );
}

#[test]
fn a_format_that_there_is_not_is_named_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let (status, log) = Program::start(folder.path(), &["serve", "--log-format", "xml"]).wait();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(
        log.contains("accepted are auto, text, json and journal"),
        "{log}"
    );
}
