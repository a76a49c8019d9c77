//! What a check of an SQLite file looks at.

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{Engine, Report, is_same, part};
use crate::database::sqlite::Settings;
use crate::work::Error;

pub(super) fn check(settings: &Settings) -> Result<Report, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(settings.file(), flags)?;
    let mut report = Report::default();
    if !has_table(&database, "bugs")? {
        report.problem("there is no table bugs: is this Bugzilla's own file?");
        return Ok(report);
    }
    if has_table(&database, "push_notify")? {
        check_table(&database, &mut report)?;
    } else {
        report.problem("the table push_notify is missing");
    }
    check_triggers(&database, &mut report)?;
    report.expect(!database.is_readonly("main")?, || {
        "this account may not write the file".to_owned()
    });
    Ok(report)
}

fn has_table(database: &Connection, name: &str) -> rusqlite::Result<bool> {
    database
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

fn check_table(database: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let column = |name: &str| {
        let mut select = database
            .prepare("SELECT type, pk FROM pragma_table_info('push_notify') WHERE name = ?1")?;
        select
            .query_row([name], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()
    };
    for name in ["bug_id", "delta_ts"] {
        report.expect(column(name)?.is_some(), || {
            format!("the table push_notify has no column {name}")
        });
    }
    let id =
        column("id")?.is_some_and(|(kind, key)| kind.eq_ignore_ascii_case("INTEGER") && key == 1);
    report.expect(id, || {
        "the column id of push_notify is not INTEGER PRIMARY KEY".to_owned()
    });
    let mut unique =
        database.prepare("SELECT name FROM pragma_index_list('push_notify') WHERE \"unique\"")?;
    for name in unique.query_map([], |row| row.get::<_, String>(0))? {
        report.problem(format!(
            "the table push_notify has the unique index {}, which makes edits fail",
            name?
        ));
    }
    let keys = database
        .prepare("SELECT 1 FROM pragma_foreign_key_list('push_notify')")?
        .exists([])?;
    report.expect(!keys, || {
        "the table push_notify has a foreign key, which makes edits slow or fail".to_owned()
    });
    Ok(())
}

fn check_triggers(database: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    for name in ["push_notify_insert", "push_notify_update"] {
        let mut select = database
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1")?;
        let found: Option<String> = select.query_row([name], |row| row.get(0)).optional()?;
        let expected = part(
            Engine::Sqlite.installation(),
            &format!("CREATE TRIGGER {name}"),
            ";\n\n",
        );
        match found {
            None => report.problem(format!("the trigger {name} is missing")),
            Some(found) => {
                report.expect(is_same(&found, expected), || {
                    format!("the trigger {name} is not the one that this version makes")
                });
            }
        }
    }
    Ok(())
}
