//! Many writers at once, and a database that dies: what was committed arrives, exactly that is
//! deleted, and no writer waits.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bugzfeed::schema::Engine;
use bugzfeed::update::When;

use crate::database::{Change, Database, ServerKind, edit_in_transaction, insert};
use crate::support::server::wait_until;

const WRITERS: u32 = 8;

/// Bugs of one writer; each is edited once, so that each edit can be distinguished from all others.
const BUGS: u32 = 150;

/// A bug that is filed when all writers have ended.
const LAST: u32 = 999_999;

/// A Bugzilla with the bugs of all writers.
fn bugzilla(server: ServerKind) -> Database {
    let database = Database::without_triggers(server);
    let session = &mut *database.session();
    session.must("BEGIN");
    for bug in 1..=WRITERS * BUGS {
        session.must(&insert(bug, "2020-01-01 00:00:00"));
    }
    session.must("COMMIT");
    database.run_script(database.engine.installation()).unwrap();
    database
}

/// The time of the edit of `bug`, each its own.
fn time(bug: u32) -> String {
    When::from_unix_seconds(1_800_000_000 + i64::from(bug))
        .to_string()
        .replace('T', " ")
}

fn change(bug: u32) -> Change {
    (bug, time(bug).replace(' ', "T"))
}

/// Edits all bugs of a writer in transactions of one or two bugs, of which a fifth is rolled back.
/// Each stays open while another one begins after it and commits before it, so that ids are
/// committed out of order. Returns the bugs whose edit was committed.
fn write(database: &Database, writer: u32) -> Vec<u32> {
    let mut committed = Vec::new();
    let (mut early, mut late) = (database.session(), database.session());
    let bugs: Vec<u32> = (1..=BUGS).map(|number| writer * BUGS + number).collect();
    for bugs in bugs.chunks(3) {
        let [one, other, third] = bugs else {
            unreachable!("150 is divisible by 3")
        };
        early.must("BEGIN");
        edit_in_transaction(&mut *early, "short_desc", &[*one, *other], &time(*one));
        if database.engine == Engine::Sqlite {
            // SQLite has one writer at a time.
            early.must("COMMIT");
            committed.extend([*one, *other]);
        }
        late.must("BEGIN");
        edit_in_transaction(&mut *late, "cf_custom", &[*third], &time(*third));
        if third % 5 == 0 {
            late.must("ROLLBACK");
        } else {
            late.must("COMMIT");
            committed.push(*third);
        }
        if database.engine != Engine::Sqlite {
            if one % 5 == 0 {
                early.must("ROLLBACK");
            } else {
                early.must("COMMIT");
                committed.extend([*one, *other]);
            }
        }
    }
    committed
}

/// Fails when anybody had to wait for a lock of another for more than 100 ms, by the database's own
/// account. The writers do not touch one another's bugs, so all waiting is due to the reader.
/// (SQLite keeps no account, and has one writer at a time anyway.)
fn nobody_waited(database: &Database) {
    match &database.server {
        ServerKind::MariaDb(_) => {
            let mut session = database.session();
            let longest =
                session.get("SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Innodb_row_lock_time_max'");
            assert!(
                longest.parse::<u64>().unwrap() < 100,
                "somebody waited for a row for {longest} ms"
            );
            let deadlocks = session.get(
                "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'",
            );
            assert_eq!(deadlocks, "0");
        }
        // It is set to log each wait of more than 100 ms.
        ServerKind::Postgres(server) => {
            let log = server.server().log();
            let waits: Vec<&str> = log
                .lines()
                .filter(|line| line.contains("still waiting") || line.contains("deadlock"))
                .collect();
            assert!(waits.is_empty(), "somebody waited: {waits:#?}");
        }
        ServerKind::Sqlite(_) => {}
    }
}

for_each_engine! {
    fn what_eight_writers_commit_is_what_arrives_and_nobody_waits(engine) {
        let database = bugzilla(ServerKind::own(engine));
        let mut reading = database.read();
        let committed: Vec<u32> = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn({ let database = &database; move || write(database, writer) })).collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        // A pair that was committed together has the time of its first bug.
        let mut expected: Vec<Change> = committed.iter().map(|&bug| (bug, change(if bug % 3 == 2 { bug - 1 } else { bug }).1)).collect();
        let mut arrived = reading.take(expected.len());
        // The last to come: behind it there is nothing more.
        database.session().must(&insert(LAST, "2026-11-20 15:50:32"));
        assert_eq!(reading.take(1)[0].0, LAST);
        expected.sort();
        arrived.sort();
        assert!(arrived == expected, "arrived and committed differ: {:?}", arrived.iter().collect::<HashSet<_>>().symmetric_difference(&expected.iter().collect()));
        wait_until("all rows but the last are deleted", || (database.rows_left() == "1").then_some(()));
        nobody_waited(&database);
    }
}

