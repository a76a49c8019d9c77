//! `pulse inspect`, by the rights of a plain account.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::place::{self, Pulse};
use crate::support::server::wait_until;

/// `--broker` of an account that is made for it.
fn broker(pulse: &Pulse, account: &str) -> String {
    let file = format!("{account}.password");
    pulse.does(&["user", "add", account, "--password-file", &file]);
    format!(
        "amqp://{account}@127.0.0.1:{}/?password_file={file}",
        pulse.broker.port
    )
}

/// An inspection that has begun.
struct Inspection {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Inspection {
    fn begin(pulse: &Pulse, broker: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
            .args([&["pulse", "inspect", "--broker", broker], arguments].concat())
            .current_dir(pulse.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut begun = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut begun).unwrap();
        assert!(begun.starts_with("bugzfeed: inspecting "), "{begun}");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn end(mut self) -> i32 {
        assert!(self.lines.next().is_none());
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_goes_by_is_shown_whole_or_in_a_line_and_nobodys_messages_are_taken() {
    let pulse = place::shared();
    let broker = broker(&pulse, "looker");
    let mut shower = pulse.add("shower");
    for (method, arguments) in [
        (
            "exchange_declare",
            json!({"exchange": "exchange/shower/x", "exchange_type": "topic", "durable": true}),
        ),
        ("queue_declare", json!({"queue": "queue/shower/q"})),
        (
            "queue_bind",
            json!({"queue": "queue/shower/q", "exchange": "exchange/shower/x", "routing_key": "#"}),
        ),
    ] {
        shower.call(method, arguments);
    }
    let mut whole = Inspection::begin(
        &pulse,
        &broker,
        &["exchange/shower/x", "--json", "--count", "4"],
    );
    let mut some = Inspection::begin(
        &pulse,
        &broker,
        &[
            "exchange/shower/x:a.*",
            "exchange/bugzilla/dev",
            "--count",
            "2",
        ],
    );
    let queues = pulse.broker.ctl(&[
        "list_queues",
        "--no-table-headers",
        "name",
        "exclusive",
        "auto_delete",
        "arguments",
    ]);
    let own: Vec<&str> = queues
        .lines()
        .filter(|line| line.starts_with("queue/looker/inspect-"))
        .collect();
    assert_eq!(own.len(), 2, "{queues}");
    assert!(
        own.iter()
            .all(|line| line.contains("true\ttrue") && line.contains("x-max-length")),
        "{own:?}"
    );

    let mut publish = |key: &str, body: &str, headers: Value| {
        shower.call(
            "publish",
            json!({"exchange": "exchange/shower/x", "key": key, "body": body, "headers": headers}),
        );
    };
    let long = format!("{{\"payload\":\"{}\"}}", "x".repeat(200));
    publish(
        "a.b",
        &long,
        json!({"CC": ["c.d", "e"], "x": {"deep": [[[1]]]}}),
    );
    publish("f", "no json\u{1b}[2J", json!({}));
    publish("a.c", "1.50", json!({}));
    publish("g", "", json!({}));

    let objects: Vec<Value> = (0..4)
        .map(|_| serde_json::from_str(&whole.line()).unwrap())
        .collect();
    assert_eq!(objects[0]["exchange"], "exchange/shower/x");
    assert_eq!(objects[0]["routing_key"], "a.b");
    assert_eq!(objects[0]["cc"], json!(["c.d", "e"]));
    assert_eq!(
        objects[0]["payload"]["payload"].as_str().unwrap().len(),
        200
    );
    assert_eq!(objects[1]["text"], "no json\u{1b}[2J");
    assert_eq!(objects[2]["payload"], json!(1.5));
    assert_eq!(objects[3]["text"], "");
    assert_eq!(whole.end(), 0);
    let line = some.line();
    assert!(
        line.contains(" exchange/shower/x a.b (CC c.d, e) {\"payload\":\"xxx")
            && line.ends_with('…'),
        "{line}"
    );
    assert!(some.line().ends_with(" exchange/shower/x a.c 1.50"));
    assert_eq!(some.end(), 0);
    assert_eq!(
        shower.call(
            "queue_declare",
            json!({"queue": "queue/shower/q", "passive": true})
        ),
        4
    );
    wait_until("its queues have gone", || {
        let queues = pulse.broker.ctl(&["list_queues", "name"]);
        (!queues.contains("queue/looker/")).then_some(())
    });
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_inspection_ends_by_time_and_says_why_it_cannot_begin() {
    let pulse = place::shared();
    let broker = broker(&pulse, "brief");
    let timed = Inspection::begin(&pulse, &broker, &["--for", "10ms"]);
    assert_eq!(timed.end(), 0);
    for (arguments, code, why) in [
        (
            &["exchange/nobody/x"][..],
            69,
            "no exchange 'exchange/nobody/x'",
        ),
        (&["amq.topic"], 69, "does not permit it"),
        (&[":x"], 2, "EXCHANGE:PATTERN"),
        (
            &["--broker", "amqp://127.0.0.1:1/"],
            69,
            "cannot connect to 127.0.0.1:1",
        ),
        (
            &["--broker", "amqp://u:secret@h/?queue=x"],
            2,
            "nothing is read",
        ),
    ] {
        let mut all = vec!["pulse", "inspect"];
        if !arguments.contains(&"--broker") {
            all.extend(["--broker", &*broker]);
        }
        all.extend(arguments);
        let said = place::run(pulse.folder(), &all);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(
            said.err.contains(why) && !said.err.contains("secret"),
            "{arguments:?}: {said:?}"
        );
    }
}
