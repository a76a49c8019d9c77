//! `bugzfeed schema`: what it prints works, and its check finds what is wrong.

use std::process::{Command, Output};

use bugzfeed::schema::Engine;

use crate::database::{Database, ServerKind, comment};

pub fn bugzfeed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What the check has to say; nothing, where all is well.
pub fn check(url: &str) -> String {
    let output = bugzfeed(&["schema", "--check", url]);
    let (said, complained) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    match output.status.code() {
        Some(0) => {
            assert!(
                said.contains("are there and intact") && complained.is_empty(),
                "{said}{complained}"
            );
            String::new()
        }
        Some(1) => {
            assert!(
                said.is_empty() && complained.contains("does not record changes as it should: "),
                "{said}{complained}"
            );
            complained
        }
        code => panic!("{code:?}: {said}{complained}"),
    }
}

/// What can be wrong, by which statements, and what the check says of it.
const DAMAGES: &[(&[Engine], &str, &str)] = {
    const MYSQL: &[Engine] = &[Engine::Mysql];
    const POSTGRES: &[Engine] = &[Engine::Postgres];
    const SQLITE: &[Engine] = &[Engine::Sqlite];
    const NAMELESS: &[Engine] = &[Engine::Mysql, Engine::Sqlite];
    const ALL: &[Engine] = &[Engine::Mysql, Engine::Postgres, Engine::Sqlite];
    &[
        (
            ALL,
            "DROP TABLE push_notify",
            "the table push_notify is missing",
        ),
        (
            ALL,
            "ALTER TABLE bugs RENAME TO stranger",
            "there is no table bugs",
        ),
        (
            NAMELESS,
            "DROP TRIGGER push_notify_insert",
            "the trigger push_notify_insert",
        ),
        (
            NAMELESS,
            "DROP TRIGGER push_notify_update",
            "the trigger push_notify_update",
        ),
        (
            POSTGRES,
            "DROP TRIGGER push_notify_insert ON bugs",
            "the trigger push_notify_insert on bugs is missing",
        ),
        (
            POSTGRES,
            "DROP TRIGGER push_notify_update ON bugs",
            "the trigger push_notify_update on bugs is missing",
        ),
        (
            POSTGRES,
            "ALTER TABLE bugs DISABLE TRIGGER push_notify_update",
            "the trigger push_notify_update on bugs is disabled",
        ),
        (
            ALL,
            "ALTER TABLE push_notify RENAME COLUMN delta_ts TO changed",
            "push_notify has no column delta_ts",
        ),
        (
            ALL,
            "CREATE UNIQUE INDEX one_per_bug ON push_notify (bug_id)",
            "the unique index one_per_bug",
        ),
        (
            MYSQL,
            "ALTER TABLE push_notify MODIFY delta_ts VARCHAR(30)",
            "the column delta_ts of push_notify is varchar, not datetime",
        ),
        (
            POSTGRES,
            "ALTER TABLE push_notify ALTER delta_ts TYPE text",
            "the column delta_ts of push_notify is text, not timestamp",
        ),
        (
            MYSQL,
            "ALTER TABLE push_notify MODIFY id BIGINT NOT NULL",
            "id of push_notify is not AUTO_INCREMENT",
        ),
        (
            POSTGRES,
            "ALTER TABLE push_notify ALTER id DROP DEFAULT",
            "id of push_notify does not count by itself",
        ),
        (
            MYSQL,
            "ALTER TABLE push_notify DROP PRIMARY KEY, ADD INDEX (id)",
            "id is not the primary key",
        ),
        (
            POSTGRES,
            "ALTER TABLE push_notify DROP CONSTRAINT push_notify_pkey",
            "id is not the primary key",
        ),
        (
            SQLITE,
            "DROP TABLE push_notify; CREATE TABLE push_notify (id INTEGER, bug_id INTEGER, delta_ts TEXT)",
            "INTEGER PRIMARY KEY",
        ),
        (
            MYSQL,
            "ALTER TABLE push_notify ENGINE = MyISAM",
            "the engine of push_notify is MyISAM",
        ),
        (
            MYSQL,
            "ALTER TABLE push_notify MODIFY bug_id MEDIUMINT NOT NULL, ADD FOREIGN KEY (bug_id) REFERENCES bugs (bug_id)",
            "has a foreign key",
        ),
        (
            POSTGRES,
            "ALTER TABLE push_notify ADD FOREIGN KEY (bug_id) REFERENCES bugs (bug_id)",
            "has a foreign key",
        ),
        (
            MYSQL,
            "ALTER TABLE bugs DROP COLUMN deadline",
            "the table bugs has no column deadline, which the trigger",
        ),
        (
            MYSQL,
            "DROP TRIGGER push_notify_insert; CREATE TRIGGER push_notify_insert AFTER INSERT ON bugs FOR EACH ROW DO 1",
            "push_notify_insert on bugs is not the one",
        ),
        (
            SQLITE,
            "DROP TRIGGER push_notify_update; CREATE TRIGGER push_notify_update AFTER UPDATE OF lastdiffed ON bugs BEGIN SELECT 1; END",
            "push_notify_update is not the one",
        ),
        (
            POSTGRES,
            "DROP TRIGGER push_notify_update ON bugs; \
             CREATE TRIGGER push_notify_update AFTER UPDATE ON bugs FOR EACH ROW EXECUTE PROCEDURE push_notify_bug()",
            "push_notify_update on bugs is not the one",
        ),
        (
            POSTGRES,
            "CREATE OR REPLACE FUNCTION push_notify_bug() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "the function that the triggers call",
        ),
        (
            POSTGRES,
            "CREATE ROLE stranger; ALTER FUNCTION push_notify_bug() OWNER TO stranger",
            "stranger, with whose rights the triggers act, may not INSERT into push_notify",
        ),
        (
            POSTGRES,
            "ALTER FUNCTION push_notify_bug() SECURITY INVOKER",
            "the triggers act with the rights of whoever edits",
        ),
        (
            POSTGRES,
            "ALTER FUNCTION push_notify_bug() RESET search_path",
            "the triggers find push_notify by the search_path of whoever edits",
        ),
        (
            POSTGRES,
            "CREATE SCHEMA elsewhere; ALTER TABLE push_notify SET SCHEMA elsewhere",
            "the table push_notify is missing in the schema public",
        ),
    ]
};

