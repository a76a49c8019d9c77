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
