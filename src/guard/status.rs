//! What `bugzfeed pulse guard --status` says, from the file alone. Knows no running guard but by its
//! lock.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use super::memory::{self, Memory};
use crate::failure::Failure;

/// The state of a guard, as text or as JSON. `now` is the time in Unix seconds.
///
/// # Errors
/// When there is no file that can be read.
pub(crate) fn status(file: &Path, is_json: bool, now: i64) -> Result<String, Failure> {
    let cannot = |why: &str| {
        Failure::Configuration(format!(
            "cannot read the file {} (setting --state): {why}.",
            file.display()
        ))
    };
    let (memory, is_running) = memory::look(file)
        .map_err(|error| cannot(&error.to_string()))?
        .ok_or_else(|| cannot("no guard has made one"))?;
    Ok(match is_json {
        true => as_json(&memory, is_running),
        false => as_text(&memory, is_running, now),
    })
}

fn as_json(memory: &Memory, is_running: bool) -> String {
    let at = |pair: &Option<(i64, String)>| {
        let pair = pair.as_ref();
        pair.map(|(at, what)| json!({"since": at, "reason": what}))
    };
    let trouble = memory.trouble.as_ref();
    let status = json!({
        "running": is_running, "looked": memory.looked, "queues": memory.queues,
        "overgrowing": memory.warned, "outage": at(&memory.outage), "waiting": memory.waiting(),
        "last_error": trouble.map(|(what, at)| json!({"at": at, "reason": what})),
    });
    format!("{status}\n")
}

fn as_text(memory: &Memory, is_running: bool, now: i64) -> String {
    let mut text = match is_running {
        true => "A guard is running.\n\n",
        false => "No guard is running.\n\n",
    }
    .to_owned();
    let mut line = |label: &str, value: String| {
        writeln!(text, "{label:<14} {value}").expect("a string takes everything");
    };
    match memory.looked {
        Some(at) => line(
            "looked:",
            format!("{} s ago, at {} queues", now - at, memory.queues),
        ),
        None => line("looked:", "never".to_owned()),
    }
    if let Some((since, why)) = &memory.outage {
        line("broker away:", format!("for {} s: {why}", now - since));
    }
    for (queue, messages) in &memory.warned {
        line("overgrowing:", format!("{queue}, {messages} messages"));
    }
    line("to be told:", memory.waiting().to_string());
    if let Some((why, at)) = &memory.trouble {
        line("last error:", format!("{why} ({} s ago)", now - at));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_described_for_people_and_for_programs() {
        let memory = Memory {
            looked: Some(95),
            queues: 12,
            warned: [("queue/u/q".to_owned(), 2_500)].into(),
            outage: Some((97, "refused".to_owned())),
            trouble: Some(("no route".to_owned(), 90)),
            ..Memory::default()
        };
        assert_eq!(
            as_text(&memory, true, 100),
            "A guard is running.\n\nlooked:        5 s ago, at 12 queues\nbroker away:   for 3 s: refused\novergrowing:   queue/u/q, 2500 messages\nto be told:    0\nlast error:    no route (10 s ago)\n"
        );
        let json: serde_json::Value = serde_json::from_str(&as_json(&memory, false)).unwrap();
        assert_eq!(json["overgrowing"], json!({"queue/u/q": 2_500}));
        assert_eq!(json["outage"]["since"], 97);
        assert_eq!(json["running"], false);
    }
}
