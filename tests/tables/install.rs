//! The scripts that `bugzfeed schema` prints: run once more they mend what is missing and lose
//! nothing, and Bugzilla's edits never fail for them.

use std::process::Command;

use bugzfeed::schema::Engine;

use crate::check::{bugzfeed, check};
use crate::database::{Database, ServerKind, comment, edit};
use crate::support::server::Program;

/// What `bugzfeed schema` prints.
fn printed(arguments: &[&str]) -> String {
    String::from_utf8(bugzfeed(&[&["schema"], arguments].concat()).stdout).unwrap()
}

for_each_engine! {
    fn what_is_installed_can_be_installed_again_removed_and_installed(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let (install, drop) = (printed(&[engine.name()]), printed(&[engine.name(), "--drop"]));
        let session = &mut *database.session();
        let mut seconds = (10..60).map(|second| format!("2026-11-20 15:50:{second}"));
        for _ in 0..2 {
            edit(session, "short_desc", &[1], &seconds.next().unwrap());
            assert_eq!(database.rows_left(), "1");
            database.run_script(&install).unwrap();
            assert_eq!(database.rows_left(), "1");
            edit(session, "short_desc", &[1], &seconds.next().unwrap());
            assert_eq!(database.rows_left(), "2");
            assert_eq!(check(&database.url("root", "")), "");
            database.run_script(&drop).unwrap();
            assert!(check(&database.url("root", "")).contains("push_notify is missing"));
            edit(session, "short_desc", &[1], &seconds.next().unwrap());
            database.run_script(&drop).unwrap();
            database.run_script(&install).unwrap();
        }
    }

    fn the_script_adds_a_lost_trigger_and_keeps_the_changes_that_wait(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        let on_bugs = if engine == Engine::Postgres { " ON bugs" } else { "" };
        for (trigger, time) in [("push_notify_insert", "2026-11-20 15:50:32"), ("push_notify_update", "2026-11-20 15:50:33")] {
            session.must("DELETE FROM push_notify");
            edit(session, "short_desc", &[1], time);
            session.must(&format!("DROP TRIGGER {trigger}{on_bugs}"));
            let problems = check(&database.url("root", ""));
            assert!(problems.contains(&format!("`bugzfeed schema {}`, run by Bugzilla's own account", engine.name())), "{problems}");
            assert!(!problems.contains("--drop"), "{problems}");
            database.run_script(&printed(&[engine.name()])).unwrap();
            assert_eq!(check(&database.url("root", "")), "");
            assert_eq!(database.rows_left(), "1");
        }
    }

    fn a_script_that_failed_can_be_run_again(engine) {
        let database = Database::without_triggers(ServerKind::shared(engine));
        let session = &mut *database.session();
        session.must("ALTER TABLE bugs RENAME TO hidden");
        database.run_script(&printed(&[engine.name()])).unwrap_err();
        session.must("ALTER TABLE hidden RENAME TO bugs");
        database.run_script(&printed(&[engine.name()])).unwrap();
        assert_eq!(check(&database.url("root", "")), "");
    }

    fn a_check_that_advises_to_make_the_table_anew_says_how_many_changes_that_costs(engine) {
        let database = Database::new(ServerKind::shared(engine));
        let session = &mut *database.session();
        edit(session, "short_desc", &[1, 2], "2026-11-20 15:50:32");
        session.must("ALTER TABLE push_notify RENAME COLUMN delta_ts TO changed");
        let problems = check(&database.url("root", ""));
        assert!(problems.contains("--drop") && problems.contains("the 2 changes in it"), "{problems}");
    }

    fn a_removal_says_how_many_changes_it_drops(engine) {
        let database = Database::new(ServerKind::shared(engine));
        edit(&mut *database.session(), "short_desc", &[1, 2], "2026-11-20 15:50:32");
        let removal = printed(&[engine.name(), "--drop"]);
        let said = database.run_script(&removal).unwrap();
        assert!(said.contains("changes that were not read yet") && said.contains('2'), "{said}");
        assert_eq!(database.run_script(&removal).unwrap(), "");
    }
}

#[test]
fn a_file_that_is_called_like_bugzillas_and_holds_no_bugs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (source, said) in [
        ("sqlite:bugs", "is this Bugzilla's own file?"),
        ("sqlite:bugzfeed.db", "there is no table bugs of which"),
    ] {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--history", "none"];
        let arguments = [&arguments[..], &["--source", source]].concat();
        Program::start(folder.path(), &arguments).wait_for_line(said);
    }
}

#[test]
fn a_change_that_makes_a_new_file_says_so_since_no_server_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let notify = || {
        let mut notify = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        notify.args(["notify", "1234"]).current_dir(folder.path());
        let output = notify.env_remove("BUGZFEED_SOURCE").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = notify();
    let file = folder.path().join("bugzfeed.db");
    assert!(
        said.contains(&format!("made {}", file.display())) && said.contains("--source"),
        "{said}"
    );
    assert_eq!(notify(), "");
}

/// On PostgreSQL, an edit runs with whatever rights and search path its session has.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn an_edit_does_not_need_rights_on_the_table_or_a_search_path_or_even_the_table() {
    let database = Database::new(ServerKind::own(Engine::Postgres));
    let mut root = database.session();
    root.must("CREATE ROLE importer; GRANT SELECT, UPDATE ON bugs TO importer");
    let mut session = database.session();
    session.must("SET ROLE importer");
    session.must("UPDATE bugs SET delta_ts = '2026-11-20 15:50:32' WHERE bug_id = 1");
    session.must("RESET ROLE; SET search_path = ''");
    session.must("UPDATE public.bugs SET delta_ts = '2026-11-20 15:50:32' WHERE bug_id = 1");
    assert_eq!(database.rows_left(), "2");
    assert_eq!(check(&database.url("root", "")), "");
    root.must("CREATE SCHEMA elsewhere; ALTER TABLE push_notify SET SCHEMA elsewhere");
    comment(&mut *root, 1, "2026-11-20 15:50:33");
    root.must("ALTER TABLE elsewhere.push_notify SET SCHEMA public");
    comment(&mut *root, 1, "2026-11-20 15:50:34");
    assert_eq!(database.rows_left(), "3");
}

/// On PostgreSQL, the rights of bugzfeed's account survive what mends the rest.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn the_script_keeps_the_rights_of_the_account_that_reads() {
    let database = Database::new(ServerKind::own(Engine::Postgres));
    let mut root = database.session();
    root.must("CREATE ROLE reader LOGIN PASSWORD 'secret'");
    let url = database.url("reader:secret", "");
    let problems = check(&url);
    assert!(
        problems.contains("reader, has no right to SELECT on push_notify")
            && problems.contains("GRANT SELECT, DELETE ON push_notify TO reader;")
            && !problems.contains("`bugzfeed schema"),
        "{problems}"
    );
    root.must("GRANT SELECT, DELETE ON push_notify TO reader");
    root.must("DROP TRIGGER push_notify_insert ON bugs");
    database
        .run_script(Engine::Postgres.installation())
        .unwrap();
    assert_eq!(check(&url), "");
}
