//! What Bugzilla does to a bug, and what arrives of it.

use bugzfeed::schema::Engine;
use bugzfeed::update::When;

use crate::database::{
    Change, Database, Reading, ServerKind, Session, comment, edit, edit_in_transaction, file,
    insert, send_mail,
};
use crate::support::server::PATIENCE;

fn changes(changes: &[(u32, &str)]) -> Vec<Change> {
    changes
        .iter()
        .map(|(bug, when)| (*bug, (*when).to_owned()))
        .collect()
}

for_each_engine! {
    /// Each edit is followed by its mail, and then the next edit, only when it has arrived: so each
    /// stands alone in its batch.
    fn each_edit_arrives_once(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let mut reading = database.read();
        let session = &mut *database.session();
        let mut expect = |session: &mut dyn Session, expected: &[(u32, &str)]| {
            assert_eq!(reading.take(expected.len()), changes(expected));
            expected.iter().for_each(|(bug, _)| send_mail(session, *bug));
        };
        edit(session, "short_desc", &[1], "2035-11-20 15:50:32");
        expect(session, &[(1, "2035-11-20T15:50:32")]);
        // A second edit within the second, of another kind each.
        edit(session, "short_desc", &[1], "2035-11-20 15:50:32");
        expect(session, &[(1, "2035-11-20T15:50:32")]);
        comment(session, 1, "2035-11-20 15:50:32");
        expect(session, &[(1, "2035-11-20T15:50:32")]);
        edit(session, "cf_custom", &[1], "2035-11-20 15:50:32");
        expect(session, &[(1, "2035-11-20T15:50:32")]);
        edit(session, "cf_custom", &[2], "2035-11-20 15:50:33");
        expect(session, &[(2, "2035-11-20T15:50:33")]);
        comment(session, 2, "2035-11-20 15:50:34");
        expect(session, &[(2, "2035-11-20T15:50:34")]);
        file(session, 4, "2035-11-20 15:50:35");
        expect(session, &[(4, "2035-11-20T15:50:35")]);
        edit(session, "resolution", &[3, 1, 2], "2035-11-20 15:50:36");
        expect(session, &[(3, "2035-11-20T15:50:36"), (1, "2035-11-20T15:50:36"), (2, "2035-11-20T15:50:36")]);
        session.must("BEGIN");
        edit_in_transaction(session, "short_desc", &[1], "2035-11-20 15:50:37");
        session.must("ROLLBACK");
        edit(session, "short_desc", &[2], "2035-11-20 15:50:38");
        expect(session, &[(2, "2035-11-20T15:50:38")]);
        comment(session, 2, "2035-11-20 15:50:39");
        expect(session, &[(2, "2035-11-20T15:50:39")]);
        reading.stop();
        assert_eq!(database.rows_left(), "0");
    }

    /// More than two batches, in one transaction. Each bug has two rows on MariaDB, some of them on
    /// both sides of a batch's end.
    fn a_bulk_edit_of_a_custom_field_arrives_once_for_each_bug(engine) {
        let database = Database::without_triggers(ServerKind::shared(engine));
        let session = &mut *database.session();
        let bugs: Vec<u32> = (1..=1_201).collect();
        session.must("BEGIN");
        for bug in &bugs {
            session.must(&insert(*bug, "2020-01-01 00:00:00"));
        }
        session.must("COMMIT");
        database.run_script(engine.installation()).unwrap();
        // One row more makes the batches end between the two rows of a bug.
        comment(session, 1_201, "2026-11-20 15:50:31");
        session.must("BEGIN");
        edit_in_transaction(session, "cf_custom", &bugs[..1_200], "2026-11-20 15:50:32");
        session.must("COMMIT");
        let mut reading = database.read();
        assert_eq!(reading.take(1), changes(&[(1_201, "2026-11-20T15:50:31")]));
        let expected: Vec<Change> = (1..=1_200).map(|bug| (bug, "2026-11-20T15:50:32".to_owned())).collect();
        assert_eq!(reading.take(1_200), expected);
        comment(session, 1, "2026-11-20 15:50:33");
        assert_eq!(reading.take(1), changes(&[(1, "2026-11-20T15:50:33")]));
        reading.stop();
        assert_eq!(database.rows_left(), "0");
    }

    /// Votes, and in the administration the renaming of a custom field's value, change bugs without
    /// their time.
    fn what_is_no_edit_sends_no_bug(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        session.must("UPDATE bugs SET cf_custom = 'renamed'");
        assert_eq!(database.rows_left(), "0");
        edit(session, "cf_custom", &[2], "2026-11-20 15:50:32");
        let mut reading = database.read();
        assert_eq!(reading.take(1), changes(&[(2, "2026-11-20T15:50:32")]));
    }

    /// As fifty bugs that are made to depend on one: its time moves once for each.
    fn an_edit_that_leaves_several_rows_arrives_once(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        session.must("BEGIN");
        // As 50 bugs that are made to depend on each of these do.
        for _ in 0..50 {
            for bug in [1, 2] {
                session.must(&format!("UPDATE bugs SET delta_ts = '2026-11-20 15:50:59' WHERE bug_id = {bug}"));
            }
        }
        session.must("COMMIT");
        let mut reading = database.read();
        assert_eq!(reading.take(2), changes(&[(1, "2026-11-20T15:50:59"), (2, "2026-11-20T15:50:59")]));
        assert_eq!(reading.received(), []);
    }

    fn a_row_that_records_nothing_goes_and_holds_up_nothing(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        session.must("INSERT INTO push_notify (bug_id, delta_ts) VALUES (0, '2026-11-20 15:50:31')");
        comment(session, 1, "2026-11-20 15:50:32");
        let mut reading = database.read();
        assert_eq!(reading.take(1), changes(&[(1, "2026-11-20T15:50:32")]));
        reading.stop();
        assert_eq!(database.rows_left(), "0");
    }

    fn bugzillas_own_tables_can_be_watched_without_a_trigger(engine) {
        let database = Database::without_triggers(ServerKind::shared(engine));
        let session = &mut *database.session();
        // All is in the future, and so never too old.
        file(session, 1, "2035-11-20 15:50:30");
        file(session, 2, "2035-11-20 15:50:30");
        let mut reading = watch(&database);
        let mut expect = |expected: &[(u32, &str)]| assert_eq!(reading.take(expected.len()), changes(expected));
        edit(session, "short_desc", &[1], "2035-11-20 15:50:32");
        expect(&[(1, "2035-11-20T15:50:32")]);
        // The second edit within the second.
        edit(session, "short_desc", &[1], "2035-11-20 15:50:32");
        expect(&[(1, "2035-11-20T15:50:32")]);
        comment(session, 1, "2035-11-20 15:50:32");
        expect(&[(1, "2035-11-20T15:50:32")]);
        file(session, 3, "2035-11-20 15:50:33");
        expect(&[(3, "2035-11-20T15:50:33")]);
        // Committed late: the time is that of its beginning.
        edit(session, "cf_custom", &[2, 1], "2035-11-20 15:50:31");
        expect(&[(1, "2035-11-20T15:50:31"), (2, "2035-11-20T15:50:31")]);
        session.must("BEGIN");
        edit_in_transaction(session, "short_desc", &[1], "2035-11-20 15:50:37");
        session.must("ROLLBACK");
        edit(session, "short_desc", &[2], "2035-11-20 15:50:38");
        expect(&[(2, "2035-11-20T15:50:38")]);
        assert_eq!(reading.received(), []);
    }

    /// One bug has a time far ahead, as after the clock was wrong for a while.
    fn a_time_far_ahead_repeats_nothing(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        let mut reading = watch(&database);
        let now = local_now(engine, session).replace('T', " ");
        comment(session, 1, "2035-11-20 15:50:30");
        assert_eq!(reading.take(1)[0].0, 1);
        for bug in [2, 3] {
            session.must(&format!("UPDATE bugs SET delta_ts = '{now}' WHERE bug_id = {bug}"));
            assert_eq!(reading.take(1)[0].0, bug);
        }
        assert_eq!(reading.received(), []);
    }

    /// The address names a zone that the times are not in: what is delivered is wrong, but neither
    /// too much nor too little.
    fn a_wrong_zone_neither_repeats_nor_hides_an_edit(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        let now = local_now(engine, session).replace('T', " ");
        for bug in [1, 2] {
            session.must(&format!("UPDATE bugs SET delta_ts = '{now}' WHERE bug_id = {bug}"));
        }
        for zone in ["-05:00", "+05:00"] {
            let mut reading = Reading::start(&database.url("root", &format!("mode=bugs&poll=5ms&tz={zone}")));
            reading.expect_gap();
            for _ in 0..3 {
                comment(session, 3, &now);
                assert_eq!(reading.take(1)[0].0, 3, "{zone}");
            }
            assert_eq!(reading.received(), [], "{zone}");
        }
    }

    /// An account that may read nothing but `bugs`, or a Bugzilla before 5.0: only the time says
    /// what changed.
    fn bugzillas_bugs_alone_can_be_watched_as_far_back_as_the_window(engine) {
        let database = Database::without_triggers(ServerKind::shared(engine));
        let session = &mut *database.session();
        session.must("DROP TABLE bugs_activity");
        session.must("DROP TABLE longdescs");
        for bug in [1, 2, 3] {
            session.must(&insert(bug, "2020-01-01 00:00:00"));
        }
        let mut reading = watch(&database);
        let now: When = local_now(engine, session).parse().unwrap();
        let mut touch = |bug: u32, seconds: i64| {
            let time = When::from_unix_seconds(now.unix_seconds() + seconds).to_string().replace('T', " ");
            session.must(&format!("UPDATE bugs SET delta_ts = '{time}' WHERE bug_id = {bug}"));
        };
        // The newest edit, not the clock, is where the window ends: what comes late is found after
        // a long downtime of the reader, too.
        touch(2, -60 * 60);
        assert_eq!(reading.take(1)[0].0, 2);
        touch(3, 0);
        assert_eq!(reading.take(1)[0].0, 3);
        // The window is ten minutes.
        touch(1, -11 * 60);
        touch(2, -9 * 60);
        assert_eq!(reading.take(1)[0].0, 2);
        assert_eq!(reading.received(), []);
    }
}

