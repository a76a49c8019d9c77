//! Destination `http:` and `https:`: a post per change, in the format of bugzilla.mozilla.org's
//! webhooks, signed. The status of the response says whether it has arrived, and nothing else does.

mod answer;
mod settings;

use std::io::ErrorKind;

use log::{debug, warn};
use serde::Serialize;
use ureq::Agent;

pub(crate) use self::settings::Settings;
use super::backlog::Entry;
use super::destination::{Destination, SendError};
use crate::tls;
use crate::update::Update;
use crate::work::{Stop, unix_now};

/// Carries what is the same at each attempt to post a change.
const CHANGE_ID: &str = "Idempotency-Key";

/// The server that takes posts.
pub(super) struct Webhook {
    settings: Settings,
    agent: Agent,
    /// Whether the last post has left a connection for the next one.
    is_connected: bool,
    /// Whether it was logged that answers are longer, or take longer, than they should.
    has_told_of_endless: bool,
}

impl Webhook {
    /// The server that `settings` name, not yet connected.
    ///
    /// # Errors
    /// When a file that they name cannot be used.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        settings.proofs(b"")?;
        Ok(Self {
            agent: settings.agent()?,
            settings,
            is_connected: false,
            has_told_of_endless: false,
        })
    }

    fn post(&mut self, change: &Entry) -> Result<(), SendError> {
        let was_connected = std::mem::take(&mut self.is_connected);
        let response = match self.request(change)? {
            Err(error) if was_connected && is_hang_up(&error) => {
                debug!("{}: {error}; trying once more", self.settings);
                self.request(change)?
            }
            response => response,
        };
        let response = response.map_err(|error| SendError::Failed(sentence(&error)))?;
        let answer = answer::read(response, unix_now());
        self.is_connected = answer.is_whole;
        if !answer.is_whole && !self.has_told_of_endless {
            self.has_told_of_endless = true;
            warn!(
                "{}: answers do not end within a second or 64 KiB, so that each post needs a connection of its own; the status alone would do",
                self.settings
            );
        }
        answer.verdict
    }

    /// Posts a change. The outer error is that a file with a secret cannot be read.
    fn request(
        &self,
        change: &Entry,
    ) -> Result<Result<ureq::http::Response<ureq::Body>, ureq::Error>, SendError> {
        let body = body(&change.update);
        let mut request = self
            .agent
            .post(self.settings.url.as_str())
            .content_type("application/json")
            .header(CHANGE_ID, change.change_id());
        let proofs = self.settings.proofs(body.as_bytes());
        for (field, value) in proofs.map_err(SendError::Failed)? {
            request = request.header(field, value);
        }
        Ok(request.send(body.as_bytes()))
    }
}

impl Destination for Webhook {
    /// Each post is forgotten before the next is sent, so that a crash repeats one at most.
    fn batch_max(&self) -> usize {
        1
    }

    fn send(
        &mut self,
        changes: &[Entry],
        stop: &Stop,
        _: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), SendError>) {
        for (count, change) in changes.iter().enumerate() {
            if stop.is_requested() {
                return (count, Ok(()));
            }
            if let Err(trouble) = self.post(change) {
                return (count, Err(trouble));
            }
        }
        (changes.len(), Ok(()))
    }
}

/// Whether the other side has ended a connection, as a server may at any time with one that was
/// left for the next request (RFC 9112, section 9.5).
fn is_hang_up(error: &ureq::Error) -> bool {
    let ureq::Error::Io(error) = error else {
        return false;
    };
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

fn sentence(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("the server did not answer in time ({error})"),
        ureq::Error::Io(error) => match tls::flaw(error) {
            Some(flaw) => flaw.to_owned(),
            None => format!("cannot reach the server: {error}"),
        },
        error => format!("cannot reach the server: {error}"),
    }
}

/// What bugzilla.mozilla.org posts, of which readers need the bug and the time.
fn body(update: &Update) -> String {
    let message = Message {
        webhook_id: 1,
        webhook_name: "bugzfeed",
        event: MessageEvent {
            action: "modify",
            target: "bug",
            routing_key: "bug.modify",
            time: update.when.to_string(),
        },
        bug: MessageBug {
            id: update.bug.get(),
        },
    };
    serde_json::to_string(&message).expect("texts and numbers are always JSON")
}

#[derive(Serialize)]
struct Message {
    webhook_id: u32,
    webhook_name: &'static str,
    event: MessageEvent,
    bug: MessageBug,
}

#[derive(Serialize)]
struct MessageEvent {
    action: &'static str,
    target: &'static str,
    routing_key: &'static str,
    time: String,
}

#[derive(Serialize)]
struct MessageBug {
    id: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse;
    use crate::update::BugId;

    #[test]
    fn the_body_is_what_our_own_source_understands() {
        let update = Update {
            bug: BugId::new(1234).unwrap(),
            when: "2014-04-03T21:13:45".parse().unwrap(),
        };
        let body = body(&update);
        assert_eq!(
            body,
            r#"{"webhook_id":1,"webhook_name":"bugzfeed","event":{"action":"modify","target":"bug","routing_key":"bug.modify","time":"2014-04-03T21:13:45"},"bug":{"id":1234}}"#
        );
        assert_eq!(pulse::read(body.as_bytes()), Ok(update));
    }
}
