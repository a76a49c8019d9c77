//! The wire: what clients say and what they get, as texts. Owns the reading of a command with all
//! its rules, and the writing of each reply; docs/protocol.md is its contract. Knows no client, no
//! subscription, no socket.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::update::{BugId, Update, When};

/// The version that the command `version` tells: this package's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send updates of these bugs from now on.
    Subscribe {
        /// Ascending, each once.
        bugs: Vec<BugId>,
        /// Replay what changed at this time or later; Unix seconds.
        since: Option<i64>,
    },
    /// Send no more updates of these bugs.
    Unsubscribe {
        /// Ascending, each once.
        bugs: Vec<BugId>,
    },
    /// Tell which bugs are subscribed.
    Subscriptions,
    /// Tell the server's version.
    Version,
}

/// A message that is answered by an error. It costs the client nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The command as it came, in JSON.
    command: Cow<'static, str>,
    error: Error,
}

/// What is wrong with a message; the text is what the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Error {
    InvalidCommand,
    MissingBugs,
    MissingCommand,
    InvalidBugId,
    InvalidJson,
    NotAnObject,
    InvalidSince,
    TooManySubscriptions { limit: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidCommand => f.write_str("invalid command"),
            Error::MissingBugs => f.write_str("missing mandatory arg: 'bugs'"),
            Error::MissingCommand => f.write_str("missing mandatory arg: 'command'"),
            Error::InvalidBugId => f.write_str("invalid bug id; must be integer"),
            Error::InvalidJson => f.write_str("invalid JSON"),
            Error::NotAnObject => f.write_str("message must be a JSON object"),
            Error::InvalidSince => f.write_str("invalid since; must be YYYY-MM-DDTHH:MM:SS"),
            Error::TooManySubscriptions { limit } => {
                write!(f, "too many subscriptions; the limit is {limit}")
            }
        }
    }
}

impl Refusal {
    /// Refuses a `subscribe` that would go beyond `limit` subscriptions.
    pub fn too_many_subscriptions(limit: usize) -> Self {
        Self {
            command: "\"subscribe\"".into(),
            error: Error::TooManySubscriptions { limit },
        }
    }

    fn without_command(error: Error) -> Self {
        Self {
            command: "null".into(),
            error,
        }
    }
}

/// Reads one message.
///
/// # Errors
/// What the client is to be told when the message is no command.
pub fn parse(message: &[u8]) -> Result<Command, Refusal> {
    let invalid = || Refusal::without_command(Error::InvalidJson);
    let text = std::str::from_utf8(message).map_err(|_| invalid())?;
    match Request::read(text) {
        Ok(request) => request.into_command(),
        Err(Error::InvalidJson) => {
            let text = without_python_literals(text).ok_or_else(invalid)?;
            Request::read(&text)
                .map_err(Refusal::without_command)?
                .into_command()
        }
        Err(error) => Err(Refusal::without_command(error)),
    }
}

/// The arguments of a message, each still in JSON. Of a key that stands twice, the last one counts.
#[derive(Default)]
struct Request<'a> {
    command: Option<&'a RawValue>,
    bugs: Option<&'a RawValue>,
    since: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    fn read(text: &'a str) -> Result<Self, Error> {
        if text
            .trim_start_matches([' ', '\t', '\n', '\r'])
            .starts_with('{')
        {
            serde_json::from_str(text).map_err(|_| Error::InvalidJson)
        } else {
            Err(serde_json::from_str::<&RawValue>(text)
                .map_or(Error::InvalidJson, |_| Error::NotAnObject))
        }
    }

    fn into_command(self) -> Result<Command, Refusal> {
        let command = self
            .command
            .ok_or(Refusal::without_command(Error::MissingCommand))?;
        let refuse = |error| Refusal {
            command: command.get().to_owned().into(),
            error,
        };
        let bugs = || {
            self.bugs
                .ok_or(Error::MissingBugs)
                .and_then(parse_bugs)
                .map_err(refuse)
        };
        match serde_json::from_str::<Cow<'_, str>>(command.get()).as_deref() {
            Ok("subscribe") => {
                let bugs = bugs()?;
                let since = self.since.map_or(Ok(None), parse_since).map_err(refuse)?;
                Ok(Command::Subscribe { bugs, since })
            }
            Ok("unsubscribe") => Ok(Command::Unsubscribe { bugs: bugs()? }),
            Ok("subscriptions") => Ok(Command::Subscriptions),
            Ok("version") => Ok(Command::Version),
            Ok(_) | Err(_) => Err(refuse(Error::InvalidCommand)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Request<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Arguments;
        impl<'de> Visitor<'de> for Arguments {
            type Value = Request<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut request = Request::default();
                while let Some(key) = map.next_key::<Key>()? {
                    let value = Some(map.next_value::<&RawValue>()?);
                    match key {
                        Key::Command => request.command = value,
                        Key::Bugs => request.bugs = value,
                        Key::Since => request.since = value,
                        Key::Other => {}
                    }
                }
                Ok(request)
            }
        }
        deserializer.deserialize_map(Arguments)
    }
}