for_each_engine! {
    fn a_check_names_each_kind_of_damage(engine) {
        let server = ServerKind::shared(engine);
        for (_, damage, said) in DAMAGES.iter().filter(|(engines, ..)| engines.contains(&engine)) {
            let server = if engine == Engine::Sqlite { ServerKind::shared(engine) } else { server.clone() };
            let database = Database::new(server);
            assert_eq!(check(&database.url("root", "")), "");
            database.run_script(&format!("{damage};")).unwrap_or_else(|why| panic!("{damage}: {why}"));
            let problems = check(&database.url("root", ""));
            assert!(problems.contains(said), "{damage}: {problems}");
        }
    }
}

/// On MariaDB, the triggers act with the rights of who made them.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_definer_without_rights_of_its_own_or_existence_is_named_and_the_script_mends_it() {
    let database = Database::new(ServerKind::own(Engine::Mysql));
    let mut root = database.session();
    root.must("CREATE USER definer@localhost");
    root.must("GRANT ALL ON *.* TO definer@localhost");
    let script = Engine::Mysql
        .installation()
        .replace(" TRIGGER push", " DEFINER = definer@localhost TRIGGER push")
        .replace("DROP DEFINER = definer@localhost", "DROP");
    database.run_script(&script).unwrap();
    assert_eq!(check(&database.url("root", "")), "");
    root.must("REVOKE ALL ON *.* FROM definer@localhost");
    root.must(&format!(
        "GRANT SELECT, TRIGGER ON {}.bugs TO definer@localhost",
        database.name
    ));
    let problems = check(&database.url("root", ""));
    assert!(
        problems.contains("definer@localhost")
            && problems.contains("has no right to INSERT on push_notify"),
        "{problems}"
    );
    assert!(!problems.contains("TRIGGER on"), "{problems}");
    // A session of the account has the role's rights, the triggers don't.
    root.must("CREATE ROLE writer");
    root.must(&format!(
        "GRANT INSERT ON {}.push_notify TO writer",
        database.name
    ));
    root.must("GRANT writer TO definer@localhost");
    root.must("SET DEFAULT ROLE writer FOR definer@localhost");
    assert_eq!(check(&database.url("root", "")), problems);
    let failed = database
        .session()
        .run("UPDATE bugs SET delta_ts = '2026-11-20 15:50:31' WHERE bug_id = 1")
        .unwrap_err();
    assert!(failed.contains("INSERT command denied"), "{failed}");
    root.must("DROP USER definer@localhost");
    let problems = check(&database.url("root", ""));
    assert!(
        problems.contains("the account definer@localhost") && problems.contains("does not exist"),
        "{problems}"
    );
    let failed = database
        .session()
        .run("UPDATE bugs SET delta_ts = '2026-11-20 15:50:32' WHERE bug_id = 1")
        .unwrap_err();
    assert!(failed.contains("1449"), "{failed}");
    database.run_script(Engine::Mysql.installation()).unwrap();
    assert_eq!(check(&database.url("root", "")), "");
    comment(&mut *database.session(), 1, "2026-11-20 15:50:32");
}

