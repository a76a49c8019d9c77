//! Bugs that are in a group: with `bugs=public` nothing is heard of them.

use bugzfeed::schema::Engine;

use crate::database::{Change, Database, Reading, ServerKind, Session, edit, insert};

/// A Bugzilla whose bug 2 is in a group.
fn bugzilla(engine: Engine) -> Database {
    let database = Database::new(ServerKind::shared(engine));
    let session = &mut *database.session();
    session.must("CREATE TABLE bug_group_map (bug_id INTEGER NOT NULL, group_id INTEGER NOT NULL)");
    session.must("INSERT INTO bug_group_map (bug_id, group_id) VALUES (2, 7)");
    database
}

/// Files a bug that is in two groups. Bugzilla inserts the bug first.
fn file_in_groups(session: &mut dyn Session, bug: u32, now: &str) {
    session.must("BEGIN");
    session.must(&insert(bug, now));
    for group in [7, 8] {
        session.must(&format!(
            "INSERT INTO bug_group_map (bug_id, group_id) VALUES ({bug}, {group})"
        ));
    }
    session.must("COMMIT");
}

/// Changes the groups of a bug, which is an edit.
fn edit_groups(session: &mut dyn Session, statement: &str, bug: u32, now: &str) {
    session.must("BEGIN");
    session.must(statement);
    session.must(&format!(
        "UPDATE bugs SET delta_ts = '{now}' WHERE bug_id = {bug}"
    ));
    session.must("COMMIT");
}

/// Edits public and private bugs, and reads until the last edit has arrived; what has come.
fn edit_all(session: &mut dyn Session, reading: &mut Reading) -> Vec<Change> {
    edit(session, "short_desc", &[1], "2035-11-20 15:50:01");
    // Private from the start.
    edit(session, "short_desc", &[2], "2035-11-20 15:50:02");
    // Born private.
    file_in_groups(session, 4, "2035-11-20 15:50:03");
    // Made private.
    edit_groups(
        session,
        "INSERT INTO bug_group_map (bug_id, group_id) VALUES (3, 7)",
        3,
        "2035-11-20 15:50:04",
    );
    edit(session, "short_desc", &[3], "2035-11-20 15:50:05");
    edit(session, "short_desc", &[1], "2035-11-20 15:50:06");
    let mut changes = take_until(reading, &(1, "2035-11-20T15:50:06".to_owned()));
    // Made public: what is read from now on may be heard.
    edit_groups(
        session,
        "DELETE FROM bug_group_map WHERE bug_id = 2",
        2,
        "2035-11-20 15:50:07",
    );
    changes.extend(take_until(reading, &(2, "2035-11-20T15:50:07".to_owned())));
    changes
}

fn take_until(reading: &mut Reading, last: &Change) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.last() != Some(last) {
        changes.extend(reading.take(1));
    }
    changes
}

/// What may be heard of the edits.
fn is_public((bug, when): &Change) -> bool {
    match bug {
        1 => true,
        2 => when == "2035-11-20T15:50:07",
        _ => false,
    }
}

for_each_engine! {
    fn nothing_is_heard_of_a_private_bug_from_the_table(engine) {
        let database = bugzilla(engine);
        let mut reading = Reading::start(&database.url("root", "poll=5ms&bugs=public"));
        reading.expect_gap();
        let changes = edit_all(&mut *database.session(), &mut reading);
        assert!(changes.iter().all(is_public), "{changes:?}");
        reading.stop();
        assert_eq!(database.rows_left(), "0");
    }

    fn nothing_is_heard_of_a_private_bug_from_bugs_itself(engine) {
        let database = bugzilla(engine);
        let mut reading = Reading::start(&database.url("root", "poll=5ms&bugs=public&mode=bugs"));
        reading.expect_gap();
        let changes = edit_all(&mut *database.session(), &mut reading);
        assert!(changes.iter().all(is_public), "{changes:?}");
        reading.stop();
    }
}
