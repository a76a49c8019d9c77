//! `--exec`: runs a shell command for each update, one after the other. Knows no connection: the
//! watch goes on reading, and answers the server's pings, while a command runs.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::output::Output;
use crate::bugzilla::rest::{FactFinder, Settings};
use crate::update::{BugId, Update};

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
    /// Starts the thread for `command`, a text for `sh -c`, which learns what `bugzilla` knows.
    pub(super) fn start(
        command: String,
        output: Output,
        bugzilla: Option<(Settings, FactFinder)>,
    ) -> io::Result<Self> {
        let (updates, waiting) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("exec".to_owned())
            .spawn(move || run_all(&command, &waiting, &output, bugzilla.as_ref()))?;
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

fn run_all(
    command: &str,
    updates: &Receiver<Update>,
    output: &Output,
    bugzilla: Option<&(Settings, FactFinder)>,
) {
    for update in updates {
        let bug = update.bug;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .env("BUGZFEED_BUG", bug.to_string())
            .env("BUGZFEED_WHEN", update.when.to_string())
            // The terminal belongs to the watch, which reads nothing from it either.
            .stdin(Stdio::null());
        tell_facts(&mut shell, bug, output, bugzilla);
        match run_one(&mut shell, bug, output) {
            Ok(status) if status.success() => {}
            Ok(status) => output.warning(&format!(
                "the command of --exec failed for bug {bug}: {status}"
            )),
            Err(error) => output.warning(&format!(
                "cannot run the command of --exec for bug {bug}: sh: {error}"
            )),
        }
    }
}

/// Adds to a command's environment what Bugzilla tells us; what it does not tell is not there.
fn tell_facts(
    shell: &mut Command,
    bug: BugId,
    output: &Output,
    bugzilla: Option<&(Settings, FactFinder)>,
) {
    for name in ["BUGZFEED_PAGE", "BUGZFEED_SUMMARY", "BUGZFEED_STATUS"] {
        shell.env_remove(name);
    }
    let Some((settings, finder)) = bugzilla else {
        return;
    };
    shell.env("BUGZFEED_PAGE", settings.bug_page(bug));
    match finder.find(&[bug]) {
        Ok(facts) => {
            if let Some(facts) = facts.get(&bug) {
                shell.env("BUGZFEED_SUMMARY", facts.summary.replace('\0', ""));
                shell.env("BUGZFEED_STATUS", facts.status.replace('\0', ""));
            }
        }
        Err(error) => output.warning(&format!("Bugzilla tells us nothing of bug {bug}: {error}")),
    }
}

/// Runs a command. Below a table, its last words are shown.
fn run_one(shell: &mut Command, bug: BugId, output: &Output) -> io::Result<ExitStatus> {
    if !output.is_screen() {
        return shell.status();
    }
    let done = shell.output()?;
    for said in [done.stdout, done.stderr] {
        let said = String::from_utf8_lossy(&said).into_owned();
        if let Some(line) = said.lines().rfind(|line| !line.trim().is_empty()) {
            output.warning(&format!("bug {bug}: {line}"));
        }
    }
    Ok(done.status)
}
