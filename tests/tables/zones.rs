//! Time zones: `delta_ts` says none, and clients get UTC.

use std::process::Command;

use bugzfeed::schema::Engine;
use bugzfeed::source::Address;
use bugzfeed::update::When;
use bugzfeed::work::unix_now;

use crate::database::{Database, Reading, ServerKind, comment};
use crate::support::client::Client;
use crate::support::server::Program;
use crate::support::unprivileged::run;

/// The time that arrives for `2026-07-01 12:00:00`, read with these options.
fn arrives(database: &Database, options: &str) -> String {
    database
        .session()
        .must("INSERT INTO push_notify (bug_id, delta_ts) VALUES (1, '2026-07-01 12:00:00')");
    Reading::start(&database.url("root", options))
        .take(1)
        .remove(0)
        .1
}

/// Whether what `notify` records now arrives as now: zones are no less than a quarter of an hour
/// apart.
fn notifies_now(database: &Database, options: &str) {
    let address: Address = database.url("root", options).parse().unwrap();
    address.notify(&["7".parse().unwrap()]).unwrap();
    let (_, when) = Reading::start(&database.url("root", options))
        .take(1)
        .remove(0);
    let difference = when.parse::<When>().unwrap().unix_seconds() - unix_now();
    assert!(difference.abs() < 600, "{options}: {difference} s");
}

for_each_engine! {
    fn the_address_may_name_the_zone(engine) {
        let database = Database::new(ServerKind::shared(engine));
        for (options, expected) in [
            ("tz=UTC", "2026-07-01T12:00:00"),
            ("tz=+05:30", "2026-07-01T06:30:00"),
            ("tz=-09:30", "2026-07-01T21:30:00"),
        ] {
            assert_eq!(arrives(&database, options), expected, "{options}");
            notifies_now(&database, options);
        }
    }
}

/// What is asked for is bounded by the database's time: it must be as wrong as the bugs' times.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn the_databases_time_is_read_as_that_of_a_bug_that_changes_now_whatever_zone_is_named() {
    for engine in [Engine::Mysql, Engine::Postgres] {
        let database = Database::new(ServerKind::shared(engine));
        for options in ["", "tz=UTC", "tz=+05:30", "tz=-09:30"] {
            let mut session = database.session();
            session.must("UPDATE bugs SET delta_ts = LOCALTIMESTAMP WHERE bug_id = 1");
            let url = database.url("root", options);
            let (_, when) = Reading::start(&url).take(1).remove(0);
            let address: bugzfeed::database::Database = url.parse().unwrap();
            let now = address.table().unwrap().now().unwrap();
            let difference = when.parse::<When>().unwrap().unix_seconds() - now;
            assert!(
                difference.abs() < 600,
                "{engine:?} {options}: {difference} s"
            );
        }
    }
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn mariadbs_own_zone_is_that_of_its_sessions() {
    let database = Database::new(ServerKind::own(Engine::Mysql));
    let mut root = database.session();
    root.must("SET GLOBAL time_zone = '+05:30'");
    assert_eq!(arrives(&database, ""), "2026-07-01T06:30:00");
    notifies_now(&database, "");
    root.must("SET GLOBAL time_zone = 'SYSTEM'");
    let unknown: bugzfeed::database::Database =
        database.url("root", "tz=Europe/Berlin").parse().unwrap();
    let refusal = unknown.table().err().unwrap().to_string();
    assert!(
        refusal.contains("Unknown or incorrect time zone: 'Europe/Berlin'"),
        "{refusal}"
    );
    // As MariaDB's manual asks the administrator to.
    let mut zones = Command::new("mariadb-tzinfo-to-sql");
    zones.args(["/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"]);
    root.must("USE mysql");
    run(zones)
        .split(";\n")
        .filter(|statement| !statement.trim().is_empty())
        .for_each(|statement| root.must(statement));
    assert_eq!(
        arrives(&database, "tz=Europe/Berlin"),
        "2026-07-01T10:00:00"
    );
    notifies_now(&database, "tz=Europe/Berlin");
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn postgresqls_own_zone_is_that_of_its_sessions() {
    let database = Database::new(ServerKind::shared(Engine::Postgres));
    let mut root = database.session();
    root.must(&format!(
        "ALTER DATABASE {} SET timezone = 'Asia/Kolkata'",
        database.name
    ));
    assert_eq!(arrives(&database, ""), "2026-07-01T06:30:00");
    notifies_now(&database, "");
    assert_eq!(
        arrives(&database, "tz=Europe/Berlin"),
        "2026-07-01T10:00:00"
    );
    notifies_now(&database, "tz=Europe/Berlin");
    let unknown: bugzfeed::database::Database =
        database.url("root", "tz=Nowhere/Land").parse().unwrap();
    let refusal = unknown.table().err().unwrap().to_string();
    assert!(refusal.contains("Nowhere/Land"), "{refusal}");
}

/// SQLite asks the C library, which asks the environment: so the program is run in another one.
#[test]
fn sqlites_own_zone_is_that_of_the_process() {
    let database = Database::new(ServerKind::shared(Engine::Sqlite));
    let url = database.url("", "");
    let folder = tempfile::tempdir().unwrap();
    let bugzfeed = |arguments: &[&str]| {
        Program::start_with(folder.path(), arguments, &[("TZ", "Asia/Kolkata")])
    };
    assert!(
        bugzfeed(&["notify", "7", "--source", &url])
            .wait()
            .0
            .success()
    );
    let (_, when) = Reading::start(&database.url("", "tz=+05:30"))
        .take(1)
        .remove(0);
    let difference = when.parse::<When>().unwrap().unix_seconds() - unix_now();
    assert!(difference.abs() < 600, "{difference} s");
    let server = bugzfeed(&["serve", "--listen", "127.0.0.1:0", "--source", &url]);
    let line = server.wait_for_line(" listens on ");
    let address = line
        .split("ws://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let mut client = Client::open(address.parse().unwrap(), "/");
    client.ask(r#"{"command":"subscribe","bugs":[1]}"#);
    comment(&mut *database.session(), 1, "2026-07-01 12:00:00");
    assert_eq!(
        client.hear(),
        r#"{"command":"update","bug":1,"when":"2026-07-01T06:30:00"}"#
    );
}
