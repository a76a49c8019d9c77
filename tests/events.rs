//! Server-sent events: the same feed for those who cannot have a WebSocket, over plain HTTP.

mod support;

use std::process::Command;

use bugzfeed::update::When;
use bugzfeed::work::unix_now;
use rustix::process::Signal;

use support::browser::Browser;
use support::client::Client;
use support::server::{Server, wait_until};

/// Asks for events with these header fields, as whole lines.
fn ask(server: &Server, target: &str, fields: &str) -> Client {
    let mut client = Client::connect(server.address);
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
    ));
    client
}

/// The same, up to the reply: the head of the response, and the first event.
fn listen(server: &Server, target: &str, fields: &str) -> (Client, String, String) {
    let mut client = ask(server, target, fields);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/event-stream\r\n"),
        "{head}"
    );
    let retry = client.event();
    let retry: u32 = retry.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((1_000..6_000).contains(&retry));
    let reply = client.event();
    (client, head, reply)
}

/// A time so many seconds from now.
fn at(seconds: i64) -> String {
    When::from_unix_seconds(unix_now() + seconds).to_string()
}

fn update(bug: u32, when: &str) -> String {
    format!("id: {when}\ndata: {{\"command\":\"update\",\"bug\":{bug},\"when\":\"{when}\"}}")
}

