//! A broker that `pulse init` has made a Pulse, and what runs against it. Knows no test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::rabbitmq::Broker;

/// A broker, and a folder with its administrator's password.
pub struct Pulse {
    pub broker: Broker,
    folder: TempDir,
    /// What was printed when it was made: by a look, a dry run, the first run and the second.
    pub birth: Vec<Said>,
}

/// What a command has printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The Pulse that these tests share, as long as one of them holds it.
pub fn shared() -> Arc<Pulse> {
    static SHARED: Mutex<Weak<Pulse>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let pulse = Arc::new(Pulse::make());
        *shared = Arc::downgrade(&pulse);
        pulse
    })
}

impl Pulse {
    /// One of the test's own.
    pub fn make() -> Self {
        let broker = Broker::start_managed();
        let folder = tempfile::tempdir().unwrap();
        let bare = format!("http://127.0.0.1:{}/", broker.management_port);
        let run = |arguments: &[&str]| {
            let place = ["--management", &bare];
            run(folder.path(), &[&["pulse"], arguments, &place].concat())
        };
        let init = ["init", "--password-file", "admin.password"];
        let birth = vec![
            run(&["check"]),
            run(&["init", "--dry-run"]),
            run(&init),
            run(&init),
        ];
        Self {
            broker,
            folder,
            birth,
        }
    }

    /// Where passwords are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `--management` for the administrator.
    pub fn management(&self) -> String {
        format!(
            "http://admin@127.0.0.1:{}/#password_file=admin.password",
            self.broker.management_port
        )
    }

    /// Runs `bugzfeed pulse` as the administrator.
    pub fn run(&self, arguments: &[&str]) -> Said {
        let management = self.management();
        let place = ["--management", &management];
        run(self.folder(), &[&["pulse"], arguments, &place].concat())
    }

    /// The same, which must go well; returns what it has printed.
    pub fn does(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// Makes an account and connects as it.
    pub fn add(&self, name: &str) -> User {
        let password = self.does(&["user", "add", name]);
        User::connect(self.broker.port, name, password.trim())
    }

    /// Connects to a virtual host as the administrator.
    pub fn admin(&self, vhost: &str) -> User {
        let password = std::fs::read_to_string(self.folder().join("admin.password")).unwrap();
        User::try_connect(self.broker.port, "admin", password.trim(), vhost).unwrap()
    }
}

/// Runs `bugzfeed` with no setting from elsewhere.
pub fn run(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command
        .env_remove("BUGZFEED_MANAGEMENT")
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null());
    command.output().unwrap().into()
}

/// A connection of Python's pika.
pub struct User {
    process: Child,
    calls: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl User {
    /// Connects to the virtual host `/`.
    pub fn connect(port: u16, name: &str, password: &str) -> Self {
        Self::try_connect(port, name, password, "/").unwrap_or_else(|why| panic!("{name}: {why}"))
    }

    /// Connects to a virtual host, if the broker lets it.
    pub fn try_connect(port: u16, name: &str, password: &str, vhost: &str) -> Result<Self, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pulse/user.py");
        let mut process = Command::new("/usr/bin/python3")
            .args([script, &port.to_string(), name, password, vhost])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 with python3-pika is needed");
        let calls = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut user = Self {
            process,
            calls,
            answers,
        };
        match user.answer() {
            Value::Null => Ok(user),
            why => Err(why.to_string()),
        }
    }

    /// Calls a method of a new channel; returns its answer, or the broker's reply code.
    pub fn attempt(&mut self, method: &str, arguments: &Value) -> Result<Value, u64> {
        writeln!(self.calls, "{}", json!([method, arguments])).unwrap();
        let answer = self.answer();
        match answer["refused"].as_u64() {
            Some(code) => Err(code),
            None => Ok(answer["ok"].clone()),
        }
    }

    /// The same, which the broker must not refuse.
    pub fn call(&mut self, method: &str, arguments: Value) -> Value {
        self.attempt(method, &arguments)
            .unwrap_or_else(|code| panic!("{method} {arguments}: {code}"))
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{line}: {why}"))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
