//! What `watch` asks for and prints.

use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::feed::{Feed, update};
use crate::program::Program;

const OK: &str = r#"{"command":"subscribe","result":"ok","bugs":[1234]}"#;
const SUBSCRIBE: &str = r#"{"command":"subscribe","bugs":[1234]}"#;

#[test]
fn an_update_is_a_line_with_its_time_to_the_byte() {
    let feed = Feed::open();
    let watch = Program::start(["watch", &feed.url(), "1234"]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    watch.says(&format!("connected to {}, watching 1 bug", feed.url()));
    client.send(&update(1234, "2014-04-03T21:13:45"));
    assert_eq!(watch.line(), "2014-04-03T21:13:45 bug 1234");
    client.send(&update(1234, "2014-04-03 21:13:46.5Z"));
    assert_eq!(watch.line(), "2014-04-03 21:13:46.5Z bug 1234");
}

#[test]
fn json_is_the_servers_message_in_one_line() {
    let feed = Feed::open();
    let watch = Program::start(["watch", "--json", &feed.url(), "1234"]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    client.send("{\"command\":\"update\",\r\n \"when\":\"2014-04-03T21:13:45\",\"bug\":1234, \"new key\":\"\\n\"}");
    assert_eq!(
        watch.line(),
        r#"{"command":"update",   "when":"2014-04-03T21:13:45","bug":1234, "new key":"\n"}"#
    );
}

#[test]
fn all_bugs_are_subscribed_at_once_each_once_and_since_the_time_asked_for_in_utc() {
    let feed = Feed::open();
    let _watch = Program::start([
        "watch",
        "--since",
        "2014-04-03 23:13:45+02:00",
        &feed.url(),
        "30",
        "7",
        "30",
        "+007",
    ]);
    feed.accept().subscribed(
        r#"{"command":"subscribe","bugs":[7,30],"since":"2014-04-03T21:13:45"}"#,
        OK,
        &[],
    );
}

#[test]
fn ten_thousand_bugs_fit_into_one_message_and_one_reply() {
    let feed = Feed::open();
    let bugs: Vec<String> = (1_000_000..1_010_000).map(|bug| bug.to_string()).collect();
    let arguments = ["watch".to_owned(), feed.url()]
        .into_iter()
        .chain(bugs.iter().cloned());
    let watch = Program::start(arguments);
    let bugs = bugs.join(",");
    let reply = format!(
        r#"{{"command":"subscribe","result":"ok","bugs":[{}]}}"#,
        [bugs.as_str(); 20].join(",")
    );
    feed.accept().subscribed(
        &format!(r#"{{"command":"subscribe","bugs":[{bugs}]}}"#),
        &reply,
        &[],
    );
    watch.says("watching 10000 bugs");
}

#[test]
fn the_url_may_be_an_option_and_may_be_http() {
    let feed = Feed::open();
    let _watch = Program::start([
        "watch",
        "--url",
        &feed.url().replace("ws://", "http://"),
        "1234",
    ]);
    feed.accept().expect(SUBSCRIBE);
}

#[test]
fn after_the_wanted_number_of_updates_the_watch_says_goodbye_and_ends() {
    let feed = Feed::open();
    let watch = Program::start(["watch", "--quiet", "--count", "2", &feed.url(), "1234"]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    for second in 1..=3 {
        client.send(&update(1234, &format!("2014-04-03T21:13:0{second}")));
    }
    assert_eq!(
        client.read(),
        Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "".into()
        }))
    );
    client.expect_gone();
    let lines = [
        "2014-04-03T21:13:01 bug 1234".to_owned(),
        "2014-04-03T21:13:02 bug 1234".to_owned(),
    ];
    assert_eq!(watch.ends(), (Some(0), lines.to_vec(), String::new()));
}

#[test]
fn what_is_neither_an_update_nor_a_reply_is_passed_over_with_a_word_that_a_terminal_does_not_obey()
{
    let feed = Feed::open();
    let watch = Program::start(["watch", &feed.url(), "1234"]);
    let mut client = feed.accept();
    client.subscribed(SUBSCRIBE, OK, &[]);
    client.send("\x1b[2J");
    client.send(&update(1234, "2014-04-03T21:13:45"));
    assert_eq!(watch.line(), "2014-04-03T21:13:45 bug 1234");
    let said = watch.says("passed over").pop().unwrap();
    assert!(said.ends_with(r"\u{1b}[2J"), "{said}");
}
