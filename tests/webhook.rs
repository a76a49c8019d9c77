//! A webhook of Bugzilla's as the source: bugzilla.mozilla.org's Push extension posts a message for
//! each change, with a key in a header field, takes any 2xx for an answer, and posts again later
//! otherwise.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::disk::Disk;
use support::server::{PATIENCE, Program, Server};

const MESSAGE: &str = r#"{"webhook_name":"bugzfeed","webhook_id":1,
    "event":{"action":"modify","target":"bug","routing_key":"bug.modify:status","time":"2014-04-03T21:13:45","user":{"id":1}},
    "bug":{"id":1234,"is_private":false,"summary":"It is broken"}}"#;

/// Posts a message with this key, and returns the first line of the answer.
fn post(address: SocketAddr, path: &str, key: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: a\r\nX-Bugzilla-Key: {key}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

const SOURCE: [&str; 2] = ["--source", "webhook:?header=X-Bugzilla-Key&key=secret"];

#[test]
fn what_is_posted_reaches_every_subscriber_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &SOURCE);
    let mut client = server.connect();
    client.say(r#"{"command":"subscribe","bugs":1234}"#);
    assert_eq!(
        client.hear(),
        r#"{"command":"subscribe","result":"ok","bugs":[1234]}"#
    );
    assert_eq!(
        post(server.address, "/webhook", "secret", MESSAGE),
        "HTTP/1.1 200 OK"
    );
    assert_eq!(
        client.hear(),
        r#"{"command":"update","bug":1234,"when":"2014-04-03T21:13:45"}"#
    );
    server.end(rustix::process::Signal::KILL);

    let server = Server::start_in(folder.path(), &SOURCE);
    let mut client = server.connect();
    client.say(r#"{"command":"subscribe","bugs":1234,"since":"2014-04-03T21:13:45"}"#);
    client.hear();
    assert_eq!(
        client.hear(),
        r#"{"command":"update","bug":1234,"when":"2014-04-03T21:13:45"}"#
    );
}

#[test]
fn a_feed_of_its_own_has_a_webhook_of_its_own() {
    let server = Server::start(&["--feed", "/dev/=webhook:?header=X-Bugzilla-Key&key=other"]);
    assert_eq!(
        post(server.address, "/webhook", "other", MESSAGE),
        "HTTP/1.1 404 Not Found"
    );
    assert_eq!(
        post(server.address, "/dev/webhook", "other", MESSAGE),
        "HTTP/1.1 200 OK"
    );
}

#[test]
fn who_does_not_know_the_key_cannot_post() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    fs::write(&key_file, "from a file\n").unwrap();
    let source = format!(
        "webhook:?header=X-Bugzilla-Key&key_file={}",
        key_file.display()
    );
    let server = Server::start(&["--source", &source]);
    assert_eq!(
        post(server.address, "/webhook", "secret", MESSAGE),
        "HTTP/1.1 401 Unauthorized"
    );
    assert_eq!(
        post(server.address, "/webhook", "from a file", MESSAGE),
        "HTTP/1.1 200 OK"
    );
}

#[test]
fn a_wrong_key_is_logged_less_and_less_and_without_any_key() {
    let server = Server::start(&SOURCE);
    let refused = |key: &str| {
        assert_eq!(
            post(server.address, "/webhook", key, MESSAGE),
            "HTTP/1.1 401 Unauthorized"
        );
    };
    refused("hunter1");
    (0..19).for_each(|_| refused("hunter2"));
    let line = "a post to /webhook is refused, the number 10 of its kind: its header field X-Bugzilla-Key has no key, or a wrong one";
    server.program().wait_for_line(line);
    server.program().signal(rustix::process::Signal::TERM);
    let (_, log) = server.wait();
    let logged = log.matches("a post to /webhook is refused").count();
    assert_eq!(logged, 2, "{log}");
    assert!(!log.contains("hunter") && !log.contains("secret"), "{log}");
}

#[test]
fn what_is_no_json_is_refused_and_what_names_no_bug_is_dropped() {
    let server = Server::start(&SOURCE);
    for body in ["", "no JSON", "no JSON either"] {
        assert_eq!(
            post(server.address, "/webhook", "secret", body),
            "HTTP/1.1 400 Bad Request",
            "{body}"
        );
    }
    // A sender that gets a refusal posts nothing else until it is taken.
    for body in ["{}", r#"{"event":{"target":"bug"},"bug":{"id":1}}"#] {
        assert_eq!(
            post(server.address, "/webhook", "secret", body),
            "HTTP/1.1 200 OK",
            "{body}"
        );
    }
    server
        .program()
        .wait_for_line("a post of 0 bytes records no change: no JSON in UTF-8");
}

