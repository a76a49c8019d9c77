//! What a request shows for who sends it.

use super::*;

/// A site that not everybody may have.
fn guarded() -> Site {
    Site {
        credentials: Some(Credentials {
            in_address: false,
            cookies_of: None,
        }),
        ..site()
    }
}

/// The same, where logins to Bugzilla count, for pages of these origins if there are any.
fn with_logins(origins: &[&str]) -> Site {
    Site {
        credentials: Some(Credentials {
            in_address: false,
            cookies_of: Some("https://bugs.example".parse().unwrap()),
        }),
        origins: origins
            .iter()
            .map(|origin| origin.parse().unwrap())
            .collect(),
        ..site()
    }
}

/// Somebody who asks for a WebSocket with these header fields, each ended.
fn asking(site: &Site, fields: &str) -> Newcomer {
    let request = UPGRADE.replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
    match answered(site, &request, Room::Free).0 {
        Outcome::Asked(newcomer) => newcomer,
        other => panic!("{fields}: {other:?}"),
    }
}

fn bearer(token: &str) -> Shown {
    Shown::Bearer(token.as_bytes().into())
}

#[test]
fn a_bearer_token_stands_in_its_field_or_among_the_subprotocols() {
    for (fields, shown) in [
        ("", Shown::Nothing),
        ("Authorization: Bearer abc\r\n", bearer("abc")),
        ("authorization: bearer   abc \r\n", bearer("abc")),
        ("Authorization: Bearer\r\n", Shown::Nothing),
        ("Authorization: Basic abc\r\n", Shown::Nothing),
        ("Authorization: Bearerabc\r\n", Shown::Nothing),
        (
            "Sec-WebSocket-Protocol: bugzfeed, bearer.abc\r\n",
            bearer("abc"),
        ),
        (
            "Sec-WebSocket-Protocol: bearer.abc\r\nSec-WebSocket-Protocol: bugzfeed\r\n",
            bearer("abc"),
        ),
        ("Sec-WebSocket-Protocol: other\r\n", Shown::Nothing),
    ] {
        assert_eq!(asking(&guarded(), fields).shown, shown, "{fields}");
    }
}

#[test]
fn the_subprotocol_of_the_feed_is_answered_where_it_is_offered() {
    let answers = |fields| match asking(&guarded(), fields).entrance {
        Entrance::WebSocket(upgrade) => {
            let mut response = Vec::new();
            write_upgrade(&mut response, &upgrade);
            String::from_utf8(response)
                .unwrap()
                .contains("\r\nSec-WebSocket-Protocol: bugzfeed\r\n")
        }
        other => panic!("{other:?}"),
    };
    assert!(answers("Sec-WebSocket-Protocol: bearer.abc, bugzfeed\r\n"));
    assert!(answers("Sec-WebSocket-Protocol: bugzfeed\r\n"));
    assert!(!answers("Sec-WebSocket-Protocol: other\r\n"));
    assert!(!answers(""));
}

#[test]
fn a_request_that_says_nothing_clear_about_who_sends_it_is_refused() {
    for fields in [
        "Authorization: Bearer abc\r\nAuthorization: Bearer abc\r\n",
        "Authorization: Bearer abc\r\nSec-WebSocket-Protocol: bugzfeed, bearer.abc\r\n",
        // A browser would fail the connection, since none of its subprotocols is answered.
        "Sec-WebSocket-Protocol: bearer.abc\r\n",
    ] {
        let request = UPGRADE.replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
        let (outcome, _) = answered(&guarded(), &request, Room::Free);
        assert!(
            matches!(outcome, Outcome::Refused(Refusal::BadRequest(_))),
            "{fields}: {outcome:?}"
        );
    }
}

