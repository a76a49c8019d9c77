//! What is published, and what arrives.

use crate::WHEN;
use crate::feed::Feed;
use crate::log;
use crate::support::pika::Pika;
use crate::support::rabbitmq;

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_update_arrives_with_the_time_to_the_byte() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("exact");
    let mut feed = Feed::open(&broker.url("guest", "exact"));
    feed.gap();
    for when in [
        "2014-04-03T21:13:45",
        "2014-04-03 21:13:45",
        "2014-04-03T21:13:45.25+02:00",
    ] {
        pika.publish("exact", 1234, when);
        assert_eq!(feed.update(), (1234, when.to_owned()));
    }
    pika.publish_body(
        "exact",
        &format!(
            r#"{{"event":{{"target":"comment","time":"{WHEN}"}},"comment":{{"bug":{{"id":"7"}}}}}}"#
        ),
    );
    assert_eq!(feed.update(), (7, WHEN.to_owned()));
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn messages_that_cannot_be_read_are_named_once_per_kind_and_stop_nothing() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("poisoned");
    pika.declare("poison-elsewhere");
    let mut feed = Feed::open(&(broker.url("guest", "poisoned") + "&queue=poisoned"));
    feed.gap();
    pika.bind("queue/guest/poisoned", "poison-elsewhere");
    let mut bug = 0;
    let mut expect_no_harm = |pika: &mut Pika| {
        bug += 1;
        pika.publish("poisoned", bug, WHEN);
        assert_eq!(feed.update(), (bug, WHEN.to_owned()));
    };
    for body in [
        "no JSON",
        "[]",
        r#"{"payload":{"id":0,"delta_ts":"2014-04-03"}}"#,
        r#"{"payload":{"id":1,"delta_ts":"now"}}"#,
    ] {
        for _ in 0..3 {
            pika.publish_body("poisoned", body);
        }
        expect_no_harm(&mut pika);
    }
    for kind in [
        "a body that is not UTF-8",
        "an empty body",
        "a body of 3 MB",
        "a body nested deeply",
    ] {
        pika.publish_hostile("poisoned", kind);
        expect_no_harm(&mut pika);
    }
    pika.publish("poison-elsewhere", 99, WHEN);
    expect_no_harm(&mut pika);
    pika.put(
        "queue/guest/poisoned",
        &format!(r#"{{"payload":{{"id":99,"delta_ts":"{WHEN}"}}}}"#),
    );
    expect_no_harm(&mut pika);
    feed.close();
    assert_eq!(pika.count("queue/guest/poisoned"), 0);
    let said = log::warned("=poisoned", "dropped a message of");
    let kinds = [
        "7 bytes: no JSON",
        "2 bytes: neither",
        "id",
        "time",
        "1048577 bytes: larger than 1048576",
        "another exchange",
    ];
    assert_eq!(said.len(), kinds.len(), "{said:#?}");
    for kind in kinds {
        assert!(
            said.iter().any(|line| line.contains(kind)),
            "{kind}: {said:#?}"
        );
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_a_publisher_puts_around_a_message_harms_nobody() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("headers");
    let mut feed = Feed::open(&broker.url("guest", "headers"));
    feed.gap();
    for kind in [
        "nested headers",
        "headers that are not UTF-8",
        "a strange routing key",
    ] {
        pika.publish_hostile("headers", kind);
        assert_eq!(feed.update(), (1, WHEN.to_owned()), "{kind}");
    }
    assert_eq!(feed.gaps(), 0);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_flood_arrives_in_order_and_is_acknowledged() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("flood");
    let mut feed = Feed::open(&(broker.url("guest", "flood") + "&queue=flood&prefetch=100"));
    feed.gap();
    pika.publish_many("flood", 1..20_001, WHEN);
    assert_eq!(feed.bugs(20_000), (1..20_001).collect::<Vec<_>>());
    feed.close();
    // What had been handed over is not sent again.
    let mut feed = Feed::open(&(broker.url("guest", "flood") + "&queue=flood"));
    feed.gap();
    pika.publish("flood", 30_000, WHEN);
    assert_eq!(feed.update().0, 30_000);
    assert_eq!(feed.gaps(), 0);
}
