//! Writes replies and updates. Knows no command's rules.

use std::io::Write as _;

use super::{ErrorReply, VERSION};
use crate::update::{BugId, Update, When};

/// Writes the reply to a command that is answered with the client's subscriptions, ascending.
/// `wants_all` says whether there is one to all bugs besides. `denied` are those that the client may not
/// have. `complete` belongs to the reply to a
/// `subscribe` with `since` only.
pub fn write_bugs(
    reply: &mut Vec<u8>,
    command: &str,
    bugs: impl Iterator<Item = BugId>,
    wants_all: bool,
    denied: &[BugId],
    complete: Option<bool>,
) {
    write!(reply, r#"{{"command":"{command}","result":"ok","bugs":"#).expect(VEC_WRITES);
    write_list(reply, bugs);
    if !denied.is_empty() {
        reply.extend_from_slice(br#","denied":"#);
        write_list(reply, denied.iter().copied());
    }
    if wants_all {
        reply.extend_from_slice(br#","all":true"#);
    }
    if let Some(complete) = complete {
        write!(reply, r#","complete":{complete}"#).expect(VEC_WRITES);
    }
    reply.push(b'}');
}

/// Adds to a reply where the feed stands; None while nothing has happened in it.
pub(crate) fn add_watermark(reply: &mut Vec<u8>, watermark: Option<&When>) {
    reply.pop_if(|last| *last == b'}');
    write!(reply, r#","watermark":{}}}"#, time_or_null(watermark)).expect(VEC_WRITES);
}

/// Writes the reply to `status`: whether updates are read, where the feed stands, and how many
/// clients the server has.
pub(crate) fn write_status(
    reply: &mut Vec<u8>,
    is_up: bool,
    watermark: Option<&When>,
    clients: usize,
) {
    let source = if is_up { "up" } else { "down" };
    let watermark = time_or_null(watermark);
    write!(
        reply,
        r#"{{"command":"status","result":"ok","source":"{source}","watermark":{watermark},"clients":{clients}}}"#
    )
    .expect(VEC_WRITES);
}

fn time_or_null(when: Option<&When>) -> String {
    when.map_or_else(|| "null".to_owned(), |when| format!("\"{when}\""))
}

fn write_list(reply: &mut Vec<u8>, bugs: impl Iterator<Item = BugId>) {
    reply.push(b'[');
    for (at, bug) in bugs.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(reply, "{comma}{bug}").expect(VEC_WRITES);
    }
    reply.push(b']');
}

/// Writes the reply to `version`.
pub(crate) fn write_version(reply: &mut Vec<u8>) {
    write!(
        reply,
        r#"{{"command":"version","result":"ok","version":"{VERSION}"}}"#
    )
    .expect(VEC_WRITES);
}

/// Writes the reply to a message that is no command, or asks for too much.
pub(crate) fn write_error(reply: &mut Vec<u8>, error: &ErrorReply) {
    let ErrorReply { command, error } = error;
    write!(
        reply,
        r#"{{"command":{command},"result":"error","error":"{error}"}}"#
    )
    .expect(VEC_WRITES);
}

/// Writes an update. The text of a time needs no escapes: it holds nothing that is not part of a
/// time.
pub fn write_update(text: &mut Vec<u8>, update: &Update) {
    let Update { bug, when } = update;
    write!(
        text,
        r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#
    )
    .expect(VEC_WRITES);
}

/// Why the writes above cannot fail.
const VEC_WRITES: &str = "a Vec takes all that is written to it";
