//! Answers that wait while it is about to be known whether updates are missing; and turns: what they
//! read and send, and that they are held up, or ended early.

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::promise::Promise;
use bugzfeed::update::{BugId, FeedId, Update, When};

use crate::cases::{Actor, Stage};
use crate::client::frame_of;
use crate::world::{LATE, LINGER};

const HOLD: u32 = 5_000;
const SHORT_DOUBT: u32 = 60_000;

const SINCE: &[u8] = br#"{"command":"subscribe","bugs":1,"since":"2026-01-01T00:00:00"}"#;
const VERSION: &[u8] = br#"{"command":"version"}"#;

impl Stage {
    fn promise(&mut self, promise: Promise) {
        self.server.promise(FeedId(0), promise);
        self.turn();
    }

    /// Whether a newcomer that asks with `since` is to wait.
    fn waits(&mut self) -> bool {
        let client = self.open();
        self.hear(&client, &frame_of(0x81, SINCE));
        let waits = client.takes().is_empty();
        client.handle.wire_mut().is_reset = true;
        self.server.readable(client.id, true, self.now);
        self.turn();
        waits
    }
}

fn subscriber(stage: &mut Stage, bugs: &str) -> Actor {
    let client = stage.open();
    let text = format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#);
    stage.hear(&client, &frame_of(0x81, text.as_bytes()));
    client.takes();
    client
}

#[test]
fn who_asks_in_a_doubt_waits_in_its_first_minute_and_again_in_the_next_doubt() {
    let mut stage = Stage::new();
    assert!(!stage.waits(), "there is no doubt");
    stage.promise(Promise::InDoubt);
    assert!(stage.waits());
    stage.pass(SHORT_DOUBT - 1);
    assert!(stage.waits());
    stage.pass(1);
    assert!(!stage.waits(), "it is likely to last on");
    stage.promise(Promise::InDoubt);
    assert!(!stage.waits(), "it is the same doubt");
    stage.promise(Promise::After(0));
    stage.promise(Promise::InDoubt);
    assert!(stage.waits());
}

