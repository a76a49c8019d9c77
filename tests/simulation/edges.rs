//! Time and size at their edges: an uptime at which the loop's clock has wrapped, the smallest and
//! the largest bug, times that 32 bits do not hold, and thousands of clients or bugs at once.

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::server::Limits;
use bugzfeed::update::{BugId, FeedId, Update, When};

use crate::cases::{Actor, Stage};
use crate::client::{UPGRADE, frame_of};

const HOUR: u32 = 3_600_000;
const DAY: u32 = 24 * HOUR;

/// After so many days, the loop's clock begins again.
const DAYS_UNTIL_WRAP: u32 = 50;

const PING: &str = "\u{fffd}\0";

fn stage(limits: Limits) -> Stage {
    Stage::with_limits(limits, || Hub::new(History::new(100, 0), 20_000))
}

fn say(stage: &mut Stage, actor: &Actor, text: &str) -> String {
    stage.hear(actor, &frame_of(0x81, text.as_bytes()));
    actor.takes()
}

/// Time passes; as the loop does, which writes a line into the log each hour.
fn pass_hourly(stage: &mut Stage, days: u32) {
    for _ in 0..days * 24 {
        stage.pass(HOUR);
    }
}

#[test]
fn a_client_is_served_however_long_the_server_has_been_up() {
    let mut stage = stage(Limits {
        ping: DAY,
        pong: DAY,
        ..Stage::limits()
    });
    let client = stage.open();
    say(&mut stage, &client, r#"{"command":"subscribe","bugs":7}"#);
    for day in 0..=2 * DAYS_UNTIL_WRAP {
        pass_hourly(&mut stage, 1);
        assert!(!client.is_closed(), "on day {day}");
        if client.takes() == PING {
            stage.hear(&client, &frame_of(0x8a, b""));
        }
        stage.change(7..=7);
        assert!(client.takes().contains(r#""bug":7"#), "on day {day}");
    }
}

#[test]
fn who_comes_after_months_without_anybody_is_served_as_the_first_was() {
    for days in [20, 25, 30, 49, DAYS_UNTIL_WRAP, 75] {
        let mut stage = stage(Stage::limits());
        let first = stage.open();
        first.handle.wire_mut().is_reset = true;
        stage.server.readable(first.id, true, stage.now);
        stage.turn();
        assert!(first.is_closed());
        pass_hourly(&mut stage, days);
        let client = stage.open();
        let answer = say(&mut stage, &client, r#"{"command":"subscribe","bugs":7}"#);
        assert!(
            answer.contains(r#""bugs":[7]"#),
            "after {days} days: {answer}"
        );
        stage.pass(20_000);
        assert_eq!(client.takes(), "", "after {days} days");
        stage.pass(11_000);
        assert_eq!(client.takes(), PING, "after {days} days");
        stage.hear(&client, &frame_of(0x8a, b""));
        // Who says nothing at all has a minute.
        let silent = stage.connect();
        stage.pass(59_000);
        assert!(!silent.is_closed(), "after {days} days");
        stage.pass(5_000);
        assert!(silent.is_closed(), "after {days} days");
    }
}

#[test]
fn a_gap_is_reported_however_long_ago_the_last_one_was() {
    for days in [1, 24, 25, 40, DAYS_UNTIL_WRAP] {
        let mut stage = stage(Stage::limits());
        stage.server.gap(FeedId(0), stage.now);
        pass_hourly(&mut stage, days);
        let client = stage.open();
        say(&mut stage, &client, r#"{"command":"subscribe","bugs":7}"#);
        stage.server.gap(FeedId(0), stage.now);
        stage.pass(1_000);
        let got = client.takes();
        assert!(
            got.contains("updates may have been missed"),
            "after {days} days: {got}"
        );
    }
}

#[test]
fn the_first_and_the_last_bug_there_can_be_are_bugs_like_others() {
    let mut stage = stage(Stage::limits());
    let client = stage.open();
    let answer = say(
        &mut stage,
        &client,
        r#"{"command":"subscribe","bugs":[2147483647,1]}"#,
    );
    assert!(answer.contains(r#""bugs":[1,2147483647]"#), "{answer}");
    stage.change(2_147_483_646..=2_147_483_647);
    assert!(
        client
            .takes()
            .contains(r#"{"command":"update","bug":2147483647,"#)
    );
    let answer = say(
        &mut stage,
        &client,
        r#"{"command":"subscribe","bugs":2147483648}"#,
    );
    assert!(answer.contains("invalid bug id"), "{answer}");
}

#[test]
fn a_time_that_32_bits_do_not_hold_is_sent_and_asked_for_as_it_is() {
    for time in [
        "1901-12-13T20:45:51",
        "2038-01-19T03:14:08",
        "2106-02-07T06:28:16",
        "9999-12-31T23:59:59",
    ] {
        let mut stage = stage(Stage::limits());
        let client = stage.open();
        let when: When = time.parse().unwrap();
        let bug = BugId::new(7).unwrap();
        let seconds = when.unix_seconds();
        let update = Update { bug, when };
        stage.server.publish(FeedId(0), update, seconds);
        stage.turn();
        let asked =
            format!(r#"{{"command":"subscribe","bugs":7,"since":"{time}","watermark":true}}"#);
        let answer = say(&mut stage, &client, &asked);
        let sent = format!(r#"{{"command":"update","bug":7,"when":"{time}"}}"#);
        assert!(answer.contains(&sent), "{answer}");
        let later = format!(
            r#"{{"command":"subscribe","bugs":7,"since":"{}"}}"#,
            When::from_unix_seconds(seconds + 1)
        );
        let is_last = time.starts_with("9999");
        assert_eq!(
            say(&mut stage, &client, &later).contains(&sent),
            is_last,
            "{time}"
        );
    }
}

#[test]
fn one_update_reaches_twenty_thousand_clients_of_a_bug_once_each() {
    const CLIENTS: usize = 20_000;
    let mut stage = stage(Limits {
        connections_max: CLIENTS,
        ..Stage::limits()
    });
    let subscribe = frame_of(0x81, br#"{"command":"subscribe","bugs":7}"#);
    let clients: Vec<Actor> = (0..CLIENTS)
        .map(|_| {
            let client = stage.connect();
            let mut wire = client.handle.wire_mut();
            wire.to_server.extend(UPGRADE.as_bytes());
            wire.to_server.extend(&subscribe);
            drop(wire);
            stage.server.readable(client.id, false, stage.now);
            client
        })
        .collect();
    while stage.server.has_left() || stage.server.has_enough() {
        stage.server.resume(stage.now);
        stage.server.flush(usize::MAX, stage.now);
    }
    stage.turn();
    for client in &clients {
        assert!(client.takes().contains(r#""bugs":[7]"#));
    }
    stage.change(7..=7);
    for client in &clients {
        assert_eq!(
            client
                .takes()
                .matches(r#""command":"update","bug":7"#)
                .count(),
            1
        );
    }
}

#[test]
fn a_client_with_ten_thousand_bugs_hears_of_each_of_them_once_and_can_leave_them_all() {
    let mut stage = stage(Limits {
        message_bytes_max: 256 * 1024,
        ..Stage::limits()
    });
    let client = stage.open();
    let bugs: Vec<String> = (1..=10_000).map(|bug| bug.to_string()).collect();
    let bugs = bugs.join(",");
    let command = |name: &str| format!(r#"{{"command":"{name}","bugs":[{bugs}]}}"#);
    let answer = say(&mut stage, &client, &command("subscribe"));
    assert!(answer.ends_with(&format!("[{bugs}]}}")));
    stage.change(1..=10_001);
    assert_eq!(
        client.takes().matches(r#""command":"update""#).count(),
        10_000
    );
    let answer = say(&mut stage, &client, &command("unsubscribe"));
    assert!(answer.ends_with(r#""bugs":[]}"#));
    stage.change(1..=10_001);
    assert_eq!(client.takes(), "");
}
