//! `--access tokens:FILE`: who has a token comes in, by each way in which it can be shown, and nobody
//! else does.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::client::{Client, FIN, TEXT, UPGRADE};
use crate::support::not_tested;
use crate::support::server::{Program, Server, wait_until};
use crate::token::{add, token};

const OPTIONS: [&str; 4] = ["--access", "tokens:bugzfeed.tokens", "--log", "debug"];

/// A server in a folder, with a token for ci; with `more` options.
fn start(folder: &Path, more: &[&str]) -> (Server, String) {
    let token = add(folder, "ci");
    let options = [&OPTIONS, more].concat();
    (Server::start_in(folder, &options), token)
}

/// A request for a WebSocket with these fields besides, each a whole line.
fn upgrade(fields: &str) -> String {
    UPGRADE.replace(
        "Host: localhost\r\n",
        &format!("Host: localhost\r\n{fields}"),
    )
}

fn bearer(token: &str) -> String {
    upgrade(&format!("Authorization: Bearer {token}\r\n"))
}

/// The head of the answer, and the client.
fn answer(address: SocketAddr, request: &str) -> (String, Client) {
    let mut client = Client::connect(address);
    client.send(request);
    (client.head(), client)
}

#[track_caller]
fn check_refused(server: &Server, request: &str, status: &str, words: &str) {
    let (head, mut client) = answer(server.address, request);
    assert!(
        head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
        "{head}"
    );
    let body = String::from_utf8(client.rest()).unwrap();
    assert!(body.contains(words), "{body}");
}

/// A client with this token.
fn open(server: &Server, token: &str) -> Client {
    let (head, client) = answer(server.address, &bearer(token));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

#[test]
fn a_token_opens_the_feed_as_a_bearer_and_as_a_subprotocol_that_is_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = start(folder.path(), &[]);
    for fields in [
        format!("Authorization: Bearer {token}\r\n"),
        format!("authorization: bearer   {token} \r\n"),
        format!("Sec-WebSocket-Protocol: bugzfeed, bearer.{token}\r\n"),
        format!("Sec-WebSocket-Protocol: bearer.{token}\r\nSec-WebSocket-Protocol: bugzfeed\r\n"),
        // What a proxy asks for is not for the feed.
        format!("Authorization: Basic YTpi\r\nAuthorization: Bearer {token}\r\n"),
    ] {
        let (head, mut client) = answer(server.address, &upgrade(&fields));
        assert!(head.starts_with("HTTP/1.1 101 "), "{fields}: {head}");
        assert!(!head.contains(&token), "{head}");
        let is_answered = head.contains("\r\nSec-WebSocket-Protocol: bugzfeed\r\n");
        assert_eq!(is_answered, fields.contains("Protocol"), "{head}");
        client.say(r#"{"command":"subscribe","bugs":1}"#);
        assert_eq!(
            client.hear(),
            r#"{"command":"subscribe","result":"ok","bugs":[1]}"#
        );
    }
}

#[test]
fn without_a_token_or_with_a_wrong_one_there_is_no_feed_and_no_log_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = start(folder.path(), &[]);
    let wrong = format!("{}A", &token[1..]);
    check_refused(&server, UPGRADE, "401 Unauthorized", "A token is needed");
    let address = UPGRADE.replace("GET / ", &format!("GET /?access_token={token} "));
    check_refused(&server, &address, "401 Unauthorized", "A token is needed");
    for token in [&wrong, &token.to_uppercase(), &format!("{token}x")] {
        check_refused(&server, &bearer(token), "401 Unauthorized", "not known");
    }
    check_refused(
        &server,
        &bearer(""),
        "401 Unauthorized",
        "A token is needed",
    );
    for fields in [
        format!("Sec-WebSocket-Protocol: bugzfeed, bearer.{token}, bearer.{token}\r\n"),
        format!("Sec-WebSocket-Protocol: bearer.{token}\r\n"),
        format!(
            "Authorization: Bearer {token}\r\nSec-WebSocket-Protocol: bugzfeed, bearer.{wrong}\r\n"
        ),
    ] {
        check_refused(&server, &upgrade(&fields), "400 Bad Request", "token");
    }
    // Bytes behind a request that is refused are no commands.
    let frames = b"\x81\x80\0\0\0\0";
    let mut client = Client::connect(server.address);
    client.send([UPGRADE.as_bytes(), frames].concat());
    assert!(client.head().starts_with("HTTP/1.1 401 "));
    assert!(!client.rest().contains(&(FIN | TEXT)));
    server.program().signal(Signal::TERM);
    let (_, log) = server.wait();
    assert!(
        log.contains("a client is refused, the number 1 of its kind"),
        "{log}"
    );
    for secret in [&token, &wrong] {
        assert!(!log.contains(&secret[1..20]), "{log}");
    }
}

