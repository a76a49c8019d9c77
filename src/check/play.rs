//! Plays a check against a server.

use std::time::Duration;

use serde_json::Value;

use super::script::{Awaited, Step};
use super::wire::{self, CLOSE, FIN, Frame, Head, PING, PONG, TEXT, Wire};
use super::{Check, Verdict};
use crate::bench::server::inlet::{Change, Inlet};
use crate::client::Connector;

/// The server, and how to make bugs change.
#[derive(Debug)]
pub struct Target {
    connector: Connector,
    /// How long the server may take for each thing.
    patience: Duration,
    /// Where it learns of changes, if that is known.
    inlet: Option<Inlet>,
}

impl Target {
    /// A server that may take so long for each thing that is waited for.
    pub fn new(connector: Connector, patience: Duration) -> Self {
        Self {
            connector,
            patience,
            inlet: None,
        }
    }

    /// Makes changes at a destination, as --publish names it.
    ///
    /// # Errors
    /// When there is no such destination.
    pub fn publishing_to(self, destination: &str) -> Result<Self, String> {
        let inlet = Inlet::open(&destination.parse()?);
        inlet
            .map(|inlet| self.publishing_by(inlet))
            .map_err(|error| error.to_string())
    }

    /// Makes changes through this inlet.
    pub(crate) fn publishing_by(self, inlet: Inlet) -> Self {
        Self {
            inlet: Some(inlet),
            ..self
        }
    }

    /// Plays a check.
    pub fn try_out(&mut self, check: &Check) -> Verdict {
        if check.script.publishes() && self.inlet.is_none() {
            return Verdict::NotTried("it takes --publish".to_owned());
        }
        match self.play(check) {
            Ok(()) => Verdict::Passed,
            Err(why) => Verdict::Failed(why),
        }
    }

    fn play(&mut self, check: &Check) -> Result<(), String> {
        let wire = Wire::connect(&self.connector, self.patience);
        let mut wire = wire.map_err(|error| format!("it cannot be connected to: {error}"))?;
        if check.script.is_open {
            send(&mut wire, self.filled_in(b"{handshake}"))?;
            await_accepted(&mut wire, None)?;
        }
        for step in &check.script.steps {
            match step {
                Step::Send(bytes) => send(&mut wire, self.filled_in(bytes))?,
                Step::Publish { bug, when } => self.publish((*bug, when.clone()))?,
                Step::Await(awaited) => await_next(&mut wire, awaited, check.script.may_repeat)?,
            }
        }
        Ok(())
    }

    fn publish(&mut self, change: Change) -> Result<(), String> {
        let published = self.inlet.as_mut().map(|inlet| inlet.publish(&[change]));
        let published = published.unwrap_or(Ok(()));
        published.map_err(|error| format!("it cannot be published to: {error}"))
    }

    /// A request with what is known of the server: where the feed is, and a token.
    fn filled_in(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return bytes.to_vec();
        };
        let url = self.connector.url();
        let path = url.path();
        let folder = path
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let fields = self.connector.authorization_field();
        text.replace("{handshake}", HANDSHAKE)
            .replace("{path}", path)
            .replace("{folder}", folder)
            .replace("{host}", &format!("Host: {}\r\n{fields}", url.authority()))
            .into_bytes()
    }
}

/// A handshake as a browser sends it.
pub(super) const HANDSHAKE: &str = "GET {path} HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Sends what a server may not want to hear: it may have ended the connection.
fn send(wire: &mut Wire, bytes: Vec<u8>) -> Result<(), String> {
    match wire.send(&bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err("it takes no more bytes".to_owned())
        }
        _ => Ok(()),
    }
}

fn await_next(wire: &mut Wire, awaited: &Awaited, may_repeat: bool) -> Result<(), String> {
    match awaited {
        Awaited::Accepted { protocol } => await_accepted(wire, *protocol),
        Awaited::Response { status, fields } => await_response(wire, *status, fields),
        Awaited::Refused => match wire.head()? {
            Some(head) if head.status < 400 => Err(format!("it answers {}", head.status)),
            _ => Ok(()),
        },
        Awaited::Message { message, but } => {
            let heard = next_message(wire, message, may_repeat)?;
            compare(heard, message, but)
        }
        Awaited::Like { message, keys } => {
            let heard = next_message(wire, message, may_repeat)?;
            let has = |key: &&&str| heard.get(**key).is_some();
            match keys.iter().find(|key| !has(key)) {
                Some(key) => Err(format!("{heard} lacks {key}")),
                None => compare(heard, message, keys),
            }
        }
        Awaited::Pong(payload) => match next_frame(wire)? {
            Some(frame) if frame.first == FIN | PONG && frame.payload == *payload => Ok(()),
            other => Err(format!(
                "no pong with the payload of the ping: {}",
                shown(other)
            )),
        },
        Awaited::Closed { codes, is_needed } => await_close(wire, codes, *is_needed),
        Awaited::Echo(payload) => match next_frame(wire)? {
            Some(frame)
                if frame.first == FIN | CLOSE && frame.payload.get(..2) == payload.get(..2) =>
            {
                await_end(wire)
            }
            other => Err(format!(
                "no close with the code of the client's: {}",
                shown(other)
            )),
        },
        Awaited::Event { message, but } => await_event(wire, message, but),
    }
}

