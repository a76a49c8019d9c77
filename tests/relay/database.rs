//! A MariaDB or PostgreSQL of the test's own with a table of notifications, and writers that fill
//! it.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use postgres::{Client, NoTls};

use crate::support::mariadb::MariaDb;
use crate::support::postgres::Postgres;
use crate::support::server::wait_until;

/// The relay's account, which may do what it must and no more.
const ACCOUNT: &str = "relay";

pub enum Server {
    MariaDb(MariaDb),
    Postgres(Postgres),
}

/// A server with one database in it.
pub struct Database {
    server: Server,
    name: String,
}

impl Database {
    pub fn mariadb() -> Self {
        let server = MariaDb::start();
        let name = server.create_database();
        let table = "CREATE TABLE push_notify (id BIGINT AUTO_INCREMENT PRIMARY KEY, bug_id INT NOT NULL, delta_ts DATETIME NOT NULL)";
        let mut conn = server.connect(&name);
        conn.query_drop(table).unwrap();
        conn.query_drop(format!("CREATE USER {ACCOUNT}@'%' IDENTIFIED BY 's3cret'"))
            .unwrap();
        conn.query_drop(format!(
            "GRANT SELECT, DELETE ON {name}.push_notify TO {ACCOUNT}@'%'"
        ))
        .unwrap();
        Self {
            server: Server::MariaDb(server),
            name,
        }
    }

    pub fn postgres() -> Self {
        let server = Postgres::start();
        let name = server.create_database();
        let table = "CREATE TABLE push_notify (id BIGSERIAL PRIMARY KEY, bug_id INT NOT NULL, delta_ts TIMESTAMP NOT NULL)";
        let account = format!(
            "CREATE ROLE {ACCOUNT} LOGIN PASSWORD 's3cret'; GRANT SELECT, DELETE ON push_notify TO {ACCOUNT}"
        );
        server
            .connect(&name)
            .batch_execute(&format!("{table}; {account}"))
            .unwrap();
        Self {
            server: Server::Postgres(server),
            name,
        }
    }

    /// As `--from` wants it.
    pub fn address(&self) -> String {
        let name = &self.name;
        match &self.server {
            Server::MariaDb(server) => format!(
                "mysql://{ACCOUNT}:s3cret@127.0.0.1:{}/{name}?tz=UTC&poll=5ms",
                server.port
            ),
            Server::Postgres(server) => format!(
                "postgres://{ACCOUNT}:s3cret@127.0.0.1:{}/{name}?tz=UTC&poll=5ms",
                server.port
            ),
        }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        match &self.server {
            Server::MariaDb(server) => server.server().kill(),
            Server::Postgres(server) => server.server().kill(),
        }
    }

    pub fn restart(&self) {
        match &self.server {
            Server::MariaDb(server) => server.restart(),
            Server::Postgres(server) => server.restart(),
        }
    }

    /// How many rows the table has.
    pub fn rows(&self) -> i64 {
        let count = "SELECT count(*) FROM push_notify";
        match &self.server {
            Server::MariaDb(server) => server
                .connect(&self.name)
                .query_first(count)
                .unwrap()
                .unwrap(),
            Server::Postgres(server) => server
                .connect(&self.name)
                .query_one(count, &[])
                .unwrap()
                .get(0),
        }
    }

    /// Ends a connection, as an administrator or a failover would.
    pub fn cut_connections(&self) {
        match &self.server {
            Server::MariaDb(server) => {
                let mut conn = server.connect(&self.name);
                let others: Vec<u64> =
                    conn.query("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND command <> 'Daemon'").unwrap();
                for id in others {
                    // It may have gone by itself.
                    let _ = conn.query_drop(format!("KILL {id}"));
                }
            }
            Server::Postgres(server) => server
                .connect(&self.name)
                .batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
                .unwrap(),
        }
    }

