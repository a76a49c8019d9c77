//! `bugzfeed notify` with a broker.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::feed::Feed;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};

fn notify(address: &str, bugs: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(["notify", "--source", address])
        .args(bugs)
        .output()
        .unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_change_is_published_as_bugzillas_shim_does() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("notified");
    pika.listen("notified");
    let output = notify(&broker.url("guest", "notified"), &["1234"]);
    assert_eq!(said(&output), (Some(0), String::new()));
    let message = pika.get();
    let around = json!({"routing_key": "1234", "content_type": "application/json", "delivery_mode": 2, "body": message["body"], "message_id": null});
    assert_eq!(message, around);
    let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
    let (when, sent) = (
        body["payload"]["delta_ts"].as_str().unwrap(),
        body["_meta"]["sent"].as_str().unwrap(),
    );
    assert_eq!((when.len(), sent.len(), &sent[19..]), (19, 25, "+00:00"));
    let meta =
        json!({"exchange": "notified", "routing_key": "1234", "serializer": "json", "sent": sent});
    assert_eq!(
        body,
        json!({"payload": {"id": 1234, "delta_ts": when}, "_meta": meta})
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_exchange_is_made_and_a_server_that_waited_for_it_gets_the_change() {
    let broker = rabbitmq::shared();
    let address = broker.url("guest", "exchange/made/by-notify");
    let mut feed = Feed::open(&address);
    let output = notify(&address, &["3", "1", "2", "1"]);
    assert_eq!(said(&output), (Some(0), String::new()));
    assert_eq!(feed.bugs(3), [1, 2, 3]);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_change_that_nobody_listens_for_is_a_failure() {
    let broker = rabbitmq::shared();
    let (code, words) = said(&notify(&broker.url("guest", "unheard"), &["1"]));
    assert_eq!(code, Some(69));
    assert!(
        words.contains("nobody listens to the exchange unheard"),
        "{words}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_user_who_may_not_publish_is_told_so() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("exchange/others/theirs");
    pika.listen("exchange/others/theirs");
    let (code, words) = said(&notify(
        &broker.url("pulse", "exchange/others/theirs"),
        &["1"],
    ));
    assert_eq!(code, Some(69));
    assert!(
        words.contains("does not permit it") && words.contains("exchange/others/theirs"),
        "{words}"
    );
    let (code, words) = said(&notify(
        &broker.url("pulse", "exchange/others/missing"),
        &["1"],
    ));
    assert_eq!(code, Some(69));
    assert!(
        words.contains("exchange/others/missing does not exist, and 'pulse' may not make it"),
        "{words}"
    );
    let (code, words) = said(&notify(
        &broker.url("guest", "x").replace(":guest@", ":hunter2@"),
        &["1"],
    ));
    assert_eq!(code, Some(69));
    assert!(
        words.contains("is the password right") && !words.contains("hunter2"),
        "{words}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_is_short_of_memory_takes_no_change_and_says_why() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("short-of-memory");
    let mut feed = Feed::open(&broker.url("guest", "short-of-memory"));
    feed.gap();
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let (code, words) = said(&notify(&broker.url("guest", "short-of-memory"), &["1"]));
    assert_eq!(code, Some(69));
    assert!(
        words.contains("takes no messages now: low on memory"),
        "{words}"
    );
}
