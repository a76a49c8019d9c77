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

/// What the reply to `status` says.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// Whether updates are read.
    pub is_up: bool,
    /// Where the feed stands.
    pub watermark: Option<When>,
    /// How long after its change the latest update came, in seconds.
    pub delay: Option<i64>,
    /// How many clients the server has.
    pub clients: usize,
    /// Whether the client is told when the feed's state changes.
    pub follows: bool,
}

/// Writes the reply to `status`.
pub(crate) fn write_status(reply: &mut Vec<u8>, status: &Status) {
    let source = FeedState::of_source(status.is_up).word();
    let watermark = time_or_null(status.watermark.as_ref());
    let delay = status
        .delay
        .map_or_else(|| "null".to_owned(), |delay| delay.to_string());
    let follows = if status.follows {
        r#","feed":true"#
    } else {
        ""
    };
    let clients = status.clients;
    write!(
        reply,
        r#"{{"command":"status","result":"ok","source":"{source}","watermark":{watermark},"delay":{delay},"clients":{clients}{follows}}}"#
    )
    .expect(VEC_WRITES);
}

/// What happens to a feed besides its updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedState {
    /// Updates are read.
    Up,
    /// They are not, or it is not sure that they are.
    Down,
    /// Some may have been missed before this.
    Gap,
}

impl FeedState {
    /// How a feed is whose source is read, or is not.
    pub(crate) fn of_source(is_up: bool) -> Self {
        match is_up {
            true => FeedState::Up,
            false => FeedState::Down,
        }
    }

    fn word(self) -> &'static str {
        match self {
            FeedState::Up => "up",
            FeedState::Down => "down",
            FeedState::Gap => "gap",
        }
    }
}

/// Writes what is told to those who asked for it by `status`.
pub(crate) fn write_feed(text: &mut Vec<u8>, state: FeedState) {
    let state = state.word();
    write!(text, r#"{{"command":"feed","state":"{state}"}}"#).expect(VEC_WRITES);
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
