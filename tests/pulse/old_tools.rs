//! The libraries that scripts for Mozilla's Pulse are written with, on a broker that `pulse init`
//! has made, through accounts that `pulse user add` has made: they get what a relay publishes, and
//! a server gets what they publish.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::place::{self, Pulse};
use crate::support;
use crate::support::server::{Program, Server};

/// The last mozillapulse there is, of 2017, and a kombu of today, from Python's registry.
const LIBRARIES: [&str; 2] = ["mozillapulse==1.3", "kombu==5.7.0"];

const EXCHANGE: &str = "exchange/bugzilla/simple";

/// What the scripts need to run.
struct Kit {
    /// The libraries of those in Python, where its registry has them.
    python: Option<PathBuf>,
    /// The program of those in Go.
    go: PathBuf,
}

impl Kit {
    fn make(folder: &Path) -> Self {
        let libraries = folder.join("libraries");
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--target",
        ];
        let installed = Command::new("/usr/bin/python3")
            .args(pip)
            .arg(&libraries)
            .args(LIBRARIES)
            .status()
            .expect("/usr/bin/python3 with python3-pip is needed");
        if !installed.success() {
            // pip has said why: a machine may only reach Debian's packages.
            support::not_tested("mozillapulse and kombu, since pip cannot install them");
        }
        let go = folder.join("old_tools");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&go)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/pulse/old_tools.go"
            ))
            // Debian's packages, and nothing from the network.
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOCACHE", folder.join("cache"))
            .status()
            .expect("golang-go is needed");
        assert!(built.success());
        Self {
            python: installed.success().then_some(libraries),
            go,
        }
    }

    /// Those of these scripts, each with an account, that can be run.
    fn having(
        &self,
        scripts: &[(&'static str, &'static str)],
    ) -> Vec<(&'static str, &'static str)> {
        let is_there = |what: &str| what.starts_with("Go") || self.python.is_some();
        scripts
            .iter()
            .copied()
            .filter(|(what, _)| is_there(what))
            .collect()
    }

    fn command(&self, what: &str) -> Command {
        match &self.python {
            Some(libraries) if !what.starts_with("Go") => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pulse/old_tools.py");
                let mut command = Command::new("/usr/bin/python3");
                command.arg(script).env("PYTHONPATH", libraries);
                command
            }
            _ => Command::new(&self.go),
        }
    }
}

/// A script, and an account for it.
struct Tool {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tool {
    fn start(
        pulse: &Pulse,
        kit: &Kit,
        what: &str,
        account: &str,
        exchange: &str,
        bugs: &[&str],
    ) -> Self {
        let password = pulse.does(&["user", "add", account]);
        let mut process = kit
            .command(what)
            .args([
                what,
                &pulse.broker.port.to_string(),
                account,
                password.trim(),
                exchange,
            ])
            .args(bugs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs RabbitMQ and Python's registry: run tests/run"]
fn scripts_in_python_and_go_consume_what_a_relay_publishes_and_publish_what_a_server_reads() {
    let (pulse, folder) = (place::shared(), tempfile::tempdir().unwrap());
    let kit = Kit::make(folder.path());
    let port = pulse.broker.port;
    let start = |what: &str, account: &str, exchange: &str, bugs: &[&str]| {
        Tool::start(&pulse, &kit, what, account, exchange, bugs)
    };

    let consumers = kit.having(&[
        ("mozillapulse consumer", "old1"),
        ("kombu consumer", "old2"),
        ("kombu consumer of a queue that is not durable", "old3"),
        ("Go consumer of a named queue", "old6"),
        ("Go consumer of an unnamed queue", "old7"),
    ]);
    let mut consumers: Vec<Tool> = consumers
        .into_iter()
        .map(|(what, account)| start(what, account, EXCHANGE, &[]))
        .collect();
    for consumer in &mut consumers {
        assert_eq!(consumer.line(), "ready");
    }
    let password = folder.path().join("bugzilla.password");
    pulse.does(&[
        "user",
        "add",
        "bugzilla",
        "--password-file",
        password.to_str().unwrap(),
    ]);
    let notify = ["notify", "7", "8"];
    let said = place::run(folder.path(), &notify);
    assert_eq!(said.code, 0, "{said:?}");
    let to = format!(
        "amqp://bugzilla@127.0.0.1:{port}/?password_file={}",
        password.display()
    );
    let relay = Program::start(
        folder.path(),
        &[
            "relay",
            "--from",
            "sqlite:bugzfeed.db?poll=5ms",
            "--to",
            &to,
        ],
    );
    relay.wait_for_line(" relays from ");
    for consumer in &mut consumers {
        assert_eq!([consumer.line(), consumer.line()], ["7", "8"]);
    }

    pulse.does(&[
        "user",
        "add",
        "feeder",
        "--password-file",
        folder.path().join("feeder.password").to_str().unwrap(),
    ]);
    for (publisher, account) in kit.having(&[
        ("mozillapulse publisher", "old4"),
        ("kombu publisher", "old5"),
        ("Go publisher", "old8"),
    ]) {
        let exchange = format!("exchange/{account}/changes");
        // It declares its exchange.
        let mut declaring = start(publisher, account, &exchange, &["1"]);
        assert!(declaring.process.wait().unwrap().success());
        let file = folder.path().join("feeder.password");
        let source = format!(
            "amqp://feeder@127.0.0.1:{port}/?exchange={exchange}&queue={account}&password_file={}",
            file.display()
        );
        let server = Server::start(&["--source", &source]);
        server.program().wait_for_line("reading updates from");
        let mut client = server.connect();
        client.ask(&json!({"command": "subscribe", "bugs": [1, 2, 3]}).to_string());
        pulse.does(&["user", "remove", account]);
        let mut publishing = start(publisher, account, &exchange, &["2", "3"]);
        assert!(publishing.process.wait().unwrap().success());
        for bug in [2, 3] {
            let update: Value = serde_json::from_str(&client.hear()).unwrap();
            assert_eq!(
                (&update["command"], &update["bug"]),
                (&json!("update"), &json!(bug)),
                "{publisher}"
            );
        }
    }
}
