//! There is one relay per Bugzilla.

use crate::program::{Place, terminate};

#[test]
fn a_second_relay_from_the_same_file_is_refused_until_the_first_has_gone() {
    let place = Place::new();
    let first = place.relay(&["jsonl:out"]);
    first.wait_for_line("taking changes from sqlite:bugzfeed.db");
    // Another name of the same file, and another backlog.
    let folder = place.path().display();
    let from = format!(
        "sqlite:{folder}/../{}/bugzfeed.db",
        place.path().file_name().unwrap().display()
    );
    let (status, log) = place
        .relay_with(
            &["--from", &from, "--backlog", "other.db"],
            &["jsonl:other"],
        )
        .wait();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(
        log.contains("another server or relay takes changes from this table"),
        "{log}"
    );
    // Killed, it gives up the table as well.
    drop(first);
    let second = place.relay_with(&["--backlog", "other.db"], &["jsonl:other"]);
    second.wait_for_line("taking changes from sqlite:bugzfeed.db");
    terminate(second);
}

#[test]
fn a_second_relay_with_the_same_backlog_is_refused() {
    let place = Place::new();
    let first = place.relay(&["jsonl:out"]);
    first.wait_for_line("taking changes from");
    let (status, log) = place
        .relay_with(&["--from", "sqlite:other.db"], &["jsonl:other"])
        .wait();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(
        log.contains("another relay uses the backlog bugzfeed-relay.db"),
        "{log}"
    );
    assert!(!place.file("other.db").exists());
    terminate(first);
}

#[test]
fn looking_at_the_status_keeps_no_relay_from_starting() {
    let place = Place::new();
    terminate(place.relay(&["jsonl:out"]));
    for _ in 0..5 {
        let relay = place.relay(&["jsonl:out"]);
        place.status();
        place.status();
        relay.wait_for_line("taking changes from");
        terminate(relay);
    }
}

#[cfg(all(feature = "mysql", feature = "postgres"))]
mod on_a_server {
    use crate::database::Database;
    use crate::program::{Place, terminate};
    use crate::support::server::wait_until;

    /// Also after the first one's connection was lost, which ends the lock.
    fn a_second_relay_from_the_same_database_is_refused(database: &Database) {
        let place = Place::new();
        let from = database.address();
        let first = place.relay_with(&["--from", &from], &["jsonl:out"]);
        first.wait_for_line("taking changes from");
        let second = || {
            place.relay_with(
                &["--from", &from, "--backlog", "other.db"],
                &["jsonl:other"],
            )
        };
        for _ in 0..2 {
            let (status, log) = second().wait();
            assert_eq!(status.code(), Some(69), "{log}");
            assert!(
                log.contains("another server or relay takes changes from this table"),
                "{log}"
            );
            assert!(!log.contains("taking changes from"), "{log}");
            let before = first.log().matches("taking changes from").count();
            database.cut_connections();
            wait_until("the first takes changes again", || {
                (first.log().matches("taking changes from").count() > before).then_some(())
            });
        }
        // Killed, it gives up the table as well.
        drop(first);
        let second = second();
        second.wait_for_line("taking changes from");
        terminate(second);
    }

    #[test]
    #[ignore = "needs MariaDB: run tests/run"]
    fn a_second_relay_from_the_same_mariadb_is_refused() {
        a_second_relay_from_the_same_database_is_refused(&Database::mariadb());
    }

    #[test]
    #[ignore = "needs PostgreSQL: run tests/run"]
    fn a_second_relay_from_the_same_postgresql_is_refused() {
        a_second_relay_from_the_same_database_is_refused(&Database::postgres());
    }
}
