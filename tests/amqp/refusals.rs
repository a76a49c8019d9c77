//! What the log says when a broker refuses something.

use crate::feed::Feed;
use crate::log;
use crate::support::pika::Pika;
use crate::support::rabbitmq;

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_wrong_password_is_called_that_and_never_shown() {
    log::keep();
    let broker = rabbitmq::shared();
    let address = broker
        .url("guest", "wrong-password")
        .replace(":guest@", ":hunter2@");
    let _feed = Feed::open(&address);
    let said = log::warned(
        "wrong-password",
        "refused to log in 'guest': is the password right",
    );
    assert!(!said.concat().contains("hunter2"), "{said:?}");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_virtual_host_that_is_missing_or_forbidden_is_named() {
    log::keep();
    let broker = rabbitmq::shared();
    for (vhost, words) in [
        ("nowhere", "vhost nowhere not found"),
        ("empty", "access to vhost 'empty' refused for user 'guest'"),
    ] {
        let exchange = format!("no-{vhost}");
        let _feed = Feed::open(
            &broker
                .url("guest", &exchange)
                .replace("/?", &format!("/{vhost}?")),
        );
        log::warned(&exchange, words);
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_the_user_may_not_do_is_said_in_the_brokers_words() {
    log::keep();
    let broker = rabbitmq::shared();
    Pika::connect(broker.port).declare("forbidden");
    let _feed = Feed::open(&broker.url("pulse", "forbidden"));
    log::warned(
        "=forbidden",
        "does not permit it: ACCESS_REFUSED - access to exchange 'forbidden' in vhost '/' refused for user 'pulse'",
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn two_servers_with_the_same_queue_are_told_apart() {
    log::keep();
    let broker = rabbitmq::shared();
    Pika::connect(broker.port).declare("twice");
    let address = broker.url("guest", "twice") + "&queue=twice";
    let mut feed = Feed::open(&address);
    feed.gap();
    let other = Feed::open(&address);
    log::warned(
        "queue=twice",
        "another server reads from queue/guest/twice, or",
    );
    other.close();
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_port_that_does_not_speak_amqp_is_said_to_be_none() {
    log::keep();
    let broker = rabbitmq::shared();
    let address = |exchange: &str, port: u16| {
        broker
            .url("guest", exchange)
            .replace(&format!(":{}/", broker.port), &format!(":{port}/"))
    };
    let _feed = Feed::open(&address("port-of-tls", broker.tls_port));
    log::warned("port-of-tls", "amqps://");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _feed = Feed::open(&address("port-of-nobody", closed));
    log::warned("port-of-nobody", "cannot connect to 127.0.0.1");
}
