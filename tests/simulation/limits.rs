//! What a client may own and how much it may send, at the limit and one beyond.

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::server::Limits;
use bugzfeed::update::FeedId;

use crate::cases::{Actor, Stage};
use crate::client::frame_of;

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
