//! Brokers that die and brokers that hang.

use std::net::TcpListener;

use ::log::Level;

use crate::WHEN;
use crate::feed::Feed;
use crate::forwarder::Forwarder;
use crate::log;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_killed_broker_is_found_again_and_its_restart_is_a_known_gap() {
    log::keep();
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("killed");
    let mut named = Feed::open(&(broker.url("guest", "killed") + "&queue=killed"));
    let mut unnamed = Feed::open(&broker.url("guest", "killed"));
    named.gap();
    unnamed.gap();
    pika.publish("killed", 1, WHEN);
    assert_eq!((named.bugs(1), unnamed.bugs(1)), (vec![1], vec![1]));
    broker.kill();
    log::warned("exchange=killed&queue=killed", "Connection refused");
    log::warned("exchange=killed:", "Connection refused");
    broker.restart();
    named.gap();
    unnamed.gap();
    let mut pika = Pika::connect(broker.port);
    pika.publish("killed", 2, WHEN);
    assert_eq!(unnamed.bugs(1), [2]);
    // The broker may have forgotten that the first was acknowledged.
    assert!(named.bugs(1) == [2] || named.bugs(1) == [2]);
    log::warned("exchange=killed&queue=killed", "the broker was restarted");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_confirmed_update_outlives_a_killed_broker_while_nobody_reads() {
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("outlived");
    let address = broker.url("guest", "outlived") + "&queue=outlived";
    Feed::open(&address).gap();
    pika.publish("outlived", 1, WHEN);
    broker.kill();
    broker.restart();
    let mut feed = Feed::open(&address);
    assert_eq!(feed.bugs(1), [1]);
    // Not every publisher waits for a confirmation: others may have been lost.
    feed.gap();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_hangs_is_noticed_by_its_silence_and_does_not_delay_the_stop() {
    log::keep();
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("hung");
    let feed = |label, heartbeat| {
        let mut feed = Feed::open(&format!(
            "{}&queue={label}&heartbeat={heartbeat}",
            broker.url("guest", "hung")
        ));
        feed.gap();
        feed
    };
    let (mut patient, impatient, connected) = (
        feed("patient", "1s"),
        feed("impatient", "1s"),
        feed("connected", "30s"),
    );
    broker.pause();
    for label in ["queue=patient", "queue=impatient"] {
        log::warned(label, "silent for 2 seconds");
    }
    // One that connects again, and one that does not know yet; closing them checks that it takes no
    // second.
    impatient.close();
    connected.close();
    broker.resume();
    pika.publish("hung", 1, WHEN);
    assert_eq!(patient.bugs(1), [1]);
    assert_eq!(patient.gaps(), 0);
}

/// The broker takes the connection for alive for a while longer, and gives its queue to no other.
#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_connection_that_is_cut_without_a_word_is_named_by_its_silence_and_is_no_gap() {
    log::keep();
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("cut");
    let forwarder = Forwarder::start(broker.port);
    let between = format!(":{}/", forwarder.port);
    let address = broker.url("guest", "cut");
    let address = address.replace(&format!(":{}/", broker.port), &between);
    let mut feed = Feed::open(&(address + "&queue=cut&heartbeat=1s"));
    feed.gap();
    forwarder.stall();
    log::warned("=cut", "silent for 2 seconds");
    log::warned("=cut", "has not noticed yet that the connection before");
    pika.publish("cut", 1, WHEN);
    assert_eq!(feed.bugs(1), [1]);
    feed.whole();
    assert_eq!(feed.gaps(), 0);
    let lines = log::all("=cut");
    for wrong in ["exchange did not exist", "another server", "may be missing"] {
        assert!(!lines.iter().any(|line| line.contains(wrong)), "{lines:#?}");
    }
}

#[test]
fn a_peer_that_accepts_and_never_answers_does_not_delay_the_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in ["amqp", "amqps"] {
        let feed = Feed::open(&format!("{scheme}://u:p@127.0.0.1:{port}/?exchange=silent"));
        let _connection = listener.accept().unwrap();
        feed.close();
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_allows_too_few_channels_is_named_with_what_is_enough() {
    log::keep();
    let broker = Broker::start();
    Pika::connect(broker.port).declare("channels");
    let allow = |channels: u32| {
        let set = format!("application:set_env(rabbit, channel_max, {channels}).");
        broker.ctl(&["eval", &set]);
    };
    allow(1);
    let mut feed = Feed::open(&(broker.url("guest", "channels") + "&queue=channels"));
    log::warned("=channels", "accepted is a channel_max of 3 or more");
    allow(3);
    feed.gap();
    log::said("=channels", Level::Info, "reading updates from");
}
