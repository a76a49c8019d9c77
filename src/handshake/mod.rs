//! The HTTP part: reads a request's head and writes the answer to it, be it the upgrade to a
//! WebSocket (RFC 6455 section 4.2), a page or a refusal. A pure function over bytes. Knows no
//! socket, no client, no clock.

mod refusal;

use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use httparse::{Header, Request, Status};
use subtle::ConstantTimeEq as _;
use tungstenite::handshake::derive_accept_key;

pub use refusal::Refusal;

use crate::update::FeedId;

/// The longest head that is read, in bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The largest body that is taken by a hook, in bytes; the messages of Bugzilla are smaller.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// More header fields than this are refused; browsers send some 20.
const HEADERS_MAX: usize = 100;

/// What stands where on the public port.
#[derive(Debug, Default)]
pub struct Site {
    /// The path of each feed, such as `/` or `/dev/`.
    pub feeds: Vec<String>,
    /// What plain HTTP requests get.
    pub pages: Vec<Page>,
    /// Where other programs post what has changed.
    pub hooks: Vec<Hook>,
    /// The origins that browsers may connect from, each with at most one `*`; all when empty.
    pub origins: Vec<String>,
}

/// A path that takes POST requests of those who know a key.
pub struct Hook {
    /// Where it stands, such as `/webhook`.
    pub path: String,
    /// The feed that it fills.
    pub feed: FeedId,
    /// The header field that carries the key.
    pub field: String,
    /// The key.
    pub key: String,
}

impl fmt::Debug for Hook {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("path", &self.path)
            .field("feed", &self.feed)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

/// A file that is served to plain HTTP requests.
#[derive(Debug)]
pub struct Page {
    /// Where it stands, such as `/`.
    pub path: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub body: String,
}

/// What came of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The head is not complete; call again with more bytes.
    Incomplete,
    /// The client now speaks WebSocket, and the response says so. What follows the head are frames.
    Upgraded {
        /// The feed that it wants.
        feed: FeedId,
        /// The length of the head.
        head_bytes: usize,
    },
    /// The client has posted something to a hook. There is no response yet: it follows when the
    /// feed's source has seen to it.
    Posted {
        /// The feed that is to get it.
        feed: FeedId,
        /// Where the body stands in the bytes.
        body: Range<usize>,
    },
    /// The response is all the client gets.
    Answered,
}

/// Answers the request whose head stands at the start of `bytes`, once it is complete. A server
/// that is full upgrades nobody; pages and posts end at once, and a post may be what the clients
/// wait for.
pub fn answer(site: &Site, bytes: &[u8], is_full: bool, response: &mut Vec<u8>) -> Outcome {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut fields);
    let result = match request.parse(bytes) {
        Ok(Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => {
            respond(site, &request, head_bytes, bytes.len(), is_full, response)
        }
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Outcome::Incomplete,
        Ok(Status::Complete(_) | Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Err(Refusal::HeadTooLarge)
        }
        Err(_) => Err(Refusal::BadRequest("The request is no HTTP/1.1.")),
    };
    result.unwrap_or_else(|refusal| {
        refusal.write(response, request.method == Some("HEAD"));
        Outcome::Answered
    })
}

