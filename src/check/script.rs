//! What a check says and what it waits for, one step after the other. Knows no connection.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::wire;

/// The steps of a check, on a connection of its own.
#[derive(Clone, Debug)]
pub struct Script {
    /// Whether the connection is a WebSocket before the first step.
    pub(super) is_open: bool,
    /// Whether an update may come that no step waits for: one that is sent once more.
    pub(super) may_repeat: bool,
    pub(super) steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// These bytes are sent.
    Send(Vec<u8>),
    /// A bug changes.
    Publish { bug: u32, when: String },
    /// This comes next.
    Await(Awaited),
}

/// What is to come.
#[derive(Clone, Debug)]
pub(super) enum Awaited {
    /// The response to a handshake that is accepted, with this key's answer and nothing that was not
    /// asked for.
    Accepted { protocol: Option<&'static str> },
    /// A response with this status, and these fields and values.
    Response {
        status: u16,
        fields: &'static [(&'static str, &'static str)],
    },
    /// A response that is an error, or the end.
    Refused,
    /// A message that is this JSON, but for these keys of it.
    Message {
        message: Value,
        but: &'static [&'static str],
    },
    /// A message with these values, and these keys besides, whatever they say.
    Like {
        message: Value,
        keys: &'static [&'static str],
    },
    /// A pong with this payload.
    Pong(Vec<u8>),
    /// A close with one of these codes, where there is one, and the end.
    Closed {
        codes: &'static [u16],
        is_needed: bool,
    },
    /// A close that echoes this payload, and the end.
    Echo(Vec<u8>),
    /// A server-sent event whose data is this JSON, but for these keys of it.
    Event {
        message: Value,
        but: &'static [&'static str],
    },
}

impl Script {
    /// A script whose connection is a WebSocket.
    pub(super) fn open() -> Self {
        Self {
            is_open: true,
            may_repeat: false,
            steps: Vec::new(),
        }
    }

    /// A script that begins with the first byte of a connection.
    pub(super) fn bare() -> Self {
        Self {
            is_open: false,
            ..Self::open()
        }
    }

    /// Passes over updates that no step waits for.
    pub(super) fn with_repeats(self) -> Self {
        Self {
            may_repeat: true,
            ..self
        }
    }

    pub(super) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Sends a text message.
    pub(super) fn say(self, text: impl AsRef<[u8]>) -> Self {
        self.send(wire::text(text))
    }

    pub(super) fn publish(self, bug: u32, when: &str) -> Self {
        self.then(Step::Publish {
            bug,
            when: when.to_owned(),
        })
    }

    pub(super) fn hear(self, message: Value) -> Self {
        self.hear_but(message, &[])
    }

    pub(super) fn hear_but(self, message: Value, but: &'static [&'static str]) -> Self {
        self.wait_for(Awaited::Message { message, but })
    }

    pub(super) fn wait_for(self, awaited: Awaited) -> Self {
        self.then(Step::Await(awaited))
    }

    /// Makes sure that nothing has come that nobody waits for: the next message must be this answer.
    pub(super) fn rest(self) -> Self {
        let message =
            serde_json::json!({"command": null, "result": "error", "error": "invalid JSON"});
        self.say("no JSON").hear(message)
    }

    /// Whether changes must be made for it.
    pub fn publishes(&self) -> bool {
        let publishes = |step: &Step| matches!(step, Step::Publish { .. });
        self.steps.iter().any(publishes)
    }

    /// How many things it waits for: each of them can go wrong.
    pub fn awaited(&self) -> usize {
        let awaits = |step: &&Step| matches!(step, Step::Await(_));
        self.steps.iter().filter(awaits).count() + usize::from(self.is_open)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// A bug that no Bugzilla has, another one for each call.
pub(super) fn invented_bug() -> u32 {
    fastrand::u32(2_000_000_000..2_147_483_647)
}

/// A time so many seconds from now, as the protocol writes it.
pub(super) fn from_now(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs().cast_signed());
    crate::update::When::from_unix_seconds(now + seconds).to_string()
}
