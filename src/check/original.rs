//! What was recorded of the original: each exchange, as docs/protocol.md has mended it.

use serde_json::Value;

use super::script::Script;
use super::wire::{BINARY, FIN, frame};
use super::{Check, Group};

/// The recorded exchanges: a JSON object on each line.
pub const RECORDED: &str = include_str!("recorded.jsonl");

/// Where this server answers otherwise than the original did, and why. All else that was recorded
/// must come as it was recorded, but for two keys: `version` is this package's, and `complete` is
/// new in replies to a `subscribe` with `since`.
pub const DIFFERENCES: &[(&str, &str, &[&str])] = &[
    (
        "what can be no bug's id is refused; the original kept 0, negative and too large numbers for ever, cut floats off, took true \
         for 1, and read digits of all scripts",
        r#"{"command":"subscribe","result":"error","error":"invalid bug id; must be integer"}"#,
        &[
            r#"{"command":"subscribe","bugs":0}"#,
            r#"{"command":"subscribe","bugs":[-5]}"#,
            r#"{"command":"subscribe","bugs":"-0"}"#,
            r#"{"command":"subscribe","bugs":false}"#,
            r#"{"command":"subscribe","bugs":[true,false]}"#,
            r#"{"command":"subscribe","bugs":[1.5,2.9,-1.5]}"#,
            r#"{"command":"subscribe","bugs":[1e3]}"#,
            r#"{"command":"subscribe","bugs":[99999999999999999999]}"#,
            r#"{"command":"subscribe","bugs":99999999999999999999}"#,
            "{\"command\":\"subscribe\",\"bugs\":\"\u{ff11}\u{ff12}\"}",
        ],
    ),
    (
        "an object without a command gets an error; the original dropped the connection",
        r#"{"command":null,"result":"error","error":"missing mandatory arg: 'command'"}"#,
        &[r#"{"Command":"version"}"#, "{}"],
    ),
    (
        "JSON that is no object gets an error; the original dropped the connection",
        r#"{"command":null,"result":"error","error":"message must be a JSON object"}"#,
        &[
            "[]",
            r#"["command"]"#,
            r#""version""#,
            r#""command""#,
            "null",
            "true",
        ],
    ),
    (
        "what is not JSON, or more than one value, gets an error; the original dropped the connection",
        r#"{"command":null,"result":"error","error":"invalid JSON"}"#,
        &[
            r#"{"command":"version""#,
            r#"{"command":"version"}{"command":"version"}"#,
            "{'command':'version'}",
        ],
    ),
];

/// What a server says of itself, and what is new since then.
const ITS_OWN: &[&str] = &["version", "complete"];

pub(super) fn checks() -> Vec<Check> {
    let cases = RECORDED
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    cases.map(|case: Value| check(&case)).collect()
}

fn check(case: &Value) -> Check {
    let steps = case["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let mut script = Script::open();
    let mut said = Vec::new();
    for step in steps {
        script = match (&step["send"], &step["send_binary"]) {
            (Value::String(text), _) => {
                said.push(text.as_str());
                script.say(text)
            }
            (_, Value::String(text)) => {
                said.push(text);
                script.send(frame(FIN | BINARY, text.as_bytes()))
            }
            _ => {
                let bug = step["feed"]["bug"].as_u64().unwrap_or_default();
                let when = step["feed"]["when"].as_str().unwrap_or_default();
                script.publish(bug as u32, when)
            }
        };
        for mut message in expected(step) {
            if let Some(message) = message.as_object_mut() {
                ITS_OWN.iter().for_each(|key| {
                    message.remove(*key);
                });
            }
            script = script.hear_but(message, ITS_OWN);
        }
    }
    let script = match said.iter().any(|text| text.contains("since")) {
        // A server that knows more of that time sends more.
        true => script.with_repeats().rest(),
        false => script.rest(),
    };
    let name: String = format!("{}: {}", case["id"], said.join(" "))
        .chars()
        .take(100)
        .collect();
    Check::new(Group::Original, name, script)
}

/// What must come in a step.
fn expected(step: &Value) -> Vec<Value> {
    let said = step["send"].as_str().unwrap_or_default();
    let difference = DIFFERENCES
        .iter()
        .find(|(_, _, messages)| messages.contains(&said));
    match difference {
        Some((_, reply, _)) => serde_json::from_str(reply).into_iter().collect(),
        None => step["recv"].as_array().cloned().unwrap_or_default(),
    }
}
