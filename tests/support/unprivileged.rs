//! Servers that refuse to run as root: a folder and an account for them, and what all private
//! servers of the tests share.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

/// How long a server may take to start. Nothing takes this long; a slow machine may.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// An account of this system that is not root.
#[derive(Clone, Copy)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account `name`, where the tests run as root; none where they don't.
    pub fn find(name: &str) -> Option<Self> {
        if !getuid().is_root() {
            return None;
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap();
        let fields = accounts
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == name);
        let fields = fields
            .unwrap_or_else(|| panic!("there is no account {name}: is its package installed?"));
        Some(Self {
            uid: fields[2].parse().unwrap(),
            gid: fields[3].parse().unwrap(),
        })
    }
}

/// A folder that belongs to an account.
pub struct Folder {
    folder: TempDir,
    account: Option<Account>,
}

impl Folder {
    /// Makes a folder for a server.
    pub fn new(prefix: &str, account: Option<Account>) -> Self {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        let folder = Self { folder, account };
        folder.give(folder.path());
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Gives a file in it to the account, readable for nobody else.
    pub fn give(&self, path: &Path) {
        if let Some(Account { uid, gid }) = self.account {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        let mode = if path.is_dir() { 0o755 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Puts a server's certificate and key into it, both the account's own: PostgreSQL takes a key
    /// that others may read for none.
    pub fn copy_certificates(&self) {
        for name in ["server.pem", "server.key"] {
            fs::copy(certificate(name), self.file(name)).unwrap();
            self.give(&self.file(name));
        }
    }

    /// A program that runs in it as the account.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// A certificate: `ca.pem`, which issued the servers', or `stranger.pem`, which did not.
pub fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/watch/tls")
        .join(name)
}

/// Runs a program to its end, which must be a good one.
pub fn run(mut command: Command) -> String {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{complained}",
        output.status
    );
    said.into_owned()
}

/// A server's process. It ends with its owner.
pub struct Server {
    child: Mutex<Child>,
    output: PathBuf,
}

impl Server {
    /// Starts `command`, whose output goes to the file `output`, and waits until `is_ready`.
    pub fn start(
        command: Command,
        output: PathBuf,
        is_ready: impl FnMut() -> bool,
    ) -> Result<Self, String> {
        let child = Mutex::new(spawn(command, &output));
        let server = Self { child, output };
        server.wait(is_ready).map(|()| server)
    }

    /// Starts it again after [`Server::kill`]. What the killed one has left behind may keep a new
    /// one from starting for a moment.
    pub fn restart(&self, command: impl Fn() -> Command, mut is_ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            *self.child() = spawn(command(), &self.output);
            match self.wait(&mut is_ready) {
                Ok(()) => return,
                Err(why) => assert!(Instant::now() < deadline, "{why}"),
            }
        }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child()), signal).unwrap();
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, mut is_ready: impl FnMut() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready() {
            if let Some(status) = self.child().try_wait().unwrap() {
                return Err(format!("it ended with {status}: {}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("it takes too long: {}", self.log()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn spawn(mut command: Command, output: &Path) -> Child {
    let output = fs::File::options()
        .create(true)
        .append(true)
        .open(output)
        .unwrap();
    command
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a server's client with a script on its standard input. Returns all that it has said.
pub fn pipe(mut client: Command, script: &str) -> Result<String, String> {
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that fails early does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}
