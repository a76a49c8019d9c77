//! Accounts, passwords, TLS, lost connections, and the programs around a table: as the
//! documentation says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use bugzfeed::schema::Engine;
use rustix::process::{Pid, Signal, kill_process};

use crate::database::{Database, Reading, ServerKind, comment};
use crate::support::mariadb::MariaDb;
use crate::support::server::{Server, wait_until};
use crate::support::unprivileged::certificate;

/// Makes an account with a password and these rights on the table of notifications.
fn create_account(database: &Database, name: &str, rights: &str) {
    let mut root = database.session();
    let database = &database.name;
    match rights {
        "" => {}
        _ if root_is_mysql(&mut *root) => {
            root.must(&format!("CREATE USER {name} IDENTIFIED BY 's/e@cret'"));
            root.must(&format!(
                "GRANT {rights} ON {database}.push_notify TO {name}"
            ));
        }
        _ => {
            root.must(&format!("CREATE ROLE {name} LOGIN PASSWORD 's/e@cret'"));
            root.must(&format!("GRANT {rights} ON push_notify TO {name}"));
        }
    }
}

fn root_is_mysql(root: &mut dyn crate::database::Session) -> bool {
    root.get("SELECT VERSION()").contains("MariaDB")
}

fn bugzfeed(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

for_each_engine! {
    fn a_served_table_reaches_its_clients(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let server = Server::start(&["--source", &database.url("root", "poll=5ms")]);
        let mut client = server.connect();
        assert_eq!(client.ask(r#"{"command":"subscribe","bugs":[1]}"#), r#"{"command":"subscribe","result":"ok","bugs":[1]}"#);
        comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
        assert_eq!(client.hear(), r#"{"command":"update","bug":1,"when":"2026-11-20T15:50:32"}"#);
        wait_until("all rows but the last are deleted", || (database.rows_left() == "1").then_some(()));
        assert!(server.end(Signal::TERM).success());
    }

    fn notify_writes_what_the_source_reads(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let url = database.url("root", "");
        assert_eq!(bugzfeed(&["notify", "7", "8", "--source", &url]), (Some(0), String::new()));
        assert_eq!(database.rows_left(), "2");
        let bugs: Vec<u32> = database.read().take(2).into_iter().map(|(bug, _)| bug).collect();
        assert_eq!(bugs, [7, 8]);
        let (code, said) = bugzfeed(&["notify", "7", "--source", &database.url("root:secret", "mode=bugs")]);
        assert_eq!(code, Some(69));
        assert!(said.contains("mode=bugs has no table") && !said.contains("secret"), "{said}");
    }

    fn triggers_that_are_dropped_while_serving_are_noticed(engine) {
        let database = Database::new(ServerKind::own(engine));
        let server = Server::start(&["--source", &database.url("root", "poll=5ms")]);
        server.program().wait_for_line("reading updates from");
        let drop = match engine {
            Engine::Postgres => "ALTER TABLE bugs DISABLE TRIGGER push_notify_update",
            _ => "DROP TRIGGER push_notify_update",
        };
        assert!(!server.program().log().contains("missing or switched off"));
        database.session().must(drop);
        server.program().wait_for_line("are missing or switched off: no edit is noticed");
        assert!(server.end(Signal::TERM).success());
    }

    fn a_table_can_have_another_name(engine) {
        let database = Database::new(ServerKind::shared(engine));
        database.session().must("ALTER TABLE push_notify RENAME TO changes_2");
        database.session().must("INSERT INTO changes_2 (bug_id, delta_ts) VALUES (1, '2026-11-20 15:50:32')");
        let mut reading = Reading::start(&database.url("root", "table=changes_2"));
        assert_eq!(reading.take(1), [(1, "2026-11-20T15:50:32".to_owned())]);
    }
}

/// The rights that the documentation names are enough, and fewer are found out before anything is
/// read.
fn documented_rights_are_enough(engine: Engine) {
    let database = Database::new(ServerKind::own(engine));
    create_account(&database, "poller", "SELECT, DELETE");
    create_account(&database, "onlooker", "SELECT");
    comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
    let onlooker: bugzfeed::database::Database =
        database.url("onlooker:s%2Fe%40cret", "").parse().unwrap();
    let refusal = onlooker.table().err().unwrap().to_string();
    assert!(
        refusal.contains("cannot delete from the table of notifications")
            && refusal.contains("denied"),
        "{refusal}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s/e@cret\n").unwrap();
    let mut reading =
        Reading::start(&database.url("poller", &format!("password_file={}", file.display())));
    assert_eq!(reading.take(1), [(1, "2026-11-20T15:50:32".to_owned())]);
    let (code, said) = bugzfeed(&[
        "notify",
        "7",
        "--source",
        &database.url("poller:s%2Fe%40cret", ""),
    ]);
    assert!(
        code == Some(69) && said.contains("cannot write to the table of notifications"),
        "{code:?} {said}"
    );
    wait_until("all rows but the last are deleted", || {
        (database.rows_left() == "1").then_some(())
    });

    let server = Server::start(&["--source", &database.url("poller:wrong%21", "")]);
    let line = server
        .program()
        .wait_for_line("trying again until it works");
    assert!(
        line.contains("cannot connect to the database") && line.contains("poller"),
        "{line}"
    );
    server.program().signal(Signal::TERM);
    assert!(
        !server.program().log().contains("wrong"),
        "{}",
        server.program().log()
    );
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn the_documented_rights_are_enough_on_mariadb() {
    documented_rights_are_enough(Engine::Mysql);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn the_documented_rights_are_enough_on_postgresql() {
    documented_rights_are_enough(Engine::Postgres);
}

/// The connection of a reader is ended by an administrator while rows wait.
fn a_lost_connection_is_made_again(engine: Engine, others: &str, end: fn(&str) -> String) {
    let database = Database::new(ServerKind::own(engine));
    let mut root = database.session();
    let mut reading = database.read();
    comment(&mut *root, 1, "2026-11-20 15:50:32");
    assert_eq!(reading.take(1)[0].0, 1);
    for bug in [2, 3] {
        let connection = wait_until("the reader is connected", || {
            Some(root.get(others)).filter(|id| !id.is_empty())
        });
        // It may be gone already.
        let _ = root.run(&end(&connection));
        comment(&mut *root, bug, "2026-11-20 15:50:33");
        assert_eq!(reading.take(1)[0].0, bug);
    }
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_lost_connection_to_mariadb_is_made_again() {
    let others = "SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID()";
    a_lost_connection_is_made_again(Engine::Mysql, others, |id| format!("KILL {id}"));
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_lost_connection_to_postgresql_is_made_again() {
    let others = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bugzfeed'";
    a_lost_connection_is_made_again(Engine::Postgres, others, |pid| {
        format!("SELECT pg_terminate_backend({pid})")
    });
}

/// With a poll once an hour, only the database itself can bring what arrives, whatever edits are
/// open; and a stop does not wait for the poll.
fn the_reader_is_woken_at_the_commit(engine: Engine) {
    let database = Database::new(ServerKind::shared(engine));
    let mut reading = Reading::start(&database.url("root", "poll=1h"));
    comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
    assert_eq!(reading.take(1)[0].0, 1);
    // The reader is waiting now, or will be soon.
    let mut open = database.session();
    open.must("BEGIN");
    comment_in_transaction(&mut *open, 2);
    comment(&mut *database.session(), 3, "2026-11-20 15:50:33");
    assert_eq!(reading.take(1)[0].0, 3);
    open.must("COMMIT");
    assert_eq!(reading.take(1)[0].0, 2);
    let url = database.url("root", "");
    assert_eq!(bugzfeed(&["notify", "7", "--source", &url]).0, Some(0));
    assert_eq!(reading.take(1)[0].0, 7);
    reading.stop();
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn mariadb_wakes_the_reader_at_the_commit() {
    the_reader_is_woken_at_the_commit(Engine::Mysql);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn postgresql_wakes_the_reader_at_the_commit() {
    the_reader_is_woken_at_the_commit(Engine::Postgres);
}

fn comment_in_transaction(session: &mut dyn crate::database::Session, bug: u32) {
    session.must(&format!(
        "UPDATE bugs SET delta_ts = '2026-11-20 15:50:32' WHERE bug_id = {bug}"
    ));
}

/// Only TLS leads to this account.
fn tls_is_spoken_and_verified(engine: Engine) {
    let database = Database::new(ServerKind::own(engine));
    create_account(&database, "tls_only", "SELECT, DELETE");
    if engine == Engine::Mysql {
        database.session().must("ALTER USER tls_only REQUIRE SSL");
    }
    let account = "tls_only:s%2Fe%40cret";
    let (ca, stranger) = (certificate("ca.pem"), certificate("stranger.pem"));
    let open = |options: &str| {
        let address: bugzfeed::database::Database = database.url(account, options).parse().unwrap();
        address.table().map(drop).map_err(|error| error.to_string())
    };
    open(&format!("cacert={}", ca.display())).unwrap();
    open(&format!("sslmode=verify-full&cacert={}", ca.display())).unwrap();
    open("sslmode=require").unwrap();
    open("").unwrap_err();
    for options in [
        "sslmode=verify-full".to_owned(),
        format!("cacert={}", stranger.display()),
    ] {
        let refusal = open(&options).unwrap_err();
        assert!(
            refusal.contains("certificate") && refusal.contains("cacert=FILE"),
            "{options}: {refusal}"
        );
    }
    let refusal = open("cacert=/nowhere/ca.pem").unwrap_err();
    assert!(refusal.contains("No such file"), "{refusal}");
    // The certificate is for localhost and 127.0.0.1.
    let stranger = database
        .url(account, &format!("cacert={}", ca.display()))
        .replace("127.0.0.1", "127.0.0.2");
    let refusal = stranger
        .parse::<bugzfeed::database::Database>()
        .unwrap()
        .table()
        .err()
        .unwrap()
        .to_string();
    assert!(
        refusal.contains("certificate") && refusal.contains("127.0.0.1"),
        "{refusal}"
    );
    for options in [&format!("cacert={}", ca.display()), "sslmode=require"] {
        more_than_one_batch_is_read(&database, &database.url(account, options));
    }
    let url = database.url("root", "sslmode=require");
    assert_eq!(bugzfeed(&["notify", "7", "8", "--source", &url]).0, Some(0));
    assert_eq!(database.rows_left(), "2");
}

fn more_than_one_batch_is_read(database: &Database, url: &str) {
    let session = &mut *database.session();
    session.must("BEGIN");
    for bug in 1..=1_100 {
        session.must(&format!(
            "INSERT INTO push_notify (bug_id, delta_ts) VALUES ({bug}, '2026-11-20 15:50:32')"
        ));
    }
    session.must("COMMIT");
    let mut reading = Reading::start(url);
    reading.take(1_100);
    session.must("INSERT INTO push_notify (bug_id, delta_ts) VALUES (1, '2026-11-20 15:50:33')");
    assert_eq!(reading.take(1)[0].0, 1);
    reading.stop();
    assert_eq!(database.rows_left(), "0");
}

/// A binary log of statements, which MariaDB refuses to write at the usual level of isolation.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn mariadb_may_log_statements() {
    let server = MariaDb::start_with(&["--log-bin", "--server-id=1", "--binlog-format=STATEMENT"]);
    let database = Database::new(ServerKind::MariaDb(Arc::new(server)));
    more_than_one_batch_is_read(&database, &database.url("root", ""));
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn an_account_of_mariadb_may_log_in_by_ed25519() {
    let server = MariaDb::start_with(&["--plugin-load-add=auth_ed25519"]);
    let database = Database::new(ServerKind::MariaDb(Arc::new(server)));
    let mut root = database.session();
    root.must("CREATE USER modern IDENTIFIED VIA ed25519 USING PASSWORD('s3cret')");
    root.must("GRANT ALL ON *.* TO modern");
    more_than_one_batch_is_read(&database, &database.url("modern:s3cret", ""));
}

/// Speaks to one client as a MariaDB does whose account logs in by this plugin, until the client
/// knows it and has nothing to answer (MariaDB's documentation, "Connection Phase"; the salt is
/// that of `parsec`, which no packaged server of the tests has).
fn ask_for_plugin(listener: &TcpListener, plugin: &str) {
    let (mut client, _) = listener.accept().unwrap();
    let greeting = [
        b"\x0a11.8.2-MariaDB\0\x01\0\0\0scramble\0".as_slice(),
        // Protocol 4.1, its passwords, plugins; UTF-8; autocommit; 21 bytes of scramble.
        b"\x09\x82\x2d\x02\0\x28\0\x15\0\0\0\0\0\0\0\0\0\0",
        b"of-20-bytes!\0mysql_native_password\0",
    ]
    .concat();
    let switch = [b"\xfe", plugin.as_bytes(), b"\0", &[7; 32]].concat();
    let salt = [b"P\0".as_slice(), &[7; 18]].concat();
    for (number, packet) in [(0, greeting), (2, switch), (4, salt)] {
        client
            .write_all(&[&[packet.len() as u8, 0, 0, number], &*packet].concat())
            .unwrap();
        let mut head = [0; 4];
        // A client that does not know the plugin goes.
        if client.read_exact(&mut head).is_err() {
            return;
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut answer = vec![0; length as usize];
        client.read_exact(&mut answer).unwrap();
    }
}

#[test]
fn an_account_of_a_plugin_that_nobody_here_knows_is_named_and_tried_again() {
    for plugin in ["parsec", "dialog"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("mysql://modern:s3cret@127.0.0.1:{port}/bugs");
        let server = Server::start(&["--catch-up", "none", "--source", &url]);
        ask_for_plugin(&listener, plugin);
        let line = server
            .program()
            .wait_for_line("trying again until it works");
        let why = format!("the account 'modern' logs in by the authentication plugin '{plugin}'");
        assert!(
            line.contains(&why) && line.contains("accepted are mysql_native_password"),
            "{line}"
        );
        ask_for_plugin(&listener, plugin);
        assert!(server.end(Signal::TERM).success());
    }
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn tls_to_mariadb_is_spoken_and_verified() {
    tls_is_spoken_and_verified(Engine::Mysql);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn tls_to_postgresql_is_spoken_and_verified() {
    tls_is_spoken_and_verified(Engine::Postgres);
}

/// A backend that was stopped acknowledges what it gets, and answers nothing.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_backend_of_postgresql_that_hangs_is_noticed() {
    let database = Database::new(ServerKind::own(Engine::Postgres));
    for mode in ["table", "bugs"] {
        let url = database.url("root", &format!("poll=5ms&mode={mode}"));
        let server = Server::start(&["--catch-up", "none", "--source", &url]);
        server.program().wait_for_line("reading updates from");
        let backend = database
            .session()
            .get("SELECT pid FROM pg_stat_activity WHERE application_name = 'bugzfeed'");
        let backend = Pid::from_raw(backend.parse().unwrap()).unwrap();
        kill_process(backend, Signal::STOP).unwrap();
        let line = server
            .program()
            .wait_for_line("trying again until it works");
        assert!(line.contains("has not answered within 12 s"), "{line}");
        kill_process(backend, Signal::CONT).unwrap();
        let mut client = server.connect();
        client.ask(r#"{"command":"subscribe","bugs":[1]}"#);
        comment(
            &mut *database.session(),
            1,
            if mode == "table" {
                "2035-11-20 15:50:32"
            } else {
                "2035-11-20 15:50:33"
            },
        );
        assert!(client.hear().contains(r#""bug":1"#));
        assert!(server.end(Signal::TERM).success());
    }
}