#[test]
fn a_page_is_told_whether_it_would_get_a_websocket_and_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = start(folder.path(), &["--origin", "https://a.example"]);
    let ask = |fields: &str| format!("GET /?access HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let with = |token: &str| ask(&format!("Authorization: Bearer {token}\r\n"));
    let (head, mut client) = answer(server.address, &with(&token));
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
    assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
    assert!(client.rest().is_empty());
    check_refused(&server, &ask(""), "401 Unauthorized", "A token is needed");
    check_refused(&server, &with("wrong"), "401 Unauthorized", "not known");
    let elsewhere = ask("Origin: https://evil.example\r\n");
    check_refused(&server, &elsewhere, "403 Forbidden", "this origin");
    let (head, _) = answer(server.address, &ask("").replacen("GET", "POST", 1));
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");

    let everybody = Server::start(&[]);
    let (head, _) = answer(everybody.address, &ask(""));
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let full = Server::start(&["--connections", "1"]);
    let _first = full.connect();
    check_refused(&full, &ask(""), "503 Service Unavailable", "as many");
}

#[test]
fn a_token_is_taken_from_the_address_only_where_an_option_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = start(folder.path(), &["--access-in-address"]);
    let encoded = token.replacen(&token[..1], &format!("%{:02x}", token.as_bytes()[0]), 1);
    for query in [
        format!("access_token={token}"),
        format!("a=b&access_token={encoded}"),
    ] {
        let request = UPGRADE.replace("GET / ", &format!("GET /?{query} "));
        let (head, _) = answer(server.address, &request);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    let twice = format!("GET /?access_token={token}&access_token={token} ");
    let twice = UPGRADE.replace("GET / ", &twice);
    check_refused(&server, &twice, "400 Bad Request", "more than one token");
}

#[test]
fn a_token_that_came_in_the_open_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = start(folder.path(), &["--listen", "0.0.0.0:0"]);
    let local = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    let status = |address, fields: &str| {
        let request = upgrade(&format!("{fields}Authorization: Bearer {token}\r\n"));
        answer(address, &request).0[..12].to_owned()
    };
    for (fields, expected) in [
        ("", "HTTP/1.1 101"),
        ("X-Forwarded-Proto: https\r\n", "HTTP/1.1 101"),
        ("X-Forwarded-Proto: http\r\n", "HTTP/1.1 403"),
        ("X-Forwarded-Proto: https, http\r\n", "HTTP/1.1 403"),
        ("X-Forwarded-Proto: \r\n", "HTTP/1.1 403"),
    ] {
        assert_eq!(status(local, fields), expected, "{fields}");
    }
    // The address by which this machine would reach another one; nothing is sent.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    match own {
        Ok(own) if !own.ip().is_loopback() => {
            let open = SocketAddr::new(own.ip(), server.address.port());
            for fields in ["", "X-Forwarded-Proto: https\r\n"] {
                assert_eq!(status(open, fields), "HTTP/1.1 403", "{fields}");
            }
            drop(server);
            let proxy = own.ip().to_string();
            let more = ["--listen", "0.0.0.0:0", "--trusted-proxy", &proxy];
            let server = Server::start_in(folder.path(), &[&OPTIONS[..], &more].concat());
            let open = SocketAddr::new(own.ip(), server.address.port());
            for (fields, expected) in [
                ("", "HTTP/1.1 403"),
                ("X-Forwarded-Proto: https\r\n", "HTTP/1.1 101"),
                ("X-Forwarded-Proto: http\r\n", "HTTP/1.1 403"),
            ] {
                assert_eq!(status(open, fields), expected, "{fields}");
            }
        }
        _ => not_tested("a token from another machine: this one has no address but its own"),
    }
}

