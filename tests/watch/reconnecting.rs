//! How `watch` notices that a feed is lost, and how it goes on.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bugzfeed::client::{Connector, Heard};
use bugzfeed::update::When;
use tungstenite::Message;

use crate::feed::{Connection, Feed, update};
use crate::program::Program;
use crate::support::server::PATIENCE;

const OK: &str = r#"{"command":"subscribe","result":"ok","bugs":[1,2]}"#;
const COMPLETE: &str = r#"{"command":"subscribe","result":"ok","bugs":[1,2],"complete":true}"#;
const INCOMPLETE: &str = r#"{"command":"subscribe","result":"ok","bugs":[1,2],"complete":false}"#;
const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[1,2]}"#;

fn subscribe_since(when: &str) -> String {
    format!(r#"{{"command":"subscribe","bugs":[1,2],"since":"{when}"}}"#)
}

/// A watch of bugs 1 and 2, connected.
fn watch(feed: &Feed, options: &[&str]) -> (Program, Connection<std::net::TcpStream>) {
    let watch = Program::start(["watch", &feed.url(), "1", "2"].iter().chain(options));
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    (watch, client)
}

#[test]
fn a_feed_that_is_not_there_yet_is_tried_again() {
    let feed = Feed::closed();
    let watch = Program::start(["watch", &feed.url(), "1", "2"]);
    watch.says("Connection refused (os error 111); retrying in ");
    feed.listen();
    feed.accept().subscribed(SUBSCRIBE, OK, &[]);
    watch.says("connected to ");
}

#[test]
fn after_a_loss_the_watch_asks_for_what_it_missed_and_shows_nothing_twice() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &[]);
    for (bug, second) in [(1, 1), (2, 5), (1, 5), (1, 5), (2, 3)] {
        client.send(&update(bug, &format!("2014-04-03T21:13:0{second}")));
        assert_eq!(
            watch.line(),
            format!("2014-04-03T21:13:0{second} bug {bug}")
        );
    }
    drop(client);
    watch.says("retrying in ");
    let [a, b, c] = [(2, 5), (1, 5), (2, 3)]
        .map(|(bug, second)| update(bug, &format!("2014-04-03T21:13:0{second}")));
    // Of four that were shown, all come again; and between them, one that is the third of its kind.
    let mut missed = vec![a.clone(), b.clone(), b.clone(), b.clone(), c];
    feed.accept()
        .subscribed(&subscribe_since("2014-04-03T21:13:05"), COMPLETE, &missed);
    assert_eq!(watch.line(), "2014-04-03T21:13:05 bug 1");
    missed.push(update(2, "2014-04-03T21:13:06"));
    let mut client = feed.accept();
    client.subscribed(&subscribe_since("2014-04-03T21:13:05"), COMPLETE, &missed);
    assert_eq!(watch.line(), "2014-04-03T21:13:06 bug 2");
    // Live again: an edit that looks like one that was shown is another one within the same second.
    client.send(&a);
    assert_eq!(watch.line(), "2014-04-03T21:13:05 bug 2");
}

#[test]
fn who_is_closed_since_updates_may_have_been_missed_comes_back_waits_for_the_reply_and_is_warned() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &[]);
    client.send(&update(1, "2014-04-03T21:13:05"));
    watch.line();
    client.close(Some(1001), "updates may have been missed");
    watch.says("updates may have been missed");
    let mut client = feed.accept();
    client.expect(&subscribe_since("2014-04-03T21:13:05"));
    client.expect(r#"{"command":"version"}"#);
    // A server in doubt holds its answer; the watch says nothing else meanwhile.
    client.ping(b"held");
    assert_eq!(client.read(), Message::Pong("held".into()));
    client.send(INCOMPLETE);
    client.send(r#"{"command":"version","result":"ok","version":"0.9"}"#);
    watch.says("ask Bugzilla once");
    client.send(&update(2, "2014-04-03T21:13:06"));
    assert_eq!(watch.line(), "2014-04-03T21:13:06 bug 2");
}

#[test]
fn a_repeat_that_never_came_is_no_excuse_to_hide_a_live_update() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &[]);
    client.send(&update(1, "2014-04-03T21:13:05"));
    watch.line();
    drop(client);
    // This server forgot everything.
    let mut client = feed.accept();
    client.subscribed(&subscribe_since("2014-04-03T21:13:05"), INCOMPLETE, &[]);
    client.send(&update(1, "2014-04-03T21:13:05"));
    assert_eq!(watch.line(), "2014-04-03T21:13:05 bug 1");
}

#[test]
fn a_connection_lost_before_the_first_update_resumes_from_a_minute_before_it_was_made() {
    let feed = Feed::open();
    let now = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64
    };
    let before = now();
    let (watch, client) = watch(&feed, &[]);
    watch.says("connected to ");
    drop(client);
    let Message::Text(command) = feed.accept().read() else {
        panic!("no command")
    };
    let since = command
        .split('"')
        .nth_back(1)
        .unwrap()
        .parse::<When>()
        .unwrap();
    assert!(
        (before - 60..=now() - 60).contains(&since.unix_seconds()),
        "{command}"
    );
}

