//! The relay's numbers, as a server sees them.

use bugzfeed::source::{Address, HistoryFile};
use serde_json::json;

use crate::WHEN;
use crate::feed::{Feed, until};
use crate::log;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};

/// Plays the relay: publishes numbered changes, and announces how far it is.
struct Relay {
    pika: Pika,
    exchange: String,
    stream: String,
}

impl Relay {
    fn new(port: u16, exchange: &str) -> Self {
        let mut pika = Pika::connect(port);
        pika.declare(exchange);
        pika.declare_announcer(&format!("{exchange}/announce"));
        Self {
            pika,
            exchange: exchange.to_owned(),
            stream: "a1".to_owned(),
        }
    }

    /// Bug N has number N.
    fn publish(&mut self, bug: u32) {
        let body = json!({"payload": {"id": bug, "delta_ts": WHEN}}).to_string();
        let id = format!("{}/{bug}/{WHEN}", self.stream);
        self.pika.publish_with_id(&self.exchange, &body, &id);
    }

    fn announce(&mut self, number: u32) {
        let text = format!("{}/{number}/{WHEN}/{number}", self.stream);
        let exchange = format!("{}/announce", self.exchange);
        self.pika.publish_body(&exchange, &text);
    }

    fn end(&mut self, number: u32) {
        let text = format!("{}/{number}/{WHEN}/{number}/end", self.stream);
        let exchange = format!("{}/announce", self.exchange);
        self.pika.publish_body(&exchange, &text);
    }
}

fn address_name(address: &str) -> String {
    address.parse::<Address>().unwrap().to_string()
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_number_that_jumps_is_a_gap_up_to_the_time_that_it_carries() {
    let broker = rabbitmq::shared();
    log::keep();
    let mut relay = Relay::new(broker.port, "jump");
    let mut feed = Feed::open(&(broker.url("guest", "jump") + "&queue=jump"));
    feed.gap();
    for bug in [1, 2, 2] {
        relay.publish(bug);
    }
    assert_eq!(feed.bugs(3), [1, 2, 2]);
    assert_eq!(feed.gaps(), 0);
    relay.publish(4);
    assert_eq!(feed.bugs(1), [4]);
    feed.gap();
    log::said(
        "=jump",
        ::log::Level::Info,
        "messages of the relay are missing",
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_was_purged_while_nobody_read_is_a_gap_and_a_plain_restart_is_none() {
    let broker = rabbitmq::shared();
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history");
    let mut relay = Relay::new(broker.port, "purged");
    let address = broker.url("guest", "purged") + "&queue=purged";
    let open = || Feed::open_with(&address, Some(&history));
    let mut feed = open();
    feed.gap();
    relay.publish(1);
    assert_eq!(feed.bugs(1), [1]);
    relay.announce(1);
    feed.close();
    // As if the gap of the first start were ten minutes ago.
    HistoryFile::open(&history, "/", &address_name(&address), 1_000)
        .unwrap()
        .0
        .set_floor(Some(0))
        .unwrap();
    relay.publish(2);
    let mut feed = open();
    assert_eq!(feed.bugs(1), [2]);
    relay.announce(2);
    feed.whole();
    assert_eq!(feed.gaps(), 0);
    feed.close();
    for bug in 3..=5 {
        relay.publish(bug);
    }
    broker.ctl(&["purge_queue", "queue/guest/purged"]);
    let mut feed = open();
    relay.publish(6);
    assert_eq!(feed.bugs(1), [6]);
    relay.announce(6);
    feed.gap();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_clean_restart_of_the_broker_is_no_gap_when_the_numbers_go_on() {
    log::keep();
    let broker = Broker::start();
    let mut relay = Relay::new(broker.port, "clean");
    let mut feed = Feed::open(&(broker.url("guest", "clean") + "&queue=clean"));
    feed.gap();
    relay.publish(1);
    relay.announce(1);
    assert_eq!(feed.bugs(1), [1]);
    broker.kill();
    feed.doubt();
    broker.restart();
    let mut relay = Relay::new(broker.port, "clean");
    until(|| {
        broker
            .queues()
            .iter()
            .any(|name| name.contains("/announcements-"))
    });
    relay.announce(1);
    feed.whole();
    assert_eq!(feed.gaps(), 0);
    log::said("=clean", ::log::Level::Info, "nothing is missing");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_relay_that_falls_silent_is_a_doubt_unless_it_has_announced_its_end() {
    let broker = rabbitmq::shared();
    let mut relay = Relay::new(broker.port, "silent");
    let mut feed = Feed::open(&(broker.url("guest", "silent") + "&queue=silent"));
    feed.gap();
    relay.publish(1);
    assert_eq!(feed.bugs(1), [1]);
    relay.announce(1);
    feed.doubt();
    relay.end(1);
    feed.whole();
    assert_eq!(feed.gaps(), 0);
}
