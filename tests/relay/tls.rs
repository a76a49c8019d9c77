//! A table in a database that is reached over TLS, and a broker that is.

use crate::database::{Database, Writers};
use crate::program::{Place, terminate};
use crate::support::pika::Pika;
use crate::support::rabbitmq;
use crate::support::server::wait_until;

/// More than one batch.
fn a_table_is_taken_over_tls(database: &Database) {
    let writers = Writers::start(database, 1, 1_100);
    writers.finish();
    let place = Place::new();
    let from = format!("{}&sslmode=require", database.address());
    let relay = place.relay_with(&["--from", &from], &["jsonl:out"]);
    wait_until("all changes are taken", || {
        (database.rows() == 1).then_some(())
    });
    terminate(relay);
}

#[test]
#[ignore = "needs MariaDB: run tests/run"]
fn a_table_of_mariadb_is_taken_over_tls() {
    a_table_is_taken_over_tls(&Database::mariadb());
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn a_table_of_postgresql_is_taken_over_tls() {
    a_table_is_taken_over_tls(&Database::postgres());
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_gets_more_than_one_batch_over_tls() {
    let broker = rabbitmq::shared();
    let mut pika = Pika::connect(broker.port);
    pika.declare("relayed-tls");
    pika.keep("relayed-tls", "relayed-tls");
    let ports = [broker.port, broker.tls_port].map(|port| format!(":{port}/"));
    let address = broker.url("guest", "relayed-tls");
    let address = address
        .replace("amqp:", "amqps:")
        .replace(&ports[0], &ports[1]);
    let place = Place::new();
    let relay = place.relay(&[&format!("{address}&cacert={}", broker.ca_file().display())]);
    for last in [1_100, 2_200] {
        place.table().record(last - 1_099..=last);
        wait_until("they are in the queue", || {
            (pika.count("relayed-tls") >= u64::from(last)).then_some(())
        });
    }
    terminate(relay);
    let bugs = pika.drain("relayed-tls");
    assert!(bugs.iter().copied().eq(1..=2_200), "{bugs:?}");
}
