//! A feed that catches up with Bugzilla itself: what its source has lost is made good, and
//! `complete` is true of what Bugzilla has answered. The source is a webhook to which nobody posts.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use bugzfeed::update::When;
use bugzfeed::work::unix_now;
use rusqlite::{Connection, params};
use rustix::process::Signal;

use support::client::Client;
use support::server::Server;

const SOURCE: [&str; 2] = ["--source", "webhook:?key=secret"];

/// The database of a Bugzilla in UTC, as far as it is asked.
struct Bugzilla(Connection);

impl Bugzilla {
    fn new(folder: &Path) -> Self {
        let database = Connection::open(folder.join("bugs.db")).unwrap();
        database
            .execute_batch("CREATE TABLE bugs (bug_id INTEGER PRIMARY KEY, delta_ts DATETIME)")
            .unwrap();
        Self(database)
    }

    /// Somebody edits a bug, and no source notices.
    fn edit(&self, bug: u32, seconds: i64) {
        let time = When::from_unix_seconds(seconds)
            .to_string()
            .replace('T', " ");
        self.0
            .execute("REPLACE INTO bugs VALUES (?1, ?2)", params![bug, time])
            .unwrap();
    }
}

fn start(folder: &Path, catch_up: &str) -> Server {
    let options = [&SOURCE[..], &["--catch-up", catch_up]].concat();
    Server::start_in(folder, &options)
}

/// Subscribes, and returns whether the answer is complete.
fn subscribe(client: &mut Client, bug: u32, since: i64) -> bool {
    let since = When::from_unix_seconds(since);
    let question = format!(r#"{{"command":"subscribe","bugs":[{bug}],"since":"{since}"}}"#);
    let answer = client.ask(&question);
    let complete =
        format!(r#"{{"command":"subscribe","result":"ok","bugs":[{bug}],"complete":true}}"#);
    assert!(
        answer == complete || answer == complete.replace("true", "false"),
        "{answer}"
    );
    answer == complete
}

fn update(bug: u32, seconds: i64) -> String {
    let when = When::from_unix_seconds(seconds);
    format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#)
}

#[test]
fn a_first_start_knows_all_that_bugzilla_knows() {
    let folder = tempfile::tempdir().unwrap();
    let bugzilla = Bugzilla::new(folder.path());
    let long_ago = unix_now() - 1_000_000;
    bugzilla.edit(7, long_ago);
    let server = start(folder.path(), "sqlite:bugs.db?tz=UTC");
    let mut client = server.connect();
    assert!(subscribe(&mut client, 7, long_ago - 1_000_000));
    assert_eq!(client.hear(), update(7, long_ago));
}

#[test]
fn what_changed_while_the_server_was_away_is_replayed_and_nothing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let bugzilla = Bugzilla::new(folder.path());
    let known = unix_now() - 100;
    bugzilla.edit(7, known);
    let server = start(folder.path(), "sqlite:bugs.db?tz=UTC");
    assert!(subscribe(&mut server.connect(), 7, known));
    server.end(Signal::KILL);

    let missed = unix_now();
    bugzilla.edit(7, missed);
    let server = start(folder.path(), "sqlite:bugs.db?tz=UTC");
    let mut client = server.connect();
    assert!(subscribe(&mut client, 7, known + 1));
    // Somebody may have seen a newer time than that of an edit that was committed late.
    assert_eq!(client.hear(), update(7, known));
    assert_eq!(client.hear(), update(7, missed));
}

#[test]
fn more_bugs_than_the_history_holds_are_complete_as_far_back_as_it_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let bugzilla = Bugzilla::new(folder.path());
    let day = |days: i64| unix_now() - days * 86_400;
    for days in 1..=20 {
        bugzilla.edit(days as u32, day(days));
    }
    let options = [
        &SOURCE[..],
        &[
            "--catch-up",
            "sqlite:bugs.db?tz=UTC",
            "--history-size",
            "10",
        ],
    ];
    let server = Server::start_in(folder.path(), &options.concat());
    assert!(subscribe(&mut server.connect(), 3, day(9)));
    assert!(!subscribe(&mut server.connect(), 3, day(15)));
}

#[test]
fn a_bugzilla_that_does_not_answer_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "sqlite:no-such-file.db");
    assert!(!subscribe(&mut server.connect(), 7, unix_now()));
    server
        .program()
        .wait_for_line("sqlite:no-such-file.db: cannot open the file");
}

/// A Bugzilla's REST interface, as a stock 5.2 answers, with one bug.
struct Rest {
    address: SocketAddr,
    /// The lines of all requests.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Rest {
    fn start(bug: u32, seconds: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                seen.lock().unwrap().extend(head.first().cloned());
                let when = When::from_unix_seconds(seconds);
                let body = format!(r#"{{"bugs":[{{"last_change_time":"{when}Z","id":{bug}}}]}}"#);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { address, requests }
    }
}

#[test]
fn over_http_bugzilla_is_asked_by_its_stock_interface() {
    let folder = tempfile::tempdir().unwrap();
    let changed = unix_now() - 1_000;
    let rest = Rest::start(7, changed);
    let url = format!("http://{}/bugzilla#sees=all", rest.address);
    let server = start(folder.path(), &url);
    let mut client = server.connect();
    assert!(subscribe(&mut client, 7, changed - 1_000));
    assert_eq!(client.hear(), update(7, changed));
    let requests = rest.requests.lock().unwrap();
    assert_eq!(requests[0], "GET /bugzilla/rest/time HTTP/1.1");
    assert_eq!(
        requests[1],
        "GET /bugzilla/rest/bug?include_fields=id%2Clast_change_time&last_change_time=1970-01-01T00%3A00%3A00Z&limit=1000&offset=0&order=changeddate+DESC%2Cbug_id+DESC HTTP/1.1"
    );
}

#[test]
fn who_does_not_see_all_bugs_makes_good_what_it_sees_and_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let changed = unix_now() - 1_000;
    let rest = Rest::start(7, changed);
    let server = start(folder.path(), &format!("http://{}/", rest.address));
    server.program().wait_for_line("catching up with http://");
    let mut client = server.connect();
    assert!(!subscribe(&mut client, 7, changed - 1_000));
    assert_eq!(client.hear(), update(7, changed));
}
