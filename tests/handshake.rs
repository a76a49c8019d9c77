//! What stands before the first frame, over real sockets: requests in any pieces, requests that are
//! wrong, and plain HTTP.

mod support;

use std::fmt::Write as _;

use support::client::{Client, UPGRADE, text};
use support::server::Server;

/// All that comes in answer to these bytes, until the server ends the connection.
fn response(server: &Server, bytes: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(server.address);
    client.send(bytes);
    String::from_utf8(client.rest()).unwrap()
}

/// Checks that a response is whole, and returns its status, its fields and its body.
fn parts(response: &str) -> (String, String, String) {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {response:?}"));
    let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let fields = format!("{fields}\r\n");
    let field = |name: &str| {
        fields
            .lines()
            .find_map(|field| field.strip_prefix(name))
            .map(str::to_owned)
    };
    assert_eq!(
        field("Content-Length: "),
        Some(body.len().to_string()),
        "{response}"
    );
    assert_eq!(
        field("Connection: ").as_deref(),
        Some("close"),
        "{response}"
    );
    (
        status.trim_start_matches("HTTP/1.1 ").to_owned(),
        fields,
        body.to_owned(),
    )
}

#[track_caller]
fn check_status(server: &Server, bytes: impl AsRef<[u8]>, status: &str) {
    let request = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    assert_eq!(parts(&response(server, bytes)).0, status, "{request:.200}");
}

