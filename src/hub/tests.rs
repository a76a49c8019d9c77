use super::*;
use crate::update::When;

const NOW: i64 = 1_900_000_000;

/// A hub that is whole, with an update of bug 1 of this time.
fn hub(seconds: i64) -> Hub {
    let mut hub = Hub::new(History::new(10, i64::MIN), 10);
    hub.promise(Promise::After(i64::MIN));
    let when = When::from_unix_seconds(seconds);
    let bug = BugId::new(1).unwrap();
    assert_eq!(hub.publish(Update { bug, when }, i64::MAX).count(), 0);
    hub
}

/// The replies to one who resumes from this time with bug 1: the promise and a count of updates.
fn resume(hub: &mut Hub, since: i64) -> (bool, usize) {
    let since = When::from_unix_seconds(since);
    let message = format!(r#"{{"command":"subscribe","bugs":1,"since":"{since}"}}"#);
    let mut texts = Vec::new();
    let asked = Asked {
        at: NOW,
        may_wait: false,
        clients: 1,
        delay: None,
    };
    let is_answered = hub.handle(ClientId(0), message.as_bytes(), asked, |text| {
        texts.push(String::from_utf8(text.to_vec()).unwrap());
    });
    assert!(is_answered);
    (texts[0].contains(r#""complete":true"#), texts.len() - 1)
}

#[test]
fn the_newest_update_of_a_bug_from_a_little_before_since_is_sent_once_more() {
    let mut hub = hub(NOW - MARGIN_SECONDS - 1);
    let publish = |hub: &mut Hub, bug, seconds| {
        let when = When::from_unix_seconds(seconds);
        let bug = BugId::new(bug).unwrap();
        assert_eq!(hub.publish(Update { bug, when }, i64::MAX).count(), 0);
    };
    // Another server has lost this one, and sent the next one.
    publish(&mut hub, 1, NOW - MARGIN_SECONDS);
    assert_eq!(
        resume(&mut hub, NOW),
        (true, 0),
        "nothing as new has arrived"
    );
    publish(&mut hub, 2, NOW);
    assert_eq!(resume(&mut hub, NOW), (true, 1));
    publish(&mut hub, 2, NOW + 1);
    assert_eq!(resume(&mut hub, NOW + 1), (true, 0));
}

#[test]
fn a_time_from_before_the_databases_clock_was_put_back_is_not_believed() {
    let mut hub = hub(NOW - 4_000);
    assert_eq!(resume(&mut hub, NOW), (true, 0));
    hub.set_database_clock(-3_600);
    assert_eq!(resume(&mut hub, NOW), (false, 1));
    assert_eq!(resume(&mut hub, NOW - 3_600), (true, 0));
}

#[test]
fn a_time_that_this_feed_has_seen_is_believed_whatever_the_clocks_say() {
    let mut hub = hub(NOW + 3_600);
    hub.set_database_clock(0);
    assert_eq!(resume(&mut hub, NOW + 3_600), (true, 1));
}

#[test]
fn a_time_is_believed_up_to_a_minute_ahead() {
    let mut hub = hub(NOW - 4_000);
    assert_eq!(resume(&mut hub, NOW + AHEAD_SECONDS_MAX), (true, 0));
    assert_eq!(resume(&mut hub, NOW + AHEAD_SECONDS_MAX + 1), (false, 1));
    hub.set_database_clock(100);
    assert_eq!(hub.database_ahead(), 100);
    assert_eq!(resume(&mut hub, NOW + 100 + AHEAD_SECONDS_MAX), (true, 0));
    assert_eq!(
        resume(&mut hub, NOW + 100 + AHEAD_SECONDS_MAX + 1),
        (false, 1)
    );
}

/// Has a client send messages, each of which is answered.
fn send(hub: &mut Hub, client: u32, messages: &[&str]) {
    let asked = Asked {
        at: NOW,
        may_wait: false,
        clients: 1,
        delay: None,
    };
    for message in messages {
        assert!(hub.handle(ClientId(client), message.as_bytes(), asked, |_| {}));
    }
}

#[test]
fn each_command_is_counted_by_its_name_and_whether_it_was_carried_out() {
    let mut hub = Hub::new(History::new(10, i64::MIN), 2);
    let messages = [
        r#"{"command":"subscribe","bugs":[1,2]}"#,
        r#"{"command":"subscribe","bugs":3}"#,
        r#"{"command":"unsubscribe","bugs":1}"#,
        r#"{"command":"subscriptions"}"#,
        r#"{"command":"version"}"#,
        r#"{"command":"status"}"#,
        r#"{"command":"update"}"#,
    ];
    send(&mut hub, 0, &messages);
    let counted: Vec<_> = hub.commands().all().filter(|(.., n)| *n > 0).collect();
    assert_eq!(
        counted,
        [
            ("subscribe", "ok", 1),
            ("subscribe", "error", 1),
            ("unsubscribe", "ok", 1),
            ("subscriptions", "ok", 1),
            ("version", "ok", 1),
            ("status", "ok", 1),
            ("unknown", "error", 1),
        ]
    );
}

#[test]
fn a_client_has_subscriptions_until_it_ends_the_last_one_or_goes() {
    let mut hub = Hub::new(History::new(10, i64::MIN), 10).with_firehose(true);
    let has_some = |hub: &Hub, client| {
        let (has_some, count) = (
            hub.has_subscriptions(ClientId(client)),
            hub.subscriptions_of(ClientId(client)),
        );
        assert_eq!(has_some, count > 0);
        has_some
    };
    assert!(!has_some(&hub, 0));
    send(&mut hub, 0, &[r#"{"command":"subscribe","bugs":"*"}"#]);
    send(&mut hub, 1, &[r#"{"command":"subscribe","bugs":[1]}"#]);
    assert!(has_some(&hub, 0) && has_some(&hub, 1));
    send(&mut hub, 0, &[r#"{"command":"unsubscribe","bugs":"*"}"#]);
    hub.leave(ClientId(1));
    assert!(!has_some(&hub, 0) && !has_some(&hub, 1));
}