/// Where the life of a database stands that is killed again and again.
#[derive(Default)]
struct Fate {
    is_dead: AtomicBool,
    /// It will not be killed any more.
    is_safe: AtomicBool,
}

/// Files one bug after the other until the database is safe, and some more. Returns those that were
/// committed, and those of which the writer got no answer: they may arrive or not.
fn write_through_death(database: &Database, writer: u32, fate: &Fate) -> (Vec<u32>, Vec<u32>) {
    let (mut committed, mut unknown) = (Vec::new(), Vec::new());
    let mut session = database.session();
    let mut more = 20;
    for bug in (writer + 1..LAST).step_by(WRITERS as usize) {
        if fate.is_safe.load(Ordering::Acquire) {
            more -= 1;
        }
        if more == 0 {
            break;
        }
        if session.run(&insert(bug, &time(bug))).is_ok() {
            committed.push(bug);
        } else {
            unknown.push(bug);
            // It may be killed again before it is reached.
            let back = || {
                if fate.is_dead.load(Ordering::Acquire) {
                    None
                } else {
                    database.try_session()
                }
            };
            session = wait_until("the database is back", back);
        }
    }
    (committed, unknown)
}

fn nothing_is_lost_when_the_database_is_killed(engine: Engine) {
    let database = Database::without_triggers(ServerKind::own(engine));
    database.run_script(engine.installation()).unwrap();
    let mut reading = database.read();
    let fate = Fate::default();
    let mut arrived = Vec::new();
    let (committed, unknown) = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (database, fate) = (&database, &fate);
                scope.spawn(move || write_through_death(database, writer, fate))
            })
            .collect();
        for _ in 0..2 {
            arrived.extend(reading.take(200));
            fate.is_dead.store(true, Ordering::Release);
            database.kill();
            database.restart();
            fate.is_dead.store(false, Ordering::Release);
        }
        fate.is_safe.store(true, Ordering::Release);
        let (mut committed, mut unknown) = (Vec::new(), Vec::new());
        for writer in writers {
            let (answered, unanswered) = writer.join().unwrap();
            committed.extend(answered);
            unknown.extend(unanswered);
        }
        (committed, unknown)
    });
    assert!(
        !unknown.is_empty(),
        "the database was killed while nobody wrote"
    );
    database
        .session()
        .must(&insert(LAST, "2026-11-20 15:50:32"));
    let last = (LAST, "2026-11-20T15:50:32".to_owned());
    while arrived.last() != Some(&last) {
        arrived.extend(reading.take(1));
    }
    arrived.pop();
    let distinct: HashSet<u32> = arrived.iter().map(|(bug, _)| *bug).collect();
    assert_eq!(distinct.len(), arrived.len(), "something arrived twice");
    let lost: Vec<&u32> = committed
        .iter()
        .filter(|bug| !distinct.contains(bug))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(
        distinct
            .iter()
            .all(|bug| committed.contains(bug) || unknown.contains(bug)),
        "what was never committed arrived"
    );
    wait_until("all rows but the last are deleted", || {
        (database.rows_left() == "1").then_some(())
    });
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn nothing_is_lost_when_mariadb_is_killed() {
    nothing_is_lost_when_the_database_is_killed(Engine::Mysql);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn nothing_is_lost_when_postgresql_is_killed() {
    nothing_is_lost_when_the_database_is_killed(Engine::Postgres);
}

/// An edit that stays open for long holds up neither what is read nor what is deleted.
fn an_open_edit_holds_up_nothing(engine: Engine) {
    let database = bugzilla(ServerKind::own(engine));
    let mut open = database.session();
    open.must("BEGIN");
    edit_in_transaction(&mut *open, "short_desc", &[1], &time(1));
    let mut others = database.session();
    others.must("BEGIN");
    let bugs: Vec<u32> = (2..=1_100).collect();
    edit_in_transaction(&mut *others, "short_desc", &bugs, &time(2));
    others.must("COMMIT");
    let mut reading = database.read();
    reading.take(bugs.len());
    wait_until("all that was read is deleted", || {
        (database.rows_left() == "1").then_some(())
    });
    open.must("COMMIT");
    assert_eq!(reading.take(1), [change(1)]);
    nobody_waited(&database);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn an_open_edit_holds_up_nothing_on_mariadb() {
    an_open_edit_holds_up_nothing(Engine::Mysql);
}

#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn an_open_edit_holds_up_nothing_on_postgresql() {
    an_open_edit_holds_up_nothing(Engine::Postgres);
}