#[test]
fn what_comes_behind_a_message_that_waits_is_answered_after_it_and_in_order() {
    let mut stage = Stage::new();
    stage.promise(Promise::InDoubt);
    let clients = [stage.open(), stage.open()];
    for client in &clients {
        stage.hear(client, &frame_of(0x81, SINCE));
        stage.hear(client, &frame_of(0x81, VERSION));
        assert_eq!(client.takes(), "");
    }
    stage.pass(HOLD - 1);
    assert!(clients.iter().all(|client| client.takes().is_empty()));
    stage.pass(1);
    while stage.server.has_left() {
        stage.server.resume(stage.now);
        stage.turn();
    }
    stage.turn();
    for client in &clients {
        let got = client.takes();
        let at = |text: &str| got.find(text).unwrap_or_else(|| panic!("{text}: {got}"));
        assert!(
            at(r#""complete":false"#) < at(r#""command":"version""#),
            "{got}"
        );
    }
}

#[test]
fn each_of_those_who_wait_is_answered_when_its_own_time_is_over() {
    let mut stage = Stage::new();
    stage.promise(Promise::InDoubt);
    let clients = [stage.open(), stage.open(), stage.open()];
    for client in &clients {
        stage.hear(client, &frame_of(0x81, SINCE));
        stage.pass(1_000);
    }
    stage.pass(HOLD - 3_000 - 1);
    for client in &clients {
        assert_eq!(client.takes(), "");
        stage.pass(1);
        assert!(client.takes().contains(r#""complete":false"#));
        stage.pass(1_000 - 1);
    }
}

#[test]
fn who_has_the_place_of_one_who_waited_and_left_waits_as_long_as_anybody() {
    let mut stage = Stage::new();
    stage.promise(Promise::InDoubt);
    let gone = stage.open();
    stage.hear(&gone, &frame_of(0x81, SINCE));
    gone.handle.wire_mut().is_reset = true;
    stage.server.readable(gone.id, true, stage.now);
    stage.turn();
    stage.pass(HOLD / 2);
    let client = stage.open();
    assert_eq!(client.id, gone.id, "the slot is used again");
    stage.hear(&client, &frame_of(0x81, SINCE));
    stage.pass(HOLD - 1);
    assert_eq!(client.takes(), "");
    stage.pass(1);
    assert!(client.takes().contains(r#""complete":false"#));
}

#[test]
fn an_update_that_is_held_up_comes_before_the_answer_to_what_was_asked_after_it() {
    let mut stage = Stage::new();
    let client = subscriber(&mut stage, "1");
    let when = When::from_unix_seconds(1_000);
    let bug = BugId::new(1).unwrap();
    stage.promise(Promise::InDoubt);
    stage.hear(&client, &frame_of(0x81, SINCE));
    stage
        .server
        .publish(FeedId(0), Update { bug, when }, i64::MAX);
    assert_eq!(stage.server.flush(0, stage.now), 0);
    assert!(stage.server.is_held_up());
    stage.server.promise(FeedId(0), Promise::After(0));
    stage.server.tick(stage.now);
    // The update was written for the answer's sake, and counts as what this turn has written.
    assert_eq!(stage.server.flush(1, stage.now), 1);
    assert_eq!(stage.server.flush(usize::MAX, stage.now), 1);
    let got = client.takes();
    let at = |text: &str| got.find(text).unwrap_or_else(|| panic!("{text}: {got}"));
    assert!(at(r#""command":"update""#) < at(r#""complete":"#), "{got}");
}

#[test]
fn a_turn_writes_to_so_many_clients_as_it_may_and_says_to_how_many() {
    let mut stage = Stage::new();
    let clients: Vec<Actor> = (0..3).map(|_| subscriber(&mut stage, "1")).collect();
    let got = |clients: &[Actor]| {
        let takes = |client: &&Actor| client.takes().contains(r#""bug":1"#);
        clients.iter().filter(takes).count()
    };
    let when = When::from_unix_seconds(1_000);
    let bug = BugId::new(1).unwrap();
    stage
        .server
        .publish(FeedId(0), Update { bug, when }, i64::MAX);
    assert_eq!(stage.server.flush(2, stage.now), 2);
    assert!(stage.server.is_held_up());
    assert_eq!(got(&clients), 2);
    assert_eq!(stage.server.flush(2, stage.now), 1);
    assert!(!stage.server.is_held_up());
    assert_eq!(got(&clients), 1);
    assert_eq!(stage.server.flush(2, stage.now), 0);
}

#[test]
fn a_turn_with_a_quarter_of_a_mebibyte_to_send_takes_no_more_updates() {
    const BYTES: usize = 256 * 1024;
    let mut stage = Stage::with(|| Hub::new(History::new(10, 0), 10));
    let client = subscriber(&mut stage, "[1,2,3]");
    for round in 0..2 {
        let mut updates = 0;
        while !stage.server.has_enough() {
            assert!(updates < BYTES, "round {round}");
            let bug = BugId::new(1 + updates as u32 % 3).unwrap();
            let when = When::from_unix_seconds(1_000);
            stage
                .server
                .publish(FeedId(0), Update { bug, when }, i64::MAX);
            updates += 1;
        }
        stage.turn();
        assert!(!stage.server.has_enough());
        let sent = client.takes().len();
        assert!(sent > BYTES / 2, "{sent} bytes");
        assert!(sent < BYTES + BYTES / 8, "{sent} bytes");
    }
}

#[test]
fn what_comes_at_once_costs_one_read_and_the_end_one_more() {
    let mut stage = Stage::new();
    let client = stage.open();
    let reads = || client.handle.wire().reads;
    let before = reads();
    stage.hear(&client, &frame_of(0x81, VERSION));
    assert!(client.takes().contains(r#""result":"ok""#));
    assert_eq!(reads(), before + 1);
    let mut wire = client.handle.wire_mut();
    wire.to_server.extend(frame_of(0x81, VERSION));
    wire.is_client_done = true;
    drop(wire);
    stage.server.readable(client.id, true, stage.now);
    stage.turn();
    assert!(client.takes().contains(r#""result":"ok""#));
    assert_eq!(reads(), before + 3);
}

#[test]
fn a_turn_that_is_held_up_puts_off_no_deadline_but_of_those_it_is_to_write_to() {
    let mut stage = Stage::new();
    let (client, silent) = (subscriber(&mut stage, "1"), stage.connect());
    let when = When::from_unix_seconds(1_000);
    let bug = BugId::new(1).unwrap();
    stage
        .server
        .publish(FeedId(0), Update { bug, when }, i64::MAX);
    stage.server.flush(0, stage.now);
    stage.now = stage.now.plus(Stage::limits().handshake);
    stage.server.tick(stage.now);
    stage.server.flush(usize::MAX, stage.now);
    assert!(silent.takes().starts_with("HTTP/1.1 408 "));
    assert!(client.takes().contains(r#""command":"update""#));
}

#[test]
fn who_sends_nothing_behind_its_close_is_gone_at_once_and_who_does_is_heard_out() {
    let mut stage = Stage::new();
    let (polite, talkative) = (stage.open(), stage.open());
    let close = frame_of(0x88, &1000_u16.to_be_bytes());
    stage.hear(&polite, &close);
    assert!(polite.handle.wire().is_dropped);
    stage.hear(&talkative, &[close, frame_of(0x81, VERSION)].concat());
    let wire = talkative.handle.wire();
    assert!(wire.is_server_done && !wire.is_dropped);
    drop(wire);
    stage.pass(LINGER + LATE);
    assert!(talkative.handle.wire().is_dropped);
}

#[test]
fn who_is_gone_when_it_is_told_why_it_ends_is_gone_at_once() {
    let mut stage = Stage::new();
    let client = stage.open();
    // What is written to a closed socket resets the connection.
    client.handle.wire_mut().is_client_gone = true;
    stage.hear(&client, &frame_of(0x81, b"\xff"));
    assert!(client.takes().ends_with("invalid UTF-8"));
    assert!(client.handle.wire().is_dropped);
}

#[test]
fn who_is_behind_is_not_closed_before_it_has_what_the_turn_has_for_it() {
    const WAITING_MAX: u32 = 10_000;
    let mut stage = Stage::with(|| Hub::new(History::new(10, 0), 10).with_firehose(true));
    let client = subscriber(&mut stage, r#""*""#);
    client.handle.wire_mut().room = 0;
    stage.change(1..=1 + WAITING_MAX);
    let publish = |stage: &mut Stage, number: u32| {
        let when = When::from_unix_seconds(1_000);
        let bug = BugId::new(number).unwrap();
        let update = Update { bug, when };
        stage.server.publish(FeedId(0), update, i64::MAX);
    };
    publish(&mut stage, 20_000);
    stage.server.flush(0, stage.now);
    // Its answer must not overtake what is held up, and the next update stands behind the answer.
    let ask = frame_of(0x81, VERSION);
    client.handle.wire_mut().to_server.extend(ask);
    stage.server.readable(client.id, false, stage.now);
    publish(&mut stage, 30_000);
    stage.turn();
    client.handle.wire_mut().room = usize::MAX;
    stage.server.writable(client.id, stage.now);
    stage.turn();
    let got = client.takes();
    let order = [r#""bug":20000"#, "version", r#""bug":30000"#].map(|text| got.find(text));
    assert!(order[0].is_some() && order.is_sorted(), "{order:?}");
    assert!(!client.is_closed());
}

#[test]
fn who_was_silent_for_long_has_its_moment_after_a_close_all_the_same() {
    let mut stage = Stage::new();
    let client = subscriber(&mut stage, "1");
    stage.pass(19_000);
    // What is due for another one is no reason to break it off early.
    let other = stage.connect();
    stage.hear(&other, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    stage.pass(1_000);
    stage.server.gap(FeedId(0), stage.now);
    stage.pass(LINGER - 1);
    assert!(client.takes().contains("updates may have been missed"));
    assert!(!client.handle.wire().is_dropped);
    stage.pass(LATE);
    assert!(client.handle.wire().is_dropped);
}
