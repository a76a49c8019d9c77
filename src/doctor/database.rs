//! A database: whether it answers, what the account may do, the table and its triggers, how much
//! waits in it, and its clock.

use super::Findings;
use crate::bugzilla::Since;
use crate::database::{Database, Mode};
use crate::schema::{self, Engine, Mend, Problem};
use crate::work::unix_now;

/// So many changes in a table that is read four times a second wait for somebody who reads none.
const CHANGES_MAX: i64 = 1_000;

/// Looks at a database that a unit reads. An own one is a file of bugzfeed's, without Bugzilla.
pub(super) fn examine(database: &Database, unit: &str, is_own: bool, findings: &mut Findings) {
    if is_own {
        findings.note(
            "database",
            format!("{database} is bugzfeed's own: what is in it comes from bugzfeed notify"),
            None,
        );
    } else if database.options().mode == Mode::Bugs {
        bugs(database, findings);
    } else {
        table(database, unit, findings);
    }
}

/// Bugzilla's own tables alone.
fn bugs(database: &Database, findings: &mut Findings) {
    let mut asker = database.asker();
    match asker.can_ask() {
        Err(error) => unreachable(database, &error, findings),
        Ok(false) => findings.mend(
            "grants",
            format!("the account of {database} may not read the table bugs"),
            grant(database),
        ),
        Ok(true) => {
            findings.ok("grants", format!("{database} can be read"));
            if let Ok(found) = asker.ask(Since::Newest(1)) {
                clock(database, found.now, findings);
            }
        }
    }
}

fn unreachable(database: &Database, error: &dyn std::fmt::Display, findings: &mut Findings) {
    let mend = match database {
        Database::Sqlite(settings) => format!("sqlite3 {} .tables", settings.file().display()),
        #[cfg(feature = "mysql")]
        Database::Mysql(settings) => format!(
            "mysql -h {} -P {} -u {} -p {}",
            settings.host, settings.port, settings.user, settings.database
        ),
        #[cfg(feature = "postgres")]
        Database::Postgres(settings) => format!(
            "psql -h {} -p {} -U {} {}",
            settings.host, settings.port, settings.user, settings.database
        ),
    };
    findings.mend(
        "database",
        format!("{database}: {error}"),
        format!("{mend}    # must work from here with the same password: docs/bugzilla.md makes the account"),
    );
}

fn table(database: &Database, unit: &str, findings: &mut Findings) {
    let engine = Engine::of(database);
    let found = match schema::check(database) {
        Ok(found) => found,
        Err(error) => return unreachable(database, &error, findings),
    };
    for unknown in &found.unknown {
        findings.note(
            "schema",
            format!("the account of {database} may not see {unknown}"),
            Some("bugzfeed schema --check ADDRESS    # with Bugzilla's own account".to_owned()),
        );
    }
    for problem in &found.problems {
        findings.mend(
            "schema",
            format!("{database}: {}", problem.text),
            mend(database, problem),
        );
    }
    if found.problems.is_empty() {
        findings.ok(
            "schema",
            format!("the table and the triggers in {database} are intact"),
        );
    }
    // A table that is missing would be made here.
    if found.changes.is_none() && engine == Engine::Sqlite {
        return;
    }
    match database.table() {
        Ok(mut table) => {
            findings.ok("grants", format!("{database} can be read and emptied"));
            let holder = table.holder();
            growth(database, unit, found.changes, holder.as_deref(), findings);
            match table.now() {
                Ok(now) => clock(database, now, findings),
                Err(error) => findings.note("clock", format!("{database}: {error}"), None),
            }
        }
        // What is missing is said already.
        Err(_) if !found.problems.is_empty() => {}
        Err(error) => findings.mend("grants", format!("{database}: {error}"), grant(database)),
    }
}

/// Whether somebody reads what is written.
fn growth(
    database: &Database,
    unit: &str,
    changes: Option<i64>,
    holder: Option<&str>,
    findings: &mut Findings,
) {
    match (changes, holder) {
        (Some(changes), None) if changes > CHANGES_MAX => findings.mend(
            "table",
            format!("{changes} changes wait in {database}, and nobody reads them"),
            format!("systemctl restart {unit}; journalctl -u {unit} -n 20"),
        ),
        (Some(changes), Some(holder)) if changes > CHANGES_MAX => findings.mend(
            "table",
            format!("{changes} changes wait in {database}, and {holder} does not keep up"),
            format!("journalctl -u {unit} -n 20"),
        ),
        (Some(changes), _) => findings.ok("table", format!("{changes} changes wait in {database}")),
        (None, _) => findings.note(
            "table",
            format!("how much waits in {database} is not to be seen"),
            None,
        ),
    }
}

/// A file has the clock of whoever reads it.
fn clock(database: &Database, now: i64, findings: &mut Findings) {
    if Engine::of(database) != Engine::Sqlite {
        findings.clocks(&database.to_string(), now, unix_now());
    }
}

/// What mends a flaw of the table or a trigger, as a line for a shell. Scripts are run by Bugzilla's
/// own account, statements by an administrator.
fn mend(database: &Database, problem: &Problem) -> String {
    let name = Engine::of(database).name();
    let (bugzilla, administrator) = match database {
        Database::Sqlite(settings) => {
            let client = format!("sqlite3 -bail {}", settings.file().display());
            (client.clone(), client)
        }
        #[cfg(feature = "mysql")]
        Database::Mysql(settings) => (
            format!("mysql -u bugs -p {}", settings.database),
            format!("sudo mysql {}", settings.database),
        ),
        #[cfg(feature = "postgres")]
        Database::Postgres(settings) => (
            format!("psql -h {} -U bugs {}", settings.host, settings.database),
            format!("sudo -u postgres psql {}", settings.database),
        ),
    };
    match &problem.mend {
        Mend::Script => format!("bugzfeed schema {name} | {bugzilla}"),
        Mend::Anew => format!(
            "bugzfeed schema {name} --drop | {bugzilla} && bugzfeed schema {name} | {bugzilla}    # loses what waits in the table, and the rights on it"
        ),
        Mend::Statement(statement) => format!("{administrator} <<< {}", quoted(statement)),
        Mend::Unknown => "source = \"…\"    # must name Bugzilla's own database, as its localconfig does ($db_name), and an account that sees it".to_owned(),
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The rights that the account needs, in SQL.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn rights(mode: Mode) -> &'static str {
    match mode {
        Mode::Table => "SELECT, DELETE ON push_notify",
        Mode::Bugs => "SELECT (bug_id, delta_ts) ON bugs",
    }
}

/// What gives the account its rights.
fn grant(database: &Database) -> String {
    match database {
        Database::Sqlite(settings) => format!(
            "chown www-data {}    # or the account that serves, and the folder, too",
            settings.file().display()
        ),
        #[cfg(feature = "mysql")]
        Database::Mysql(settings) => format!(
            "sudo mysql {} -e \"GRANT {} TO {}@localhost\"    # or the host that it comes from",
            settings.database,
            rights(settings.options.mode),
            settings.user
        ),
        #[cfg(feature = "postgres")]
        Database::Postgres(settings) => format!(
            "sudo -u postgres psql {} -c \"GRANT {} TO {}\"",
            settings.database,
            rights(settings.options.mode),
            settings.user
        ),
    }
}