enum Key {
    Command,
    Bugs,
    Since,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Key, E> {
                Ok(match name {
                    b"command" => Key::Command,
                    b"bugs" => Key::Bugs,
                    b"since" => Key::Since,
                    _ => Key::Other,
                })
            }
        }
        // As bytes, since JSON allows keys with lone surrogates, which are no str.
        deserializer.deserialize_bytes(Name)
    }
}

/// Reads `bugs`: all or nothing, ascending, each once. A bare null, object or float is an empty
/// list, as it was to the original.
fn parse_bugs(value: &RawValue) -> Result<Vec<BugId>, Error> {
    let mut bugs = match value.get().as_bytes()[0] {
        b'[' => serde_json::from_str::<Vec<&RawValue>>(value.get())
            .map_err(|_| Error::InvalidBugId)?
            .into_iter()
            .map(parse_bug)
            .collect::<Result<Vec<_>, _>>()?,
        b'{' | b'n' => Vec::new(),
        b'-' | b'0'..=b'9' if !is_integer(value) => Vec::new(),
        _ => vec![parse_bug(value)?],
    };
    bugs.sort_unstable();
    bugs.dedup();
    Ok(bugs)
}

/// Reads one bug id: an integer, or a string that Python's `int()` would read.
fn parse_bug(value: &RawValue) -> Result<BugId, Error> {
    let number = match value.get().as_bytes()[0] {
        b'"' => {
            serde_json::from_str::<Cow<'_, str>>(value.get()).map_err(|_| Error::InvalidBugId)?
        }
        b'0'..=b'9' if is_integer(value) => Cow::Borrowed(value.get()),
        _ => return Err(Error::InvalidBugId),
    };
    number.parse().map_err(|_| Error::InvalidBugId)
}

/// Whether a JSON number is written without fraction and exponent, which is what Python calls an
/// integer.
fn is_integer(number: &RawValue) -> bool {
    !number.get().contains(['.', 'e', 'E'])
}

/// Reads `since`. All that Python calls false means none: clients of the original always send `""`.
fn parse_since(value: &RawValue) -> Result<Option<i64>, Error> {
    let text = value.get();
    let is_none = match text.as_bytes()[0] {
        b'n' | b'f' => true,
        b'[' | b'{' => text[1..text.len() - 1].trim().is_empty(),
        b'-' | b'0'..=b'9' => text.parse() == Ok(0.0),
        _ => text == "\"\"",
    };
    if is_none {
        return Ok(None);
    }
    let text = serde_json::from_str::<Cow<'_, str>>(text).map_err(|_| Error::InvalidSince)?;
    let when: When = text.parse().map_err(|_| Error::InvalidSince)?;
    Ok(Some(when.unix_seconds()))
}

/// The text with `NaN`, `Infinity` and `-Infinity` outside of strings replaced by `null`, which is
/// what JavaScript writes for them; `None` where there are none. Python's JSON, and so the
/// original, reads them as numbers.
fn without_python_literals(text: &str) -> Option<String> {
    let mut replaced = String::new();
    let mut rest = text;
    let mut is_string = false;
    while let Some(at) = rest.find(['"', '\\', 'N', 'I', '-']) {
        let literal = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|literal| rest[at..].starts_with(literal));
        let (passed_on, skipped) = match literal {
            Some(literal) if !is_string => (at, literal.len()),
            // What follows a backslash is no end of the string.
            _ if rest[at..].starts_with("\\\"") || rest[at..].starts_with("\\\\") => (at + 2, 0),
            _ => {
                is_string ^= rest[at..].starts_with('"');
                (at + 1, 0)
            }
        };
        replaced.push_str(&rest[..passed_on]);
        if skipped > 0 {
            replaced.push_str("null");
        }
        rest = &rest[passed_on + skipped..];
    }
    replaced.push_str(rest);
    (replaced != text).then_some(replaced)
}

