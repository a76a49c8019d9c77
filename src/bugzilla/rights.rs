//! Asks a Bugzilla who somebody is and which bugs they see, by what every Bugzilla since 5.0 has:
//! `show_bug.cgi`, which takes the cookies of a login, and `jsonrpc.cgi`, which takes an API key in
//! the body of a post, and so in no log. Knows no client.

use std::fmt::Write as _;
use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use serde_json::json;
use ureq::Agent;
use ureq::http::StatusCode;
use url::Url;

use crate::access::{Said, Shown};
use crate::tls;
use crate::update::BugId;
use crate::work::Error;

/// For the whole of an answer: half a second of CPU is what one takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read, in bytes: a hundred bugs take 6 KB.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// What stands in the form by which one logs in. A Bugzilla that shows nothing to nobody (its
/// parameter `requirelogin`) answers everything with it.
const LOGIN_FORM: &str = "GoAheadAndLogIn";

/// A bug to ask for where there is none: JSON-RPC takes an empty list for all bugs.
const ANY_BUG: u32 = 1;

/// The errors of JSON-RPC that say that somebody is not let in: a wrong login (300), a disabled
/// account (301), a wrong API key (306), and nobody where one must log in (410).
const NOT_LET_IN: [i64; 4] = [300, 301, 306, 410];

/// A Bugzilla that is asked for its readers' rights.
pub(crate) struct Rights {
    /// Of the start page, with a slash at the end.
    url: Url,
    agent: Agent,
}

impl Rights {
    /// Asks the Bugzilla whose start page this is.
    ///
    /// # Errors
    /// When the address is none, or no certificate is left to trust.
    pub(crate) fn of(address: &str) -> Result<Self, String> {
        let mut url = Url::parse(address).map_err(|why| format!("it is no URL ({why})"))?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let agent = tls::http_agent(None, &url, TIMEOUT, TIMEOUT).map_err(|it| it.to_string())?;
        Ok(Self { url, agent })
    }

    /// Asks whether who shows this is somebody, and which of the bugs they see.
    ///
    /// # Errors
    /// When Bugzilla does not answer, or says something else: a redirect, too.
    pub(crate) fn ask(&self, shown: &Shown, bugs: &[BugId]) -> Result<Said, Error> {
        match shown {
            Shown::Nothing => self.show_bug(None, bugs),
            Shown::Cookies(cookies) => self.show_bug(Some(cookies.bytes()), bugs),
            Shown::Bearer(key) => match std::str::from_utf8(key.bytes()) {
                Ok(key) => self.search(key, bugs),
                Err(_) => Ok(Said::Stranger),
            },
        }
    }

    fn show_bug(&self, cookies: Option<&[u8]>, bugs: &[BugId]) -> Result<Said, Error> {
        let mut form = "ctype=xml&field=bug_id".to_owned();
        for bug in bugs {
            write!(form, "&id={bug}")?;
        }
        let request = self
            .agent
            .post(self.url.join("show_bug.cgi")?.as_str())
            .content_type("application/x-www-form-urlencoded");
        let request = match cookies {
            Some(cookies) => request.header("Cookie", cookies),
            None => request,
        };
        let body = read(request.send(form.as_bytes()))?;
        Ok(said_in_xml(&body, cookies.is_some())?)
    }

    fn search(&self, key: &str, bugs: &[BugId]) -> Result<Said, Error> {
        let ids: Vec<u32> = bugs.iter().map(|bug| bug.get()).collect();
        let ids = if ids.is_empty() { vec![ANY_BUG] } else { ids };
        let question = json!({"id": 1, "method": "Bug.search", "params": [{
            "Bugzilla_api_key": key, "id": ids, "include_fields": ["id"], "limit": ids.len(),
        }]});
        let request = self
            .agent
            .post(self.url.join("jsonrpc.cgi")?.as_str())
            .content_type("application/json");
        let body = read(request.send(question.to_string().as_bytes()))?;
        Ok(said_in_json(&body)?)
    }
}

/// The answer to a search. What stands in it besides, such as an error's text, may repeat a secret.
#[derive(Deserialize)]
struct RpcAnswer {
    result: Option<Found>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct Found {
    bugs: Vec<FoundBug>,
}

#[derive(Deserialize)]
struct FoundBug {
    id: u32,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>, Error> {
    let mut answer = answer?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers with status {}", answer.status().as_u16()).into());
    }
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    Ok(body.read_to_vec()?)
}

/// What `show_bug.cgi` says to somebody who shows cookies, or to nobody in particular.
pub(crate) fn said_in_xml(body: &[u8], has_cookies: bool) -> Result<Said, &'static str> {
    match read_xml(body) {
        Some((is_somebody, seen)) if is_somebody || !has_cookies => Ok(Said::Sees(seen)),
        Some(_) => Ok(Said::Stranger),
        None if String::from_utf8_lossy(body).contains(LOGIN_FORM) => Ok(Said::Stranger),
        None => Err("its answer is no list of bugs in XML"),
    }
}

