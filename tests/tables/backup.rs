//! Bugzilla's manual: its database is dumped and restored by the commands there, with the triggers
//! in it, by Bugzilla's own account.

use std::fs;
use std::process::Command;

use bugzfeed::schema::Engine;

use crate::check::{bugzfeed, check};
use crate::database::{Database, ServerKind, Session, edit};
use crate::support::unprivileged::{pipe, run};

/// The rights that Bugzilla's manual gives to its account on MariaDB.
const RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE, INDEX, ALTER, CREATE, LOCK TABLES, \
                      CREATE TEMPORARY TABLES, DROP, REFERENCES";

fn account(session: &mut dyn Session, database: &str) {
    session.must("CREATE USER IF NOT EXISTS bugs@127.0.0.1");
    session.must(&format!("GRANT {RIGHTS} ON {database}.* TO bugs@127.0.0.1"));
}

/// A program of MariaDB's or PostgreSQL's, as Bugzilla's own account.
fn as_bugs(database: &Database, program: &str) -> Command {
    let mut command = Command::new(program);
    let port = match &database.server {
        ServerKind::MariaDb(server) => {
            command.args(["--no-defaults", "--protocol=tcp", "--user=bugs"]);
            server.port
        }
        ServerKind::Postgres(server) => {
            command
                .arg("--username=bugs")
                .env("PGPASSWORD", "secret")
                .env("PGOPTIONS", "-c client_min_messages=warning");
            server.port
        }
        ServerKind::Sqlite(_) => unreachable!("SQLite has no server"),
    };
    command.args(["--host=127.0.0.1", &format!("--port={port}")]);
    command
}

/// The database `name` of the same server.
fn other(database: &Database, name: &str) -> Database {
    Database {
        engine: database.engine,
        server: database.server.clone(),
        name: name.to_owned(),
    }
}