#[test]
fn who_has_lost_a_token_is_closed_when_the_file_is_read_anew_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let (server, ci) = start(folder.path(), &[]);
    let bob = add(folder.path(), "bob");
    server.program().signal(Signal::HUP);
    // The loop takes over what was read a moment after that is said.
    wait_until("the token of bob is known", || {
        let (head, _) = answer(server.address, &bearer(&bob));
        head.starts_with("HTTP/1.1 101 ").then_some(())
    });
    let mut clients = [&ci, &bob, &ci].map(|token| open(&server, token));
    assert_eq!(token(folder.path(), &["remove", "ci"]).0, Some(0));
    server.program().signal(Signal::HUP);
    clients[0].expect_close(Some(1008));
    clients[2].expect_close(Some(1008));
    check_refused(&server, &bearer(&ci), "401 Unauthorized", "not known");
    clients[1].say(r#"{"command":"subscriptions"}"#);
    assert!(clients[1].hear().contains(r#""bugs":[]"#));
    // A file with a mistake changes nothing.
    fs::write(folder.path().join("bugzfeed.tokens"), "bob\n").unwrap();
    server.program().signal(Signal::HUP);
    let says = "the settings stay what they were: cannot use bugzfeed.tokens";
    server.program().wait_for_line(says);
    open(&server, &bob);
}

#[test]
fn pages_and_posts_need_no_token_and_a_feed_at_a_path_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--feed", "/dev/=webhook:?header=X-Key&key=secret"];
    let (server, token) = start(folder.path(), &more);
    let (head, _) = answer(server.address, "GET / HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let dev = |request: &str| request.replace("GET / ", "GET /dev/ ");
    check_refused(&server, &dev(UPGRADE), "401 Unauthorized", "token");
    let (head, mut client) = answer(server.address, &dev(&bearer(&token)));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.say(r#"{"command":"subscribe","bugs":7}"#);
    client.hear();
    let body = r#"{"event":{"action":"modify","target":"bug","time":"2014-04-03T21:13:45"},"bug":{"id":7,"is_private":false}}"#;
    let post = format!(
        "POST /dev/webhook HTTP/1.1\r\nHost: a\r\nX-Key: secret\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (head, _) = answer(server.address, &post);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(client.hear().contains(r#""bug":7"#));
}

#[test]
fn the_subprotocol_of_the_feed_is_answered_where_everybody_may_have_it_too() {
    let server = Server::start(&[]);
    let (head, _) = answer(
        server.address,
        &upgrade("Sec-WebSocket-Protocol: chat, bugzfeed\r\n"),
    );
    assert!(
        head.contains("\r\nSec-WebSocket-Protocol: bugzfeed\r\n"),
        "{head}"
    );
    let (head, _) = answer(server.address, &upgrade("Sec-WebSocket-Protocol: chat\r\n"));
    assert!(!head.contains("Protocol: "), "{head}");
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad"), "ci 1234\n").unwrap();
    for (access, code, words) in [
        ("tokens:missing", 78, "missing"),
        ("tokens:bad", 78, "line 1"),
        ("passwords", 2, "tokens:FILE"),
    ] {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--access", access];
        let (status, log) = Program::start(folder.path(), &arguments).wait();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains(words) && log.contains("--access"), "{log}");
    }
}

/// Runs `bugzfeed watch` to its end: its exit code, and what it said.
fn watch(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .env_remove("BUGZFEED_TOKEN_FILE")
        .current_dir(folder)
        .args(["watch", "--no-retry"])
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn watch_shows_the_token_of_its_file_and_never_in_the_open() {
    let folder = tempfile::tempdir().unwrap();
    let (server, token) = start(folder.path(), &[]);
    server.record(&[(7, "2014-04-03 21:13:45")]);
    let mut probe = open(&server, &token);
    probe.say(r#"{"command":"subscribe","bugs":7,"since":"2014-01-01T00:00:00"}"#);
    while !probe.hear().contains(r#""update""#) {
        probe.say(r#"{"command":"subscribe","bugs":7,"since":"2014-01-01T00:00:00"}"#);
    }
    fs::write(folder.path().join("secret"), format!("{token}\n")).unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let url = format!("ws://{}/", server.address);
    let since = ["--since", "2014-01-01T00:00:00", "--count", "1"];
    let arguments = [&[url.as_str(), "7", "--token-file", "secret"], &since[..]].concat();
    let (code, said) = watch(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bug 7"), "{said}");
    let (code, said) = watch(folder.path(), &[&url, "7"]);
    assert!(
        code == Some(69) && said.contains("401 Unauthorized"),
        "{said}"
    );
    let open = ["ws://192.0.2.1/", "7", "--token-file", "secret"];
    let (code, said) = watch(folder.path(), &open);
    assert!(code == Some(2) && !said.contains(&token), "{said}");
    for file in ["missing", "empty"] {
        let (code, said) = watch(folder.path(), &[&url, "7", "--token-file", file]);
        assert!(code == Some(78) && said.contains(file), "{said}");
    }
}

#[test]
fn events_need_a_token_as_websockets_do_and_end_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (server, secret) = start(folder.path(), &[]);
    let get =
        |fields: &str| format!("GET /events?bugs=5 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let authorization = format!("Authorization: Bearer {secret}\r\n");
    check_refused(&server, &get(""), "401 Unauthorized", "A token is needed");
    check_refused(
        &server,
        &get("Authorization: Bearer x\r\n"),
        "401 Unauthorized",
        "not known",
    );
    let wrong = get(&authorization).replace("=5", "=x");
    check_refused(&server, &wrong, "400 Bad Request", "invalid bug id");
    let (head, mut client) = answer(server.address, &get(&authorization));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(client.event().starts_with("retry: "));
    assert!(client.event().contains(r#""bugs":[5]"#));
    token(folder.path(), &["remove", "ci"]);
    server.program().signal(Signal::HUP);
    assert_eq!(client.event(), ": 1008 access has ended");
    assert_eq!(client.rest(), b"");
}