fn await_accepted(wire: &mut Wire, protocol: Option<&str>) -> Result<(), String> {
    let head = wire
        .head()?
        .ok_or("it ends the connection without an answer")?;
    if head.status != 101 {
        return Err(format!("it answers {}", head.status));
    }
    let has = |name: &str, token: &str| {
        let value = head.field(name).unwrap_or_default();
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if !has("Upgrade", "websocket") || !has("Connection", "Upgrade") {
        return Err("its answer has no Upgrade: websocket, or no Connection: Upgrade".to_owned());
    }
    let accept = wire::accept(wire::KEY);
    if head.field("Sec-WebSocket-Accept") != Some(&accept) {
        return Err("its Sec-WebSocket-Accept is not the answer to the key".to_owned());
    }
    if head.field("Sec-WebSocket-Extensions").is_some() {
        return Err("it agrees to an extension that was not offered".to_owned());
    }
    match head.field("Sec-WebSocket-Protocol") {
        named if named == protocol => Ok(()),
        named => Err(format!(
            "its subprotocol is {named:?}, and not {protocol:?}"
        )),
    }
}

fn await_response(wire: &mut Wire, status: u16, fields: &[(&str, &str)]) -> Result<(), String> {
    let head: Head = wire
        .head()?
        .ok_or("it ends the connection without an answer")?;
    if head.status != status {
        return Err(format!("it answers {}, and not {status}", head.status));
    }
    let is_wrong = |(name, value): &&(&str, &str)| {
        let own = head.field(name).unwrap_or_default();
        !own.to_ascii_lowercase().starts_with(value)
    };
    match fields.iter().find(is_wrong) {
        Some((name, value)) => Err(format!("its {name} is not {value}")),
        None => Ok(()),
    }
}

/// The next message; one that is awaited is told from updates that are sent once more.
fn next_message(wire: &mut Wire, awaited: &Value, may_repeat: bool) -> Result<Value, String> {
    loop {
        let message = match next_frame(wire)? {
            Some(frame) if frame.first == FIN | TEXT => frame.payload,
            other => return Err(format!("no text message, but {}", shown(other))),
        };
        let message: Value = serde_json::from_slice(&message)
            .map_err(|_| format!("no JSON: {}", String::from_utf8_lossy(&message)))?;
        if !(may_repeat && message["command"] == "update" && message != *awaited) {
            return Ok(message);
        }
    }
}

/// The next frame that is not a ping; `None` at the end.
fn next_frame(wire: &mut Wire) -> Result<Option<Frame>, String> {
    loop {
        match wire.frame()? {
            Some(frame) if frame.first == FIN | PING => {
                send(wire, wire::frame(FIN | PONG, &frame.payload))?;
            }
            frame => return Ok(frame),
        }
    }
}

fn compare(mut heard: Value, expected: &Value, but: &[&str]) -> Result<(), String> {
    let shown = heard.to_string();
    if let Some(heard) = heard.as_object_mut() {
        but.iter().for_each(|key| {
            heard.remove(*key);
        });
    }
    match heard == *expected {
        true => Ok(()),
        false => Err(format!("it says {shown}, and not {expected}")),
    }
}

fn await_close(wire: &mut Wire, codes: &[u16], is_needed: bool) -> Result<(), String> {
    match next_frame(wire)? {
        None if !is_needed => Ok(()),
        Some(Frame { first, payload }) if first == FIN | CLOSE => {
            let code = payload
                .get(..2)
                .map(|code| u16::from_be_bytes([code[0], code[1]]));
            match code.is_some_and(|code| codes.contains(&code)) {
                true => await_end(wire),
                false => Err(format!(
                    "it closes with {code:?}, and not with one of {codes:?}"
                )),
            }
        }
        other => Err(format!("no close, but {}", shown(other))),
    }
}

fn await_end(wire: &mut Wire) -> Result<(), String> {
    match wire.frame() {
        Ok(None) => Ok(()),
        Ok(Some(frame)) => Err(format!("after its close comes {}", shown(Some(frame)))),
        Err(_) => Err("it does not end the connection after its close".to_owned()),
    }
}

fn await_event(wire: &mut Wire, expected: &Value, but: &[&str]) -> Result<(), String> {
    loop {
        let event = wire.event()?.ok_or("it ends the connection")?;
        let mut lines = event.lines();
        if let Some(data) = lines.find_map(|line| line.strip_prefix("data: ")) {
            let message = serde_json::from_str(data).map_err(|_| format!("no JSON: {data}"))?;
            return compare(message, expected, but);
        }
    }
}

fn shown(frame: Option<Frame>) -> String {
    match frame {
        None => "the end of the connection".to_owned(),
        Some(Frame { first, payload }) => {
            let text: String = String::from_utf8_lossy(&payload)
                .chars()
                .take(200)
                .collect();
            format!("a frame that begins with {first:#x}: {text:?}")
        }
    }
}
