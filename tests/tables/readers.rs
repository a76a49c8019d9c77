//! One table, one reader: a second one is refused or waits, and what somebody else has read,
//! restored or replaced is a gap.

use bugzfeed::schema::Engine;
use rustix::process::Signal;

use crate::database::{Database, Reading, ServerKind, comment};
use crate::support::server::{PATIENCE, Program, Server, wait_until, wait_within};

/// A program that reads the table, in a folder of its own.
fn start(folder: &tempfile::TempDir, arguments: &[&str]) -> Program {
    Program::start(folder.path(), arguments)
}

for_each_engine! {
    fn a_second_server_or_relay_is_refused_and_says_who_reads(engine) {
        let database = Database::new(ServerKind::own(engine));
        let url = database.url("root", "poll=5ms");
        let first = Server::start(&["--source", &url]);
        first.program().wait_for_line("reading updates from");
        for arguments in [
            &["serve", "--listen", "127.0.0.1:0", "--source", &url][..],
            &["relay", "--to", "jsonl:out", "--from", &url],
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (status, log) = start(&folder, arguments).wait();
            assert_eq!(status.code(), Some(69), "{log}");
            assert!(
                log.contains("another server or relay takes changes from this table (") && log.contains("there must be only one"),
                "{log}"
            );
        }
        assert!(first.end(Signal::TERM).success());
        let feed = format!("/dev/={url}");
        let folder = tempfile::tempdir().unwrap();
        let twice = start(&folder, &["serve", "--listen", "127.0.0.1:0", "--source", &url, "--feed", &feed]);
        let (status, log) = twice.wait();
        assert_eq!(status.code(), Some(69), "{log}");
    }

    fn a_standby_takes_over_when_the_other_has_gone(engine) {
        let database = Database::new(ServerKind::own(engine));
        let url = database.url("root", "poll=5ms");
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let serve = ["serve", "--listen", "127.0.0.1:0", "--wait", "--source", &url];
        let first = start(&folders[0], &serve);
        first.wait_for_line("reading updates from");
        let second = start(&folders[1], &serve);
        second.wait_for_line("another server or relay takes changes from this table");
        // Killed.
        drop(first);
        second.wait_for_line("reading updates from");
        let third = start(&folders[2], &["relay", "--wait", "--to", "jsonl:out", "--from", &url]);
        third.wait_for_line("another server or relay takes changes from this table");
        drop(second);
        third.wait_for_line("taking changes from");
        comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
        wait_until("the change is relayed", || {
            let out = std::fs::read_to_string(folders[2].path().join("out")).ok()?;
            out.contains("2026-11-20T15:50:32").then_some(())
        });
    }

    fn a_restart_finds_its_bookmark_and_repeats_nothing(engine) {
        let database = Database::new(ServerKind::own(engine));
        let url = database.url("root", "poll=5ms");
        let folder = tempfile::tempdir().unwrap();
        let serve = || start(&folder, &["serve", "--listen", "127.0.0.1:0", "--catch-up", "none", "--source", &url]);
        let server = serve();
        server.wait_for_line("are known from now on");
        comment(&mut *database.session(), 1, "2026-11-20 15:50:31");
        comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
        let history = || -> i64 {
            let file = rusqlite::Connection::open(folder.path().join("bugzfeed.db")).unwrap();
            file.query_row("SELECT count(*) FROM history WHERE time = '2026-11-20T15:50:32'", [], |row| row.get(0)).unwrap_or(0)
        };
        wait_until("the change is kept", || (history() == 1).then_some(()));
        drop(server);
        let server = serve();
        server.wait_for_line("reading updates from");
        assert!(!server.log().contains("read last") && !server.log().contains("not known"), "{}", server.log());
        assert_eq!((history(), database.rows_left().as_str()), (1, "1"));
        drop(server);
        // Somebody else reads the table meanwhile.
        comment(&mut *database.session(), 2, "2026-11-20 15:50:33");
        Reading::start(&database.url("root", "poll=5ms")).take(2);
        serve().wait_for_line("the row that was read last is not in the table any more");
    }

    fn a_table_that_was_missing_for_a_while_is_a_gap(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let mut reading = database.read();
        reading.expect_gap();
        comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
        assert_eq!(reading.take(1)[0].0, 1);
        assert!(!reading.has_gap);
        database.run_script(engine.removal()).unwrap();
        comment(&mut *database.session(), 2, "2026-11-20 15:50:33");
        database.run_script(engine.installation()).unwrap();
        reading.expect_gap();
        comment(&mut *database.session(), 3, "2026-11-20 15:50:34");
        assert_eq!(reading.take(1)[0].0, 3);
    }
}

