//! Messages as Mozilla's Pulse carries them: reads what Bugzilla's publishers send, writes what
//! `bugzfeed notify` sends. Knows no account.
//!
//! Two kinds are read, each with or without Pulse's envelope `{"payload": …, "_meta": …}` around
//! it: the original shim's `{"id": …, "delta_ts": …}`, and that of Bugzilla's Push extension,
//! `{"event": {"target": "bug", "time": …}, "bug": {"id": …}}`, where a comment or an attachment
//! carries its bug inside itself, or, in a webhook's message, the bug its comment or attachment.
//! `_meta` is never read: it may be wrong, or absent.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::update::{BugId, Update, When};

/// The largest message that is read, in bytes. The largest that Bugzilla sends is a comment of
/// 65,535 characters, each escaped in six bytes, and what belongs to its bug.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Why a message says nothing about any bug. Such a message would be as unreadable if it came
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unreadable {
    /// It is larger than [`MESSAGE_BYTES_MAX`].
    TooLarge,
    /// It is not JSON in UTF-8.
    NotJson,
    /// It is JSON, but none of the messages that are known.
    UnknownShape,
    /// The bug's id is none.
    NoBugId,
    /// The time of the change is none.
    NoTime,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::TooLarge => write!(f, "larger than {MESSAGE_BYTES_MAX} bytes"),
            Unreadable::NotJson => f.write_str("no JSON in UTF-8"),
            Unreadable::UnknownShape => {
                f.write_str("neither Pulse's payload nor a message of Bugzilla's Push extension")
            }
            Unreadable::NoBugId => f.write_str("without a bug's id"),
            Unreadable::NoTime => f.write_str("without the time of the change"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Reads a message. The time keeps the text that came, to the byte: clients compare it with
/// Bugzilla's own.
///
/// # Errors
/// When the message names no bug or no time; it should be dropped then.
pub(crate) fn read(message: &[u8]) -> Result<Update, Unreadable> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    let text = std::str::from_utf8(message).map_err(|_| Unreadable::NotJson)?;
    let message: &RawValue = serde_json::from_str(text).map_err(|_| Unreadable::NotJson)?;
    let mut body: Body<'_> = object(message)?;
    if let Some(payload) = body.payload {
        body = object(payload)?;
    }
    let (bug, time) = match body.event {
        Some(event) => body.pushed(event)?,
        None => (body.id, body.delta_ts),
    };
    if bug.is_none() && time.is_none() {
        return Err(Unreadable::UnknownShape);
    }
    let bug = bug.and_then(bug_id).ok_or(Unreadable::NoBugId)?;
    let when = time
        .and_then(string)
        .and_then(|text| text.parse().ok())
        .ok_or(Unreadable::NoTime)?;
    Ok(Update { bug, when })
}

/// All that any kind of message says at its outermost level. What is not needed stays unread,
/// whatever it is.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    delta_ts: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    bug: Option<&'a RawValue>,
    #[serde(borrow)]
    comment: Option<&'a RawValue>,
    #[serde(borrow)]
    attachment: Option<&'a RawValue>,
}

/// What the Push extension tells about a change.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
}

/// The object that changed: a bug, or something with a bug in it.
#[derive(Default, Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    bug: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// The bug's id and the time in a message of the Push extension.
    fn pushed(
        &self,
        event: &'a RawValue,
    ) -> Result<(Option<&'a RawValue>, Option<&'a RawValue>), Unreadable> {
        let event: Event<'_> = object(event)?;
        let name = event
            .target
            .and_then(string)
            .ok_or(Unreadable::UnknownShape)?;
        let target = |value: Option<&'a RawValue>| value.map_or(Ok(Target::default()), object);
        let bug: Target<'_> = match name.as_str() {
            "bug" => target(self.bug)?,
            "comment" => target(target(self.comment)?.bug)?,
            "attachment" => target(target(self.attachment)?.bug)?,
            _ => return Err(Unreadable::UnknownShape),
        };
        // In a webhook's message, the bug always stands outside, and the comment or the attachment
        // in it.
        let id = bug
            .id
            .map_or_else(|| target(self.bug).map(|bug| bug.id), |id| Ok(Some(id)))?;
        Ok((id, event.time))
    }
}