/// A restored Bugzilla has all bugs, and records its edits.
fn assert_whole(restored: &Database, rows: &str) {
    let mut session = restored.session();
    assert_eq!(session.get("SELECT COUNT(*) FROM bugs"), "3");
    assert_eq!(restored.rows_left(), rows);
    edit(&mut *session, "short_desc", &[1], "2026-11-20 15:50:33");
    assert_eq!(
        restored.rows_left(),
        (rows.parse::<u32>().unwrap() + 1).to_string()
    );
    assert_eq!(check(&restored.url("root", "")), "");
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn on_mariadb_bugzillas_own_account_dumps_and_restores_when_it_has_made_the_triggers() {
    let database = Database::without_triggers(ServerKind::own(Engine::Mysql));
    let mut root = database.session();
    for bug in 1..=3 {
        root.must(&crate::database::insert(bug, "2020-01-01 00:00:00"));
    }
    account(&mut *root, &database.name);
    let (as_bugs_url, as_root_url) = (database.url("bugs", ""), database.url("root", ""));

    // As root: the dump breaks off, which the check finds by whichever account.
    database.run_script(Engine::Mysql.installation()).unwrap();
    let dump = || {
        as_bugs(&database, "mariadb-dump")
            .args(["--opt", &database.name])
            .output()
    };
    assert_eq!(dump().unwrap().status.code(), Some(2));
    for url in [&as_bugs_url, &as_root_url] {
        let problems = check(url);
        assert!(
            problems.contains("a dump by it ends there (ERROR 1227)")
                && problems.contains(&format!(
                    "GRANT TRIGGER ON `{}`.* TO 'bugs'@'127.0.0.1';",
                    database.name
                )),
            "{problems}"
        );
        assert!(!problems.contains("--drop"), "{problems}");
    }
    // With the right alone, the dump cannot be restored by who has made it.
    root.must(&format!(
        "GRANT TRIGGER ON {}.* TO bugs@127.0.0.1",
        database.name
    ));
    for url in [&as_bugs_url, &as_root_url] {
        let problems = check(url);
        assert!(
            problems.contains("the triggers belong to root@127.0.0.1, and not to what looks like Bugzilla's own account, 'bugs'@'127.0.0.1'"),
            "{problems}"
        );
        assert!(!problems.contains("GRANT"), "{problems}");
    }

    // The script by Bugzilla's own account mends it.
    let mut client = as_bugs(&database, "mariadb");
    client.arg(&database.name);
    pipe(client, Engine::Mysql.installation()).unwrap();
    assert_eq!(check(&as_bugs_url), "");
    assert_eq!(check(&as_root_url), "");
    edit(&mut *root, "short_desc", &[1, 2], "2026-11-20 15:50:32");
    let dump = dump().unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    root.must("CREATE DATABASE restored");
    account(&mut *root, "restored");
    let dump = String::from_utf8(dump.stdout).unwrap();
    let restored = other(&database, "restored");
    let restore = || {
        let mut client = as_bugs(&restored, "mariadb");
        client.arg("restored");
        pipe(client, &dump)
    };
    // Without the right, it ends in the middle.
    assert!(restore().unwrap_err().contains("TRIGGER command denied"));
    root.must("GRANT TRIGGER ON restored.* TO bugs@127.0.0.1");
    restore().unwrap();
    assert_whole(&restored, "2");
    assert_eq!(check(&restored.url("bugs", "")), "");
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn on_mariadb_a_check_by_bugzillas_account_without_the_right_is_an_answer() {
    let database = Database::new(ServerKind::own(Engine::Mysql));
    account(&mut *database.session(), &database.name);
    let output = bugzfeed(&["schema", "--check", &database.url("bugs", "")]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "may not see the trigger push_notify_insert on bugs for lack of the right TRIGGER"
        ),
        "{said}"
    );
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn on_postgresql_a_dump_is_restored_by_bugzillas_own_account_without_the_grants() {
    let database = Database::without_triggers(ServerKind::own(Engine::Postgres));
    let mut root = database.session();
    root.must("CREATE ROLE bugs LOGIN PASSWORD 'secret' CREATEDB; CREATE ROLE bugzfeed LOGIN PASSWORD 'secret'");
    root.must("GRANT ALL ON SCHEMA public TO bugs");
    root.must("DO $$ DECLARE t name; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' \
               LOOP EXECUTE format('ALTER TABLE %I OWNER TO bugs', t); END LOOP; END $$");
    for bug in 1..=3 {
        root.must(&crate::database::insert(bug, "2020-01-01 00:00:00"));
    }
    let psql = |name: &str, script: &str| {
        let mut client = as_bugs(&database, "psql");
        client.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", name]);
        pipe(client, script)
    };
    let dump = |options: &[&str]| {
        let mut client = as_bugs(&database, "pg_dump");
        client.args(options).arg(&database.name);
        run(client)
    };
    psql(&database.name, Engine::Postgres.installation()).unwrap();
    root.must("GRANT SELECT, DELETE ON push_notify TO bugzfeed; GRANT SELECT (bug_id, delta_ts) ON bugs TO bugzfeed");
    assert_eq!(check(&database.url("bugzfeed:secret", "")), "");
    edit(&mut *root, "short_desc", &[1, 2], "2026-11-20 15:50:32");

    psql("postgres", "CREATE DATABASE restored").unwrap();
    psql("restored", &dump(&["--no-privileges", "--no-owner"])).unwrap();
    let restored = other(&database, "restored");
    assert_whole(&restored, "2");
    let problems = check(&restored.url("bugzfeed:secret", ""));
    assert!(
        problems.contains("bugzfeed, has no right to SELECT on push_notify"),
        "{problems}"
    );

    // The data alone, into tables that have their triggers: each bug is a change.
    psql("postgres", "CREATE DATABASE refilled").unwrap();
    psql(
        "refilled",
        &dump(&["--no-privileges", "--no-owner", "--schema-only"]),
    )
    .unwrap();
    psql(
        "refilled",
        &dump(&["--data-only", "--exclude-table-data=push_notify"]),
    )
    .unwrap();
    assert_whole(&other(&database, "refilled"), "3");

    // With the rows that waited, which are in the way: each bug is a change all the same.
    psql("postgres", "CREATE DATABASE crowded").unwrap();
    psql(
        "crowded",
        &dump(&["--no-privileges", "--no-owner", "--schema-only"]),
    )
    .unwrap();
    let error = psql("crowded", &dump(&["--data-only"])).unwrap_err();
    assert!(error.contains("push_notify_pkey"), "{error}");
}

#[test]
fn on_sqlite_a_copy_and_a_backup_are_whole() {
    let database = Database::new(ServerKind::shared(Engine::Sqlite));
    let ServerKind::Sqlite(folder) = &database.server else {
        unreachable!("it is SQLite");
    };
    edit(
        &mut *database.session(),
        "short_desc",
        &[1, 2],
        "2026-11-20 15:50:32",
    );
    fs::copy(folder.path().join("bugs"), folder.path().join("copy")).unwrap();
    assert_whole(&other(&database, "copy"), "2");
    let backup = format!("VACUUM INTO '{}'", folder.path().join("backup").display());
    database.session().must(&backup);
    assert_whole(&other(&database, "backup"), "2");
}