#[test]
fn a_token_in_the_address_counts_only_where_that_is_allowed() {
    let request = UPGRADE.replacen("GET /", "GET /?x=y&access_token=a%20b", 1);
    let shown = |in_address| {
        let credentials = Credentials {
            in_address,
            cookies_of: None,
        };
        let site = Site {
            credentials: Some(credentials),
            ..site()
        };
        match answered(&site, &request, Room::Free).0 {
            Outcome::Asked(newcomer) => newcomer.shown,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown(true), bearer("a b"));
    assert_eq!(shown(false), Shown::Nothing);
}

#[test]
fn of_several_proxies_each_must_have_got_the_request_securely() {
    for (fields, forwarded) in [
        ("", Forwarded::Unsaid),
        ("X-Forwarded-Proto: https\r\n", Forwarded::Securely),
        ("X-Forwarded-Proto: HTTPS, wss\r\n", Forwarded::Securely),
        ("X-Forwarded-Proto: http\r\n", Forwarded::Openly),
        ("X-Forwarded-Proto: https, http\r\n", Forwarded::Openly),
        ("X-Forwarded-Proto:\r\n", Forwarded::Openly),
    ] {
        assert_eq!(asking(&guarded(), fields).forwarded, forwarded, "{fields}");
    }
}

const LOGIN: &str = "Bugzilla_login=2; Bugzilla_logincookie=aB-_.9";

fn login() -> Shown {
    Shown::Cookies(LOGIN.as_bytes().into())
}

#[test]
fn a_login_is_two_cookies_that_bugzilla_makes_and_no_other_is_passed_on() {
    let site = with_logins(&[]);
    let shown = |cookies: &str| {
        let fields = format!("Origin: https://bugs.example\r\nCookie: {cookies}\r\n");
        asking(&site, &fields).shown
    };
    let longest = "x".repeat(128);
    assert_eq!(shown(LOGIN), login());
    assert_eq!(
        shown("a=b;Bugzilla_logincookie=aB-_.9 ; Bugzilla_login=2; Bugzilla_login=3"),
        login()
    );
    let with_longest = format!("Bugzilla_login=2; Bugzilla_logincookie={longest}");
    assert_eq!(
        shown(&with_longest),
        Shown::Cookies(with_longest.as_bytes().into())
    );
    for cookies in [
        "Bugzilla_login=2",
        "Bugzilla_logincookie=x",
        "Bugzilla_login=2; Bugzilla_logincookie=",
        "Bugzilla_login=2; Bugzilla_logincookie=\"x\"",
        "Bugzilla_login=2; xBugzilla_logincookie=x",
        &format!("{with_longest}x"),
    ] {
        assert_eq!(shown(cookies), Shown::Nothing, "{cookies}");
    }
    assert_eq!(
        shown(&format!("{LOGIN}\r\nAuthorization: Bearer abc")),
        bearer("abc"),
        "a token comes first"
    );
}

/// What is shown by a login with these header fields, each ended.
fn shown_with(site: &Site, fields: &str, host: &str) -> Shown {
    let request = UPGRADE.replacen("Host: a\r\n", &format!("Host: {host}\r\n"), 1);
    let fields = format!("\r\nCookie: {LOGIN}\r\n{fields}\r\n");
    match answered(site, &request.replacen("\r\n\r\n", &fields, 1), Room::Free).0 {
        Outcome::Asked(newcomer) => newcomer.shown,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_login_counts_for_pages_of_bugzilla_and_of_this_server_alone() {
    let site = with_logins(&[]);
    for (host, fields) in [
        ("a", "Origin: https://bugs.example\r\n"),
        ("a", "Origin: https://A\r\n"),
        ("a:8080", "Origin: https://a:8080\r\n"),
        ("localhost:8080", "Origin: http://localhost:8080\r\n"),
        ("LOCALHOST", "Origin: http://localhost\r\n"),
        ("127.0.0.1:1", "Origin: http://127.0.0.1:1\r\n"),
        ("[::1]:1", "Origin: http://[::1]:1\r\n"),
        ("[::1]", "Origin: http://[::1]\r\n"),
        ("a", "Sec-Fetch-Site: same-origin\r\n"),
    ] {
        assert_eq!(shown_with(&site, fields, host), login(), "{host} {fields}");
    }
    for (host, fields) in [
        ("a", ""),
        ("a", "Origin: https://evil.example\r\n"),
        ("a", "Origin: http://a\r\n"),
        ("a", "Origin: https://ab\r\n"),
        ("a:8080", "Origin: https://a\r\n"),
        ("localhost:8080", "Origin: http://localhost\r\n"),
        ("localhost.evil", "Origin: http://localhost.evil\r\n"),
        (
            "a",
            "Origin: https://bugs.example\r\nOrigin: https://evil.example\r\n",
        ),
        ("a", "Sec-Fetch-Site: same-site\r\n"),
        (
            "a",
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
        ),
        (
            "a",
            "Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
        ),
    ] {
        let shown = shown_with(&site, fields, host);
        assert_eq!(shown, Shown::Nothing, "{host} {fields}");
    }
}

#[test]
fn where_origins_are_listed_a_login_counts_for_pages_of_those_alone() {
    let site = with_logins(&["https://list.example"]);
    for (host, fields, expected) in [
        ("a", "Origin: https://list.example\r\n", login()),
        ("list.example", "Sec-Fetch-Site: same-origin\r\n", login()),
        ("a", "Sec-Fetch-Site: same-origin\r\n", Shown::Nothing),
    ] {
        assert_eq!(shown_with(&site, fields, host), expected, "{host} {fields}");
    }
    let request = UPGRADE.replacen("\r\n\r\n", "\r\nOrigin: https://bugs.example\r\n\r\n", 1);
    assert_eq!(
        answered(&site, &request, Room::Free).0,
        Outcome::Refused(Refusal::ForbiddenOrigin)
    );
}

#[test]
fn a_request_may_ask_whether_it_would_be_let_in() {
    let ask = |method: &str, site: &Site, room| {
        let request = format!("{method} /dev/?x&access HTTP/1.1\r\nHost: a\r\n\r\n");
        answered(site, &request, room)
    };
    let (outcome, response) = ask("GET", &site(), Room::Free);
    assert_eq!(outcome, Outcome::Answered);
    assert!(response.starts_with("HTTP/1.1 204 "), "{response}");
    let full = ask("GET", &site(), Room::Full).0;
    assert_eq!(full, Outcome::Refused(Refusal::Full));
    let (outcome, response) = ask("HEAD", &site(), Room::Full);
    assert_eq!(outcome, Outcome::Answered);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    match ask("GET", &guarded(), Room::Free).0 {
        Outcome::Asked(newcomer) => {
            assert_eq!(newcomer.feed, FeedId(1));
            assert_eq!(newcomer.entrance, Entrance::Question);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_for_want_of_a_credential_says_which_one_is_taken() {
    for (refusal, field) in [
        (Refusal::Unauthorized(FeedId(0)), "ApiKey"),
        (Refusal::TokenMissing, "Bearer"),
        (Refusal::LoginNeeded, "Bearer"),
        (Refusal::TokenUnknown, "Bearer error=\"invalid_token\""),
    ] {
        let mut response = Vec::new();
        refusal.write(&mut response, false, 0);
        let response = String::from_utf8(response).unwrap();
        assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
        let line = format!("\r\nWWW-Authenticate: {field}\r\n");
        assert!(response.contains(&line), "{response}");
    }
}

#[test]
fn who_sent_a_request_is_whom_a_trusted_proxy_names() {
    let of = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let trusted = ["192.0.2.1".parse().unwrap()];
    let request = "GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n";
    let client = |bytes: &str, peer| client(bytes.as_bytes(), &trusted, of(peer));
    assert_eq!(client(request, "192.0.2.1"), of("192.0.2.9"));
    assert_eq!(client(request, "192.0.2.2"), of("192.0.2.2"));
    let request = request.replace("X-Forwarded-For: ", "Forwarded: for=");
    assert_eq!(client(&request, "192.0.2.1"), of("192.0.2.9"));
    let incomplete = &request[..request.len() - 1];
    assert_eq!(client(incomplete, "192.0.2.1"), None);
}
