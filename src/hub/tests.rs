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

/// What a client gets for a message, if it is answered; it sees what `sight` says, or all.
fn answers(
    hub: &mut Hub,
    client: u32,
    message: &str,
    sight: Option<&dyn Sight>,
) -> Option<Vec<String>> {
    let asked = Asked {
        at: NOW,
        may_wait: false,
        clients: 1,
        delay: Some(3),
    };
    let mut texts = Vec::new();
    let is_answered =
        hub.handle_seeing(ClientId(client), message.as_bytes(), asked, sight, |text| {
            texts.push(String::from_utf8(text.to_vec()).unwrap());
        });
    is_answered.then_some(texts)
}

/// Sees odd bugs, does not see even ones, and does not know about those above ten.
struct Odd;

impl Sight for Odd {
    fn sees(&self, bug: BugId, _: bool) -> Option<bool> {
        (bug.get() <= 10).then_some(bug.get() % 2 == 1)
    }

    fn saw(&self, bug: BugId) -> bool {
        bug.get() % 2 == 1
    }
}

#[test]
fn who_sees_some_bugs_only_gets_those_and_is_told_which_it_is_denied() {
    let mut hub = hub(NOW).with_firehose(true);
    let mut subscribe = |bugs: &str| {
        let message = format!(
            r#"{{"command":"subscribe","bugs":{bugs},"since":"2000-01-01","watermark":true}}"#
        );
        answers(&mut hub, 0, &message, Some(&Odd))
    };
    assert_eq!(subscribe("[1,11]"), None, "it is not known yet");
    let update = format!(
        r#"{{"command":"update","bug":1,"when":"{}"}}"#,
        When::from_unix_seconds(NOW)
    );
    assert_eq!(
        subscribe("[1,2,4]").unwrap(),
        [
            r#"{"command":"subscribe","result":"ok","bugs":[1],"denied":[2,4],"complete":true,"watermark":null}"#,
            &update
        ]
    );
    assert!(subscribe(r#""*""#).unwrap()[0].contains("error"));
    assert_eq!(hub.subscriptions_of(ClientId(0)), 1);
    let status = r#"{"command":"status"}"#;
    assert_eq!(
        answers(&mut hub, 0, status, Some(&Odd)).unwrap(),
        [
            r#"{"command":"status","result":"ok","source":"up","watermark":null,"delay":null,"clients":1}"#
        ]
    );
}

#[test]
fn a_reply_says_where_the_feed_stands_if_that_is_asked_for_and_anything_has_happened() {
    let mut hub = Hub::new(History::new(10, i64::MIN), 10);
    let subscribe = r#"{"command":"subscribe","bugs":1,"watermark":true}"#;
    let status = r#"{"command":"status"}"#;
    assert_eq!(
        answers(&mut hub, 0, subscribe, None).unwrap(),
        [r#"{"command":"subscribe","result":"ok","bugs":[1],"watermark":null}"#]
    );
    assert!(answers(&mut hub, 0, status, None).unwrap()[0].contains(r#""source":"down""#));
    let bug = BugId::new(1).unwrap();
    let when = When::from_unix_seconds(0);
    hub.remember(vec![(0, Update { bug, when })]);
    hub.promise(Promise::After(i64::MIN));
    assert_eq!(
        answers(&mut hub, 0, subscribe, None).unwrap(),
        [r#"{"command":"subscribe","result":"ok","bugs":[1],"watermark":"1970-01-01T00:00:00"}"#]
    );
    assert_eq!(
        answers(&mut hub, 0, status, None).unwrap(),
        [
            r#"{"command":"status","result":"ok","source":"up","watermark":"1970-01-01T00:00:00","delay":3,"clients":1}"#
        ]
    );
}

#[test]
fn new_terms_are_for_new_subscriptions() {
    let mut hub = Hub::new(History::new(10, i64::MIN), 2).with_firehose(true);
    let checked = |hub: &Hub, bugs: &str, sees_all| {
        let message = format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#);
        hub.check_subscribe(message.as_bytes(), sees_all)
    };
    let too_many = |limit| Err(Error::TooManySubscriptions { limit });
    assert_eq!(checked(&hub, "[1,2]", true), Ok(()));
    assert_eq!(checked(&hub, "[1,2,3]", true), too_many(2));
    assert_eq!(checked(&hub, r#""*""#, true), Ok(()));
    assert_eq!(checked(&hub, r#""*""#, false), Err(Error::InvalidBugId));
    send(&mut hub, 0, &[r#"{"command":"subscribe","bugs":[1,2]}"#]);

    hub.set_terms(1, false);
    assert_eq!(hub.subscriptions_of(ClientId(0)), 2);
    assert_eq!(checked(&hub, "[1,2]", true), too_many(1));
    assert_eq!(checked(&hub, r#""*""#, true), Err(Error::InvalidBugId));
    for refused in ["[1,2]", r#""*""#] {
        let message = format!(r#"{{"command":"subscribe","bugs":{refused}}}"#);
        send(&mut hub, 1, &[&message]);
    }
    assert_eq!(hub.subscriptions_of(ClientId(1)), 0);
    hub.set_terms(1, true);
    assert_eq!(checked(&hub, r#""*""#, true), Ok(()));
}

#[test]
fn a_delay_is_never_told_to_be_less_than_none() {
    let mut hub = hub(NOW);
    let asked = Asked {
        at: NOW,
        may_wait: false,
        clients: 1,
        delay: Some(-2),
    };
    let is_answered = hub.handle(ClientId(0), br#"{"command":"status"}"#, asked, |text| {
        assert!(str::from_utf8(text).unwrap().contains(r#""delay":0,"#));
    });
    assert!(is_answered);
}

#[test]
fn who_follows_the_feed_does_so_until_it_says_otherwise_or_goes() {
    let mut hub = Hub::new(History::new(10, i64::MIN), 10);
    let follow = r#"{"command":"status","feed":true}"#;
    for client in [2, 0, 1] {
        send(&mut hub, client, &[follow, r#"{"command":"status"}"#]);
    }
    send(&mut hub, 1, &[r#"{"command":"status","feed":false}"#]);
    assert!(hub.followers().eq([0, 2].map(ClientId)));
    hub.leave(ClientId(2));
    assert!(hub.followers().eq([ClientId(0)]));
}

#[test]
fn a_hub_gives_back_what_clients_needed_that_have_gone() {
    let mut hub = Hub::new(History::new(10, i64::MIN), 10);
    send(&mut hub, 9, &[r#"{"command":"subscribe","bugs":[1,2]}"#]);
    hub.leave(ClientId(9));
    hub.shrink();
    assert_eq!(hub.subscriptions().capacities(), [0; 4]);
}
