//! Everything is killed in turn, while changes are written.

use crate::database::{Database, Writers, expect_all_in_order};
use crate::program::{Place, terminate};
use crate::support::pika::Pika;
use crate::support::rabbitmq::Broker;
use crate::support::server::wait_until;

const WRITERS: u32 = 4;
/// How many changes each writer records around each fault.
const STEP: u32 = 100;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Relay,
    Database,
    Connections,
    Broker,
}

/// Each fault comes while changes are being written and relayed.
fn nothing_is_lost_whatever_is_killed(database: &Database) {
    let faults = [
        Fault::Relay,
        Fault::Database,
        Fault::Broker,
        Fault::Connections,
        Fault::Relay,
        Fault::Database,
    ];
    let total = STEP * (faults.len() as u32 + 1);
    let broker = Broker::start();
    let mut pika = Pika::connect(broker.port);
    pika.declare("crashes");
    pika.keep("crashes", "crashes");
    let place = Place::new();
    let (from, to) = (database.address(), broker.url("guest", "crashes"));
    let start = || place.relay_with(&["--from", &from, "--retry", "50ms"], &[&to, "jsonl:out"]);
    let mut relay = Some(start());
    let writers = Writers::start(database, WRITERS, total);
    for fault in faults {
        let before = place.lines("out").len();
        writers.allow(STEP);
        let half = before + (WRITERS * STEP / 2) as usize;
        wait_until(&format!("half of the changes before {fault:?}"), || {
            (place.lines("out").len() >= half).then_some(())
        });
        match fault {
            Fault::Relay => {
                // Dropped, it is killed.
                drop(relay.take());
                relay = Some(start());
            }
            Fault::Database => {
                database.kill();
                database.restart();
            }
            Fault::Connections => database.cut_connections(),
            Fault::Broker => {
                broker.kill();
                broker.restart();
            }
        }
    }
    writers.finish();
    wait_until("all rows but the last are deleted", || {
        (database.rows() == 1).then_some(())
    });
    place.backlog_drained();
    expect_all_in_order(&place.lines("out"), WRITERS, total);
    expect_all_in_order(&Pika::connect(broker.port).drain("crashes"), WRITERS, total);
    terminate(relay.unwrap());
}

#[test]
#[ignore = "needs MariaDB and RabbitMQ: run tests/run"]
fn nothing_from_mariadb_is_lost_whatever_is_killed() {
    nothing_is_lost_whatever_is_killed(&Database::mariadb());
}

#[test]
#[ignore = "needs PostgreSQL and RabbitMQ: run tests/run"]
fn nothing_from_postgresql_is_lost_whatever_is_killed() {
    nothing_is_lost_whatever_is_killed(&Database::postgres());
}
