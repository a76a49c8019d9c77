//! A soak in trouble, of the whole way of a change: rows in a MariaDB, a relay, a RabbitMQ, a server.
//! Database and broker are killed in turn. It takes a minute; `SOAK=1h tests/run --release --test
//! bench soak` is an hour.

use std::env;
use std::fs;
use std::thread;
use std::time::Duration;

use mysql::prelude::Queryable;

use super::{bench, said};
use crate::support::mariadb::MariaDb;
use crate::support::rabbitmq::Broker;
use crate::support::server::{Program, Server, wait_until};

const TABLE: &str = "CREATE TABLE push_notify (id BIGINT AUTO_INCREMENT PRIMARY KEY, bug_id INT NOT NULL, delta_ts DATETIME NOT NULL)";

#[test]
#[ignore = "takes a minute, needs MariaDB and RabbitMQ: run tests/run"]
fn a_soak_in_trouble_loses_nothing_and_leaves_nothing_behind() {
    let (mariadb, broker) = (MariaDb::start(), Broker::start());
    let name = mariadb.create_database();
    mariadb.connect(&name).query_drop(TABLE).unwrap();
    let table = format!("mysql://root@127.0.0.1:{}/{name}", mariadb.port);
    let exchange = broker.url("guest", "exchange/bugzilla/simple");
    let folder = tempfile::tempdir().unwrap();
    let from_to = ["--from", &table, "--to", &exchange];
    let relay = Program::start(folder.path(), &[&["relay"], &from_to[..]].concat());
    wait_until("the relay has made its exchange", || {
        let exchanges = broker.ctl(&["list_exchanges", "name"]);
        exchanges.contains("exchange/bugzilla/simple").then_some(())
    });
    let source = format!("{exchange}&queue=soak");
    let server = Server::start(&["--source", &source, "--admin", "127.0.0.1:0"]);
    server.program().wait_for_line("reading updates from");
    let announced = server.program().wait_for_line("admin: ");
    let metrics = format!(
        "http://{}/metrics",
        announced.rsplit_once("admin: ").unwrap().1
    );

    let (url, pid) = (
        format!("ws://{}/", server.address),
        server.program().id().to_string(),
    );
    let flag = folder.path().join("disturb");
    // It ends, even if what was killed does not come back and this test has panicked.
    let disturb = format!(
        "touch {0}; for i in $(seq 6000); do [ -e {0} ] || exit 0; sleep 0.1; done; exit 1",
        flag.display()
    );
    let duration = env::var("SOAK").unwrap_or_else(|_| "50s".to_owned());
    // Of the changes of one bug that are read at once from MariaDB, the last one counts: so each has
    // its turn, and comes again a little later.
    let more = [
        &url,
        "--publish",
        &table,
        "--invent",
        "--pid",
        &pid,
        "--metrics",
        &metrics,
        "--trouble",
        "--disturb",
        &disturb,
        "--duration",
        &duration,
        "--patience",
        "90s",
        "--assert",
        "missing=0,faults=0,soak_files_kept<=0,soak_threads_kept<=0,soak_unaccounted=0,soak_rss_kept<8000000",
    ];
    let output = thread::scope(|scope| {
        let soak = scope.spawn(|| bench("soak --connections 100 --pattern own", &more));
        let mut kills = 0;
        while !soak.is_finished() {
            if flag.exists() {
                match kills % 2 {
                    0 => {
                        broker.kill();
                        broker.restart();
                    }
                    _ => {
                        mariadb.server().kill();
                        mariadb.restart();
                    }
                }
                kills += 1;
                fs::remove_file(&flag).unwrap();
            }
            thread::sleep(Duration::from_millis(50));
        }
        soak.join().unwrap()
    });
    let said = said(&output);
    assert!(
        output.status.success() && said.contains("hostile clients came by"),
        "{said}\n{}\n{}",
        server.program().log(),
        relay.log()
    );
}