/// What `jsonrpc.cgi` says to somebody who shows a key.
pub(crate) fn said_in_json(body: &[u8]) -> Result<Said, &'static str> {
    let answer = serde_json::from_slice(body).map_err(|_| "its answer is none of JSON-RPC")?;
    match answer {
        RpcAnswer {
            result: Some(Found { bugs }),
            error: None,
        } => {
            let seen = bugs.into_iter().filter_map(|bug| BugId::new(bug.id));
            Ok(Said::Sees(seen.collect()))
        }
        RpcAnswer {
            error: Some(error), ..
        } if NOT_LET_IN.contains(&error.code) => Ok(Said::Stranger),
        RpcAnswer { .. } => Err("JSON-RPC answers with an error"),
    }
}

/// Reads a list of bugs in XML: whether it is made for somebody (`exporter`), and which bugs are
/// shown in it. `None` where it is none, or not whole.
fn read_xml(body: &[u8]) -> Option<(bool, Vec<BugId>)> {
    let mut reader = Reader::from_str(std::str::from_utf8(body).ok()?);
    let (mut is_somebody, mut seen) = (false, Vec::new());
    let (mut depth, mut is_shown) = (0, false);
    // What stands in a bug's number so far.
    let mut number: Option<String> = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) if number.is_none() => {
                let has = |name: &str| {
                    let value = tag.try_get_attribute(name).ok()?;
                    Some(value.is_some_and(|value| !value.value.is_empty()))
                };
                match (depth, tag.name().as_ref()) {
                    (0, "bugzilla") => is_somebody = has("exporter")?,
                    (0, _) => return None,
                    (1, name) => is_shown = name == "bug" && !has("error")?,
                    (2, "bug_id") if is_shown => number = Some(String::new()),
                    _ => {}
                }
                depth += 1;
            }
            Event::Text(text) => {
                if let Some(number) = &mut number {
                    number.push_str(&text);
                }
            }
            Event::End(_) => {
                depth -= 1;
                if let Some(number) = number.take() {
                    seen.push(number.trim().parse().ok()?);
                }
                if depth == 0 {
                    return Some((is_somebody, seen));
                }
            }
            Event::Eof => return None,
            // Only digits make a number.
            _ if number.is_some() => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a stock 5.2 writes it.
    const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>
<!DOCTYPE bugzilla SYSTEM "http://127.0.0.1/page.cgi?id=bugzilla.dtd">

<bugzilla version="5.2+"
          urlbase="http://127.0.0.1/"
          maintainer="admin@example.org"
          exporter="alice@example.org"
>

    <bug>
          <bug_id>5</bug_id>

    </bug>
    <bug error="NotPermitted">
      <bug_id>6</bug_id>
    </bug>
    <bug error="InvalidBugId">
      <bug_id>9999</bug_id>
    </bug>
    <bug>
          <bug_id>7</bug_id>
    </bug>

</bugzilla>"#;

    fn numbers(read: Option<(bool, Vec<BugId>)>) -> Option<(bool, Vec<u32>)> {
        read.map(|(is_somebody, seen)| (is_somebody, seen.iter().map(|bug| bug.get()).collect()))
    }

    #[test]
    fn a_list_says_for_whom_it_is_made_and_which_bugs_are_shown() {
        let read = |text: &str| numbers(read_xml(text.as_bytes()));
        assert_eq!(read(XML), Some((true, vec![5, 7])));
        let nobody = XML.replace("exporter=\"alice@example.org\"", "");
        assert_eq!(read(&nobody), Some((false, vec![5, 7])));
        let empty = XML.replace("alice@example.org", "");
        assert_eq!(read(&empty), Some((false, vec![5, 7])));
        let none = "<bugzilla exporter=\"a\">\n\n</bugzilla>";
        assert_eq!(read(none), Some((true, vec![])));
    }

    #[test]
    fn what_is_not_whole_or_no_list_says_nothing() {
        for end in 0..XML.len() {
            assert_eq!(read_xml(&XML.as_bytes()[..end]), None, "{end}");
        }
        for text in [
            "<html><bug><bug_id>5</bug_id></bug></html>",
            "{}",
            "<bugzilla><bug><bug_id>x</bug_id></bug></bugzilla>",
            "<bugzilla><bug></bugzilla></bug>",
        ] {
            assert_eq!(read_xml(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_number_elsewhere_than_in_a_bug_is_no_bug() {
        for text in [
            "<bug_id>1</bug_id><bug><x><bug_id>2</bug_id></x><bug_id>3</bug_id></bug>",
            "<bug><bug_id>3</bug_id></bug><other><bug_id>4</bug_id></other>",
        ] {
            let text = format!("<bugzilla>{text}</bugzilla>");
            let read = read_xml(text.as_bytes());
            assert_eq!(numbers(read), Some((false, vec![3])), "{text}");
        }
    }

    #[test]
    fn a_number_is_nothing_but_digits() {
        for number in [
            "1<!-- -->2",
            "1&#50;",
            "1<![CDATA[2]]>",
            "1<x/>2",
            "1<x>2</x>",
            "",
        ] {
            let text = format!("<bugzilla><bug><bug_id>{number}</bug_id></bug></bugzilla>");
            assert_eq!(read_xml(text.as_bytes()), None, "{text}");
        }
    }
}
