//! Commands, times, replies and Bugzilla's messages, beside readers that keep no text and know all
//! values: serde_json's and those of the crate time.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client;
use crate::protocol::{self, Bugs, Command};
use crate::pulse;
use crate::update::{BugId, Update, When};

/// A client's message.
pub(super) fn commands(input: &[u8]) {
    for offers_all in [false, true] {
        let read = protocol::parse(input, offers_all);
        if let Err(error) = &read {
            let mut reply = Vec::new();
            protocol::write_error(&mut reply, error);
            let reply = std::str::from_utf8(&reply).expect("a reply is UTF-8");
            serde_json::from_str::<&RawValue>(reply).expect("a reply is JSON");
            // It repeats what was sent, which may be a number that no value can be.
            if serde_json::from_str::<Value>(reply).is_ok() {
                let Ok(client::Message::Reply(reply)) = client::Message::read(reply) else {
                    panic!("a client cannot read it: {reply}");
                };
                assert!(reply.error.is_some_and(|error| !error.is_empty()));
            }
        }
        if let Ok(value) = serde_json::from_slice(input) {
            match expected(&value, offers_all) {
                Expected::This(command) => assert_eq!(read.ok(), command),
                Expected::Anything => {}
            }
        }
    }
}

enum Expected {
    /// A command, or none.
    This(Option<Command>),
    /// It depends on how a number is written, which a value does not say.
    Anything,
}

/// The rules of docs/protocol.md and of the original, on values.
fn expected(value: &Value, offers_all: bool) -> Expected {
    let name = value.get("command").and_then(Value::as_str);
    let bugs = || {
        value
            .get("bugs")
            .map_or(Ok(None), |bugs| list(bugs, offers_all))
    };
    let command = match name {
        Some("subscribe") => match (bugs(), value.get("since").map_or(Ok(None), time_of)) {
            (Err(Unclear), _) => return Expected::Anything,
            (Ok(Some(bugs)), Ok(since)) => Some(Command::Subscribe {
                bugs,
                since,
                watermark: value.get("watermark") == Some(&Value::Bool(true)),
            }),
            (Ok(None), _) | (_, Err(())) => None,
        },
        Some("unsubscribe") => match bugs() {
            Err(Unclear) => return Expected::Anything,
            Ok(bugs) => bugs.map(|bugs| Command::Unsubscribe { bugs }),
        },
        Some("subscriptions") => Some(Command::Subscriptions),
        Some("version") => Some(Command::Version),
        Some("status") => Some(Command::Status {
            feed: value.get("feed").and_then(Value::as_bool),
        }),
        _ => None,
    };
    Expected::This(command)
}

struct Unclear;

fn list(value: &Value, offers_all: bool) -> Result<Option<Bugs>, Unclear> {
    let bugs = match value {
        Value::String(text) if text == "*" && offers_all => return Ok(Some(Bugs::All)),
        Value::Array(values) => values.iter().map(bug).collect::<Option<Vec<_>>>(),
        Value::Object(_) | Value::Null => Some(Vec::new()),
        // Too large for a whole number, or -0: all the same to a value.
        Value::Number(number) if number.is_f64() => return Err(Unclear),
        value => bug(value).map(|bug| vec![bug]),
    };
    Ok(bugs.map(|mut bugs| {
        bugs.sort_unstable();
        bugs.dedup();
        Bugs::These(bugs)
    }))
}

/// What Python's `int()` makes a bug's number of.
fn bug(value: &Value) -> Option<BugId> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => {
            let text =
                text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f'));
            let digits = text
                .strip_prefix('+')
                .unwrap_or(text)
                .trim_start_matches('0');
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number)?
        }
        _ => return None,
    };
    BugId::new(u32::try_from(number).ok()?)
}

/// Nothing for all that Python calls false.
fn time_of(value: &Value) -> Result<Option<i64>, ()> {
    match value {
        Value::Null | Value::Bool(false) => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::Array(values) if values.is_empty() => Ok(None),
        Value::Object(values) if values.is_empty() => Ok(None),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(None),
        Value::String(text) => match text.parse::<When>() {
            Ok(when) => Ok(Some(when.unix_seconds())),
            Err(_) => Err(()),
        },
        _ => Err(()),
    }
}

