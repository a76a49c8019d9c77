//! Destination `http:` and `https:`: a post per change, in the format of bugzilla.mozilla.org's
//! webhooks, signed. The status of the response says whether it has arrived, and nothing else does.

mod settings;

use std::io::Read;

use serde::Serialize;
use ureq::http::StatusCode;
use ureq::{Agent, Body, http::Response};

pub(crate) use self::settings::Settings;
use super::backlog::Entry;
use super::destination::{Destination, SendError};
use crate::update::Update;
use crate::work::Stop;

/// How much is read of the body of a response.
const WORDS_BYTES_MAX: u64 = 200;

/// The server that takes posts.
pub(super) struct Webhook {
    settings: Settings,
    agent: Agent,
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
        })
    }

    fn post(&self, update: &Update) -> Result<(), SendError> {
        let body = body(update);
        let mut request = self
            .agent
            .post(self.settings.url.as_str())
            .content_type("application/json");
        for (field, value) in self
            .settings
            .proofs(body.as_bytes())
            .map_err(SendError::Failed)?
        {
            request = request.header(field, value);
        }
        let response = request
            .send(body.as_bytes())
            .map_err(|error| SendError::Failed(sentence(&error)))?;
        verdict(response)
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
            if let Err(trouble) = self.post(&change.update) {
                return (count, Err(trouble));
            }
        }
        (changes.len(), Ok(()))
    }
}

fn sentence(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("the server did not answer in time ({error})"),
        _ if error.to_string().contains("UnknownIssuer") => {
            "the server's certificate was issued by nobody who is trusted here; cacert=FILE names a certificate to trust".to_owned()
        }
        ureq::Error::Io(error) => format!("cannot reach the server: {error}"),
        error => format!("cannot reach the server: {error}"),
    }
}

/// What a response means. Only a status that blames the post itself is a refusal for good.
fn verdict(mut response: Response<Body>) -> Result<(), SendError> {
    let status = response.status();
    // To its end, if it is short: the connection can be used again then.
    let mut words = Vec::new();
    let read = response
        .body_mut()
        .as_reader()
        .take(WORDS_BYTES_MAX)
        .read_to_end(&mut words);
    if status.is_success() {
        return Ok(());
    }
    let words: String = String::from_utf8_lossy(&words)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words = if read.is_ok() && !words.trim().is_empty() {
        format!(": {}", words.trim())
    } else {
        String::new()
    };
    let hint = if status.is_redirection() {
        " (redirects are not followed)"
    } else {
        ""
    };
    let why = format!("the server answered {status}{hint}{words}");
    let may_pass = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    Err(if status.is_client_error() && !may_pass {
        SendError::Refused(why)
    } else {
        SendError::PutOff(why)
    })
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