#[test]
fn the_watch_reconnects_whatever_the_close_code_and_answers_with_the_same() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &[]);
    watch.says("connected to ");
    for code in [
        Some(1001),
        Some(1000),
        None,
        Some(1008),
        Some(1011),
        Some(1013),
        Some(4000),
    ] {
        client.send(&update(1, "2014-04-03T21:13:05"));
        client.close(code, if code.is_some() { "maintenance" } else { "" });
        let said = watch.says("retrying in ").pop().unwrap();
        let reason = code
            .map(|code| format!("with code {code}, maintenance;"))
            .unwrap_or("closed the connection;".to_owned());
        assert!(said.contains(&reason), "{said}");
        // An update came, so the pauses do not grow.
        let pause = said
            .split("retrying in ")
            .nth(1)
            .and_then(|rest| rest.strip_suffix(" s"))
            .unwrap();
        assert!(pause.parse::<f64>().unwrap() <= 0.5, "{said}");
        client = feed.accept();
        client.subscribed(&subscribe_since("2014-04-03T21:13:05"), COMPLETE, &[]);
    }
}

#[test]
fn a_feed_that_is_overloaded_is_tried_again() {
    let feed = Feed::open();
    let watch = Program::start(["watch", &feed.url(), "1", "2"]);
    feed.answer(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 4\r\n\r\nfull",
    );
    watch.says("the server answers 503 Service Unavailable: full; retrying in ");
    feed.accept().subscribed(SUBSCRIBE, OK, &[]);
}

#[test]
fn a_resume_that_misses_something_is_said_on_stderr_only_and_even_when_quiet() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &["--quiet", "--json", "--count", "2"]);
    client.send(&update(1, "2014-04-03T21:13:05"));
    watch.line();
    drop(client);
    let missed = vec![update(2, "2014-04-03T21:13:07")];
    feed.accept()
        .subscribed(&subscribe_since("2014-04-03T21:13:05"), INCOMPLETE, &missed);
    let (code, lines, said) = watch.ends();
    assert_eq!((code, lines), (Some(0), missed));
    assert!(
        said.contains("does not remember all that changed since 2014-04-03T21:13:05:")
            && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_resume_at_the_original_server_which_promises_nothing_is_not_commented_on() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &["--quiet", "--count", "2"]);
    client.send(&update(1, "2014-04-03T21:13:05"));
    drop(client);
    let missed = [
        update(1, "2014-04-03T21:13:05"),
        update(2, "2014-04-03T21:13:07"),
    ];
    feed.accept()
        .subscribed(&subscribe_since("2014-04-03T21:13:05"), OK, &missed);
    let lines = [
        "2014-04-03T21:13:05 bug 1".to_owned(),
        "2014-04-03T21:13:07 bug 2".to_owned(),
    ];
    assert_eq!(watch.ends(), (Some(0), lines.to_vec(), String::new()));
}

#[test]
fn a_server_that_falls_silent_is_asked_for_a_sign_of_life_and_left_when_none_comes() {
    let feed = Feed::open();
    let watch = Program::start(["watch", "--silence-max", "300ms", &feed.url(), "1", "2"]);
    // Its system takes the bytes, but nobody answers them.
    let mut dead = feed.accept();
    watch.says("does not answer; retrying in ");
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    dead.expect(SUBSCRIBE);
    dead.expect(r#"{"command":"version"}"#);
    assert!(matches!(dead.read(), Message::Ping(_)));
    dead.expect_gone();
}

#[test]
fn a_silent_server_that_answers_is_kept() {
    let feed = Feed::open();
    let (watch, mut client) = watch(&feed, &["--silence-max", "1500ms"]);
    for _ in 0..2 {
        // To read a ping is to answer it, as tungstenite has it.
        assert!(matches!(client.read(), Message::Ping(_)));
    }
    client.send(&update(1, "2014-04-03T21:13:05"));
    assert_eq!(watch.line(), "2014-04-03T21:13:05 bug 1");
}

#[test]
fn the_servers_pings_are_answered() {
    let feed = Feed::open();
    let (_watch, mut client) = watch(&feed, &[]);
    client.ping(b"there?");
    assert_eq!(client.read(), Message::Pong("there?".into()));
}

#[test]
fn a_host_that_takes_the_connection_but_does_not_answer_is_given_up_after_the_timeout() {
    let feed = Feed::open();
    let connector = Connector::new(
        feed.url().parse().unwrap(),
        None,
        Duration::from_millis(100),
    )
    .unwrap();
    let start = Instant::now();
    let error = connector.connect().unwrap_err();
    assert_eq!(error.to_string(), "the server does not answer");
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn a_client_reads_until_its_deadline_whatever_the_timeout_for_connecting_was() {
    let feed = Feed::open();
    let connector = Connector::new(feed.url().parse().unwrap(), None, PATIENCE).unwrap();
    let server = thread::spawn(move || (feed.accept(), feed));
    let mut client = connector.connect().unwrap();
    let (mut server, _) = server.join().unwrap();
    let start = Instant::now();
    assert_eq!(
        client.read(start + Duration::from_millis(10)).unwrap(),
        Heard::Nothing
    );
    assert!(start.elapsed() < PATIENCE / 2);
    server.send("late");
    assert_eq!(
        client.read(start + PATIENCE).unwrap(),
        Heard::Text("late".into())
    );
}
