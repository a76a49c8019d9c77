//! What comes first: a change is in the backlog before its row is deleted.

use rusqlite::Connection;

use crate::program::{Place, terminate};

#[test]
fn rows_stay_in_the_table_until_the_backlog_has_them() {
    let place = Place::new();
    let mut table = place.table();
    terminate(place.relay(&["jsonl:out"]));
    // The disk is full.
    let backlog = Connection::open(place.file("bugzfeed-relay.db")).unwrap();
    backlog
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON push_backlog BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
        )
        .unwrap();
    table.record([1, 2, 3]);
    let relay = place.relay(&["jsonl:out"]);
    relay.wait_for_line("the disk is full");
    assert_eq!(table.rows(), 3);
    backlog.execute_batch("DROP TRIGGER full").unwrap();
    place.expect_lines("out", &[1, 2, 3]);
    place.drained();
}
