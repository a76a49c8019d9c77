//! A browser's processes and files, which all end with the value.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process_group, set_child_subreaper, waitpgid,
};
use tempfile::TempDir;

/// A running browser.
pub struct Process {
    child: Child,
    files: TempDir,
}

impl Process {
    /// Starts a program with its arguments. Everything that it writes, sockets and caches too, goes
    /// to `files`.
    pub fn start(program: &str, arguments: &[&str], files: TempDir) -> Process {
        // The browser's processes are known by their group, and those that outlive their parents
        // become our children, so that drop can wait for each of them.
        set_child_subreaper(Some(getpid())).expect("Linux lets a process adopt its grandchildren");
        // A test that is killed can't drop anything: then the kernel ends the browser
        // (--pdeathsig).
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(arguments)
            .env("HOME", files.path())
            .env("TMPDIR", files.path())
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        Process { child, files }
    }

    /// The folder that it writes to.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        // Orphans have become our children (see start). Once all have ended, nobody writes to the
        // files any more.
        while waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
}
