//! When `watch` ends by itself, and with which exit code.

use crate::feed::{Feed, update};
use crate::program::Program;

const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[1234]}"#;
const OK: &str = r#"{"command":"subscribe","result":"ok","bugs":[1234]}"#;

#[test]
fn a_url_that_is_refused_for_good_ends_the_watch_with_69_and_the_servers_words() {
    for (answer, words) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 20\r\n\r\nno feed at this path",
            "the server answers 404 Not Found: no feed at this path.",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>",
            "the server answers 403 Forbidden.",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\n\r\n",
            "the server answers 401 Unauthorized.",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://feed.example/\r\n\r\n",
            "the server answers 301 Moved: https://feed.example/.",
        ),
    ] {
        let feed = Feed::open();
        let watch = Program::start(["watch", &feed.url(), "1234"]);
        feed.answer(answer);
        let said = format!(
            "bugzfeed: there is no feed for us at {}: {words}",
            feed.url()
        );
        assert_eq!(watch.ends(), (Some(69), vec![], said));
    }
}

#[test]
fn a_url_that_was_removed_ends_the_watch_when_it_reconnects() {
    let feed = Feed::open();
    let watch = Program::start(["watch", "--quiet", &feed.url(), "1234"]);
    feed.accept().subscribed(SUBSCRIBE, OK, &[]);
    feed.answer("HTTP/1.1 404 Not Found\r\n\r\n");
    assert_eq!(watch.ends().0, Some(69));
}

#[test]
fn a_subscription_that_is_refused_ends_the_watch_with_1_and_the_servers_words() {
    for error in [
        "invalid bug id; must be integer",
        "too many subscriptions; the limit is 0",
    ] {
        let feed = Feed::open();
        let watch = Program::start(["watch", &feed.url(), "1234"]);
        let refusal = format!(r#"{{"command":"subscribe","result":"error","error":"{error}"}}"#);
        feed.accept().subscribed(SUBSCRIBE, &refusal, &[]);
        assert_eq!(
            watch.ends(),
            (
                Some(1),
                vec![],
                format!(
                    "bugzfeed: {} refuses the subscription: {error}.",
                    feed.url()
                )
            )
        );
    }
}

#[test]
fn without_retries_a_feed_that_cannot_be_reached_ends_the_watch_with_69() {
    let feed = Feed::closed();
    let watch = Program::start(["watch", "--no-retry", &feed.url(), "1234"]);
    let said = format!(
        "bugzfeed: cannot connect to {}: Connection refused (os error 111).",
        feed.url()
    );
    assert_eq!(watch.ends(), (Some(69), vec![], said));
}

#[test]
fn without_retries_a_feed_that_is_lost_ends_the_watch_with_69() {
    let feed = Feed::open();
    let watch = Program::start(["watch", "--no-retry", "--quiet", &feed.url(), "1234"]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    client.close(Some(1001), "");
    let said = format!(
        "bugzfeed: lost {}: the server closed the connection with code 1001.",
        feed.url()
    );
    assert_eq!(watch.ends(), (Some(69), vec![], said));
}

#[test]
fn a_stdout_that_nobody_reads_any_more_is_no_failure() {
    let feed = Feed::open();
    let watch = Program::start_unread(["watch", "--quiet", &feed.url(), "1234"]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    client.send(&update(1234, "2014-04-03T21:13:45"));
    assert_eq!(watch.ends(), (Some(0), vec![], String::new()));
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_2_and_what_is_accepted() {
    for (arguments, said) in [
        (
            &["x"][..],
            "a bug id must be a decimal number from 1 to 2147483647, or the URL of a feed such as ws://127.0.0.1:8844/",
        ),
        (&["0"], "a bug id must be a decimal number"),
        (&["ws://localhost/"], "no bug is named"),
        (
            &["1", "ws://localhost/"],
            "ws://localhost/ does not stand before the bugs",
        ),
        (
            &["ftp://localhost/", "1"],
            "accepted are ws://HOST[:PORT]/PATH and wss://…",
        ),
        (
            &["--since", "yesterday", "1"],
            "a time must be YYYY-MM-DDTHH:MM:SS in UTC",
        ),
        (
            &["--silence-max", "0s", "1"],
            "it must be longer than nothing",
        ),
        (
            &["--count", "0", "1"],
            "invalid value '0' for '--count <N>'",
        ),
        (&["--cacert", "ca.pem", "1"], "--cacert is for wss:// only"),
    ] {
        let (code, lines, stderr) = Program::start(["watch"].iter().chain(arguments)).ends();
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert_eq!((code, lines.len()), (Some(2), 0), "{arguments:?}");
    }
}
