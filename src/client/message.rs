//! What a feed sends: updates, and replies to commands. Reads them, from this server's and from the
//! original's, and knows no connection.

use serde::Deserialize;
use serde_json::Value;

use crate::update::{BugId, Update};

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Update(Update),
    /// The answer to a command.
    Reply(Reply),
}

/// The answer to a command. Answers come in the order of the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The command that is answered; empty where the server could not read it as one.
    pub command: String,
    /// What was wrong with the command, in the server's words.
    pub error: Option<String>,
    /// Whether every update since the time asked for is remembered. The original server never says
    /// it.
    pub complete: Option<bool>,
    /// Bugs that are not there, or not for us.
    pub denied: Vec<u32>,
}

/// A text that is neither an update nor a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

#[derive(Deserialize)]
struct Fields {
    command: Value,
    result: Option<String>,
    error: Option<String>,
    complete: Option<bool>,
    #[serde(default)]
    denied: Vec<u32>,
    bug: Option<u32>,
    when: Option<String>,
}

impl Message {
    /// Reads one text message.
    ///
    /// # Errors
    /// When it is neither an update nor a reply. Keys that are not known are no error.
    pub(crate) fn read(text: &str) -> Result<Self, Unreadable> {
        let fields: Fields = serde_json::from_str(text).map_err(|_| Unreadable)?;
        let command = fields.command.as_str().unwrap_or_default();
        match (fields.result.as_deref(), fields.bug, fields.when) {
            (Some("ok"), _, _) => Ok(Self::Reply(Reply {
                command: command.to_owned(),
                error: None,
                complete: fields.complete,
                denied: fields.denied,
            })),
            (Some(_), _, _) => {
                let error = Some(fields.error.unwrap_or_default());
                Ok(Self::Reply(Reply {
                    command: command.to_owned(),
                    error,
                    complete: fields.complete,
                    denied: Vec::new(),
                }))
            }
            (None, Some(bug), Some(when)) if command == "update" => {
                let bug = BugId::new(bug).ok_or(Unreadable)?;
                let when = when.parse().map_err(|_| Unreadable)?;
                Ok(Self::Update(Update { bug, when }))
            }
            (None, _, _) => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(
        command: &str,
        error: Option<&str>,
        complete: Option<bool>,
    ) -> Result<Message, Unreadable> {
        Ok(Message::Reply(Reply {
            command: command.to_owned(),
            error: error.map(str::to_owned),
            complete,
            denied: Vec::new(),
        }))
    }

    #[test]
    fn an_update_is_read_and_its_time_kept_to_the_byte() {
        let Ok(Message::Update(update)) = Message::read(
            r#"{"when":"2014-04-03 21:13:45","new":[],"bug":1234,"command":"update"}"#,
        ) else {
            panic!("no update");
        };
        assert_eq!(
            (update.bug.get(), update.when.to_string().as_str()),
            (1234, "2014-04-03 21:13:45")
        );
    }

    #[test]
    fn a_reply_is_read_with_and_without_what_the_original_never_says() {
        assert_eq!(
            Message::read(r#"{"command":"subscribe","result":"ok","bugs":[1,2]}"#),
            reply("subscribe", None, None)
        );
        assert_eq!(
            Message::read(r#"{"command":"subscribe","result":"ok","bugs":[1],"complete":false}"#),
            reply("subscribe", None, Some(false))
        );
        assert_eq!(
            Message::read(r#"{"command":null,"result":"error","error":"invalid JSON"}"#),
            reply("", Some("invalid JSON"), None)
        );
    }

    #[test]
    fn what_is_neither_an_update_nor_a_reply_is_unreadable() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"command":"update","bug":1234}"#,
            r#"{"command":"update","bug":0,"when":"2014-04-03T21:13:45"}"#,
            r#"{"command":"update","bug":-1,"when":"2014-04-03T21:13:45"}"#,
            r#"{"command":"update","bug":1234,"when":"yesterday"}"#,
            r#"{"command":"updates","bug":1234,"when":"2014-04-03T21:13:45"}"#,
            r#"{"command":"subscribe"}"#,
        ] {
            assert_eq!(Message::read(text), Err(Unreadable), "{text}");
        }
    }
}
