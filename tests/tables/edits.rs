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
        edit(session, "short_desc", &[1], "2026-11-20 15:50:32");
        expect(session, &[(1, "2026-11-20T15:50:32")]);
        // A second edit within the second, of another kind each.
        edit(session, "short_desc", &[1], "2026-11-20 15:50:32");
        expect(session, &[(1, "2026-11-20T15:50:32")]);
        comment(session, 1, "2026-11-20 15:50:32");
        expect(session, &[(1, "2026-11-20T15:50:32")]);
        edit(session, "cf_custom", &[1], "2026-11-20 15:50:32");
        expect(session, &[(1, "2026-11-20T15:50:32")]);
        edit(session, "cf_custom", &[2], "2026-11-20 15:50:33");
        expect(session, &[(2, "2026-11-20T15:50:33")]);
        comment(session, 2, "2026-11-20 15:50:34");
        expect(session, &[(2, "2026-11-20T15:50:34")]);
        file(session, 4, "2026-11-20 15:50:35");
        expect(session, &[(4, "2026-11-20T15:50:35")]);
        edit(session, "resolution", &[3, 1, 2], "2026-11-20 15:50:36");
        expect(session, &[(3, "2026-11-20T15:50:36"), (1, "2026-11-20T15:50:36"), (2, "2026-11-20T15:50:36")]);
        session.must("BEGIN");
        edit_in_transaction(session, "short_desc", &[1], "2026-11-20 15:50:37");
        session.must("ROLLBACK");
        edit(session, "short_desc", &[2], "2026-11-20 15:50:38");
        expect(session, &[(2, "2026-11-20T15:50:38")]);
        comment(session, 2, "2026-11-20 15:50:39");
        expect(session, &[(2, "2026-11-20T15:50:39")]);
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
        let now: When = session.get(match engine {
            Engine::Mysql => "SELECT CAST(NOW() AS CHAR)",
            Engine::Postgres => "SELECT LOCALTIMESTAMP(0)",
            Engine::Sqlite => "SELECT datetime('now', 'localtime')",
        }).parse().unwrap();
        let mut touch = |bug: u32, seconds: i64| {
            let time = When::from_unix_seconds(now.unix_seconds() + seconds).to_string().replace('T', " ");
            session.must(&format!("UPDATE bugs SET delta_ts = '{time}' WHERE bug_id = {bug}"));
        };
        // The window is ten minutes; a slow machine may need some of them.
        touch(1, -11 * 60);
        touch(2, -5 * 60);
        assert_eq!(reading.take(1)[0].0, 2);
        touch(3, 0);
        assert_eq!(reading.take(1)[0].0, 3);
        // The newest edit, not the clock, is where the window ends: what comes late is found after
        // a long downtime of the reader, too.
        touch(2, -9 * 60);
        assert_eq!(reading.take(1)[0].0, 2);
        assert_eq!(reading.received(), []);
    }
}

/// Starts to look at Bugzilla's own tables, and waits for the first look.
fn watch(database: &Database) -> Reading {
    let mut reading = Reading::start(&database.url("root", "mode=bugs&poll=5ms"));
    while !reading.has_gap {
        reading.wait(PATIENCE);
    }
    reading
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
    table
        .insert(&["1".parse().unwrap(), "2".parse().unwrap()])
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
