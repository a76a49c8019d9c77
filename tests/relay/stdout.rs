//! Destination `jsonl:` where it is no file with a name: stdout, and FIFOs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::program::{Place, terminate};
use crate::support::server::wait_until;

/// A relay to stdout, as a shell starts it.
fn shell(place: &Place, script: &str) -> Command {
    let relay = format!(
        "{} relay --from 'sqlite:bugzfeed.db?poll=5ms&tz=UTC' --to jsonl:- --retry 5ms",
        env!("CARGO_BIN_EXE_bugzfeed")
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script.replace("RELAY", &relay)])
        .current_dir(place.path())
        .stderr(File::create(place.file("log")).unwrap());
    command
}

fn log(place: &Place) -> String {
    fs::read_to_string(place.file("log")).unwrap()
}

/// Where no file of a process may grow, it has the error of a full disk.
fn limit_files(process: u32, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    let process = Pid::from_raw(process.cast_signed()).unwrap();
    prlimit(Some(process), Resource::Fsize, limit).unwrap();
}

#[test]
fn a_line_that_a_full_disk_cuts_off_comes_again_on_a_line_of_its_own() {
    const FULL: u64 = 8 * 1024 * 1024;
    let place = Place::new();
    // The redirected file is near the limit; the backlog is not.
    let file = File::create(place.file("out")).unwrap();
    file.set_len(FULL - 100).unwrap();
    let mut relay = shell(&place, "trap '' XFSZ; exec RELAY >> out")
        .spawn()
        .unwrap();
    limit_files(relay.id(), Some(FULL));
    place.table().record([1, 2, 3]);
    wait_until("the disk is full", || {
        log(&place)
            .contains("cannot write: File too large")
            .then_some(())
    });
    assert_eq!(fs::metadata(place.file("out")).unwrap().len(), FULL);
    assert!(place.depth() > 0);
    limit_files(relay.id(), None);
    place.drained();
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    assert_eq!(relay.wait().unwrap().code(), Some(0));
    assert_eq!(place.lines("out"), [1, 2, 3]);
}

#[test]
fn a_closed_stdout_is_no_destination() {
    let place = Place::new();
    let status = shell(&place, "exec RELAY >&-").status().unwrap();
    assert_eq!(status.code(), Some(78), "{}", log(&place));
    let said = "--to jsonl:-: stdout is closed, so that nobody would get the changes.";
    assert!(log(&place).contains(said), "{}", log(&place));
    // Whoever says so gets it.
    let mut relay = shell(&place, "exec RELAY > /dev/null").spawn().unwrap();
    place.table().record([1]);
    wait_until("it relays", || {
        log(&place).contains(" relays from ").then_some(())
    });
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    assert_eq!(relay.wait().unwrap().code(), Some(0));
}

fn make_fifo(file: &Path) {
    mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_fifo_that_nobody_reads_is_said_and_gets_everything_when_somebody_does() {
    let place = Place::new();
    make_fifo(&place.file("fifo"));
    let relay = place.relay(&["jsonl:fifo"]);
    place.table().record([1, 2]);
    relay.wait_for_line("jsonl:fifo: no program reads the FIFO; trying again until it works");
    let mut reader = Command::new("cat")
        .arg("fifo")
        .current_dir(place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    for bug in [1, 2] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{{\"bug\":{bug},")), "{line}");
    }
    place.drained();
    terminate(relay);
    reader.wait().unwrap();
}
