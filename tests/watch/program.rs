//! The program under test, and what it prints. Knows nothing of feeds.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use crate::support::server::PATIENCE;

/// A running command; killed when the test ends.
pub struct Program {
    child: Child,
    stdout: Option<Receiver<String>>,
    stderr: Receiver<String>,
}

impl Program {
    pub fn start<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut child = Self::command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Some(lines(child.stdout.take().unwrap()));
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Starts with a stdout that nobody reads any more.
    pub fn start_unread<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = Self::command(arguments).stdout(writer).spawn().unwrap();
        drop(reader);
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout: None,
            stderr,
        }
    }

    fn command<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BUGZFEED_"))
        {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Waits for the next line on stdout.
    pub fn line(&self) -> String {
        self.stdout
            .as_ref()
            .expect("stdout is read")
            .recv_timeout(PATIENCE)
            .expect("a line on stdout")
    }

    /// Waits for a line on stderr that contains `text`, and returns those up to it.
    pub fn says(&self, text: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while let Ok(line) = self
            .stderr
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            said.push(line);
            if said.last().is_some_and(|line| line.contains(text)) {
                return said;
            }
        }
        panic!("never said '{text}', but {said:#?}")
    }

    /// Waits for the end. Returns the exit code, and the lines of stdout and stderr that nobody has
    /// asked for.
    pub fn ends(mut self) -> (Option<i32>, Vec<String>, String) {
        let deadline = Instant::now() + PATIENCE;
        let rest = |lines: &Receiver<String>| {
            let mut rest = Vec::new();
            loop {
                match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(line) => rest.push(line),
                    Err(RecvTimeoutError::Disconnected) => return rest,
                    Err(RecvTimeoutError::Timeout) => {
                        panic!("still running, and printed {rest:#?}")
                    }
                }
            }
        };
        let stderr = rest(&self.stderr).join("\n");
        let stdout = self.stdout.as_ref().map(rest).unwrap_or_default();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