/// Reads an object; serde alone would take an array of the fields for one, too.
fn object<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, Unreadable> {
    if !value.get().starts_with('{') {
        return Err(Unreadable::UnknownShape);
    }
    serde_json::from_str(value.get()).map_err(|_| Unreadable::UnknownShape)
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// An id is a number, or a string of one.
fn bug_id(value: &RawValue) -> Option<BugId> {
    match string(value) {
        Some(text) => text.parse().ok(),
        None => value.get().parse::<u32>().ok().and_then(BugId::new),
    }
}

/// Writes the message that tells about `update` in `exchange`, as Pulse wants it; `sent` is the
/// time now in Unix seconds.
pub(crate) fn write(update: &Update, exchange: &str, sent: i64) -> String {
    let envelope = Envelope {
        payload: Payload {
            id: update.bug.get(),
            delta_ts: update.when.to_string(),
        },
        meta: Meta {
            exchange,
            routing_key: update.bug.to_string(),
            serializer: "json",
            sent: format!("{}+00:00", When::from_unix_seconds(sent)),
        },
    };
    serde_json::to_string(&envelope).expect("texts and numbers are always JSON")
}

#[derive(Serialize)]
struct Envelope<'a> {
    payload: Payload,
    #[serde(rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Payload {
    id: u32,
    delta_ts: String,
}