/// What a sender has given up in the meantime is missing.
#[test]
fn an_absence_longer_than_posts_are_repeated_is_a_known_gap() {
    let folder = tempfile::tempdir().unwrap();
    let start = |repeats: &str| {
        let source = format!("webhook:?header=X-Bugzilla-Key&key=secret&repeats={repeats}");
        Server::start_in(folder.path(), &["--source", &source])
    };
    let server = start("1h");
    assert_eq!(
        post(server.address, "/webhook", "secret", MESSAGE),
        "HTTP/1.1 200 OK"
    );
    server.end(rustix::process::Signal::KILL);
    let history = rusqlite::Connection::open(folder.path().join("bugzfeed.db")).unwrap();
    let set = |sql: &str| assert_eq!(history.execute(sql, []).unwrap(), 1);
    set("UPDATE history_feeds SET is_whole = 1, floor = 0");
    let complete = |server: &Server| {
        let question = r#"{"command":"subscribe","bugs":1,"since":"2014-04-03T21:13:45"}"#;
        server
            .connect()
            .ask(question)
            .contains(r#""complete":true"#)
    };
    let server = start("1h");
    assert!(complete(&server));
    server.end(rustix::process::Signal::KILL);
    set("UPDATE history_notes SET value = value - 3601 WHERE name = 'webhook-seen'");
    assert!(!complete(&start("1h")));
    assert!(!complete(&start("1h")));
}

#[test]
fn a_server_that_is_full_still_takes_what_its_clients_wait_for() {
    let server = Server::start(&[&SOURCE[..], &["--connections", "1"]].concat());
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[1234]}"#);
    assert_eq!(
        post(server.address, "/webhook", "secret", MESSAGE),
        "HTTP/1.1 200 OK"
    );
    assert!(
        client
            .hear()
            .starts_with(r#"{"command":"update","bug":1234,"#)
    );
}

#[test]
fn one_connection_carries_many_posts_and_a_websocket_in_the_end() {
    let server = Server::start(&SOURCE);
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = MESSAGE.len();
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Bugzilla-Key: secret\r\nContent-Length: {length}\r\n\r\n{MESSAGE}"
    );
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // More at once than is read in one turn.
    let posts = 1_000;
    let mut sender = stream.try_clone().unwrap();
    let all = request.repeat(posts) + upgrade;
    let sending = std::thread::spawn(move || sender.write_all(all.as_bytes()).unwrap());
    let mut answers = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = || {
        let status = answers.next().unwrap();
        let rest = answers.by_ref().take_while(|line| !line.is_empty());
        (status, rest.collect::<Vec<_>>().join("\r\n"))
    };
    for number in 0..posts {
        let (status, fields) = next();
        assert_eq!(status, "HTTP/1.1 200 OK", "{number}");
        assert!(!fields.contains("Connection: close"), "{fields}");
    }
    assert_eq!(next().0, "HTTP/1.1 101 Switching Protocols");
    sending.join().unwrap();
}

#[test]
fn silent_connections_and_slow_posts_keep_no_post_out_of_a_full_server() {
    let full = ["--connections", "1", "--handshake-timeout", "1h"];
    let server = Server::start(&[&SOURCE[..], &full].concat());
    let _client = server.connect();
    let length = MESSAGE.len();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Bugzilla-Key: secret\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    // A post that is slow, of somebody who knows the key, is not what makes room for others, nor do
    // many of them keep others out.
    let mut slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut slow = TcpStream::connect(server.address).unwrap();
            slow.set_read_timeout(Some(PATIENCE)).unwrap();
            slow.write_all(head.as_bytes()).unwrap();
            slow
        })
        .collect();
    let _crowd: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    for _ in 0..3 {
        assert_eq!(
            post(server.address, "/webhook", "secret", MESSAGE),
            "HTTP/1.1 200 OK"
        );
    }
    for slow in &mut slow[..32] {
        slow.write_all(MESSAGE.as_bytes()).unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}

#[test]
fn a_post_in_chunks_that_waits_for_a_word_is_taken() {
    let server = Server::start(&SOURCE);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"POST /webhook HTTP/1.1\r\nHost: a\r\nX-Bugzilla-Key: secret\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    for chunk in MESSAGE.as_bytes().chunks(50) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn what_cannot_be_kept_is_to_be_posted_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &SOURCE);
    server
        .program()
        .wait_for_line("reading updates from webhook:");
    let database = rusqlite::Connection::open(folder.path().join("bugzfeed.db")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    database.execute_batch("DROP TABLE history").unwrap();
    assert_eq!(
        post(server.address, "/webhook", "secret", MESSAGE),
        "HTTP/1.1 503 Service Unavailable"
    );
}

#[test]
fn a_history_whose_disk_is_full_is_waited_for_and_one_that_is_alone_on_a_small_disk_fits() {
    let Some(disk) = Disk::mount() else { return };
    disk.fill();
    let options = [&["serve", "--listen", "127.0.0.1:0"], &SOURCE[..]].concat();
    let waiting = Program::start(disk.path(), &options);
    waiting.wait_for_line("is full; trying again until it works");
    disk.make_room();
    waiting.wait_for_line(" listens on ");
    drop(waiting);
    let server = Server::start_in(disk.path(), &SOURCE);
    for _ in 0..600 {
        assert_eq!(
            post(server.address, "/webhook", "secret", MESSAGE),
            "HTTP/1.1 200 OK"
        );
    }
}
