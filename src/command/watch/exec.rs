//! `--exec`: runs a shell command for each update, one after the other. Knows no connection: the
//! watch goes on reading, and answers the server's pings, while a command runs.

use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::warn;
use crate::update::Update;

/// How many updates may wait for their command. Reading stops while more would have to: the server
/// holds back the rest, or closes the connection, and they come with the resume.
const WAITING_MAX: usize = 1_000;

/// A thread that runs the command, and the updates that wait for it.
#[derive(Debug)]
pub(super) struct Runner {
    updates: SyncSender<Update>,
    thread: JoinHandle<()>,
}

impl Runner {
    /// Starts the thread for `command`, a text for `sh -c`.
    pub(super) fn start(command: String) -> io::Result<Self> {
        let (updates, waiting) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("exec".to_owned())
            .spawn(move || run_all(&command, &waiting))?;
        Ok(Self { updates, thread })
    }

    /// Runs the command for `update` after those for earlier ones; waits only when too many do.
    pub(super) fn run(&self, update: Update) {
        self.updates
            .send(update)
            .expect("the thread ends after this sender only");
    }

    pub(super) fn finish(self) {
        drop(self.updates);
        self.thread.join().expect("running commands does not panic");
    }
}

fn run_all(command: &str, updates: &Receiver<Update>) {
    for update in updates {
        let status = Command::new("sh")
            .args(["-c", command])
            .env("BUGZFEED_BUG", update.bug.to_string())
            .env("BUGZFEED_WHEN", update.when.to_string())
            // The terminal belongs to the watch, which reads nothing from it either.
            .stdin(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => warn(&format!(
                "the command of --exec failed for bug {}: {status}",
                update.bug
            )),
            Err(error) => warn(&format!(
                "cannot run the command of --exec for bug {}: sh: {error}",
                update.bug
            )),
        }
    }
}
