//! Asks a Bugzilla which bugs have changed over HTTP, by the interface that every Bugzilla since 5.0
//! has: `GET rest/bug`, or, with an API key, `POST jsonrpc.cgi`, where the key stands in the body
//! and so in no log. Knows no feed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};
use url::Url;

use super::{Asker, Found, Sees, Since};
use crate::address::{Password, read_options};
use crate::tls;
use crate::update::{BugId, Update, When};
use crate::work::{Error, unix_now};

/// For the whole of an answer: a search takes a large Bugzilla some seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bugs are asked for at once. A site may allow fewer, but nobody's Bugzilla works with
/// less than [`SHORT_PAGE_BUGS`] (its parameter `max_search_results`, 10,000 by default).
const PAGE_BUGS: usize = 1_000;

/// A page with fewer bugs is certainly the last one.
const SHORT_PAGE_BUGS: usize = 50;

/// How many bugs an answer may have. Where more have changed, that is a gap.
const BUGS_MAX: usize = 200_000;

/// How large a page may be: a bug takes some 60 bytes.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;

const OPTIONS: &str = "sees=all, key_file=FILE and cacert=FILE, behind a '#'";

/// Which Bugzilla, and as whom it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of Bugzilla's start page, with a slash at the end and without the fragment, which holds the
    /// options.
    url: Url,
    key: Option<Password>,
    /// Certificates that are trusted in place of the system's.
    ca_file: Option<PathBuf>,
    /// Which bugs the account sees.
    pub(crate) sees: Sees,
}

impl Settings {
    /// Reads the URL of Bugzilla's start page, with options in the fragment.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let mut url = Url::parse(address)
            .map_err(|why| format!("it is no URL ({why}); accepted is https://HOST/PATH"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(
                "accepted is the address of Bugzilla's start page, such as https://bugzilla.example.org/, with #key_file=FILE for an API key"
                    .to_owned(),
            );
        }
        let fragment = url.fragment().unwrap_or_default().to_owned();
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let mut settings = Self {
            url,
            key: None,
            ca_file: None,
            sees: Sees::Some,
        };
        read_options(&fragment, OPTIONS, |name, value| {
            match (name, value) {
                ("sees", "all") => settings.sees = Sees::All,
                ("sees", _) => {
                    return Err(format!(
                        "'{value}' is not accepted; it is 'all', where the account sees all bugs"
                    ));
                }
                ("key_file", _) => settings.key = Some(Password::File(value.into())),
                ("cacert", _) if settings.url.scheme() == "https" => {
                    settings.ca_file = Some(value.into());
                }
                ("cacert", _) => return Err("only https:// uses certificates".to_owned()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(settings)
    }

    /// Somebody who asks this Bugzilla.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(crate) fn asker(&self) -> Result<Box<dyn Asker>, String> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("bugzfeed/", env!("CARGO_PKG_VERSION")))
            .tls_config(
                tls::http_config(&self.url, self.ca_file.as_deref())
                    .map_err(|error| error.to_string())?,
            );
        Ok(Box::new(Rest {
            settings: self.clone(),
            agent: config.build().new_agent(),
        }))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// A Bugzilla that answers over HTTP.
struct Rest {
    settings: Settings,
    agent: Agent,
}

/// What is asked of `Bug.search`.
#[derive(Clone, Copy)]
struct Page {
    since: i64,
    order: &'static str,
    limit: usize,
    offset: usize,
}

impl Asker for Rest {
    fn can_ask(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn ask(&mut self, since: Since) -> Result<Found, Error> {
        let (mut page, bugs_max) = match since {
            // Bugzilla refuses a search without a condition.
            Since::Newest(bugs_max) => (Page::new(0, "changeddate DESC,bug_id DESC"), bugs_max),
            Since::Time(since) => (Page::new(since, "changeddate,bug_id"), BUGS_MAX),
        };
        let mut found = Found {
            is_whole: true,
            ..Found::default()
        };
        loop {
            page.limit = PAGE_BUGS.min(bugs_max + 1 - found.updates.len());
            let (updates, now) = self.search(page)?;
            // Before the first page, nothing can have been left out.
            if page.offset == 0 {
                found.now = now;
            }
            let count = updates.len();
            found.updates.extend(updates);
            page.offset += count;
            if found.updates.len() > bugs_max {
                found.updates.truncate(bugs_max);
                found.is_whole = false;
                break;
            }
            if count < SHORT_PAGE_BUGS {
                break;
            }
        }
        found
            .updates
            .sort_by_key(|update| update.when.unix_seconds());
        Ok(found)
    }
}

impl Page {
    fn new(since: i64, order: &'static str) -> Self {
        Self {
            since,
            order,
            limit: 0,
            offset: 0,
        }
    }
}

impl Rest {
    /// The bugs of a page, and Bugzilla's time.
    fn search(&self, page: Page) -> Result<(Vec<Update>, i64), Error> {
        let since = format!("{}Z", When::from_unix_seconds(page.since));
        match &self.settings.key {
            None => {
                let mut url = self.settings.url.join("rest/bug")?;
                url.query_pairs_mut()
                    .append_pair("last_change_time", &since)
                    .append_pair("include_fields", "id,last_change_time")
                    .append_pair("order", page.order)
                    .append_pair("limit", &page.limit.to_string())
                    .append_pair("offset", &page.offset.to_string());
                let response = self.agent.get(url.as_str()).call();
                let (body, now) = read(response)?;
                let bugs: Bugs = serde_json::from_slice(&body).map_err(|_| refused(&body))?;
                Ok((bugs.updates(), now))
            }
            Some(key) => {
                let url = self.settings.url.join("jsonrpc.cgi")?;
                let question = json!({"id": 1, "method": "Bug.search", "params": [{
                    "Bugzilla_api_key": key.read()?, "last_change_time": since,
                    "include_fields": ["id", "last_change_time"],
                    "order": page.order, "limit": page.limit, "offset": page.offset}]});
                let request = self
                    .agent
                    .post(url.as_str())
                    .content_type("application/json");
                let (body, now) = read(request.send(question.to_string().as_bytes()))?;
                let answer: RpcAnswer =
                    serde_json::from_slice(&body).map_err(|_| refused(&body))?;
                let bugs = answer.result.ok_or_else(|| refused(&body))?;
                Ok((bugs.updates(), now))
            }
        }
    }
}

/// An answer's body, and Bugzilla's time.
fn read(response: Result<Response<Body>, ureq::Error>) -> Result<(Vec<u8>, i64), Error> {
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
struct RpcAnswer {
    result: Option<Bugs>,
}

#[derive(Deserialize)]
struct Bugs {
    bugs: Vec<Bug>,
}

#[derive(Deserialize)]
struct Bug {
    id: u32,
    last_change_time: String,
}

impl Bugs {
    fn updates(self) -> Vec<Update> {
        self.bugs.into_iter().filter_map(Bug::update).collect()
    }
}

impl Bug {
    fn update(self) -> Option<Update> {
        let when: When = self.last_change_time.parse().ok()?;
        Some(Update {
            bug: BugId::new(self.id)?,
            when: When::from_unix_seconds(when.unix_seconds()),
        })
    }
}
