//! What a page says, and what is said to it: JSON texts. Knows no socket and no broker.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Content;
use crate::amqp::{Binding, Seen};
use crate::update::When;

/// The longest name in AMQP, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// What a page asks for.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "command", rename_all = "lowercase")]
pub(super) enum Wish {
    /// Show what this exchange gets, too.
    Bind(Pair),
    /// Show it no more.
    Unbind(Pair),
    /// Begin to look.
    Start,
    /// Look no more.
    Stop,
}

/// An exchange and a pattern of routing keys.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Pair {
    exchange: String,
    pattern: String,
}

impl Wish {
    /// Reads a message of a page. `None` stands for one that the page never sends.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let wish: Self = serde_json::from_str(text).ok()?;
        match &wish {
            Wish::Bind(pair) | Wish::Unbind(pair) => pair.is_possible().then_some(wish),
            Wish::Start | Wish::Stop => Some(wish),
        }
    }
}

impl Pair {
    fn is_possible(&self) -> bool {
        let fits = |name: &str| name.len() <= NAME_BYTES_MAX;
        !self.exchange.is_empty() && fits(&self.exchange) && fits(&self.pattern)
    }
}

impl From<Pair> for Binding {
    fn from(Pair { exchange, pattern }: Pair) -> Self {
        Self { exchange, pattern }
    }
}

/// Says what became of a binding: `bound`, or `refused` with a reason.
pub(super) fn about_binding(what: &str, binding: &Binding, why: Option<&str>) -> String {
    let Binding { exchange, pattern } = binding;
    let mut about = json!({"exchange": exchange, "pattern": pattern});
    if let Some(why) = why {
        about["why"] = why.into();
    }
    json!({ what: about }).to_string()
}

/// Says what the inspector does: `stopped`, `connecting`, `live`, or `waiting` with a reason.
pub(super) fn about_state(state: &str, why: Option<&str>) -> String {
    match why {
        None => json!({"state": state}).to_string(),
        Some(why) => json!({"state": state, "why": why}).to_string(),
    }
}

/// Shows a message; `now` is the time in Unix seconds. The body is a text within the text, so that
/// the page has it as it came.
pub(super) fn message(seen: &Seen, now: i64) -> String {
    let (kind, body) = match Content::of(&seen.body) {
        Content::Json(json) => ("json", Value::from(json.get())),
        Content::Text(text) => ("text", text.into()),
        Content::Bytes(bytes) => ("base64", BASE64.encode(bytes).into()),
    };
    json!({"message": {
        "time": format!("{}Z", When::from_unix_seconds(now)),
        "exchange": seen.exchange,
        "routing_key": seen.routing_key,
        "cc": seen.cc,
        "kind": kind,
        "body": body,
        "bytes": seen.body.len(),
        "is_cut": seen.is_cut,
    }})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_may_say_is_read_and_nothing_else() {
        let pair = Pair {
            exchange: "exchange/u/x".to_owned(),
            pattern: "a.#".to_owned(),
        };
        for (text, wish) in [
            (
                r#"{"command":"bind","exchange":"exchange/u/x","pattern":"a.#"}"#.to_owned(),
                Some(Wish::Bind(pair.clone())),
            ),
            (
                r#"{"command":"unbind","exchange":"exchange/u/x","pattern":"a.#"}"#.to_owned(),
                Some(Wish::Unbind(pair)),
            ),
            (r#"{"command":"start"}"#.to_owned(), Some(Wish::Start)),
            (r#"{"command":"stop"}"#.to_owned(), Some(Wish::Stop)),
            (r#"{"command":"bind","exchange":"x"}"#.to_owned(), None),
            (
                r##"{"command":"bind","exchange":"","pattern":"#"}"##.to_owned(),
                None,
            ),
            (
                format!(
                    r#"{{"command":"bind","exchange":"{}","pattern":"a"}}"#,
                    "x".repeat(256)
                ),
                None,
            ),
            ("nonsense".to_owned(), None),
        ] {
            assert_eq!(Wish::parse(&text), wish, "{text}");
        }
    }

    #[test]
    fn a_body_reaches_the_page_as_it_came() {
        for (body, kind, text) in [
            (&b"{\"n\": 1.10}"[..], "json", "{\"n\": 1.10}"),
            (b"hello", "text", "hello"),
            (b"\xff", "base64", "/w=="),
        ] {
            let seen = Seen {
                exchange: "x".to_owned(),
                routing_key: "k".to_owned(),
                cc: vec!["c".to_owned()],
                body: body.to_vec(),
                is_cut: false,
            };
            let said: Value = serde_json::from_str(&message(&seen, 7)).unwrap();
            let said = &said["message"];
            assert_eq!((&said["kind"], &said["body"]), (&json!(kind), &json!(text)));
            assert_eq!(said["time"], "1970-01-01T00:00:07Z");
        }
    }
}