#[derive(Serialize)]
struct Meta<'a> {
    exchange: &'a str,
    routing_key: String,
    serializer: &'a str,
    sent: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: &str = "2014-04-03T21:13:45";

    fn update(bug: u32, when: &str) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: when.parse().unwrap(),
        }
    }

    #[test]
    fn each_known_message_says_which_bug_changed_and_when() {
        for message in [
            r#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"},"_meta":{"exchange":"exchange/bugzilla/simple","routing_key":"1234","serializer":"json","sent":"2014-04-03T21:13:50+00:00"}}"#,
            r#"{"_meta":{},"payload":{"delta_ts":"2014-04-03T21:13:45","id":"1234"}}"#,
            r#" {"payload" : {"id" : 1234 , "delta_ts" : "2014-04-03T21:13:45" } }"#,
            r#"{"payload":{"id":1234,"delta_ts":"\u0032014-04-03T21:13:45"}}"#,
            // What nobody needs may be anything.
            r#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45","summary":"\ud83d\udc1e żółć 🐞","x":[{"id":7}]},"_meta":7}"#,
            r#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"},"_meta":null,"bug":"no object","event":[]}"#,
            r#"{"id":1234,"delta_ts":"2014-04-03T21:13:45"}"#,
            r#"{"event":{"target":"bug","time":"2014-04-03T21:13:45","action":"modify"},"bug":{"id":1234,"assigned_to":{"id":7}}}"#,
            r#"{"event":{"target":"comment","time":"2014-04-03T21:13:45"},"comment":{"id":7,"bug":{"id":1234}}}"#,
            r#"{"event":{"target":"attachment","time":"2014-04-03T21:13:45"},"attachment":{"id":7,"bug":{"id":"1234"}},"bug":{"id":8}}"#,
            r#"{"webhook_id":1,"event":{"target":"comment","time":"2014-04-03T21:13:45"},"bug":{"id":1234,"comment":{"id":7}}}"#,
            r#"{"payload":{"event":{"target":"bug","time":"2014-04-03T21:13:45"},"bug":{"id":1234}},"_meta":{}}"#,
        ] {
            assert_eq!(
                read(message.as_bytes()),
                Ok(update(1234, WHEN)),
                "{message}"
            );
        }
    }

    #[test]
    fn the_time_is_passed_on_as_it_came() {
        for when in [
            "2014-04-03T21:13:45",
            "2014-04-03 21:13:45",
            "2014-04-03T21:13:45Z",
            "2014-04-03T23:13:45.5+02:00",
            "2014-04-03",
        ] {
            let message = format!(r#"{{"payload":{{"id":1,"delta_ts":"{when}"}}}}"#);
            assert_eq!(read(message.as_bytes()).unwrap().when.to_string(), when);
            let message =
                format!(r#"{{"event":{{"target":"bug","time":"{when}"}},"bug":{{"id":1}}}}"#);
            assert_eq!(read(message.as_bytes()).unwrap().when.to_string(), when);
        }
    }

    #[track_caller]
    fn check(why: Unreadable, messages: &[&str]) {
        for message in messages {
            assert_eq!(read(message.as_bytes()), Err(why), "{message}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_read() {
        check(
            Unreadable::NotJson,
            &[
                "",
                " ",
                "bug 1234",
                r#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"}"#,
                r#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"}} {}"#,
                r#"{"payload":{"id":01,"delta_ts":"2014-04-03T21:13:45"}}"#,
                "\u{feff}{}",
            ],
        );
        let mut not_utf8 =
            br#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"},"x":"#.to_vec();
        not_utf8.extend(b"\"\xff\"}");
        assert_eq!(read(&not_utf8), Err(Unreadable::NotJson));
        assert_eq!(read(&[0; 100]), Err(Unreadable::NotJson));
    }

    #[test]
    fn what_is_another_message_is_not_read() {
        check(
            Unreadable::UnknownShape,
            &[
                "1234",
                "null",
                r#""text""#,
                "[]",
                r#"[{"id":1234,"delta_ts":"2014-04-03T21:13:45"},null,null,null,null,null,null]"#,
                "{}",
                r#"{"payload":null}"#,
                r#"{"payload":[1234,"2014-04-03T21:13:45"]}"#,
                r#"{"payload":{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"}}}"#,
                r#"{"event":{"target":"user","time":"2014-04-03T21:13:45"},"user":{"id":1234}}"#,
                r#"{"event":{"time":"2014-04-03T21:13:45"},"bug":{"id":1234}}"#,
                r#"{"event":"bug","bug":{"id":1234}}"#,
                r#"{"event":{"target":"comment","time":"2014-04-03T21:13:45"},"comment":"me too"}"#,
            ],
        );
    }

    #[test]
    fn a_message_without_the_id_of_a_bug_is_not_read() {
        for id in [
            "null",
            "0",
            "-1",
            "1.0",
            "1e3",
            "true",
            "2147483648",
            "18446744073709551617",
            r#""12a""#,
            r#""１２""#,
            "[1234]",
            r#"{"id":1234}"#,
        ] {
            check(
                Unreadable::NoBugId,
                &[&format!(
                    r#"{{"payload":{{"id":{id},"delta_ts":"{WHEN}"}}}}"#
                )],
            );
        }
        check(
            Unreadable::NoBugId,
            &[
                r#"{"payload":{"delta_ts":"2014-04-03T21:13:45"}}"#,
                r#"{"event":{"target":"bug","time":"2014-04-03T21:13:45"}}"#,
                r#"{"event":{"target":"comment","time":"2014-04-03T21:13:45"},"comment":{"id":1234}}"#,
            ],
        );
    }

    #[test]
    fn a_message_without_the_time_of_the_change_is_not_read() {
        for time in [
            "null",
            r#""""#,
            "1396559625",
            r#""yesterday""#,
            r#""2014-04-03T21:13:45\ud800""#,
            r#"["2014-04-03T21:13:45"]"#,
        ] {
            check(
                Unreadable::NoTime,
                &[&format!(r#"{{"payload":{{"id":1234,"delta_ts":{time}}}}}"#)],
            );
        }
        check(
            Unreadable::NoTime,
            &[
                r#"{"payload":{"id":1234}}"#,
                r#"{"event":{"target":"bug","time":""},"bug":{"id":1234}}"#,
            ],
        );
    }

    #[test]
    fn a_message_of_any_depth_or_size_is_read_or_refused() {
        let deep = 200_000;
        let nested = format!(
            r#"{{"payload":{{"id":1,"delta_ts":"{WHEN}","x":{}{}}}}}"#,
            "[".repeat(deep),
            "]".repeat(deep)
        );
        assert_eq!(read(nested.as_bytes()), Ok(update(1, WHEN)));
        assert_eq!(read("[".repeat(deep).as_bytes()), Err(Unreadable::NotJson));
        assert_eq!(
            read(r#"{"payload":"#.repeat(deep / 4).as_bytes()),
            Err(Unreadable::NotJson)
        );
        let padded = |bytes: usize| {
            let mut message =
                format!(r#"{{"payload":{{"id":1,"delta_ts":"{WHEN}"}}}}"#).into_bytes();
            message.resize(bytes, b' ');
            message
        };
        assert_eq!(read(&padded(MESSAGE_BYTES_MAX)), Ok(update(1, WHEN)));
        assert_eq!(
            read(&padded(MESSAGE_BYTES_MAX + 1)),
            Err(Unreadable::TooLarge)
        );
    }

    #[test]
    fn what_is_written_is_pulses_envelope_and_can_be_read() {
        let written = write(
            &update(1234, WHEN),
            "exchange/bugzilla/simple",
            1_396_559_630,
        );
        assert_eq!(
            written,
            r#"{"payload":{"id":1234,"delta_ts":"2014-04-03T21:13:45"},"_meta":{"exchange":"exchange/bugzilla/simple","routing_key":"1234","serializer":"json","sent":"2014-04-03T21:13:50+00:00"}}"#
        );
        assert_eq!(read(written.as_bytes()), Ok(update(1234, WHEN)));
    }
}
