//! `--to`: which destination, and where. The one place that knows all kinds of destination.

use std::fmt;
use std::str::FromStr;

use super::destination::Destination;
use super::{amqp, jsonl, webhook};
use crate::amqp as broker;

/// A destination as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `amqp://…` or `amqps://…`: an exchange of a broker.
    Amqp(broker::Settings),
    /// `http://…` or `https://…`: takes posts.
    Webhook(webhook::Settings),
    /// `jsonl:FILE` or `jsonl:-`: a file, or stdout.
    Jsonl(jsonl::Settings),
}

impl Address {
    /// The destination behind this address, not yet connected.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(crate) fn open(&self) -> Result<Box<dyn Destination>, String> {
        Ok(match self {
            Address::Amqp(settings) => Box::new(amqp::Exchange::new(settings.clone())),
            Address::Webhook(settings) => Box::new(webhook::Webhook::new(settings.clone())?),
            Address::Jsonl(settings) => Box::new(jsonl::Lines::new(settings.clone())?),
        })
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "amqp" | "amqps" => broker::Settings::parse_exchange(text).map(Address::Amqp),
            "http" | "https" => webhook::Settings::parse(text).map(Address::Webhook),
            "jsonl" => jsonl::Settings::parse(rest).map(Address::Jsonl),
            // Nothing of it is repeated: with the scheme forgotten, it may start with a user and a
            // password.
            _ => Err("it is no destination; accepted are amqp://USER:PASSWORD@HOST/VHOST?exchange=NAME, amqps://…, https://…, http://…, jsonl:FILE and jsonl:-".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    /// The address without any password, for the log, and as the destination's name in the backlog.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Amqp(settings) => settings.fmt(f),
            Address::Webhook(settings) => settings.fmt(f),
            Address::Jsonl(settings) => settings.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_named_without_its_secrets() {
        for (address, printed) in [
            (
                "amqp://u:secret@h?exchange=x",
                "amqp://u@h:5672/%2F?exchange=x",
            ),
            (
                "https://h/hook?x=1#secret_file=/s&key_file=/k",
                "https://h/...869ce9cc",
            ),
            ("https://h/...869ce9cc", "https://h/...869ce9cc"),
            ("http://h:8080/#secret_file=/s", "http://h:8080/"),
            ("jsonl:out.jsonl", "jsonl:out.jsonl"),
            ("jsonl:-", "jsonl:-"),
        ] {
            assert_eq!(address.parse::<Address>().unwrap().to_string(), printed);
        }
        for (address, said) in [
            ("", "accepted are"),
            ("u:secret@h", "accepted are"),
            ("sqlite:x", "accepted are"),
            ("jsonl:", "jsonl:FILE"),
            ("amqp://u:secret@h?queue=x", "queue: "),
            ("http://", "no URL"),
            ("https://u:secret@h/", "key_file"),
            ("https://h/#colour=red", "colour"),
            ("https://h/#header=a%20b", "header: "),
            ("https://h/#header=X", "key_file"),
            ("https://h/#secret_file=", "secret_file: "),
            ("http://h/#cacert=x", "https://"),
        ] {
            let why = address.parse::<Address>().unwrap_err();
            assert!(
                why.contains(said) && !why.contains("secret@"),
                "{address}: {why}"
            );
        }
    }
}
