//! Asks a Bugzilla which bugs have changed over HTTP, by the interface that every Bugzilla since 5.0
//! has: `GET rest/bug`, or, with an API key, `POST jsonrpc.cgi`, where the key stands in the body
//! and so in no log. Knows no feed.

pub(crate) mod answer;
mod facts;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Agent;
use url::Url;

use self::answer::{Bugs, Form, Time, read, result};
pub(crate) use self::facts::{FactFinder, Facts};
use super::{Asker, Found, Sees, Since};
use crate::address::{Password, read_options};
use crate::tls;
use crate::update::When;
use crate::work::Error;

/// For the whole of an answer: a search takes a large Bugzilla some seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many bugs are asked for at once. A site may allow fewer, but nobody's Bugzilla works with
/// less than [`SHORT_PAGE_BUGS`] (its parameter `max_search_results`, 10,000 by default).
const PAGE_BUGS: usize = 1_000;

/// A page with fewer bugs is certainly the last one.
const SHORT_PAGE_BUGS: usize = 50;

/// How many bugs are looked at for an answer. Where more have changed, that is a gap.
const BUGS_MAX: usize = 200_000;

/// How long the zones of Bugzilla's machines are taken for what they were.
const AHEAD_KNOWN_FOR: Duration = Duration::from_secs(600);

/// Zones are a quarter of an hour apart at least; clocks, less.
const AHEAD_MIN_SECONDS: i64 = 600;

const OPTIONS: &str = "sees=all, bugs=public, key_file=FILE and cacert=FILE, behind a '#'";

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
    /// Whether bugs that are in a group are left out, although the account sees them.
    leaves_out_private: bool,
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
            leaves_out_private: false,
        };
        read_options(&fragment, OPTIONS, |name, value| {
            match (name, value) {
                ("sees", "all") => settings.sees = Sees::All,
                ("sees", _) => {
                    return Err(format!(
                        "'{value}' is not accepted; it is 'all', where the account sees all bugs"
                    ));
                }
                ("bugs", "public") => settings.leaves_out_private = true,
                ("bugs", _) => {
                    return Err(format!("'{value}' is not accepted; it is 'public'"));
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

    /// Whether only public bugs are found: nobody in particular sees no other.
    pub(crate) fn is_public_only(&self) -> bool {
        self.key.is_none() || self.leaves_out_private
    }

    /// Somebody who asks this Bugzilla.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(crate) fn asker(&self) -> Result<Box<dyn Asker>, String> {
        let agent = tls::http_agent(self.ca_file.as_deref(), &self.url, TIMEOUT, TIMEOUT)
            .map_err(|error| error.to_string())?;
        Ok(Box::new(Rest {
            settings: self.clone(),
            agent,
            ahead: None,
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
    /// What [`Rest::ahead`] has found, and when.
    ahead: Option<(Instant, i64)>,
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
            let (bugs, now) = self.search(page)?;
            // Before the first page, nothing can have been left out.
            if page.offset == 0 {
                found.now = now;
            }
            let count = bugs.len();
            found
                .updates
                .extend(bugs.updates(self.settings.leaves_out_private));
            page.offset += count;
            // Of those left out, there may be any number, or the same ones again and again.
            if found.updates.len() > bugs_max || page.offset > BUGS_MAX {
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
    /// The bugs of a page, and Bugzilla's time, to be read as that of a bug is.
    fn search(&mut self, page: Page) -> Result<(Bugs, i64), Error> {
        let fields = match self.settings.leaves_out_private {
            true => "id,last_change_time,groups",
            false => "id,last_change_time",
        };
        let ahead = self.ahead();
        let (bugs, now): (Bugs, i64) = self.call(
            "rest/bug",
            "Bug.search",
            json!({
                "last_change_time": format!("{}Z", When::from_unix_seconds(page.since)),
                "include_fields": fields, "order": page.order,
                "limit": page.limit, "offset": page.offset,
            }),
        )?;
        Ok((bugs, now + ahead))
    }

    /// How far Bugzilla's database is ahead of its web server, in seconds. Bugzilla takes the times
    /// of both for times in the same zone, so that each change seems to be that far ahead, too.
    fn ahead(&mut self) -> i64 {
        if let Some((at, ahead)) = self.ahead
            && at.elapsed() < AHEAD_KNOWN_FOR
        {
            return ahead;
        }
        // Where this is refused and the search is not, both are taken for well set up.
        let Ok((time, now)) = self.call::<Time>("rest/time", "Bugzilla.time", json!({})) else {
            return 0;
        };
        let db_time = time.db_time.parse::<When>();
        let ahead = db_time.map_or(0, |db_time| db_time.unix_seconds() - now);
        // Less is what an answer takes.
        let ahead = if ahead.abs() < AHEAD_MIN_SECONDS {
            0
        } else {
            ahead
        };
        self.ahead = Some((Instant::now(), ahead));
        ahead
    }

    /// Calls a method: without a key by its resource, and with one by JSON-RPC. Returns the result
    /// and the web server's time.
    fn call<T: DeserializeOwned>(
        &self,
        resource: &str,
        method: &str,
        mut parameters: Value,
    ) -> Result<(T, i64), Error> {
        let Some(key) = &self.settings.key else {
            let mut url = self.settings.url.join(resource)?;
            for (name, value) in parameters.as_object().into_iter().flatten() {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                url.query_pairs_mut().append_pair(name, &text);
            }
            let (body, now) = read(self.agent.get(url.as_str()).call())?;
            return Ok((result(&body, Form::Rest)?, now));
        };
        parameters["Bugzilla_api_key"] = key.read()?.into();
        // What REST splits, JSON-RPC takes as a list.
        if let Some(fields) = parameters["include_fields"].as_str() {
            parameters["include_fields"] = fields.split(',').collect();
        }
        let question = json!({"id": 1, "method": method, "params": [parameters]});
        let url = self.settings.url.join("jsonrpc.cgi")?;
        let request = self
            .agent
            .post(url.as_str())
            .content_type("application/json");
        let (body, now) = read(request.send(question.to_string().as_bytes()))?;
        Ok((result(&body, Form::JsonRpc)?, now))
    }
}

#[cfg(test)]
mod tests;