#[test]
fn an_address_is_a_subscription_and_each_update_an_event() {
    let (first, second) = (at(20), at(21));
    let server = Server::start(&["--feed", "/dev/=sqlite:dev.db?poll=5ms"]);
    let (mut client, head, reply) = listen(&server, "/events?bugs=5,7&bugs=%209", "");
    assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
    assert_eq!(
        reply,
        "event: subscribe\nid: 1970-01-01T00:00:00\n\
         data: {\"command\":\"subscribe\",\"result\":\"ok\",\"bugs\":[5,7,9],\"watermark\":null}"
    );
    let (_, _, other) = listen(&server, "/dev/events?bugs=5", "");
    assert!(other.contains("\"bugs\":[5]"), "{other}");
    let mut socket = server.connect();
    socket.ask(r#"{"command":"subscribe","bugs":[7]}"#);
    server.record(&[(5, &first), (6, &first), (7, &second)]);
    assert_eq!(client.event(), update(5, &first));
    assert_eq!(client.event(), update(7, &second));
    assert!(socket.hear().contains("\"bug\":7"), "both at once");
    let (_, _, later) = listen(&server, "/events?bugs=5", "");
    assert!(later.contains(&format!("\nid: {second}\n")), "{later}");
}

#[test]
fn who_comes_back_gets_what_it_has_missed() {
    let (first, second) = (at(20), at(21));
    let folder = tempfile::tempdir().unwrap();
    let options = ["--history", "history.db"];
    let server = Server::start_in(folder.path(), &options);
    let (mut client, _, reply) = listen(&server, "/events?bugs=5,6", "");
    server.record(&[(5, &first)]);
    let event = client.event();
    server.end(Signal::KILL);
    let server = Server::start_in(folder.path(), &options);
    server.record(&[(6, &second)]);
    for (event, is_complete) in [(reply, false), (event, true)] {
        let id = event.split("id: ").nth(1).unwrap().lines().next().unwrap();
        // What a browser sends counts, and not what the address said at first.
        let fields = format!("Last-Event-ID: {id}\r\n");
        let target = "/events?bugs=5,6&since=2040-01-01";
        let (mut client, _, reply) = listen(&server, target, &fields);
        assert!(
            reply.ends_with(&format!(r#","bugs":[5,6],"complete":{is_complete}}}"#)),
            "{id}: {reply}"
        );
        assert!(
            !reply.contains("id:"),
            "what was missed comes first: {reply}"
        );
        assert_eq!(client.event(), update(5, &first));
        assert_eq!(client.event(), update(6, &second));
    }
    let (_, _, reply) = listen(&server, "/events?bugs=5&since=2000-01-01T00%3A00%3A00", "");
    assert!(reply.ends_with(r#","complete":false}"#), "{reply}");
}

#[test]
fn what_cannot_be_had_is_refused_before_the_stream_begins() {
    let server = Server::start(&["--subscriptions", "2", "--origin", "https://a.example"]);
    for (target, fields, status, why) in [
        ("/events", "", "400", "/events?bugs=1234,5678"),
        ("/events?bugs=1,x", "", "400", "invalid bug id"),
        ("/events?bugs=*", "", "400", "invalid bug id"),
        ("/events?bugs=1,2,3", "", "400", "the limit is 2"),
        ("/events?bugs=1&since=soon", "", "400", "invalid since"),
        (
            "/events?bugs=1",
            "Last-Event-ID: soon\r\n",
            "400",
            "invalid since",
        ),
        (
            "/events?bugs=1",
            "Origin: https://b.example\r\n",
            "403",
            "origin",
        ),
        ("/eventss?bugs=1", "", "404", "nothing"),
        ("/events/?bugs=1", "", "404", "nothing"),
    ] {
        let mut client = ask(&server, target, fields);
        let head = client.head();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}: {head}"
        );
        let body = String::from_utf8(client.rest()).unwrap();
        assert!(body.contains(why), "{target}: {body}");
    }
    for method in ["POST", "HEAD"] {
        let mut client = Client::connect(server.address);
        client.send(format!(
            "{method} /events?bugs=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        ));
        assert!(client.head().starts_with("HTTP/1.1 405 "), "{method}");
    }
}

#[test]
fn a_server_that_is_full_refuses_events_as_it_refuses_websockets() {
    let server = Server::start(&["--connections", "1"]);
    let (_client, _, _) = listen(&server, "/events?bugs=1", "");
    assert!(
        ask(&server, "/events?bugs=1", "")
            .head()
            .starts_with("HTTP/1.1 503 ")
    );
    let mut socket = Client::connect(server.address);
    socket.send(support::client::UPGRADE);
    assert!(socket.head().starts_with("HTTP/1.1 503 "));
}

#[test]
fn pages_may_read_what_their_origins_may_have() {
    let origin = "Origin: https://a.example\r\n";
    let server = Server::start(&[]);
    let (_, head, _) = listen(&server, "/events?bugs=1", origin);
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: *\r\n"),
        "{head}"
    );
    let server = Server::start(&["--origin", "https://a.example"]);
    let (_, head, _) = listen(&server, "/events?bugs=1", origin);
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: https://a.example\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nVary: Origin\r\n") && !head.contains("Credentials"),
        "{head}"
    );
}

#[test]
fn a_silent_stream_has_comments_and_what_its_client_says_is_passed_over() {
    let first = at(20);
    let server = Server::start(&["--ping", "200ms", "--pong", "200ms"]);
    let (mut client, _, _) = listen(&server, "/events?bugs=5", "");
    client.send("GET / HTTP/1.1\r\n\r\n");
    for _ in 0..4 {
        assert_eq!(client.event(), ":");
    }
    server.record(&[(5, &first)]);
    let event = std::iter::repeat_with(|| client.event()).find(|event| event != ":");
    assert_eq!(event.unwrap(), update(5, &first));
}

#[test]
fn a_server_that_goes_away_says_so_and_ends_the_stream_in_order() {
    let server = Server::start(&[]);
    let (mut client, _, _) = listen(&server, "/events?bugs=5", "");
    server.program().signal(Signal::TERM);
    assert_eq!(client.event(), ": 1001 the server is going away");
    assert_eq!(client.rest(), b"");
    assert!(server.wait().0.success());
}

#[test]
fn those_who_run_the_server_see_how_many_there_are() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let line = server.program().wait_for_line("; admin: ");
    let address = line.rsplit("; admin: ").next().unwrap().parse().unwrap();
    let status = |what: &str| {
        let mut admin = Client::connect(address);
        admin.send("GET /status HTTP/1.1\r\nHost: a\r\n\r\n");
        admin.head();
        let status: serde_json::Value = serde_json::from_slice(&admin.rest()).unwrap();
        status["connections"][what].as_u64().unwrap()
    };
    let (client, _, _) = listen(&server, "/events?bugs=5", "");
    let _socket = server.connect();
    assert_eq!((status("open"), status("events")), (2, 1));
    drop(client);
    wait_until("it is gone", || (status("events") == 0).then_some(()));
}

#[test]
#[ignore = "needs curl: run tests/run"]
fn curl_shows_each_event_at_once() {
    let server = Server::start(&[]);
    let url = format!("http://{}/events?bugs=5", server.address);
    let mut curl = Command::new("curl")
        .args(["-sN", &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(curl.stdout.take().unwrap()));
    let mut wait_for = |text: &str| {
        lines
            .find(|line| line.as_ref().unwrap().contains(text))
            .unwrap()
            .unwrap()
    };
    wait_for(r#""bugs":[5]"#);
    server.record(&[(5, &at(20))]);
    wait_for(r#""bug":5"#);
    curl.kill().unwrap();
    curl.wait().unwrap();
}

#[test]
#[ignore = "needs Chromium: run tests/run"]
fn chromium_misses_nothing_across_a_restart() {
    misses_nothing_across_a_restart(Browser::start_chromium());
}

#[test]
#[ignore = "needs Firefox: run tests/run"]
fn firefox_misses_nothing_across_a_restart() {
    misses_nothing_across_a_restart(Browser::start_firefox());
}

fn misses_nothing_across_a_restart(mut browser: Browser) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &["--history", "history.db"]);
    let address = server.address.to_string();
    browser.open(&format!("http://{address}/"));
    browser.evaluate(
        "window.got = []; window.source = new EventSource('/events?bugs=5,6');
         source.onmessage = ({ data }) => got.push(JSON.parse(data).bug);
         source.addEventListener('subscribe', ({ data }) => got.push(JSON.parse(data).complete ?? 'new')); null",
    );
    browser.wait_for("got.length === 1");
    server.record(&[(5, &at(20))]);
    browser.wait_for("got.length === 2");
    server.end(Signal::KILL);
    let table = rusqlite::Connection::open(folder.path().join("bugzfeed.db")).unwrap();
    let insert = "INSERT INTO push_notify (bug_id, delta_ts) VALUES (6, ?1)";
    table.execute(insert, [at(21)]).unwrap();
    drop(table);
    let options = ["--history", "history.db", "--listen", &address];
    let _server = Server::start_in(folder.path(), &options);
    browser.wait_for("got.includes(6)");
    let got = browser.evaluate("got.join()");
    assert!(
        ["new,5,true,5,6", "new,5,true,6,5"].contains(&got.as_str().unwrap()),
        "{got}"
    );
}
