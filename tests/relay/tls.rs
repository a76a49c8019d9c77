//! A table in a database that is reached over TLS.

use crate::database::{Database, Writers};
use crate::program::{Place, terminate};
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
