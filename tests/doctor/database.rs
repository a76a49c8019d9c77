//! Databases: triggers, rights, growth and clocks.

use std::path::Path;

use bugzfeed::schema::Engine;
use rusqlite::Connection;

use crate::{Findings, doctor};

const BUGS: &str = "CREATE TABLE bugs (bug_id INTEGER PRIMARY KEY, delta_ts DATETIME);";

/// Asks about a file that these statements have made.
fn ask(statements: &str) -> Findings {
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("bugs")).unwrap();
    database.execute_batch(statements).unwrap();
    doctor(folder.path(), &["--", "--source", "sqlite:bugs"])
}

fn installed(more: &str) -> String {
    format!("{BUGS}{}{more}", Engine::Sqlite.installation())
}

#[test]
fn a_table_with_its_triggers_is_well() {
    ask(&installed("")).expect_well();
}

#[test]
fn triggers_that_are_missing_or_others_are_found() {
    ask(BUGS).expect(
        "schema",
        "the table push_notify is missing",
        "bugzfeed schema sqlite | sqlite3 -bail bugs",
    );
    ask(&installed("DROP TRIGGER push_notify_update;")).expect(
        "schema",
        "the trigger push_notify_update is missing",
        "bugzfeed schema sqlite | sqlite3 -bail bugs",
    );
    ask(&installed(
        "CREATE UNIQUE INDEX one ON push_notify (bug_id);",
    ))
    .expect(
        "schema",
        "the unique index one",
        "sqlite3 -bail bugs <<< 'DROP INDEX one'",
    );
}

#[test]
fn a_file_that_is_not_bugzillas_is_found() {
    ask("CREATE TABLE other (x);").expect("schema", "there is no table bugs", "source = ");
    let folder = tempfile::tempdir().unwrap();
    let found = doctor(folder.path(), &["--", "--source", "sqlite:bugs"]);
    found.expect(
        "database",
        "unable to open database file",
        "sqlite3 bugs .tables",
    );
    assert!(!Path::new("bugs").exists());
}

#[test]
fn changes_that_nobody_reads_are_found_for_the_server_and_for_the_relay() {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
        INSERT INTO push_notify (bug_id, delta_ts) SELECT i, '2026-11-20 15:50:32' FROM n;";
    let found = ask(&installed(many));
    found.expect(
        "table",
        "1500 changes wait in sqlite:bugs, and nobody reads them",
        "systemctl restart bugzfeed;",
    );
    let folder = tempfile::tempdir().unwrap();
    let database = Connection::open(folder.path().join("bugs")).unwrap();
    database.execute_batch(&installed(many)).unwrap();
    std::fs::write(
        folder.path().join("bugzfeed.toml"),
        "[relay]\nfrom = 'sqlite:bugs'\nto = ['jsonl:-']\nbacklog = 'none/backlog.db'\n",
    )
    .unwrap();
    let found = doctor(folder.path(), &["--config", "bugzfeed.toml"]);
    found.expect(
        "table",
        "nobody reads them",
        "systemctl restart bugzfeed-relay;",
    );
    found.expect("backlog", "there is no folder none", "install -d ");
}

#[cfg(feature = "mysql")]
mod mariadb {
    use mysql::prelude::Queryable;

    use super::*;
    use crate::support::mariadb::{self, MariaDb};

    const BUGS: &str = include_str!("../tables/bugzilla-mysql.sql");

    /// A Bugzilla with the triggers, and an account with these rights.
    fn set_up(server: &MariaDb, rights: &str) -> String {
        let name = server.create_database();
        let script = format!("{BUGS}\n{}", Engine::Mysql.installation());
        server.run_script(&name, &script).unwrap();
        let mut root = server.connect(&name);
        root.query_drop(format!(
            "CREATE USER {name}@localhost IDENTIFIED BY 'secret'"
        ))
        .unwrap();
        for right in rights.split("; ") {
            root.query_drop(format!("GRANT {right} TO {name}@localhost"))
                .unwrap();
        }
        name
    }

    fn ask(server: &MariaDb, name: &str, password: &str) -> Findings {
        let folder = tempfile::tempdir().unwrap();
        let socket = server.socket();
        let source = format!(
            "mysql://{name}:{password}@localhost/{name}?socket={}",
            socket.display()
        );
        doctor(folder.path(), &["--", "--source", &source])
    }

    const RIGHTS: &str =
        "SELECT, DELETE, TRIGGER ON push_notify; SELECT (bug_id, delta_ts), TRIGGER ON bugs";

    #[test]
    #[ignore = "needs MariaDB: run tests/run"]
    fn an_account_as_the_guide_makes_it_is_well() {
        let server = mariadb::shared();
        let name = set_up(&server, RIGHTS);
        ask(&server, &name, "secret").expect_well();
    }

    #[test]
    #[ignore = "needs MariaDB: run tests/run"]
    fn a_wrong_password_and_a_right_that_is_missing_are_found() {
        let server = mariadb::shared();
        let name = set_up(
            &server,
            "SELECT, TRIGGER ON push_notify; SELECT (bug_id, delta_ts), TRIGGER ON bugs",
        );
        ask(&server, &name, "wrong").expect(
            "database",
            "Access denied",
            &format!("mysql -h localhost -P 3306 -u {name} -p {name}"),
        );
        ask(&server, &name, "secret").expect(
            "schema",
            "cannot DELETE on push_notify",
            &format!("sudo mysql {name} <<< 'GRANT SELECT, DELETE ON `{name}`.push_notify"),
        );
    }

    #[test]
    #[ignore = "needs MariaDB: run tests/run"]
    fn a_database_whose_clock_is_wrong_is_found() {
        let server =
            MariaDb::start_with(&["--init-connect=SET timestamp = UNIX_TIMESTAMP() - 3600"]);
        let name = set_up(&server, RIGHTS);
        ask(&server, &name, "secret").expect(
            "clock",
            "s behind this machine's",
            "timedatectl set-ntp true",
        );
    }
}

#[cfg(feature = "postgres")]
mod postgresql {
    use super::*;
    use crate::support::postgres;

    const BUGS: &str = include_str!("../tables/bugzilla-postgres.sql");

    #[test]
    #[ignore = "needs PostgreSQL: run tests/run"]
    fn a_right_that_is_missing_and_a_trigger_that_is_off_are_found() {
        let server = postgres::shared();
        let name = server.create_database();
        let script = format!(
            "{BUGS}\n{}\nCREATE ROLE {name}_reader LOGIN PASSWORD 'secret'; GRANT SELECT ON push_notify TO {name}_reader;
            ALTER TABLE bugs DISABLE TRIGGER push_notify_update;",
            Engine::Postgres.installation()
        );
        server.run_script(&name, &script).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let source = format!(
            "postgres://{name}_reader:secret@localhost:{}/{name}",
            server
                .connect(&name)
                .query_one("SHOW port", &[])
                .unwrap()
                .get::<_, String>(0)
        );
        let found = doctor(folder.path(), &["--", "--source", &source]);
        found.expect(
            "schema",
            "no right to DELETE on push_notify",
            &format!("sudo -u postgres psql {name} <<< 'GRANT SELECT, DELETE ON push_notify"),
        );
        found.expect(
            "schema",
            "the trigger push_notify_update on bugs is disabled",
            &format!("bugzfeed schema postgres | psql -h localhost -U bugs {name}"),
        );
    }
}
