//! A real `bugzfeed serve` on a free port, in a directory of its own. Killed when the test ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;

use crate::support::client::Client;

/// How long a test waits for what must happen before it gives up. Nothing takes this long; a slow
/// machine may.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    program: Program,
    folder: PathBuf,
    /// Removed at the end, where the test brought no folder of its own.
    _own_folder: Option<TempDir>,
}

impl Server {
    /// Starts a server with these options beside those that give it a port, a table and a history
    /// of its own.
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self::start_in(folder.path(), options);
        Self {
            _own_folder: Some(folder),
            ..server
        }
    }

    /// Starts a server in a folder that outlives it.
    pub fn start_in(folder: &Path, options: &[&str]) -> Self {
        let mut arguments = vec!["serve"];
        for default in [
            ["--listen", "127.0.0.1:0"],
            ["--source", "sqlite:bugzfeed.db?poll=5ms"],
            ["--drain", "0s"],
        ] {
            if !options.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        arguments.extend(options);
        let program = Program::start(folder, &arguments);
        let line = program.wait_for_line(" listens on ");
        let address = line
            .split("ws://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        Self {
            address,
            program,
            folder: folder.to_owned(),
            _own_folder: None,
        }
    }

    /// The folder that it runs in, with its table, `bugzfeed.db`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client of the default feed, whose handshake is done.
    pub fn connect(&self) -> Client {
        Client::open(self.address, "/")
    }

    /// The table, as Bugzilla's connection to it would be.
    pub fn table(&self) -> Connection {
        // The server creates it.
        self.program
            .wait_for_line("reading updates from sqlite:bugzfeed.db");
        let table = Connection::open(self.folder.join("bugzfeed.db")).unwrap();
        table.busy_timeout(PATIENCE).unwrap();
        // A test does not need to survive a power failure.
        table.pragma_update(None, "synchronous", "OFF").unwrap();
        table
    }

    /// Records changes, all in one transaction, so that the server reads all or none of them at
    /// once.
    pub fn record(&self, changes: &[(u32, &str)]) {
        let mut table = self.table();
        let transaction = table
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .unwrap();
        for (bug, when) in changes {
            transaction
                .execute(
                    "INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)",
                    params![bug, when],
                )
                .unwrap();
        }
        transaction.commit().unwrap();
    }

    /// The program behind it.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Sends a signal and waits for the end.
    pub fn end(self, signal: Signal) -> ExitStatus {
        self.program.signal(signal);
        self.wait().0
    }

    /// Waits for the end; returns it with all that was written to stderr.
    pub fn wait(self) -> (ExitStatus, String) {
        self.program.wait()
    }
}

/// A running `bugzfeed`.
pub struct Program {
    child: Child,
    log: Arc<Log>,
}

/// What a program has written to stderr.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    is_ended: bool,
}

impl Program {
    /// Starts `bugzfeed` with these arguments and no setting from elsewhere.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    /// The same, with these variables in its environment.
    pub fn start_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BUGZFEED_"))
        {
            command.env_remove(name);
        }
        // Servers of many tests run at once.
        command
            .env("BUGZFEED_ADMIN", "off")
            .envs(environment.iter().copied())
            .current_dir(folder)
            .args(arguments);
        Self::run(command)
    }

    /// Runs a command that becomes `bugzfeed`.
    pub fn run(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::run_with_input(command)
    }

    /// The same, with what the command itself says of stdin and stdout.
    pub fn run_with_input(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, written) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                written.state.lock().unwrap().lines.push(line);
                written.changed.notify_all();
            }
            written.state.lock().unwrap().is_ended = true;
            written.changed.notify_all();
        });
        Self { child, log }
    }

    /// Waits for a line on stderr that contains `text`, and returns it.
    pub fn wait_for_line(&self, text: &str) -> String {
        let found = |log: &LogState| log.lines.iter().find(|line| line.contains(text)).cloned();
        let log = self.wait_for(|log| log.is_ended || found(log).is_some());
        found(&log).unwrap_or_else(|| {
            panic!(
                "the program ended or hung without '{text}': {:#?}",
                log.lines
            )
        })
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        self.log.state.lock().unwrap().lines.join("\n")
    }

    /// Waits for the end; returns it with all that was written to stderr.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let log = self.wait_for(|log| log.is_ended);
        assert!(log.is_ended, "the program does not end: {:#?}", log.lines);
        let lines = log.lines.join("\n");
        drop(log);
        (self.child.wait().unwrap(), lines)
    }

    fn wait_for(&self, is_done: impl Fn(&LogState) -> bool) -> std::sync::MutexGuard<'_, LogState> {
        let log = self.log.state.lock().unwrap();
        self.log
            .changed
            .wait_timeout_while(log, PATIENCE, |log| !is_done(log))
            .unwrap()
            .0
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Changes how many files it may have open; returns how many it could open before.
    pub fn limit_files(&self, files: u64) -> u64 {
        // The server has raised its own limit to the maximum, which it has in common with this
        // process.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let before = prlimit(
            Some(self.pid()),
            Resource::Nofile,
            Rlimit {
                current: Some(files),
                maximum,
            },
        )
        .unwrap();
        before.current.or(maximum).expect("a limit of open files")
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// The processor time that it has used, in the kernel's ticks of 10 ms.
    pub fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name, which may hold spaces, ends with the last parenthesis; user and system time are
        // the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until `found` has an answer: for what no event tells of.
pub fn wait_until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, found)
}

/// The same, with a patience of its own.
pub fn wait_within<T>(patience: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = found() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        // Asking without a pause would take the processor from the one that is asked.
        thread::sleep(Duration::from_millis(1));
    }
}