/// Writes the reply to a command that answers with the bugs that are now subscribed, ascending.
///
/// `complete` stands in the reply to a `subscribe` with `since` only.
pub fn write_bugs(
    reply: &mut Vec<u8>,
    command: &str,
    bugs: impl Iterator<Item = BugId>,
    complete: Option<bool>,
) {
    write!(reply, r#"{{"command":"{command}","result":"ok","bugs":["#).expect(VEC_WRITES);
    for (at, bug) in bugs.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(reply, "{comma}{bug}").expect(VEC_WRITES);
    }
    reply.push(b']');
    if let Some(complete) = complete {
        write!(reply, r#","complete":{complete}"#).expect(VEC_WRITES);
    }
    reply.push(b'}');
}

/// Writes the reply to `version`.
pub fn write_version(reply: &mut Vec<u8>) {
    write!(
        reply,
        r#"{{"command":"version","result":"ok","version":"{VERSION}"}}"#
    )
    .expect(VEC_WRITES);
}

/// Writes the reply to a message that was refused.
pub fn write_refusal(reply: &mut Vec<u8>, refusal: &Refusal) {
    let Refusal { command, error } = refusal;
    write!(
        reply,
        r#"{{"command":{command},"result":"error","error":"{error}"}}"#
    )
    .expect(VEC_WRITES);
}

/// Writes the push that tells of an update. The text of a time needs no escapes: it holds nothing
/// that is not part of a time.
pub fn write_update(push: &mut Vec<u8>, update: &Update) {
    let Update { bug, when } = update;
    write!(
        push,
        r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#
    )
    .expect(VEC_WRITES);
}

/// Why the writes above cannot fail.
const VEC_WRITES: &str = "a Vec takes all that is written to it";

#[cfg(test)]
mod tests {
    use super::*;

    /// What `message` is understood as: a command in short, or the error reply.
    fn understood(message: &str) -> String {
        let list = |bugs: Vec<BugId>| {
            bugs.iter()
                .map(BugId::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        match parse(message.as_bytes()) {
            Ok(Command::Subscribe { bugs, since: None }) => format!("subscribe {}", list(bugs)),
            Ok(Command::Subscribe {
                bugs,
                since: Some(since),
            }) => format!("subscribe {} since {since}", list(bugs)),
            Ok(Command::Unsubscribe { bugs }) => format!("unsubscribe {}", list(bugs)),
            Ok(Command::Subscriptions) => "subscriptions".to_owned(),
            Ok(Command::Version) => "version".to_owned(),
            Err(refusal) => {
                let mut reply = Vec::new();
                write_refusal(&mut reply, &refusal);
                String::from_utf8(reply).unwrap()
            }
        }
    }

    fn error(command: &str, text: &str) -> String {
        format!(r#"{{"command":{command},"result":"error","error":"{text}"}}"#)
    }

    #[test]
    fn each_command_is_read() {
        for (message, command) in [
            (r#"{"command":"version"}"#, "version"),
            (
                r#" { "command" : "subscriptions" , "bugs" : ["x"] } "#,
                "subscriptions",
            ),
            (
                r#"{"command":"unsubscribe","bugs":[2,1]}"#,
                "unsubscribe 1,2",
            ),
            (
                r#"{"command":"subscribe","bugs":[1],"unknown":{"deep":[[]]}}"#,
                "subscribe 1",
            ),
            (
                r#"{"command":"version","command":"subscriptions"}"#,
                "subscriptions",
            ),
            (r#"{"\u0063ommand":"\u0076ersion","\ud800":1}"#, "version"),
        ] {
            assert_eq!(understood(message), command, "{message}");
        }
    }

    #[test]
    fn bugs_are_read_as_the_original_read_them() {
        for (bugs, read) in [
            ("1234", "1234"),
            (r#""1234""#, "1234"),
            (r#"[" 56 ","+7","007",3]"#, "3,7,56"),
            ("[5,5,\"5\"]", "5"),
            ("[]", ""),
            ("[ ]", ""),
            ("null", ""),
            ("{\"1\":2}", ""),
            ("1.5", ""),
            ("1e3", ""),
            ("-1.5", ""),
            ("NaN", ""),
            ("-Infinity", ""),
            ("2147483647", "2147483647"),
        ] {
            assert_eq!(
                understood(&format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#)),
                format!("subscribe {read}"),
                "{bugs}"
            );
        }
    }

    #[test]
    fn one_bad_id_refuses_the_whole_request() {
        for bugs in [
            "0",
            "-5",
            "-0",
            "true",
            "false",
            "[true]",
            "[1,false]",
            "[1.0]",
            "[1e3]",
            "[null]",
            "[[1]]",
            "[{}]",
            "\"\"",
            "\"1,2\"",
            "[1,\"x\"]",
            "\"12abc\"",
            "\"0x10\"",
            "\"1.0\"",
            "\"-0\"",
            "\"\u{ff11}\"",
            "\"\\ud800\"",
            "2147483648",
            "[99999999999999999999]",
            "99999999999999999999",
            "[NaN]",
            "[1,-Infinity]",
        ] {
            let message = format!(r#"{{"command":"subscribe","bugs":{bugs},"since":"nonsense"}}"#);
            assert_eq!(
                understood(&message),
                error("\"subscribe\"", "invalid bug id; must be integer"),
                "{bugs}"
            );
        }
    }

    #[test]
    fn all_that_python_calls_false_is_no_since() {
        for since in [
            r#""""#, "null", "0", "-0", "0.0", "0e5", "false", "[]", "[ ]", "{}", "{\n}",
        ] {
            assert_eq!(
                understood(&format!(
                    r#"{{"command":"subscribe","bugs":1,"since":{since}}}"#
                )),
                "subscribe 1",
                "{since}"
            );
        }
    }

    #[test]
    fn since_is_a_time_or_an_error() {
        let subscribe = |since: &str| {
            understood(&format!(
                r#"{{"command":"subscribe","bugs":1,"since":{since}}}"#
            ))
        };
        assert_eq!(
            subscribe(r#""2014-04-03T21:13:45""#),
            "subscribe 1 since 1396559625"
        );
        assert_eq!(
            subscribe(r#""2014-04-03 23:13:45.9+02:00""#),
            "subscribe 1 since 1396559625"
        );
        assert_eq!(
            subscribe(r#""2014\u002d04-03""#),
            "subscribe 1 since 1396483200"
        );
        for since in [
            "1",
            "true",
            "[0]",
            "{\"a\":1}",
            "\" \"",
            "\"0\"",
            "\"now\"",
            "1396559625",
        ] {
            assert_eq!(
                subscribe(since),
                error(
                    "\"subscribe\"",
                    "invalid since; must be YYYY-MM-DDTHH:MM:SS"
                ),
                "{since}"
            );
        }
    }

    #[test]
    fn an_unknown_command_comes_back_as_it_came() {
        for command in [
            "null",
            "7",
            "1.50",
            "\"\"",
            "\" subscribe\"",
            "\"Version\"",
            "\"update\"",
            "[\"x\"]",
            "{\"a\": 1}",
            "true",
            "\"caf\u{e9}\"",
            "\"\\ud800\"",
        ] {
            assert_eq!(
                understood(&format!(r#"{{"command":{command},"bugs":[1]}}"#)),
                error(command, "invalid command")
            );
        }
        assert_eq!(
            understood(r#"{"command":NaN}"#),
            error("null", "invalid command")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            understood(r#"{"command":"subscribe","bug":1}"#),
            error("\"subscribe\"", "missing mandatory arg: 'bugs'")
        );
        assert_eq!(
            understood(r#"{"command":"unsubscribe","since":""}"#),
            error("\"unsubscribe\"", "missing mandatory arg: 'bugs'")
        );
        assert_eq!(
            understood(r#"{"Command":"version"}"#),
            error("null", "missing mandatory arg: 'command'")
        );
        assert_eq!(
            understood("{}"),
            error("null", "missing mandatory arg: 'command'")
        );
    }

    #[test]
    fn what_is_no_object_is_told_apart_from_what_is_no_json() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for message in [
            "[]",
            "null",
            "7",
            " \"command\" ",
            "true",
            "NaN",
            "[NaN]",
            &deep,
        ] {
            assert_eq!(
                understood(message),
                error("null", "message must be a JSON object"),
                "{message:.20}"
            );
        }
        let unclosed = "[".repeat(100_000);
        for message in [
            "",
            " ",
            "{",
            "{'command':'version'}",
            r#"{"command":"version"}{"command":"version"}"#,
            "[] []",
            "nul",
            "{\"command\":NaNa}",
            "\u{feff}{}",
            &unclosed,
        ] {
            assert_eq!(
                understood(message),
                error("null", "invalid JSON"),
                "{message:.20}"
            );
        }
        assert_eq!(
            parse(b"{\"command\":\"\xff\"}"),
            Err(Refusal::without_command(Error::InvalidJson))
        );
    }

    #[test]
    fn pythons_literals_are_left_alone_in_strings() {
        assert_eq!(
            without_python_literals(r#"{"a\\":NaN,"\"NaN":-Infinity,"x":"\\","y":Infinity}"#)
                .as_deref(),
            Some(r#"{"a\\":null,"\"NaN":null,"x":"\\","y":null}"#)
        );
        assert_eq!(without_python_literals(r#""NaN" "\"Infinity""#), None);
    }
}
