//! What a check of an SQLite file looks at.

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{Engine, Findings, Mend, is_same, part};
use crate::database::sqlite::FileSettings;
use crate::work::Error;

pub(super) fn check(settings: &FileSettings) -> Result<Findings, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(settings.file(), flags)?;
    let mut findings = Findings::default();
    if !has_table(&database, "bugs")? {
        findings.problem(
            Mend::Unknown,
            "there is no table bugs: is this Bugzilla's own file?",
        );
        return Ok(findings);
    }
    if has_table(&database, "push_notify")? {
        check_table(&database, &mut findings)?;
    } else {
        findings.problem(Mend::Script, "the table push_notify is missing");
    }
    check_triggers(&database, &mut findings)?;
    findings.expect(!database.is_readonly("main")?, Mend::Unknown, || {
        "this account may not write the file".to_owned()
    });
    Ok(findings)
}

fn has_table(database: &Connection, name: &str) -> rusqlite::Result<bool> {
    database
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

fn check_table(database: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
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
        findings.expect(column(name)?.is_some(), Mend::Anew, || {
            format!("the table push_notify has no column {name}")
        });
    }
    let id =
        column("id")?.is_some_and(|(kind, key)| kind.eq_ignore_ascii_case("INTEGER") && key == 1);
    findings.expect(id, Mend::Anew, || {
        "the column id of push_notify is not INTEGER PRIMARY KEY".to_owned()
    });
    let mut unique =
        database.prepare("SELECT name FROM pragma_index_list('push_notify') WHERE \"unique\"")?;
    for name in unique.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        // SQLite has made such an index for a constraint of the table's.
        let mend = if name.starts_with("sqlite_") {
            Mend::Anew
        } else {
            Mend::Statement(format!("DROP INDEX {name}"))
        };
        findings.problem(
            mend,
            format!("the table push_notify has the unique index {name}, which makes edits fail"),
        );
    }
    let keys = database
        .prepare("SELECT 1 FROM pragma_foreign_key_list('push_notify')")?
        .exists([])?;
    findings.expect(!keys, Mend::Anew, || {
        "the table push_notify has a foreign key, which makes edits slow or fail".to_owned()
    });
    let changes = database.query_row("SELECT count(*) FROM push_notify", [], |row| row.get(0))?;
    findings.changes = Some(changes);
    Ok(())
}

fn check_triggers(database: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
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
            None => findings.problem(Mend::Script, format!("the trigger {name} is missing")),
            Some(found) => {
                findings.expect(is_same(&found, expected), Mend::Script, || {
                    format!("the trigger {name} is not the one that this version makes")
                });
            }
        }
    }
    Ok(())
}