/// The database's own time.
fn local_now(engine: Engine, session: &mut dyn Session) -> String {
    session.get(match engine {
        Engine::Mysql => "SELECT CAST(NOW() AS CHAR)",
        Engine::Postgres => "SELECT LOCALTIMESTAMP(0)",
        Engine::Sqlite => "SELECT datetime('now', 'localtime')",
    })
}

/// PostgreSQL writes times as each session wants them.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn another_style_of_dates_changes_nothing() {
    let database = Database::new(ServerKind::shared(Engine::Postgres));
    let session = &mut *database.session();
    session.must(&format!(
        "ALTER DATABASE {} SET DateStyle = 'German, DMY'",
        database.name
    ));
    let mut reading = watch(&database);
    comment(session, 1, "2035-11-20 15:50:30");
    assert_eq!(reading.take(1), changes(&[(1, "2035-11-20T15:50:30")]));
    drop(reading);
    let mut reading = database.read();
    comment(session, 2, "2026-11-20 15:50:31");
    assert_eq!(reading.take(1)[0].0, 1);
    assert_eq!(reading.take(1), changes(&[(2, "2026-11-20T15:50:31")]));
}

/// Starts to look at Bugzilla's own tables, and waits for the first look.
fn watch(database: &Database) -> Reading {
    let mut reading = Reading::start(&database.url("root", "mode=bugs&poll=5ms"));
    while !reading.has_gap {
        reading.wait(PATIENCE);
    }
    reading
}