/// An account that may do nothing but read the table sees neither triggers nor accounts, and
/// the check says so.
#[test]
#[ignore = "needs MariaDB and PostgreSQL: run tests/run"]
fn a_check_by_an_account_that_may_see_little_says_so() {
    let database = Database::new(ServerKind::shared(Engine::Mysql));
    let mut root = database.session();
    root.must("CREATE OR REPLACE USER little@'%'");
    root.must(&format!(
        "GRANT SELECT, TRIGGER ON {}.bugs TO little@'%'",
        database.name
    ));
    root.must(&format!(
        "GRANT SELECT, DELETE ON {}.push_notify TO little@'%'",
        database.name
    ));
    let output = bugzfeed(&["schema", "--check", &database.url("little", "")]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("this account may not see whether root@127.0.0.1 exists"),
        "{said}"
    );
    root.must(&format!(
        "REVOKE TRIGGER, SELECT ON {}.bugs FROM little@'%'",
        database.name
    ));
    root.must(&format!(
        "GRANT SELECT (bug_id, delta_ts) ON {}.bugs TO little@'%'",
        database.name
    ));
    root.must(&format!(
        "REVOKE DELETE ON {}.push_notify FROM little@'%'",
        database.name
    ));
    let problems = check(&database.url("little", ""));
    assert!(
        problems.contains("may not see the trigger push_notify_update on bugs for lack of"),
        "{problems}"
    );
    assert!(!problems.contains("DROP"), "{problems}");
    assert!(
        problems.contains("cannot DELETE on push_notify"),
        "{problems}"
    );
}

#[test]
fn a_check_of_what_is_no_database_or_another_kind_or_not_there_is_refused() {
    for (arguments, code, said) in [
        (&["schema"][..], 2, "required arguments"),
        (&["schema", "oracle"], 2, "mysql, postgres, sqlite"),
        (
            &["schema", "--check", "webhook:?key_file=/x"],
            69,
            "only a database has a table",
        ),
        (
            &["schema", "mysql", "--check", "sqlite:x"],
            2,
            "is no mysql database",
        ),
        (
            &["schema", "--check", "sqlite:/nowhere/bugs"],
            69,
            "unable to open",
        ),
        (
            &["schema", "--check", "mysql://u:secret@127.0.0.1:1/b"],
            69,
            "cannot check mysql://u@127.0.0.1:1/b: cannot connect",
        ),
        (
            &["schema", "--check", "postgres://u:secret@127.0.0.1:1/b"],
            69,
            "Connection refused",
        ),
    ] {
        let output = bugzfeed(arguments);
        let complained = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {complained}"
        );
        assert!(
            complained.contains(said) && !complained.contains("secret"),
            "{arguments:?}: {complained}"
        );
    }
}
