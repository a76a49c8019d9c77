//! One request and its answer: JSON over HTTP, with a password, within a deadline. Knows no object
//! of the API.

use std::fmt;

use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::http::{Request, Response, StatusCode};
use ureq::{Agent, Body};
use url::Url;

use super::settings::Settings;
use crate::tls;

/// The longest answer, in bytes: some 100,000 queues.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The longest reason that is read, in bytes.
const REASON_BYTES_MAX: u64 = 64 << 10;

/// Why the API did not do what it was asked for; a sentence without its full stop.
#[derive(Debug)]
pub(crate) enum Error {
    /// Nothing came back, or nothing that could be understood.
    Unreachable(String),
    /// What the settings name cannot be used, or the account may not do this.
    NotLetIn(String),
    /// The broker refused, in its own words.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable(why) | Error::NotLetIn(why) | Error::Refused(why) => {
                f.write_str(why)
            }
        }
    }
}

impl std::error::Error for Error {}

/// Somebody who asks the API.
pub(crate) struct Client {
    agent: Agent,
    settings: Settings,
}

impl Client {
    /// Somebody who asks the API that `settings` name, not yet connected.
    ///
    /// # Errors
    /// When a file that they name cannot be used.
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let (ca_file, timeout) = (settings.ca_file.as_deref(), settings.timeout);
        let agent = tls::http_agent(ca_file, &settings.url, timeout, timeout)
            .map_err(|error| Error::NotLetIn(error.to_string()))?;
        Ok(Self { agent, settings })
    }

    /// Whom it asks, and as who.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is at a path below `api`, if there is something.
    pub(super) fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &str,
    ) -> Result<Option<T>, Error> {
        let mut url = self.url(path);
        url.set_query((!query.is_empty()).then_some(query));
        let Some(mut response) = self.ask("GET", &url, ())? else {
            return Ok(None);
        };
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let body = body
            .read_to_vec()
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map(Some).map_err(|error| {
            Error::Unreachable(format!(
                "what answers at {} is no management API of RabbitMQ 3.10 or later: {error}",
                self.settings.url
            ))
        })
    }

    /// What is at a path.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<T, Error> {
        self.find(path, query)?.ok_or_else(|| self.missing(path))
    }

    /// The broker's time, in Unix seconds, where it says it.
    pub(crate) fn now(&self) -> Result<Option<i64>, Error> {
        let response = self.ask("GET", &self.url(&["whoami"]), ())?;
        let date = response.as_ref().and_then(|it| it.headers().get("date"));
        let date = date.and_then(|date| OffsetDateTime::parse(date.to_str().ok()?, &Rfc2822).ok());
        Ok(date.map(OffsetDateTime::unix_timestamp))
    }

    /// Puts something at a path.
    pub(super) fn put(&self, path: &[&str], value: &impl Serialize) -> Result<(), Error> {
        let body = serde_json::to_vec(value).expect("what is sent is always JSON");
        match self.ask("PUT", &self.url(path), &body[..])? {
            Some(_) => Ok(()),
            None => Err(self.missing(path)),
        }
    }

    /// Deletes what is at a path; returns whether there was something.
    pub(super) fn delete(&self, path: &[&str]) -> Result<bool, Error> {
        Ok(self.ask("DELETE", &self.url(path), ())?.is_some())
    }

    /// The URL of what is at a path, for people.
    pub(crate) fn address(&self, path: &[&str]) -> String {
        self.url(path).into()
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.settings.url.clone();
        url.path_segments_mut()
            .expect("http: has a path")
            .pop_if_empty()
            .push("api")
            .extend(path);
        url
    }

    /// Asks, and returns the answer, or `None` where there is nothing at this URL.
    fn ask(
        &self,
        method: &str,
        url: &Url,
        body: impl ureq::AsSendBody,
    ) -> Result<Option<Response<Body>>, Error> {
        let password = self.settings.password().map_err(Error::NotLetIn)?;
        let who = BASE64.encode(format!("{}:{password}", self.settings.user).as_bytes());
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("Authorization", format!("Basic {who}"))
            .header("Content-Type", "application/json")
            .body(body)
            .map_err(|error| Error::Unreachable(error.to_string()))?;
        let response = self
            .agent
            .run(request)
            .map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::NotLetIn(self.not_let_in(response)))
            }
            status => Err(Error::Refused(format!(
                "the broker answered {status}: {}",
                reason(response)
            ))),
        }
    }

    fn not_let_in(&self, response: Response<Body>) -> String {
        let user = &self.settings.user;
        match reason(response) {
            why if why == "Login failed" && user == "guest" => format!(
                "the broker does not let guest in: after pulse init it is no longer there, and before, it may come from the broker's own machine only; accepted is {}",
                "--management http://USER@HOST:15672/ with an administrator"
            ),
            why if why == "Login failed" => {
                format!("the broker does not know {user} with this password")
            }
            why => format!("{user} may not do this: {why}; an administrator may"),
        }
    }

    fn missing(&self, path: &[&str]) -> Error {
        Error::Refused(format!(
            "there is no {} at {}",
            path.join(" "),
            self.settings.url
        ))
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        let url = &self.settings.url;
        Error::Unreachable(match error {
            ureq::Error::Timeout(_) => format!("{url} did not answer in time ({error})"),
            ureq::Error::Io(io) => match tls::flaw(io) {
                Some(flaw) => format!("cannot reach {url}: {flaw}"),
                None => format!("cannot reach {url}: {io}; {PLUGIN}"),
            },
            ureq::Error::ConnectionFailed => format!("cannot reach {url}; {PLUGIN}"),
            error => format!("cannot reach {url}: {error}"),
        })
    }
}

/// What a broker without this API lacks.
const PLUGIN: &str = "RabbitMQ answers there after rabbitmq-plugins enable rabbitmq_management";

/// What the API says beside an error's status.
#[derive(Default, Deserialize)]
struct Words {
    #[serde(default)]
    reason: String,
}

/// The broker's own words, in one line.
fn reason(mut response: Response<Body>) -> String {
    let body = response.body_mut().with_config().limit(REASON_BYTES_MAX);
    words(&body.read_to_vec().unwrap_or_default())
}

/// The reason that the body of a refusal gives, in one line.
pub(crate) fn words(body: &[u8]) -> String {
    let words: Words = serde_json::from_slice(body).unwrap_or_default();
    // A terminal must not obey what a broker wrote.
    let is_between = |c: char| c.is_whitespace() || c.is_control();
    let words = words.reason.split(is_between).filter(|it| !it.is_empty());
    words.collect::<Vec<_>>().join(" ")
}
