//! `bugzfeed reload`: has a running server read its settings anew. What comes of it stands in the
//! server's log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::work::FileLock;

/// The unit of docs/systemd.
const UNIT: &str = "bugzfeed";

/// Which server is meant.
#[derive(Args, Debug)]
pub struct Options {
    /// Unit of systemd that runs the server; bugzfeed where nothing else is named
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// File that the server has as its own --pid-file
    #[arg(long, env = "BUGZFEED_PID_FILE", value_name = "FILE")]
    pid_file: Option<PathBuf>,
}

/// Asks the server, and does not wait for what comes of it where it runs without systemd.
///
/// # Errors
/// When there is no such server.
pub fn run(options: &Options) -> Result<(), Failure> {
    match (&options.unit, &options.pid_file) {
        (None, Some(file)) => by_pid_file(file),
        (Some(unit), _) => by_unit(unit),
        (None, None) => by_unit(UNIT),
    }
}

fn by_unit(unit: &str) -> Result<(), Failure> {
    let failure = |why: &str| {
        Failure::Unavailable(format!(
            "cannot reload the unit {unit} (--unit): {why}; --pid-file names a server that runs without systemd."
        ))
    };
    let status = Command::new("systemctl")
        .args(["reload", "--", unit])
        .status()
        .map_err(|error| failure(&format!("systemctl: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(failure(&format!("systemctl: {status}"))),
    }
}

fn by_pid_file(file: &Path) -> Result<(), Failure> {
    let failure = |why: &str| {
        let file = file.display();
        Failure::Unavailable(format!(
            "cannot reload by {file} (setting --pid-file): {why}."
        ))
    };
    let io = |error: io::Error| failure(&error.to_string());
    let text = fs::read_to_string(file).map_err(io)?;
    // A server holds its file for as long as it runs; the number of one that has gone may be
    // another process's by now.
    if FileLock::take(file).map_err(io)?.is_some() {
        return Err(failure("the server has gone"));
    }
    let number = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = number.ok_or_else(|| failure("it does not hold the number of a process"))?;
    kill_process(pid, Signal::HUP).map_err(|error| io(error.into()))
}