/// A host that is gone ends no connection; a process that was stopped does not, either.
fn a_standby_takes_over_from_a_host_that_is_gone(engine: Engine) {
    let database = Database::new(ServerKind::own(engine));
    let url = database.url("root", "poll=5ms");
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--wait",
        "--source",
        &url,
    ];
    let first = start(&folders[0], &serve);
    first.wait_for_line("reading updates from");
    let second = start(&folders[1], &serve);
    second.wait_for_line("another server or relay takes changes from this table");
    first.signal(Signal::STOP);
    wait_within(2 * PATIENCE, "the second takes over", || {
        second.log().contains("reading updates from").then_some(())
    });
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_standby_takes_over_from_a_host_that_is_gone_on_mariadb() {
    a_standby_takes_over_from_a_host_that_is_gone(Engine::Mysql);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_standby_takes_over_from_a_host_that_is_gone_on_postgresql() {
    a_standby_takes_over_from_a_host_that_is_gone(Engine::Postgres);
}

/// `mv` of a backup over the file that is served.
#[test]
fn an_sqlite_file_that_is_replaced_is_a_gap_and_the_new_one_is_read() {
    let database = Database::new(ServerKind::shared(Engine::Sqlite));
    let ServerKind::Sqlite(folder) = &database.server else {
        unreachable!("it is SQLite")
    };
    let file = folder.path().join(&database.name);
    let backup = folder.path().join("backup");
    std::fs::copy(&file, &backup).unwrap();
    let mut reading = database.read();
    reading.expect_gap();
    comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
    assert_eq!(reading.take(1)[0].0, 1);
    std::fs::rename(&backup, &file).unwrap();
    comment(&mut *database.session(), 2, "2026-11-20 15:50:33");
    reading.expect_gap();
    assert_eq!(reading.take(1)[0].0, 2);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn an_account_that_may_only_insert_can_notify_and_one_that_may_only_read_hears_what_it_lacks() {
    for engine in [Engine::Mysql, Engine::Postgres] {
        let database = Database::new(ServerKind::own(engine));
        let mut root = database.session();
        match engine {
            Engine::Mysql => {
                root.must("CREATE USER inserter@127.0.0.1 IDENTIFIED BY 'secret'");
                root.must("CREATE USER reader@127.0.0.1 IDENTIFIED BY 'secret'");
                let table = format!("{}.push_notify", database.name);
                root.must(&format!("GRANT INSERT ON {table} TO inserter@127.0.0.1"));
                root.must(&format!(
                    "GRANT SELECT, DELETE ON {table} TO reader@127.0.0.1"
                ));
            }
            Engine::Postgres => {
                root.must("CREATE ROLE inserter LOGIN PASSWORD 'secret'; CREATE ROLE reader LOGIN PASSWORD 'secret'");
                root.must("GRANT INSERT ON push_notify TO inserter; GRANT SELECT, DELETE ON push_notify TO reader");
                root.must("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO inserter");
            }
            Engine::Sqlite => unreachable!("it has no accounts"),
        }
        let notify = |account: &str| {
            let url = database.url(&format!("{account}:secret"), "");
            let address: bugzfeed::database::Database = url.parse().unwrap();
            address.notify(&["7".parse().unwrap()])
        };
        notify("inserter").unwrap();
        assert_eq!(database.rows_left(), "1");
        let why = notify("reader").unwrap_err().to_string();
        assert!(
            why.contains("write to the table of notifications") && !why.contains("delete"),
            "{why}"
        );
    }
}