    /// A connection that records one change after the other, each in a transaction of its own.
    fn session(&self) -> Session {
        match &self.server {
            Server::MariaDb(server) => Session::MariaDb {
                port: server.port,
                name: self.name.clone(),
                conn: None,
            },
            Server::Postgres(server) => Session::Postgres {
                port: server.port,
                name: self.name.clone(),
                client: None,
            },
        }
    }
}

enum Session {
    MariaDb {
        port: u16,
        name: String,
        conn: Option<Conn>,
    },
    Postgres {
        port: u16,
        name: String,
        client: Option<Box<Client>>,
    },
}

impl Session {
    /// Fails when the database is away. Whether the change was recorded is not known then.
    fn record(&mut self, bug: u32) -> Result<(), Box<dyn std::error::Error>> {
        let insert = format!(
            "INSERT INTO push_notify (bug_id, delta_ts) VALUES ({bug}, '2014-04-03 21:13:45')"
        );
        match self {
            Session::MariaDb { port, name, conn } => {
                let mut open = match conn.take() {
                    Some(open) => open,
                    None => {
                        let options = OptsBuilder::new()
                            .ip_or_hostname(Some("127.0.0.1"))
                            .tcp_port(*port)
                            .user(Some("root"));
                        Conn::new(options.prefer_socket(false).db_name(Some(name.clone())))?
                    }
                };
                open.query_drop(insert)?;
                *conn = Some(open);
            }
            Session::Postgres { port, name, client } => {
                let mut open = match client.take() {
                    Some(open) => open,
                    None => Box::new(Client::connect(
                        &format!("host=127.0.0.1 port={port} user=root dbname={name}"),
                        NoTls,
                    )?),
                };
                open.batch_execute(&insert)?;
                *client = Some(open);
            }
        }
        Ok(())
    }
}

/// Writers at work, each of which records the changes 1, 2, 3, … as far as they are allowed,
/// whatever happens to the database.
pub struct Writers {
    allowed: Arc<(Mutex<u32>, Condvar)>,
    threads: Vec<JoinHandle<()>>,
    total: u32,
}

/// Which bug stands for a writer's change.
pub fn bug(writer: u32, number: u32) -> u32 {
    (writer + 1) * 100_000 + number
}

impl Writers {
    /// Starts `count` writers that will have recorded `total` changes each at the end.
    pub fn start(database: &Database, count: u32, total: u32) -> Self {
        let allowed = Arc::new((Mutex::new(0), Condvar::new()));
        let work = |writer| {
            let (mut session, allowed) = (database.session(), Arc::clone(&allowed));
            thread::spawn(move || {
                for number in 1..=total {
                    drop(
                        allowed
                            .1
                            .wait_while(allowed.0.lock().unwrap(), |allowed| *allowed < number)
                            .unwrap(),
                    );
                    wait_until("a change is recorded", || {
                        session.record(bug(writer, number)).ok()
                    });
                }
            })
        };
        let threads = (0..count).map(work).collect();
        Self {
            allowed,
            threads,
            total,
        }
    }

    /// Lets each writer record `count` changes more.
    pub fn allow(&self, count: u32) {
        *self.allowed.0.lock().unwrap() += count;
        self.allowed.1.notify_all();
    }

    /// Waits until all is recorded.
    pub fn finish(self) {
        self.allow(self.total);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Panics unless each writer's changes are there, and were first seen in their order.
pub fn expect_all_in_order(seen: &[u32], writers: u32, total: u32) {
    for writer in 0..writers {
        let mut next = 1;
        for &found in seen.iter().filter(|&&found| found / 100_000 == writer + 1) {
            assert!(
                found <= bug(writer, next),
                "{found} came before {}",
                bug(writer, next)
            );
            next += u32::from(found == bug(writer, next));
        }
        assert_eq!(
            next - 1,
            total,
            "changes of writer {writer} in {} messages",
            seen.len()
        );
    }
}
