//! A client under test: a program of a few lines in the client's language that does what it reads
//! from stdin and prints what it is told, a JSON object on each line.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::support::server::PATIENCE;

/// Which client.
#[derive(Clone, Copy, Debug)]
pub enum Language {
    /// bugzfeed.js, in Node.js.
    JavaScript,
    /// The client in Python, with asyncio.
    Python,
}

/// A running client. Killed when the test ends.
pub struct Driver {
    process: Child,
    stdin: ChildStdin,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Value>,
    is_ended: bool,
}

impl Driver {
    /// A client of the feed at `address`, with little patience.
    pub fn start(language: Language, address: SocketAddr) -> Self {
        Self::start_with(language, address, json!({}))
    }

    /// The same, with other settings: in milliseconds, named as in bugzfeed.js.
    pub fn start_with(language: Language, address: SocketAddr, settings: Value) -> Self {
        let mut merged = json!({
            "retryFirst": 20, "retryMax": 200, "silenceMax": 60_000, "answerMax": 30_000
        });
        let given = settings.as_object().unwrap().clone();
        merged.as_object_mut().unwrap().extend(given);
        let mut command = language.command();
        command.args([format!("ws://{address}/"), merged.to_string()]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let heard = Arc::new(Heard::default());
        let (stdout, told) = (process.stdout.take().unwrap(), Arc::clone(&heard));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                told.state.lock().unwrap().lines.push(line);
                told.changed.notify_all();
            }
            told.state.lock().unwrap().is_ended = true;
            told.changed.notify_all();
        });
        Self {
            stdin: process.stdin.take().unwrap(),
            process,
            heard,
        }
    }

    /// Subscribes, and waits until that is done.
    pub fn subscribe(&mut self, bugs: &[u32]) {
        let before = self.count("ready");
        self.tell(json!({"do": "subscribe", "bugs": bugs}));
        self.wait_until("it has subscribed", |lines| count(lines, "ready") > before);
    }

    /// Subscribes to what changed at `since` or later.
    pub fn subscribe_since(&mut self, bugs: &[u32], since: &str) {
        self.tell(json!({"do": "subscribe", "bugs": bugs, "since": since}));
    }

    /// Gives the client something to do.
    pub fn tell(&mut self, what: Value) {
        writeln!(self.stdin, "{what}").expect("the client reads");
    }

    /// Waits for so many updates, and returns all that have come, as `bug when`.
    pub fn wait_for_updates(&self, count: usize) -> Vec<String> {
        self.wait_until(&format!("{count} updates"), |lines| {
            updates(lines).len() >= count
        });
        updates(&self.lines())
    }

    /// Waits until the client has told this kind of thing so often.
    pub fn wait_for(&self, kind: &str, times: usize) {
        self.wait_until(&format!("{kind}, {times} times"), |lines| {
            count(lines, kind) >= times
        });
    }

    /// Waits until the client is in this state once more than before.
    pub fn wait_for_state(&self, state: &str, times: usize) {
        self.wait_until(&format!("the state {state}, {times} times"), |lines| {
            lines.iter().filter(|line| line["state"] == state).count() >= times
        });
    }

    /// Waits until the client says this of the server's source.
    pub fn wait_for_source(&self, source: &str) {
        self.wait_until(&format!("the source {source}"), |lines| {
            lines.last().is_some_and(|line| line["source"] == source)
        });
    }

    /// How often it has told this kind of thing.
    pub fn count(&self, kind: &str) -> usize {
        count(&self.lines(), kind)
    }

    /// All that it has told so far.
    pub fn lines(&self) -> Vec<Value> {
        self.heard.state.lock().unwrap().lines.clone()
    }

    /// Waits for the end of the program, which must be a good one.
    pub fn wait_for_end(&mut self) {
        self.wait_while("the end", |state| !state.is_ended);
        assert!(self.process.wait().unwrap().success());
    }

    fn wait_until(&self, what: &str, is_done: impl Fn(&[Value]) -> bool) {
        self.wait_while(what, |state| !is_done(&state.lines));
    }

    fn wait_while(&self, what: &str, goes_on: impl Fn(&State) -> bool) {
        let state = self.heard.state.lock().unwrap();
        let (state, timeout) = self
            .heard
            .changed
            .wait_timeout_while(state, PATIENCE, |state| goes_on(state))
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "waited in vain for {what}: {:#?}",
            state.lines
        );
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Language {
    fn command(self) -> Command {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
        let (program, script) = match self {
            Language::JavaScript => ("node", "driver.mjs"),
            Language::Python => ("/usr/bin/python3", "driver.py"),
        };
        let mut command = Command::new(program);
        command.arg(format!("{folder}/{script}"));
        command
    }
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| !line[kind].is_null()).count()
}

fn updates(lines: &[Value]) -> Vec<String> {
    let updates = lines.iter().filter_map(|line| line["update"].as_array());
    updates
        .map(|update| format!("{} {}", update[0], update[1].as_str().unwrap()))
        .collect()
}
