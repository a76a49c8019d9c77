//! What each request gets, from its bytes to the bytes of the response.

mod events;
mod limits;
mod refusals;
mod shown;

use super::limits::HEAD_BYTES_MAX;
use super::*;

fn site() -> Site {
    let page =
        |path: &str, content_type, body: &str| Page::new(path, content_type, body.to_owned());
    Site {
        feeds: vec!["/".to_owned(), "/dev/".to_owned()],
        pages: vec![
            page("/", "text/html", "<p>the page</p>"),
            page("/bugzfeed.js", "text/javascript", "the script").shared("1.2.3"),
        ],
        webhooks: vec![Webhook {
            path: "/webhook".to_owned(),
            feed: FeedId(0),
            field: "X-Key".to_owned(),
            key: "secret".to_owned(),
        }],
        ..Site::default()
    }
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\n\
    Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The outcome, and the response as text.
fn answered(site: &Site, request: &str, room: Room) -> (Outcome, String) {
    let mut response = Vec::new();
    let outcome = respond(site, request.as_bytes(), room, 784_111_777, &mut response);
    (outcome, String::from_utf8(response).unwrap())
}

/// The status of the answer to [`UPGRADE`] with `from` replaced by `to`.
fn status_with(from: &str, to: &str) -> String {
    assert!(UPGRADE.contains(from), "{from}");
    let (_, response) = answered(&site(), &UPGRADE.replacen(from, to, 1), Room::Free);
    response.split("\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn the_example_of_the_rfc_gets_the_answer_of_the_rfc() {
    let (outcome, response) = answered(&site(), UPGRADE, Room::Free);
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
            answered(&site(), &UPGRADE[..length], Room::Free),
            (Outcome::Incomplete, String::new()),
            "{length}"
        );
    }
    let with_frames = format!("{UPGRADE}frames");
    assert_eq!(
        answered(&site(), &with_frames, Room::Free).0,
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
            Room::Free,
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
        "/x://a/dev/",
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
fn another_version_is_refused_with_the_one_that_is_spoken() {
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
        Room::Free,
    );
    assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    assert_eq!(
        status_with("\r\n\r\n", "\r\nSec-WebSocket-Version: 8\r\n\r\n"),
        "HTTP/1.1 426 Upgrade Required"
    );
}

#[test]
fn a_malformed_upgrade_is_refused() {
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
    ] {
        assert_eq!(
            status_with(from, to),
            "HTTP/1.1 400 Bad Request",
            "{from:?} → {to:?}"
        );
    }
}

#[test]
fn a_client_of_tls_gets_an_alert() {
    let mut response = Vec::new();
    let hello = b"\x16\x03\x01\x02\x00\x01";
    assert_eq!(
        respond(&site(), hello, Room::Free, 0, &mut response),
        Outcome::Answered
    );
    assert_eq!(
        response, b"\x15\x03\x03\x00\x02\x02\x28",
        "handshake_failure"
    );
}

#[test]
fn an_endless_head_is_refused() {
    let long = format!("GET /?{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert!(
        answered(&site(), &long, Room::Free)
            .1
            .starts_with("HTTP/1.1 431 ")
    );
    let many = UPGRADE.replace(
        "Host: a\r\n",
        &("Host: a\r\n".to_owned() + &"X: y\r\n".repeat(FIELDS_MAX)),
    );
    assert!(
        answered(&site(), &many, Room::Free)
            .1
            .starts_with("HTTP/1.1 431 ")
    );
}

#[test]
fn plain_requests_get_pages() {
    let get = |request: &str| answered(&site(), request, Room::Free).1;
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
fn a_post_to_a_webhook_is_taken_when_its_body_is_complete() {
    let head = "POST /webhook HTTP/1.1\r\nHost: a\r\nx-key: secret\r\nContent-Length: 4\r\n\r\n";
    for sent in ["", "b", "bod"] {
        assert_eq!(
            answered(&site(), &format!("{head}{sent}"), Room::Free),
            (Outcome::Receiving, String::new())
        );
    }
    let posted = |body: &str, bytes| Outcome::Posted {
        feed: FeedId(0),
        body: body.into(),
        bytes,
        keeps_connection: true,
    };
    assert_eq!(
        answered(&site(), &format!("{head}body and more"), Room::Free),
        (posted("body", head.len() + 4), String::new())
    );
    let head = head.replace("Content-Length: 4", "Transfer-Encoding: Chunked");
    assert_eq!(
        answered(
            &site(),
            &format!("{head}2\r\nbo\r\n2\r\ndy\r\n0\r\n"),
            Room::Free
        ),
        (Outcome::Receiving, String::new())
    );
    let chunks = "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n";
    assert_eq!(
        answered(&site(), &format!("{head}{chunks}POST /"), Room::Free),
        (posted("body", head.len() + chunks.len()), String::new())
    );
}

#[test]
fn a_client_may_say_that_its_post_is_the_last_one_on_the_connection() {
    let keeps = |version: &str, field: &str| {
        let request = format!(
            "POST /webhook {version}\r\nHost: a\r\nX-Key: secret\r\n{field}Content-Length: 0\r\n\r\n"
        );
        match answered(&site(), &request, Room::Free).0 {
            Outcome::Posted {
                keeps_connection, ..
            } => keeps_connection,
            other => panic!("{other:?}"),
        }
    };
    assert!(keeps("HTTP/1.1", ""));
    assert!(keeps("HTTP/1.1", "Connection: keep-alive\r\n"));
    assert!(!keeps("HTTP/1.1", "Connection: TE, Close\r\n"));
    assert!(!keeps("HTTP/1.0", "Connection: keep-alive\r\n"));
}

#[test]
fn who_waits_for_a_word_before_the_body_gets_it_unless_the_post_is_refused() {
    let head = "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Key: secret\r\nContent-Length: 4\r\n\
        Expect: 100-Continue\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n".to_owned();
    assert_eq!(
        answered(&site(), head, Room::Free),
        (Outcome::Receiving, go_on)
    );
    assert_eq!(
        answered(&site(), &format!("{head}b"), Room::Free),
        (Outcome::Receiving, String::new()),
        "it does not wait"
    );
    let refused = answered(&site(), &head.replace("secret", "wrong"), Room::Free).1;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
}

#[test]
fn a_page_that_the_browser_has_is_not_sent_again() {
    let get = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        answered(&site(), &request, Room::Free).1
    };
    let whole = get("");
    let etag = whole.split("ETag: ").nth(1).unwrap();
    let etag = etag.split("\r\n").next().unwrap();
    // A proxy that compresses makes it a weak one.
    for known in [etag.to_owned(), format!("\"x\", W/{etag}"), "*".to_owned()] {
        let answer = get(&format!("If-None-Match: {known}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 304 "), "{known}: {answer}");
        assert!(
            answer.contains(etag) && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
    }
    assert_eq!(get("If-None-Match: \"x\"\r\n"), whole);
}

#[test]
fn each_response_has_a_date_but_the_upgrade() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = answered(&site(), request, Room::Free).1;
        let date = "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert!(answer.contains(date), "{answer}");
    }
}

