//! Another library's view of a broker: Python's pika, which carries out a command per line. Knows
//! nothing of bugzfeed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// Debian's own, which finds Debian's modules whatever else is installed.
const PYTHON: &str = "/usr/bin/python3";

/// A connection of pika to a broker.
pub struct Pika {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Pika {
    /// Connects as `guest`.
    pub fn connect(port: u16) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/pika_commands.py"
        );
        let mut process = Command::new(PYTHON)
            .args([script, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 with python3-pika is needed");
        let (commands, answers) = (
            process.stdin.take().unwrap(),
            BufReader::new(process.stdout.take().unwrap()),
        );
        Self {
            process,
            commands,
            answers,
        }
    }

    /// Declares an exchange as Pulse's are: topic, durable.
    pub fn declare(&mut self, exchange: &str) {
        self.tell(json!({"do": "declare", "exchange": exchange}));
    }

    /// Declares an exchange for announcements, as a relay does: fanout, durable.
    pub fn declare_announcer(&mut self, exchange: &str) {
        self.tell(json!({"do": "declare", "exchange": exchange, "kind": "fanout"}));
    }

    /// Declares a durable exchange of another type.
    pub fn declare_of_type(&mut self, exchange: &str, kind: &str) {
        self.tell(json!({"do": "declare", "exchange": exchange, "kind": kind}));
    }

    /// Declares a durable queue with an argument.
    pub fn declare_queue(&mut self, queue: &str, argument: &str, value: Value) {
        self.tell(json!({"do": "declare_queue", "queue": queue, "arguments": {argument: value}}));
    }

    /// Deletes an exchange.
    pub fn delete_exchange(&mut self, exchange: &str) {
        self.tell(json!({"do": "delete_exchange", "exchange": exchange}));
    }

    /// Deletes a queue.
    pub fn delete_queue(&mut self, queue: &str) {
        self.tell(json!({"do": "delete_queue", "queue": queue}));
    }

    /// Publishes an update in Pulse's envelope, and waits for the broker to confirm it.
    pub fn publish(&mut self, exchange: &str, bug: u32, when: &str) {
        let envelope = json!({"payload": {"id": bug, "delta_ts": when}, "_meta": {"exchange": exchange, "routing_key": bug.to_string()}});
        self.publish_body(exchange, &envelope.to_string());
    }

    /// Publishes any text.
    pub fn publish_body(&mut self, exchange: &str, body: &str) {
        self.tell(json!({"do": "publish", "exchange": exchange, "body": body}));
    }

    /// Publishes any text with a `message-id`.
    pub fn publish_with_id(&mut self, exchange: &str, body: &str, id: &str) {
        self.tell(json!({"do": "publish", "exchange": exchange, "body": body, "id": id}));
    }

    /// Publishes many updates, numbered by their bugs, without waiting for each.
    pub fn publish_many(&mut self, exchange: &str, bugs: std::ops::Range<u32>, when: &str) {
        self.tell(json!({"do": "publish_many", "exchange": exchange, "first": bugs.start, "end": bugs.end, "when": when}));
    }

    /// Publishes updates of now, numbered by their bugs: each until the broker has confirmed it,
    /// whatever happens to the broker.
    pub fn stream(&mut self, exchange: &str, bugs: std::ops::Range<u32>) {
        self.tell(
            json!({"do": "stream", "exchange": exchange, "first": bugs.start, "end": bugs.end}),
        );
    }

    /// Publishes an update of now that need not outlive a restart of the broker.
    pub fn publish_transient(&mut self, exchange: &str, bug: u32) {
        self.tell(json!({"do": "publish_transient", "exchange": exchange, "bug": bug}));
    }

    /// Publishes what a well-behaved publisher would not: `kind` names it.
    pub fn publish_hostile(&mut self, exchange: &str, kind: &str) {
        self.tell(json!({"do": "publish_hostile", "exchange": exchange, "kind": kind}));
    }

    /// Binds a queue of its own to an exchange; [`Pika::get`] reads from it.
    pub fn listen(&mut self, exchange: &str) {
        self.tell(json!({"do": "listen", "exchange": exchange}));
    }

    /// Waits for a message: its body, routing key, content type, delivery mode and `message-id`.
    pub fn get(&mut self) -> Value {
        self.tell(json!({"do": "get"}))
    }

    /// How many messages wait in a queue for a reader.
    pub fn count(&mut self, queue: &str) -> u64 {
        self.tell(json!({"do": "count", "queue": queue}))
            .as_u64()
            .unwrap()
    }

    /// Puts text messages straight into a queue, past every exchange.
    pub fn put(&mut self, queue: &str, body: &str) {
        self.tell(json!({"do": "put", "queue": queue, "body": body}));
    }

    /// Binds a queue to a further exchange.
    pub fn bind(&mut self, queue: &str, exchange: &str) {
        self.tell(json!({"do": "bind", "queue": queue, "exchange": exchange}));
    }

    /// Declares a durable queue that is bound to an exchange and outlives the broker's end.
    pub fn keep(&mut self, queue: &str, exchange: &str) {
        self.tell(json!({"do": "keep", "queue": queue, "exchange": exchange}));
    }

    /// Declares a durable queue that is bound to an exchange, and for which the broker refuses
    /// messages beyond `limit`.
    pub fn keep_few(&mut self, queue: &str, exchange: &str, limit: u32) {
        self.tell(json!({"do": "keep_few", "queue": queue, "exchange": exchange, "limit": limit}));
    }

    /// Takes all messages from a queue; returns their bugs.
    pub fn drain(&mut self, queue: &str) -> Vec<u32> {
        serde_json::from_value(self.tell(json!({"do": "drain", "queue": queue}))).unwrap()
    }

    fn tell(&mut self, command: Value) -> Value {
        writeln!(self.commands, "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|_| panic!("{command}: pika ended: {answer}"));
        assert_eq!(answer["error"], Value::Null, "{command}");
        answer["result"].clone()
    }
}

impl Drop for Pika {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