fn respond(
    site: &Site,
    request: &Request<'_, '_>,
    head_bytes: usize,
    bytes_len: usize,
    is_full: bool,
    response: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let fields = &*request.headers;
    let is_http_11 = request.version == Some(1);
    match values(fields, "Host").count() {
        1 => {}
        0 if !is_http_11 => {}
        0 => return Err(Refusal::BadRequest("The header field Host is missing.")),
        _ => {
            return Err(Refusal::BadRequest(
                "The header field Host stands there twice.",
            ));
        }
    }
    let path = path_of(request.path.unwrap_or("/"));
    if let Some(hook) = site.hooks.iter().find(|hook| hook.path == path) {
        let body = head_bytes..head_bytes + check_post(hook, request)?;
        return Ok(if body.end <= bytes_len {
            Outcome::Posted {
                feed: hook.feed,
                body,
            }
        } else {
            Outcome::Incomplete
        });
    }
    let feed = site.feeds.iter().position(|feed| {
        feed == path || feed.strip_suffix('/') == Some(path).filter(|path| !path.is_empty())
    });
    let page = site
        .pages
        .iter()
        .find(|page| page.path == path || (feed.is_some() && page.path == "/"));
    if feed.is_none() && page.is_none() {
        return Err(Refusal::NotFound);
    }
    let is_head = request.method == Some("HEAD");
    if request.method != Some("GET") && !is_head {
        return Err(Refusal::MethodNotAllowed("GET, HEAD"));
    }
    let wants_upgrade = has_token(fields, "Upgrade", "websocket");
    match (feed, page) {
        (Some(feed), _) if wants_upgrade && !is_head => {
            if !is_http_11 {
                return Err(Refusal::BadRequest("A WebSocket needs HTTP/1.1."));
            }
            let key = check_upgrade(site, fields)?;
            if is_full {
                return Err(Refusal::Full);
            }
            let accept = derive_accept_key(key);
            write!(
                response,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .expect("a Vec takes all that is written to it");
            Ok(Outcome::Upgraded {
                feed: FeedId(feed as u8),
                head_bytes,
            })
        }
        (_, Some(page)) if !wants_upgrade || is_head => {
            write_response(
                response,
                "200 OK",
                PAGE_FIELDS,
                page.content_type,
                &page.body,
                is_head,
            );
            Ok(Outcome::Answered)
        }
        _ => Err(Refusal::NotFound),
    }
}

/// Checks a request to a hook, and returns the length of its body.
fn check_post(hook: &Hook, request: &Request<'_, '_>) -> Result<usize, Refusal> {
    let fields = &*request.headers;
    if request.method != Some("POST") {
        return Err(Refusal::MethodNotAllowed("POST"));
    }
    let mut keys = values(fields, &hook.field);
    // In constant time: how long a comparison takes must not tell how much of a guess is right.
    let is_authorized = keys
        .next()
        .is_some_and(|key| bool::from(key.ct_eq(hook.key.as_bytes())))
        && keys.next().is_none();
    if !is_authorized {
        return Err(Refusal::Unauthorized);
    }
    let mut lengths = values(fields, "Content-Length");
    let (Some(length), None, None) = (
        lengths.next(),
        lengths.next(),
        values(fields, "Transfer-Encoding").next(),
    ) else {
        return Err(Refusal::LengthRequired);
    };
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadRequest(
            "The header field Content-Length is no number.",
        ));
    }
    let length = std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse().ok());
    length
        .filter(|&length| length <= BODY_BYTES_MAX)
        .ok_or(Refusal::BodyTooLarge)
}

/// Writes the response to a post that was kept.
pub fn write_kept(response: &mut Vec<u8>) {
    response.extend_from_slice(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

/// The page needs nothing from elsewhere, and nobody may frame it.
const PAGE_FIELDS: &str = "Cache-Control: no-cache\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

/// Checks what RFC 6455 section 4.2.1 asks of an upgrade, and returns its key.
fn check_upgrade<'a>(site: &Site, fields: &[Header<'a>]) -> Result<&'a [u8], Refusal> {
    if !has_token(fields, "Connection", "Upgrade") {
        return Err(Refusal::BadRequest(
            "The header field Connection does not say Upgrade.",
        ));
    }
    let mut versions = values(fields, "Sec-WebSocket-Version");
    if (versions.next(), versions.next()) != (Some(b"13"), None) {
        return Err(Refusal::UpgradeRequired);
    }
    if !values(fields, "Content-Length").all(|length| length == b"0")
        || values(fields, "Transfer-Encoding").next().is_some()
    {
        return Err(Refusal::BadRequest("A WebSocket handshake has no body."));
    }
    let mut keys = values(fields, "Sec-WebSocket-Key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key,
        (None, _) => {
            return Err(Refusal::BadRequest(
                "The header field Sec-WebSocket-Key is missing.",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Refusal::BadRequest(
                "The header field Sec-WebSocket-Key stands there twice.",
            ));
        }
    };
    if data_encoding::BASE64.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        return Err(Refusal::BadRequest(
            "The header field Sec-WebSocket-Key is no base64 of 16 bytes.",
        ));
    }
    let mut origins = values(fields, "Origin");
    if !site.origins.is_empty()
        && !origins.all(|origin| site.origins.iter().any(|pattern| matches(pattern, origin)))
    {
        return Err(Refusal::ForbiddenOrigin);
    }
    Ok(key)
}

/// The path of a request's target: without the query, and without scheme and host where it has them
/// (RFC 9112 section 3.2.2).
fn path_of(target: &str) -> &str {
    let target = target.split_once('?').map_or(target, |(path, _)| path);
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    }
}

/// The values of a header field, without the white space around them.
fn values<'a>(fields: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.trim_ascii())
}