#[test]
fn what_belongs_to_the_page_stands_below_each_feed() {
    let get = |path: &str| {
        answered(
            &site(),
            &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            Room::Free,
        )
        .1
    };
    for path in ["/bugzfeed.js", "/dev/bugzfeed.js"] {
        assert!(get(path).ends_with("the script"), "{path}");
    }
    for path in ["/devbugzfeed.js", "/x/bugzfeed.js", "/dev/dev/bugzfeed.js"] {
        assert!(get(path).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[test]
fn pages_of_all_origins_may_load_the_script_and_keep_a_version_of_it() {
    let head = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        answered(&site(), &request, Room::Free).1
    };
    let everybody = "Access-Control-Allow-Origin: *\r\n";
    let for_good = "Cache-Control: public, max-age=31536000, immutable\r\n";
    for target in ["/bugzfeed.js?v=1.2.3", "/dev/bugzfeed.js?a=1&v=1.2.3"] {
        assert!(head(target).contains(everybody), "{target}");
        assert!(head(target).contains(for_good), "{target}");
    }
    for target in ["/bugzfeed.js", "/bugzfeed.js?v=1.2.4", "/bugzfeed.js?v="] {
        assert!(head(target).contains(everybody), "{target}");
        assert!(
            head(target).contains("Cache-Control: no-cache\r\n"),
            "{target}"
        );
    }
    assert!(
        !head("/?v=1.2.3").contains(everybody),
        "the page is nobody else's"
    );
    assert!(head("/?v=1.2.3").contains("Cache-Control: no-cache\r\n"));
}

#[test]
fn an_upgrade_that_a_proxy_has_removed_is_named() {
    let (_, answer) = answered(
        &site(),
        &UPGRADE.replace("Upgrade: WebSocket\r\n", ""),
        Room::Free,
    );
    assert!(
        answer.starts_with("HTTP/1.1 426 ")
            && answer.contains("must pass on the header fields Upgrade"),
        "{answer}"
    );
}

#[test]
fn a_post_that_a_webhook_cannot_take_is_refused_with_the_reason() {
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
            "400",
        ),
        (
            "Content-Length: 4",
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "400",
        ),
        (
            "Content-Length: 4",
            "Transfer-Encoding: gzip, chunked",
            "400",
        ),
        ("Content-Length: 4", "Transfer-Encoding: chunked", "400"),
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
        let (outcome, response) = answered(&site(), &post.replacen(from, to, 1), Room::Free);
        let is_unauthorized = outcome == Outcome::Refused(Refusal::Unauthorized(FeedId(0)));
        assert!(matches!(outcome, Outcome::Refused(_)));
        assert_eq!(is_unauthorized, status == "401");
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{from:?} → {to:?}: {response}"
        );
    }
}

#[test]
fn a_full_server_says_when_to_come_back() {
    let (outcome, response) = answered(&site(), UPGRADE, Room::Full);
    assert_eq!(outcome, Outcome::Refused(Refusal::Full));
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("\r\nRetry-After: 30\r\n"));
}

#[test]
fn an_address_with_too_many_connections_is_told_apart_from_a_full_server() {
    let (outcome, response) = answered(&site(), UPGRADE, Room::FullForAddress);
    assert_eq!(outcome, Outcome::Refused(Refusal::TooManyFromAddress));
    assert!(response.starts_with("HTTP/1.1 429 ") && response.contains("\r\nRetry-After: 30\r\n"));
}

#[test]
fn a_proxy_header_that_nobody_expects_is_named() {
    for header in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c",
    ] {
        let (outcome, response) = answered(&site(), &format!("{header}{UPGRADE}"), Room::Free);
        assert_eq!(outcome, Outcome::Refused(Refusal::ProxyHeader));
        assert!(response.contains("setting"), "{response}");
    }
    let (outcome, _) = answered(&site(), "GARBAGE\r\n\r\n", Room::Free);
    assert!(matches!(outcome, Outcome::Refused(Refusal::BadRequest(_))));
}

#[test]
fn listed_origins_only_where_there_is_a_list() {
    let site = Site {
        origins: vec![
            "https://a.example".parse().unwrap(),
            "https://*.b.example".parse().unwrap(),
        ],
        ..site()
    };
    let status = |origin: &str| {
        answered(
            &site,
            &UPGRADE.replacen("\r\n\r\n", &format!("\r\n{origin}\r\n\r\n"), 1),
            Room::Free,
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