/// A time, beside RFC 3339 as the crate time reads it.
pub(super) fn since(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let read = text.parse::<When>();
    if let Ok(when) = &read {
        assert_eq!(
            when.to_string(),
            text,
            "clients compare it with Bugzilla's own"
        );
        let seconds = when.unix_seconds();
        let plain = When::from_unix_seconds(seconds);
        assert_eq!(plain.to_string().parse(), Ok(plain.clone()));
        assert_eq!(plain.unix_seconds(), seconds);
    }
    if let Ok(theirs) = OffsetDateTime::parse(text, &Rfc3339) {
        let seconds = theirs.unix_timestamp();
        let is_in_years = When::from_unix_seconds(seconds).unix_seconds() == seconds;
        // To them any byte separates the date, and a leap second is the one before.
        let has_separator = matches!(text.as_bytes()[10], b'T' | b't' | b' ');
        if is_in_years && has_separator && text.len() <= 40 && !text.contains(":60") {
            assert_eq!(read.map(|when| when.unix_seconds()), Ok(seconds));
        }
    }
}

/// A message of a server, as a client reads it.
pub(super) fn replies(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(read) = client::Message::read(text) else {
        return;
    };
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(text) {
        assert_eq!(said(&value).as_ref(), Some(&read));
    }
    if let client::Message::Update(update) = &read {
        let mut written = Vec::new();
        protocol::write_update(&mut written, update);
        let written = String::from_utf8(written).unwrap();
        assert_eq!(client::Message::read(&written), Ok(read));
    }
}

/// What a message of a server says, on values.
fn said(value: &Value) -> Option<client::Message> {
    let word = |name: &str| value.get(name).and_then(Value::as_str);
    let command = word("command").unwrap_or_default().to_owned();
    let Some(result) = word("result") else {
        let when = word("when")?.parse().ok()?;
        let bug = bug(value.get("bug")?)?;
        let is_update = command == "update";
        return is_update.then_some(client::Message::Update(Update { bug, when }));
    };
    let is_ok = result == "ok";
    let denied = value.get("denied").filter(|_| is_ok);
    let denied = denied.and_then(Value::as_array).into_iter().flatten();
    Some(client::Message::Reply(client::Reply {
        command,
        error: (!is_ok).then(|| word("error").unwrap_or_default().to_owned()),
        complete: value.get("complete").and_then(Value::as_bool),
        denied: denied.map(|bug| bug.as_u64().unwrap() as u32).collect(),
    }))
}

/// A message of Pulse or of Bugzilla's Push extension, as it comes by a queue or a webhook.
pub(super) fn messages(input: &[u8]) {
    let read = pulse::read(input);
    if let Ok(update) = &read {
        let written = pulse::write(update, "exchange/bugzilla/simple", 1_396_559_630);
        assert_eq!(pulse::read(written.as_bytes()).as_ref(), Ok(update));
        check_shapes(update);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        let expected = pushed(&value);
        // Where an object has a key twice, or a number is written as no other is, the two differ.
        if let (Ok(read), Some(expected)) = (&read, &expected) {
            assert_eq!(read, expected);
        }
    }
}

/// Each kind of message that says the same is read.
fn check_shapes(update: &Update) {
    let (when, bug) = (update.when.to_string(), json!({"id": update.bug.get()}));
    let event = |target: &str| json!({"target": target, "time": when});
    for message in [
        json!({"id": update.bug.get(), "delta_ts": when}),
        json!({"payload": {"id": update.bug.get(), "delta_ts": when}}),
        json!({"event": event("bug"), "bug": bug}),
        json!({"event": event("comment"), "comment": {"id": 1, "bug": bug}}),
        json!({"event": event("attachment"), "attachment": {"id": 1, "bug": bug}}),
        json!({"event": event("attachment"), "bug": bug}),
    ] {
        let message = message.to_string();
        assert_eq!(
            pulse::read(message.as_bytes()).as_ref(),
            Ok(update),
            "{message}"
        );
    }
}

/// What the four kinds of message say, on values.
fn pushed(value: &Value) -> Option<Update> {
    let value = value.get("payload").unwrap_or(value);
    let (bug, when) = match value.get("event").filter(|event| !event.is_null()) {
        None => (value.get("id")?, value.get("delta_ts")?),
        Some(event) => {
            let target = event.get("target")?.as_str()?;
            let bug = match target {
                "bug" => value.get("bug"),
                "comment" | "attachment" => value.get(target).and_then(|it| it.get("bug")),
                _ => return None,
            };
            let id = bug.and_then(|bug| bug.get("id"));
            let id = id.or_else(|| value.get("bug")?.get("id"))?;
            (id, event.get("time")?)
        }
    };
    let when = when.as_str()?.parse().ok()?;
    Some(Update {
        bug: self::bug(bug)?,
        when,
    })
}