/// Whether a header field that is a list of tokens holds this one, in whatever case.
fn has_token(fields: &[Header<'_>], name: &str, token: &str) -> bool {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether an origin is what the pattern says, whose `*` stands for any text.
fn matches(pattern: &str, origin: &[u8]) -> bool {
    let (pattern, origin) = (pattern.to_ascii_lowercase(), origin.to_ascii_lowercase());
    match pattern.split_once('*') {
        None => pattern.as_bytes() == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len()
                && origin.starts_with(start.as_bytes())
                && origin.ends_with(end.as_bytes())
        }
    }
}

fn write_response(
    response: &mut Vec<u8>,
    status: &str,
    fields: &str,
    content_type: &str,
    body: &str,
    is_head: bool,
) {
    let length = body.len();
    let body = if is_head { "" } else { body };
    write!(
        response,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n{fields}\r\n{body}"
    )
    .expect("a Vec takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let page = |path: &str, content_type, body: &str| Page {
            path: path.to_owned(),
            content_type,
            body: body.to_owned(),
        };
        Site {
            feeds: vec!["/".to_owned(), "/dev/".to_owned()],
            pages: vec![
                page("/", "text/html", "<p>the page</p>"),
                page("/bugzfeed.js", "text/javascript", "the script"),
            ],
            hooks: vec![Hook {
                path: "/webhook".to_owned(),
                feed: FeedId(0),
                field: "X-Key".to_owned(),
                key: "secret".to_owned(),
            }],
            origins: Vec::new(),
        }
    }

    const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// The outcome, and the response as text.
    fn answered(site: &Site, request: &str, is_full: bool) -> (Outcome, String) {
        let mut response = Vec::new();
        let outcome = answer(site, request.as_bytes(), is_full, &mut response);
        (outcome, String::from_utf8(response).unwrap())
    }

    /// The status of the answer to [`UPGRADE`] with `from` replaced by `to`.
    fn status_with(from: &str, to: &str) -> String {
        assert!(UPGRADE.contains(from), "{from}");
        let (_, response) = answered(&site(), &UPGRADE.replacen(from, to, 1), false);
        response.split("\r\n").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_example_of_the_rfc_gets_the_answer_of_the_rfc() {
        let (outcome, response) = answered(&site(), UPGRADE, false);
        assert_eq!(
            outcome,
            Outcome::Upgraded {
                feed: FeedId(0),
                head_bytes: UPGRADE.len()
            }
        );
        assert!(response.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }

    #[test]
    fn a_head_may_come_in_any_pieces() {
        for length in 0..UPGRADE.len() {
            assert_eq!(
                answered(&site(), &UPGRADE[..length], false),
                (Outcome::Incomplete, String::new()),
                "{length}"
            );
        }
        let with_frames = format!("{UPGRADE}frames");
        assert_eq!(
            answered(&site(), &with_frames, false).0,
            Outcome::Upgraded {
                feed: FeedId(0),
                head_bytes: UPGRADE.len()
            }
        );
    }

    #[test]
    fn each_feed_answers_at_its_path_with_and_without_the_slash_and_query() {
        for (target, feed) in [
            ("/", 0),
            ("/?x=/dev/", 0),
            ("/dev/", 1),
            ("/dev", 1),
            ("/dev?x", 1),
            ("http://a/dev/", 1),
            ("http://a", 0),
        ] {
            let (outcome, _) = answered(
                &site(),
                &UPGRADE.replacen("GET /", &format!("GET {target}"), 1),
                false,
            );
            assert_eq!(
                outcome,
                Outcome::Upgraded {
                    feed: FeedId(feed),
                    head_bytes: UPGRADE.len() + target.len() - 1
                },
                "{target}"
            );
        }
        for target in [
            "/de",
            "/dev//",
            "//",
            "/DEV/",
            "/bugzfeed.js",
            "/%64ev",
            "*",
        ] {
            assert_eq!(
                status_with("GET /", &format!("GET {target}")),
                "HTTP/1.1 404 Not Found",
                "{target}"
            );
        }
    }

    #[test]
    fn another_version_is_told_which_one_is_spoken() {
        for version in ["", "12", "130", "13, 8", "013"] {
            assert_eq!(
                status_with("13", version),
                "HTTP/1.1 426 Upgrade Required",
                "{version}"
            );
        }
        let (_, response) = answered(
            &site(),
            &UPGRADE.replace("Version: 13", "Version: 8"),
            false,
        );
        assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert_eq!(
            status_with("\r\n\r\n", "\r\nSec-WebSocket-Version: 8\r\n\r\n"),
            "HTTP/1.1 426 Upgrade Required"
        );
    }

    #[test]
    fn a_handshake_that_is_none_is_refused() {
        for (from, to) in [
            ("Host: a\r\n", ""),
            ("Host: a\r\n", "Host: a\r\nHost: a\r\n"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("keep-alive, Upgrade", "keep-alive"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
            ("dGhlIHNhbXBsZSBub25jZQ==", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZT0="),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ!=="),
            ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"),
            ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("Host: a\r\n", "Host: a\r\n folded\r\n"),
            ("GET / HTTP", "GET  HTTP"),
            ("GET", "\x16\x03\x01"),
        ] {
            assert_eq!(
                status_with(from, to),
                "HTTP/1.1 400 Bad Request",
                "{from:?} → {to:?}"
            );
        }
    }

    #[test]
    fn an_endless_head_is_refused() {
        let long = format!("GET /?{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert!(
            answered(&site(), &long, false)
                .1
                .starts_with("HTTP/1.1 431 ")
        );
        let many = UPGRADE.replace(
            "Host: a\r\n",
            &("Host: a\r\n".to_owned() + &"X: y\r\n".repeat(HEADERS_MAX)),
        );
        assert!(
            answered(&site(), &many, false)
                .1
                .starts_with("HTTP/1.1 431 ")
        );
    }

    #[test]
    fn plain_requests_get_pages() {
        let get = |request: &str| answered(&site(), request, false).1;
        assert!(get("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ends_with("\r\n\r\n<p>the page</p>"));
        assert!(get("GET /dev HTTP/1.1\r\nHost: a\r\n\r\n").ends_with("\r\n\r\n<p>the page</p>"));
        assert!(get("GET /bugzfeed.js?v=1 HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nthe script"));
        let head = get("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n")
                && head.contains("\r\nContent-Length: 15\r\n")
                && head.ends_with("\r\n\r\n")
        );
        assert!(get("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 404 "));
        let post = get("POST / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET, HEAD\r\n"));
    }

    #[test]
    fn a_post_to_a_hook_is_taken_when_its_body_is_complete() {
        let head =
            "POST /webhook HTTP/1.1\r\nHost: a\r\nx-key: secret\r\nContent-Length: 4\r\n\r\n";
        for sent in ["", "b", "bod"] {
            assert_eq!(
                answered(&site(), &format!("{head}{sent}"), false),
                (Outcome::Incomplete, String::new())
            );
        }
        let posted = Outcome::Posted {
            feed: FeedId(0),
            body: head.len()..head.len() + 4,
        };
        assert_eq!(
            answered(&site(), &format!("{head}body and more"), false),
            (posted, String::new())
        );
    }

    #[test]
    fn a_post_that_a_hook_cannot_take_is_told_why() {
        let post =
            "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Key: secret\r\nContent-Length: 4\r\n\r\nbody";
        for (from, to, status) in [
            ("POST", "GET", "405"),
            ("X-Key: secret\r\n", "", "401"),
            ("secret", "Secret", "401"),
            ("secret", "secretx", "401"),
            ("secret", "", "401"),
            ("X-Key: secret", "X-Key: secret\r\nX-Key: secret", "401"),
            ("Content-Length: 4\r\n", "", "411"),
            (
                "Content-Length: 4",
                "Content-Length: 4\r\nContent-Length: 4",
                "411",
            ),
            (
                "Content-Length: 4",
                "Content-Length: 4\r\nTransfer-Encoding: chunked",
                "411",
            ),
            ("Content-Length: 4", "Content-Length: +4", "400"),
            ("Content-Length: 4", "Content-Length: 1048577", "413"),
            (
                "Content-Length: 4",
                "Content-Length: 99999999999999999999",
                "413",
            ),
            ("/webhook", "/webhook/", "404"),
        ] {
            assert!(post.contains(from));
            let (outcome, response) = answered(&site(), &post.replacen(from, to, 1), false);
            assert_eq!(outcome, Outcome::Answered);
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status} ")),
                "{from:?} → {to:?}: {response}"
            );
        }
    }

    #[test]
    fn a_full_server_says_when_to_come_back() {
        let (outcome, response) = answered(&site(), UPGRADE, true);
        assert_eq!(outcome, Outcome::Answered);
        assert!(
            response.starts_with("HTTP/1.1 503 ") && response.contains("\r\nRetry-After: 30\r\n")
        );
    }

    #[test]
    fn listed_origins_only_where_there_is_a_list() {
        let site = Site {
            origins: vec![
                "https://a.example".to_owned(),
                "https://*.b.example".to_owned(),
            ],
            ..site()
        };
        let status = |origin: &str| {
            answered(
                &site,
                &UPGRADE.replacen("\r\n\r\n", &format!("\r\n{origin}\r\n\r\n"), 1),
                false,
            )
            .1
        };
        for origin in [
            "X: y",
            "Origin: https://a.example",
            "origin: https://A.example",
            "Origin: https://x.y.b.example",
        ] {
            assert!(status(origin).starts_with("HTTP/1.1 101 "), "{origin}");
        }
        for origin in [
            "Origin: null",
            "Origin: http://a.example",
            "Origin: https://b.example",
            "Origin: https://a.example.evil",
        ] {
            assert!(status(origin).starts_with("HTTP/1.1 403 "), "{origin}");
        }
    }
}