/// Rows that no client can have been sent: each is dropped, and holds up nothing.
fn odd_rows_hold_up_nothing(engine: Engine, odd: &[&str]) {
    let database = Database::new(ServerKind::own(engine));
    let session = &mut *database.session();
    if engine == Engine::Mysql {
        session.must("SET sql_mode = ''");
    }
    for odd in odd {
        session.must(&format!(
            "INSERT INTO push_notify (bug_id, delta_ts) VALUES (3, {odd})"
        ));
    }
    for (hour, zone) in [(10, ""), (11, "&tz=-09:00"), (12, "&tz=%2B13:00")] {
        comment(session, 1, &format!("2026-11-20 {hour}:50:32"));
        let mut reading = Reading::start(&database.url("root", &format!("poll=5ms{zone}")));
        assert_eq!(reading.take(1)[0].0, 1);
        assert_eq!(reading.received(), []);
    }
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn odd_rows_of_postgresql_hold_up_nothing() {
    let odd = [
        "'294276-12-31 23:59:59'",
        "'2026-11-20 15:50:32 BC'",
        "'infinity'",
        "'-infinity'",
    ];
    odd_rows_hold_up_nothing(Engine::Postgres, &odd);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn odd_rows_of_mariadb_hold_up_nothing() {
    odd_rows_hold_up_nothing(
        Engine::Mysql,
        &["'0000-00-00 00:00:00'", "'2026-00-00 00:00:00'"],
    );
}

#[test]
fn odd_rows_of_sqlite_hold_up_nothing() {
    let odd = ["x'fffe'", "CAST(x'fffe' AS TEXT)", "'soon'", "7.5"];
    odd_rows_hold_up_nothing(Engine::Sqlite, &odd);
}

/// Above what a signed number holds.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn mariadbs_largest_ids_are_deleted() {
    let database = Database::new(ServerKind::shared(Engine::Mysql));
    let session = &mut *database.session();
    for id in ["9223372036854775808", "18446744073709551614"] {
        session.must(&format!(
            "INSERT INTO push_notify VALUES ({id}, 1, '2026-11-20 15:50:32')"
        ));
        let mut reading = database.read();
        assert_eq!(reading.take(1)[0].0, 1);
        reading.stop();
        assert_eq!(database.rows_left(), "0");
    }
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn rows_that_row_level_security_keeps_arrive_once() {
    let database = Database::new(ServerKind::own(Engine::Postgres));
    let session = &mut *database.session();
    session.must(
        "CREATE ROLE guarded LOGIN PASSWORD 's3cret'; GRANT SELECT, DELETE ON push_notify TO guarded; \
         ALTER TABLE push_notify ENABLE ROW LEVEL SECURITY; CREATE POLICY look ON push_notify FOR SELECT USING (true)",
    );
    let mut reading = Reading::start(&database.url("guarded:s3cret", "poll=5ms"));
    for bug in [1, 2, 1, 3] {
        comment(session, bug, "2026-11-20 15:50:32");
        assert_eq!(reading.take(1)[0].0, bug);
    }
    assert_eq!(reading.received(), []);
}

/// The original's: one row per bug, which each edit writes anew.
fn in_place(engine: Engine, update: &str, id: &str) {
    let database = Database::without_triggers(ServerKind::shared(engine));
    let session = &mut *database.session();
    session.must(&format!("CREATE TABLE push_notify (id {id}, bug_id INTEGER NOT NULL UNIQUE, delta_ts TIMESTAMP NOT NULL)"));
    let record = |bug: u32, now: &str| {
        database.session().must(&format!(
            "INSERT INTO push_notify (bug_id, delta_ts) VALUES ({bug}, '{now}') {update}"
        ));
    };
    record(1, "2026-11-20 15:50:32");
    let address: bugzfeed::database::Database = database.url("root", "").parse().unwrap();
    let mut table = address.table().unwrap();
    let rows = table.read().unwrap();
    // Written between the reading and the deleting: the row must stay.
    record(1, "2026-11-20 15:50:33");
    table.delete(&rows).unwrap();
    assert_eq!(database.rows_left(), "1");
    address
        .notify(&["1".parse().unwrap(), "2".parse().unwrap()])
        .unwrap();
    assert_eq!(database.rows_left(), "2");
    let mut reading = database.read();
    assert_eq!(
        reading
            .take(2)
            .iter()
            .map(|(bug, _)| *bug)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    reading.stop();
    assert_eq!(database.rows_left(), "0");
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn the_originals_table_is_read_on_mariadb() {
    in_place(
        Engine::Mysql,
        "ON DUPLICATE KEY UPDATE delta_ts = VALUES(delta_ts)",
        "INTEGER AUTO_INCREMENT PRIMARY KEY",
    );
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn the_originals_table_is_read_on_postgresql() {
    in_place(
        Engine::Postgres,
        "ON CONFLICT (bug_id) DO UPDATE SET delta_ts = EXCLUDED.delta_ts",
        "SERIAL PRIMARY KEY",
    );
}
