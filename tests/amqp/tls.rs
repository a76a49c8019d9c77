//! `amqps:`.

use crate::WHEN;
use crate::feed::Feed;
use crate::log;
use crate::support::pika::Pika;
use crate::support::rabbitmq::{self, Broker};

fn address(broker: &Broker, exchange: &str) -> String {
    let plain = broker.url("guest", exchange);
    plain.replace("amqp:", "amqps:").replace(
        &format!(":{}/", broker.port),
        &format!(":{}/", broker.tls_port),
    )
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn updates_arrive_over_tls_by_name_and_by_number() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("tls");
    let address = format!(
        "{}&cacert={}",
        address(&broker, "tls"),
        broker.ca_file().display()
    );
    for (round, address) in [
        (0, address.clone()),
        (1, address.replace("127.0.0.1", "localhost")),
    ] {
        let mut feed = Feed::open(&address);
        feed.gap();
        // More than one TLS record, read in pieces.
        pika.publish_many("tls", 1..5_001, WHEN);
        assert_eq!(
            feed.bugs(5_000),
            (1..5_001).collect::<Vec<_>>(),
            "round {round}"
        );
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_certificate_of_a_stranger_is_refused_and_the_remedy_named() {
    log::keep();
    let broker = rabbitmq::shared();
    let stranger = broker.ca_file().with_file_name("stranger.pem");
    let _feed = Feed::open(&format!(
        "{}&cacert={}",
        address(&broker, "tls-stranger"),
        stranger.display()
    ));
    let said = log::warned("tls-stranger", "issued by nobody who is trusted here");
    assert!(said[0].contains("cacert=FILE"), "{said:?}");
    let _feed = Feed::open(&format!(
        "{}&cacert=/nonexistent/ca.pem",
        address(&broker, "tls-no-file")
    ));
    log::warned("tls-no-file", "/nonexistent/ca.pem");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_port_without_tls_is_said_to_be_one() {
    log::keep();
    let broker = rabbitmq::shared();
    let plain = address(&broker, "tls-nowhere").replace(
        &format!(":{}/", broker.tls_port),
        &format!(":{}/", broker.port),
    );
    let _feed = Feed::open(&format!("{plain}&cacert={}", broker.ca_file().display()));
    log::warned("tls-nowhere", "does not speak TLS");
}
