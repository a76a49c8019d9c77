//! Reads a message from a client: one JSON object, of which only the values that matter are looked
//! at. Knows no value's own rules.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::arguments::{parse_bugs, parse_since};
use super::python::without_python_literals;
use super::{Command, Error, ErrorReply};

/// Reads the command in a message: a JSON object, whose unknown keys are ignored. `"*"` stands for
/// all bugs where the feed `offers_all`.
///
/// # Errors
/// The reply to a message that is no command.
pub fn parse(message: &[u8], offers_all: bool) -> Result<Command, ErrorReply> {
    let invalid = || ErrorReply::without_command(Error::InvalidJson);
    let text = std::str::from_utf8(message).map_err(|_| invalid())?;
    match Request::read(text) {
        Ok(request) => request.into_command(offers_all),
        Err(Error::InvalidJson) => {
            let text = without_python_literals(text).ok_or_else(invalid)?;
            Request::read(&text)
                .map_err(ErrorReply::without_command)?
                .into_command(offers_all)
        }
        Err(error) => Err(ErrorReply::without_command(error)),
    }
}

/// The arguments of a message, each still in JSON. Of a key that stands twice, the last one counts.
#[derive(Default)]
struct Request<'a> {
    command: Option<&'a RawValue>,
    bugs: Option<&'a RawValue>,
    since: Option<&'a RawValue>,
    watermark: Option<&'a RawValue>,
    feed: Option<&'a RawValue>,
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

    fn into_command(self, offers_all: bool) -> Result<Command, ErrorReply> {
        let command = self
            .command
            .ok_or(ErrorReply::without_command(Error::MissingCommand))?;
        let refuse = |error| ErrorReply {
            command: command.get().to_owned().into(),
            error,
        };
        let bugs = || {
            self.bugs
                .ok_or(Error::MissingBugs)
                .and_then(|bugs| parse_bugs(bugs, offers_all))
                .map_err(refuse)
        };
        match serde_json::from_str::<Cow<'_, str>>(command.get()).as_deref() {
            Ok("subscribe") => {
                let bugs = bugs()?;
                let since = self.since.map_or(Ok(None), parse_since).map_err(refuse)?;
                let watermark = self.watermark.is_some_and(|value| value.get() == "true");
                Ok(Command::Subscribe {
                    bugs,
                    since,
                    watermark,
                })
            }
            Ok("unsubscribe") => Ok(Command::Unsubscribe { bugs: bugs()? }),
            Ok("subscriptions") => Ok(Command::Subscriptions),
            Ok("version") => Ok(Command::Version),
            Ok("status") => Ok(Command::Status {
                feed: self.feed.and_then(|value| value.get().parse().ok()),
            }),
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
                        Key::Watermark => request.watermark = value,
                        Key::Feed => request.feed = value,
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
    Watermark,
    Feed,
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
                    b"watermark" => Key::Watermark,
                    b"feed" => Key::Feed,
                    _ => Key::Other,
                })
            }
        }
        // As bytes, since JSON allows keys with lone surrogates, which are no str.
        deserializer.deserialize_bytes(Name)
    }
}
