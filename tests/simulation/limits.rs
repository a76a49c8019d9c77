//! What a client may own and how much it may send, at the limit and one beyond.

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::server::Limits;
use bugzfeed::update::FeedId;

use crate::cases::{Actor, Stage};
use crate::client::frame_of;
use crate::world::LATE;

fn say(stage: &mut Stage, actor: &Actor, text: &str) -> String {
    stage.hear(actor, &frame_of(0x81, text.as_bytes()));
    actor.takes()
}

fn subscribe(stage: &mut Stage, actor: &Actor, bugs: u32) {
    let bugs: Vec<String> = (1..=bugs).map(|bug| bug.to_string()).collect();
    let text = format!(r#"{{"command":"subscribe","bugs":[{}]}}"#, bugs.join(","));
    assert!(say(stage, actor, &text).contains(r#""result":"ok""#));
}

#[test]
fn as_many_messages_may_come_at_once_as_the_limit_says_and_then_one_in_its_time() {
    const VERSION: &str = r#"{"command":"version"}"#;
    let limits = Limits {
        messages_per_second: 10,
        messages_burst: 5,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let client = stage.open();
    for at in 0..20 {
        if at >= 5 {
            stage.pass(100);
        }
        let answer = say(&mut stage, &client, VERSION);
        assert!(
            answer.contains(r#""result":"ok""#),
            "message {at}: {answer}"
        );
    }
    stage.pass(99);
    assert!(say(&mut stage, &client, VERSION).contains("too many messages"));
    assert!(client.is_closed());
}

#[test]
fn subscriptions_count_for_what_a_client_owns_when_memory_is_short() {
    let mut stage = Stage::with_limits(Stage::limits(), || Hub::new(History::new(10, 0), 20_000));
    let (many, some) = (stage.open(), stage.open());
    subscribe(&mut stage, &many, 1_000);
    subscribe(&mut stage, &some, 500);
    // Each costs 24 bytes, and what the one owns is enough.
    let most = stage.open();
    subscribe(&mut stage, &most, 1_001);
    stage.server.close_dearest(24 * 1_001, stage.now);
    stage.turn();
    assert!(most.is_closed() && !many.is_closed());
    stage.server.close_dearest(u64::MAX, stage.now);
    stage.turn();
    assert!(many.takes().contains("the server is short of memory"));
    assert!(!some.is_closed());
}

#[test]
fn a_gap_that_follows_another_is_reported_when_ten_minutes_have_passed() {
    let mut stage = Stage::with_limits(Stage::limits(), || Hub::new(History::new(10, 0), 10));
    stage.server.gap(FeedId(0), stage.now);
    stage.pass(60_000);
    let client = stage.open();
    subscribe(&mut stage, &client, 1);
    stage.server.gap(FeedId(0), stage.now);
    let mut left = 600_000 - 60_000;
    while left > 1_000 {
        stage.pass(10_000);
        left -= 10_000;
        let got = client.takes();
        assert!(!got.contains("missed"), "{left} ms too early: {got}");
        if !got.is_empty() {
            stage.hear(&client, &frame_of(0x8a, b""));
        }
    }
    stage.pass(2_000);
    assert!(client.takes().contains("updates may have been missed"));
}

#[test]
fn who_asks_for_much_at_once_is_answered_as_much_as_it_takes_and_the_rest_in_later_turns() {
    const ASKED: usize = 20;
    const TURN_BYTES: usize = 64 * 1024;
    let hub = || Hub::new(History::new(10, 0), 20_000);
    let mut stage = Stage::with_limits(Stage::limits(), hub);
    let client = stage.open();
    subscribe(&mut stage, &client, 2_000);
    let took = || std::mem::take(&mut client.handle.wire_mut().written).len();
    let ask = frame_of(0x81, br#"{"command":"subscriptions"}"#);
    stage.hear(&client, &ask);
    let one = took();
    stage.hear(&client, &ask.repeat(ASKED));
    let first = took() / one;
    assert_eq!(first, TURN_BYTES / one + 1, "until it is too much");
    client.handle.wire_mut().room = one / 2;
    stage.server.resume(stage.now);
    stage.turn();
    let begun = took();
    assert_eq!(begun, one / 2);
    // Who does not take what it is sent is not asked what it wants next.
    stage.server.resume(stage.now);
    stage.turn();
    assert!(!stage.server.has_left());
    assert_eq!(took(), 0);
    client.handle.wire_mut().room = usize::MAX;
    stage.server.writable(client.id, stage.now);
    stage.turn();
    let second = (begun + took()) / one;
    assert_eq!(second, first);
    let mut rest = 0;
    while stage.server.has_left() {
        stage.server.resume(stage.now);
        stage.turn();
        rest += took() / one;
    }
    assert_eq!(first + second + rest, ASKED);
}

#[test]
fn a_message_has_its_time_and_no_more_however_late_the_next_ping_is() {
    let limits = Limits {
        message: 5_000,
        ping: 600_000,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let client = stage.open();
    stage.hear(&client, &frame_of(0x01, b"{"));
    stage.pass(5_000 - 1);
    assert!(!client.is_closed(), "closed before its time");
    stage.pass(LATE);
    assert!(client.takes().contains("the message did not come in time"));
}

#[test]
fn a_pong_that_breaks_the_rules_ends_the_connection_as_any_frame_does() {
    for first in [0x0a, 0xca] {
        let mut stage = Stage::new();
        let client = stage.open();
        stage.hear(&client, &frame_of(first, b""));
        assert!(client.takes().ends_with("protocol error"), "{first:#x}");
    }
}

#[test]
fn events_of_all_bugs_are_for_those_who_may_subscribe_to_all() {
    for (offers_all, expected) in [(true, r#""all":true"#), (false, "HTTP/1.1 400 ")] {
        let hub = || Hub::new(History::new(10, 0), 10).with_firehose(offers_all);
        let mut stage = Stage::with(hub);
        let client = stage.connect();
        stage.hear(&client, b"GET /events?bugs=* HTTP/1.1\r\nHost: a\r\n\r\n");
        let got = client.takes();
        assert!(got.contains(expected), "{got}");
    }
}

#[test]
fn a_turn_handles_so_many_messages_of_a_client_and_reads_so_often_from_it() {
    const MESSAGES: usize = 32;
    const READS: usize = 4;
    let limits = Limits {
        message_bytes_max: 1_000_000,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let client = stage.open();
    let ping = frame_of(0x89, b"");
    let answers = || client.handle.wire_mut().written.drain(..).len() / 2;
    stage.hear(&client, &ping.repeat(MESSAGES + 1));
    assert_eq!(answers(), MESSAGES);
    stage.server.resume(stage.now);
    stage.turn();
    assert_eq!(answers(), 1);
    let before = client.handle.wire().reads;
    stage.hear(&client, &frame_of(0x81, &[b' '; 1_000_000]));
    assert_eq!(client.handle.wire().reads - before, READS);
    assert!(stage.server.has_left());
}

#[test]
fn a_ping_may_come_when_the_message_around_it_is_as_large_as_one_may_be() {
    let limits = Limits {
        message_bytes_max: 1_000,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let client = stage.open();
    stage.hear(&client, &frame_of(0x01, &[b' '; 1_000]));
    stage.hear(&client, &frame_of(0x89, &[b'p'; 125]));
    assert!(client.takes().ends_with(&"p".repeat(125)));
    stage.hear(&client, &frame_of(0x80, b""));
    assert!(client.takes().contains("invalid JSON"));
    assert!(!client.is_closed());
}
