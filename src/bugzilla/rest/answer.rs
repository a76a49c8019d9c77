//! What Bugzilla answers over HTTP: its body, its time, and its words where it refuses. Knows no
//! question.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

use crate::update::{BugId, Update, When};
use crate::work::{Error, unix_now};

/// How large a page may be: a bug takes some 60 bytes.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// An answer's body, and the web server's time.
pub(super) fn read(response: Result<Response<Body>, ureq::Error>) -> Result<(Vec<u8>, i64), Error> {
    let mut response = response.map_err(|error| format!("cannot reach it: {error}"))?;
    let status = response.status();
    let body = response
        .body_mut()
        .with_config()
        .limit(PAGE_BYTES_MAX)
        .read_to_vec()
        .map_err(|error| format!("its answer broke off: {error}"))?;
    if status.is_redirection() {
        let place = response.headers().get("location");
        let place = place
            .and_then(|place| place.to_str().ok())
            .unwrap_or("elsewhere");
        return Err(format!("it answered {status}, to {place}; name that address").into());
    }
    if !status.is_success() {
        return Err(format!("it answered {status}: {}", refused(&body)).into());
    }
    let date = response.headers().get("date");
    let now = date.and_then(|date| date.to_str().ok()).and_then(http_date);
    Ok((body, now.unwrap_or_else(unix_now)))
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The result itself.
    Rest,
    /// The result, or an error, in an object.
    JsonRpc,
}

/// The result that an answer's body holds.
///
/// # Errors
/// What Bugzilla says in place of it.
pub(crate) fn result<T: DeserializeOwned>(body: &[u8], form: Form) -> Result<T, String> {
    let result = match form {
        Form::Rest => serde_json::from_slice(body).ok(),
        Form::JsonRpc => match serde_json::from_slice(body) {
            Ok(RpcAnswer {
                result,
                error: None,
            }) => result,
            _ => None,
        },
    };
    result.ok_or_else(|| refused(body))
}

/// What Bugzilla says in place of an answer.
fn refused(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value["message"]
        .as_str()
        .or(value["error"]["message"].as_str());
    match message {
        Some(message) => format!("it refused: {}", message.escape_debug()),
        None => "it did not answer as Bugzilla's REST interface does".to_owned(),
    }
}

/// Unix seconds of a `Date` header field (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<i64> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc2822)
        .ok()
        .map(time::OffsetDateTime::unix_timestamp)
}

#[derive(Deserialize)]
struct RpcAnswer<T> {
    result: Option<T>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Time {
    pub(super) db_time: String,
}

#[derive(Deserialize)]
pub(crate) struct Bugs {
    bugs: Vec<Bug>,
}

#[derive(Deserialize)]
struct Bug {
    id: u32,
    last_change_time: String,
    /// Where it was asked for.
    groups: Option<Vec<String>>,
}

impl Bugs {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.bugs.len()
    }

    /// The last change of each bug, without those that are in a group where that is asked for. A bug
    /// of which the groups are not said may be in some.
    pub(crate) fn updates(self, leaves_out_private: bool) -> impl Iterator<Item = Update> {
        self.bugs
            .into_iter()
            .filter(move |bug| !leaves_out_private || bug.is_public())
            .filter_map(Bug::update)
    }
}

impl Bug {
    fn is_public(&self) -> bool {
        self.groups.as_ref().is_some_and(Vec::is_empty)
    }

    fn update(self) -> Option<Update> {
        let when: When = self.last_change_time.parse().ok()?;
        Some(Update {
            bug: BugId::new(self.id)?,
            when: When::from_unix_seconds(when.unix_seconds()),
        })
    }
}