#[test]
fn a_handshake_may_come_in_single_bytes() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    for byte in UPGRADE
        .bytes()
        .chain(text(r#"{"command":"subscriptions"}"#))
    {
        client.send([byte]);
    }
    let head = client.head();
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
    assert_eq!(
        client.hear(),
        r#"{"command":"subscriptions","result":"ok","bugs":[]}"#
    );
}

#[test]
fn frames_may_follow_the_head_at_once() {
    let server = Server::start(&[]);
    let first = text(r#"{"command":"subscribe","bugs":[1]}"#);
    let second = text(r#"{"command":"subscribe","bugs":[2]}"#);
    let all = [UPGRADE.as_bytes(), &first, &second].concat();
    // The cut goes through the head, its end, a frame's header, a payload, and the end.
    for cut in [
        1,
        UPGRADE.len() - 1,
        UPGRADE.len(),
        UPGRADE.len() + 1,
        UPGRADE.len() + 9,
        all.len() - 1,
        all.len(),
    ] {
        let mut client = Client::connect(server.address);
        client.send(&all[..cut]);
        if cut >= UPGRADE.len() {
            client.head();
        }
        client.send(&all[cut..]);
        if cut < UPGRADE.len() {
            client.head();
        }
        assert_eq!(
            client.hear(),
            r#"{"command":"subscribe","result":"ok","bugs":[1]}"#,
            "{cut}"
        );
        assert_eq!(
            client.hear(),
            r#"{"command":"subscribe","result":"ok","bugs":[1,2]}"#,
            "{cut}"
        );
    }
}

#[test]
fn a_handshake_that_contradicts_the_rfc_is_refused() {
    let server = Server::start(&[]);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (from, to) in [
        ("Host: localhost\r\n", ""),
        (
            "Host: localhost\r\n",
            "Host: localhost\r\nHost: localhost\r\n",
        ),
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("Connection: Upgrade\r\n", ""),
        (key, ""),
        (key, &key.repeat(2)),
        ("dGhlIHNhbXBsZSBub25jZQ==", ""),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZSB0aGF0IGlzIHRvbyBsb25n",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!=="),
        ("HTTP/1.1", "HTTP/1.0"),
        ("HTTP/1.1", "HTTP/3.0"),
        ("HTTP/1.1", ""),
        ("GET /", "GET"),
        ("Host: localhost", "Host localhost"),
        ("Host: localhost", "Host : localhost"),
        ("Host: localhost", "Ho\0st: localhost"),
        ("\r\n\r\n", "\r\n folded: yes\r\n\r\n"),
        ("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"),
        (
            "\r\n\r\n",
            "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        assert!(UPGRADE.contains(from));
        check_status(&server, UPGRADE.replacen(from, to, 1), "400 Bad Request");
    }
}

#[test]
fn without_an_upgrade_nothing_is_upgraded() {
    let server = Server::start(&[]);
    for upgrade in ["", "Upgrade: h2c\r\n", "Upgrade: websockets\r\n"] {
        check_status(
            &server,
            UPGRADE.replacen("Upgrade: websocket\r\n", upgrade, 1),
            "426 Upgrade Required",
        );
        check_status(
            &server,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"),
            "200 OK",
        );
    }
}

#[test]
fn a_handshake_that_the_rfc_allows_is_accepted() {
    let server = Server::start(&[]);
    for (from, to) in [
        ("GET / ", "GET /?query=is&ignored "),
        ("GET / ", "GET http://example.org/ "),
        ("Host: localhost", "hOST:localhost"),
        ("Connection: Upgrade", "connection: keep-alive , upgrade"),
        ("Upgrade: websocket", "upgrade: WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        ),
        ("\r\n\r\n", "\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n"),
        ("GET ", "\r\nGET "),
    ] {
        assert!(UPGRADE.contains(from));
        let mut client = Client::connect(server.address);
        client.send(UPGRADE.replacen(from, to, 1));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{to}: {head}");
        // Nothing was agreed on that the server does not do.
        assert!(
            !head.contains("Sec-WebSocket-Protocol") && !head.contains("Sec-WebSocket-Extensions"),
            "{head}"
        );
    }
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let server = Server::start(&[]);
    for version in [
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 8, 13\r\n",
        "Sec-WebSocket-Version: \r\n",
        "",
    ] {
        let answer = response(
            &server,
            UPGRADE.replacen("Sec-WebSocket-Version: 13\r\n", version, 1),
        );
        let (status, fields, _) = parts(&answer);
        assert_eq!(status, "426 Upgrade Required");
        assert!(fields.contains("Sec-WebSocket-Version: 13\r\n"), "{answer}");
        assert!(
            fields.contains("Connection: Upgrade\r\n") && fields.contains("Upgrade: websocket\r\n"),
            "{answer}"
        );
    }
}

#[test]
fn a_head_has_a_bound() {
    let server = Server::start(&[]);
    let padded = |bytes: usize| {
        UPGRADE.replacen(
            "\r\n\r\n",
            &format!("\r\nX: {}\r\n\r\n", "x".repeat(bytes - UPGRADE.len() - 5)),
            1,
        )
    };
    let mut client = Client::connect(server.address);
    client.send(padded(8 * 1024));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    check_status(
        &server,
        padded(8 * 1024 + 1),
        "431 Request Header Fields Too Large",
    );
    let answer = response(&server, padded(8 * 1024 + 1));
    assert!(
        answer.contains("larger than 8192 bytes (setting --head-size)"),
        "{answer}"
    );
    let larger = Server::start(&["--head-size", "20000"]);
    let mut client = Client::connect(larger.address);
    client.send(padded(20_000));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    check_status(
        &server,
        padded(1024 * 1024),
        "431 Request Header Fields Too Large",
    );
    check_status(
        &server,
        "x".repeat(8 * 1024),
        "431 Request Header Fields Too Large",
    );
    let fields = (0..200).fold(String::new(), |mut fields, at| {
        write!(fields, "X-{at}: y\r\n").unwrap();
        fields
    });
    check_status(
        &server,
        UPGRADE.replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1),
        "431 Request Header Fields Too Large",
    );
}

#[test]
fn what_is_no_http_is_told_so_and_dropped() {
    let server = Server::start(&[]);
    for garbage in [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"{\"command\":\"version\"}\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
    ] {
        check_status(&server, garbage, "400 Bad Request");
    }
}

#[test]
fn another_method_is_told_which_ones_there_are() {
    let server = Server::start(&[]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"] {
        let answer = response(
            &server,
            format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        );
        let (status, fields, _) = parts(&answer);
        assert_eq!(status, "405 Method Not Allowed", "{method}");
        assert!(fields.contains("Allow: GET, HEAD\r\n"), "{answer}");
    }
}

#[test]
fn an_unknown_path_has_nothing() {
    let server = Server::start(&["--feed", "/dev/=sqlite:dev.db"]);
    for path in ["/nowhere", "/dev/more", "/dev//", "//", "/../", "/%2e", "*"] {
        check_status(
            &server,
            UPGRADE.replacen("GET /", &format!("GET {path}"), 1),
            "404 Not Found",
        );
        check_status(
            &server,
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            "404 Not Found",
        );
    }
    for path in ["/dev", "/dev/", "/dev?x=/", "/dev/?"] {
        Client::open(server.address, path).say("{}");
        check_status(
            &server,
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            "200 OK",
        );
    }
}

#[test]
fn the_page_and_all_that_it_names_are_there() {
    let server = Server::start(&[]);
    let (status, fields, page) = parts(&response(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(status, "200 OK");
    assert!(
        fields.contains("Content-Type: text/html; charset=utf-8\r\n"),
        "{fields}"
    );
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"),
        "{page}"
    );
    let named: Vec<&str> = page
        .split(['"', '\''])
        .filter(|name| name.ends_with(".css") || name.ends_with(".js"))
        .collect();
    assert!(named.len() >= 2, "{named:?}");
    for name in named {
        check_status(
            &server,
            format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                name.trim_start_matches('/')
            ),
            "200 OK",
        );
    }
    let mut client = Client::connect(server.address);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = String::from_utf8(client.rest()).unwrap();
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", page.len()))
            && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn a_client_that_closes_its_side_after_the_request_still_gets_the_whole_page() {
    let server = Server::start(&[]);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET /bugzfeed.js HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let expected = response(&server, request);
        let mut client = Client::connect(server.address);
        client.send(request);
        client.shut_down();
        assert_eq!(String::from_utf8(client.rest()).unwrap(), expected);
        parts(&expected);
    }
}

#[test]
fn only_the_first_request_of_a_connection_is_answered() {
    let server = Server::start(&[]);
    let request = "GET /bugzfeed.css HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        response(&server, request.repeat(3)),
        response(&server, request)
    );
}

#[test]
fn a_refusal_can_be_read_however_much_was_sent_before() {
    let server = Server::start(&[]);
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n",
        "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(server.address);
        client.send(head);
        client.send(vec![b'x'; 4 * 1024 * 1024]);
        let answer = String::from_utf8(client.rest()).unwrap();
        assert!(parts(&answer).0.starts_with('4'), "{answer}");
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let server = Server::start(&["--handshake-timeout", "500ms"]);
    let mut silent = Client::connect(server.address);
    let mut half = Client::connect(server.address);
    half.send(&UPGRADE[..40]);
    for client in [&mut silent, &mut half] {
        assert_eq!(
            parts(&String::from_utf8(client.rest()).unwrap()).0,
            "408 Request Timeout"
        );
    }
    // Each byte is progress, and yet the time is for the whole head.
    let mut slow = Client::connect(server.address);
    slow.send(&UPGRADE[..40]);
    let fields = std::iter::repeat_n("X: y\r\n".bytes(), 1_000).flatten();
    let refused_at = slow.send_slowly(fields);
    assert!(
        refused_at.is_some(),
        "6,000 bytes were accepted at a few milliseconds each"
    );
    assert_eq!(
        parts(&String::from_utf8(slow.rest()).unwrap()).0,
        "408 Request Timeout"
    );
    // One that is in time stays, long after.
    let mut open = server.connect();
    let mut later = Client::connect(server.address);
    later.rest();
    assert_eq!(
        open.ask(r#"{"command":"subscriptions"}"#),
        r#"{"command":"subscriptions","result":"ok","bugs":[]}"#
    );
}

#[test]
fn only_listed_origins_may_connect_where_some_are_listed() {
    let server = Server::start(&["--origin", "https://bugs.example,https://*.example.org"]);
    let with = |origin: &str| UPGRADE.replacen("\r\n\r\n", &format!("\r\n{origin}\r\n\r\n"), 1);
    check_status(
        &server,
        with("Origin: https://evil.example"),
        "403 Forbidden",
    );
    check_status(
        &server,
        with("Origin: https://bugs.example.evil"),
        "403 Forbidden",
    );
    for origin in [
        "Origin: https://bugs.example",
        "Origin: https://x.example.org",
        "X-No-Origin: 1",
    ] {
        let mut client = Client::connect(server.address);
        client.send(with(origin));
        assert!(client.head().starts_with("HTTP/1.1 101 "), "{origin}");
    }
}
