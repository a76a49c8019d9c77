//! What a check of a MariaDB or MySQL looks at. What the account may not see is distinguished
//! from what is missing, as far as possible.

use std::collections::{BTreeSet, HashMap};

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, params};

use super::{Engine, Findings, Mend, is_same, part};
use crate::database::ServerSettings;
use crate::database::mysql::{connect, sentence};
use crate::work::Error;

pub(super) fn check(settings: &ServerSettings) -> Result<Findings, Error> {
    let mut conn = connect(settings)?;
    let mut findings = Findings::default();
    check_all(&mut conn, &mut findings)
        .map_err(|error| format!("cannot read the information_schema: {}", sentence(&error)))?;
    Ok(findings)
}

fn check_all(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    let of_bugs = columns(conn, "bugs")?;
    if of_bugs.is_empty() {
        findings.problem(
            Mend::Unknown,
            "there is no table bugs, or this account may not see it: is this Bugzilla's own database? \
             Bugzilla's own account sees it",
        );
        return Ok(());
    }
    check_table(conn, findings)?;
    check_triggers(conn, findings)?;
    // Who may read some columns sees no others.
    let account = quoted(&current_account(conn)?);
    if !has_right(conn, &account, "SELECT", "bugs")? {
        let unknown = "whether the table bugs has the columns that the triggers name";
        findings.unknown.push(unknown.to_owned());
        return Ok(());
    }
    for column in columns_named("push_notify_update") {
        let mend = Mend::Statement("DROP TRIGGER push_notify_update".to_owned());
        findings.expect(of_bugs.contains_key(column), mend, || {
            format!("the table bugs has no column {column}, which the trigger push_notify_update names: each edit fails")
        });
    }
    Ok(())
}

/// The columns of `bugs` that a trigger names, some more than once.
fn columns_named(trigger: &str) -> impl Iterator<Item = &'static str> {
    body(trigger)
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
        .filter_map(|word| word.strip_prefix("NEW."))
}

/// Type and extras of each column of a table.
fn columns(conn: &mut Conn, table: &str) -> ::mysql::Result<HashMap<String, (String, String)>> {
    let rows: Vec<(String, String, String)> = conn.exec(
        "SELECT LOWER(column_name), LOWER(data_type), LOWER(extra) FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND table_name = ?",
        (table,),
    )?;
    Ok(rows
        .into_iter()
        .map(|(name, kind, extra)| (name, (kind, extra)))
        .collect())
}

fn check_table(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    let columns = columns(conn, "push_notify")?;
    if columns.is_empty() {
        findings.problem(
            Mend::Script,
            "the table push_notify is missing, or this account may not see it",
        );
        return Ok(());
    }
    check_columns(&columns, findings);
    check_engine(conn, findings)?;
    check_indexes(conn, findings)?;
    check_rights(conn, findings)
}

fn check_columns(columns: &HashMap<String, (String, String)>, findings: &mut Findings) {
    for (name, accepted) in [
        ("id", &["bigint", "int"][..]),
        ("bug_id", &["int", "mediumint", "bigint"]),
        ("delta_ts", &["datetime"]),
    ] {
        match columns.get(name) {
            None => findings.problem(
                Mend::Anew,
                format!("the table push_notify has no column {name}"),
            ),
            Some((kind, extra)) => {
                findings.expect(accepted.contains(&kind.as_str()), Mend::Anew, || {
                    format!(
                        "the column {name} of push_notify is {kind}, not {}",
                        accepted.join(" or ")
                    )
                });
                let counts = name != "id" || extra.contains("auto_increment");
                findings.expect(counts, Mend::Anew, || {
                    "the column id of push_notify is not AUTO_INCREMENT".to_owned()
                });
            }
        }
    }
}

fn check_engine(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    let engine: Option<String> =
        conn.query_first("SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'push_notify'")?;
    let engine = engine.unwrap_or_default();
    let mend = Mend::Statement("ALTER TABLE push_notify ENGINE = InnoDB".to_owned());
    findings.expect(engine.eq_ignore_ascii_case("InnoDB"), mend, || {
        format!("the engine of push_notify is {engine}, not InnoDB, so that a rolled back edit leaves its row")
    });
    Ok(())
}

fn check_indexes(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    let unique: Vec<(String, String)> = conn.query(
        "SELECT index_name, GROUP_CONCAT(LOWER(column_name)) FROM information_schema.statistics \
         WHERE table_schema = DATABASE() AND table_name = 'push_notify' AND non_unique = 0 GROUP BY index_name",
    )?;
    for (name, columns) in &unique {
        let mend = Mend::Statement(format!("DROP INDEX `{name}` ON push_notify"));
        findings.expect(columns == "id", mend, || {
            format!("the table push_notify has the unique index {name}, which makes edits fail")
        });
    }
    let has_key = unique
        .iter()
        .any(|(name, columns)| name == "PRIMARY" && columns == "id");
    findings.expect(has_key, Mend::Anew, || {
        "id is not the primary key of push_notify, so that reading it takes long".to_owned()
    });
    let keys: Vec<String> = conn.query(
        "SELECT constraint_name FROM information_schema.table_constraints \
         WHERE table_schema = DATABASE() AND table_name = 'push_notify' AND constraint_type = 'FOREIGN KEY'",
    )?;
    for name in keys {
        findings.problem(
            Mend::Statement(format!("ALTER TABLE push_notify DROP FOREIGN KEY `{name}`")),
            "the table push_notify has a foreign key, which makes edits wait or fail",
        );
    }
    Ok(())
}

/// Tries what a reader does.
fn check_rights(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    for (right, statement) in [
        (
            "SELECT",
            "SELECT id, bug_id, delta_ts FROM push_notify WHERE id = 0",
        ),
        ("DELETE", "DELETE FROM push_notify WHERE id = 0"),
    ] {
        if let Err(error) = conn.query_drop(statement) {
            let grant = format!(
                "GRANT SELECT, DELETE ON `{}`.push_notify TO {}",
                database(conn)?,
                quoted(&current_account(conn)?)
            );
            findings.problem(
                Mend::Statement(grant),
                format!(
                    "this account cannot {right} on push_notify: {}",
                    sentence(&error)
                ),
            );
        }
    }
    findings.changes = conn
        .query_first("SELECT COUNT(*) FROM push_notify")
        .unwrap_or_default();
    Ok(())
}

fn check_triggers(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    type Columns = (String, String, String, Option<String>, Option<String>);
    // Who lacks the right sees no trigger at all, or one without its statement.
    let account = quoted(&current_account(conn)?);
    let sees_triggers = has_right(conn, &account, "TRIGGER", "bugs")?;
    let mut definers = BTreeSet::new();
    for (name, event) in [
        ("push_notify_insert", "INSERT"),
        ("push_notify_update", "UPDATE"),
    ] {
        let trigger: Option<Columns> = conn.exec_first(
            "SELECT event_object_table, action_timing, event_manipulation, action_statement, definer \
             FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND trigger_name = ?",
            (name,),
        )?;
        match trigger {
            Some((table, timing, manipulation, Some(statement), Some(definer))) => {
                let is_ours = table.eq_ignore_ascii_case("bugs")
                    && timing == "AFTER"
                    && manipulation == event
                    && is_same(&statement, body(name));
                findings.expect(is_ours, Mend::Script, || {
                    format!("the trigger {name} on bugs is not the one that this version makes")
                });
                definers.insert(definer);
            }
            None if sees_triggers => findings.problem(
                Mend::Script,
                format!("the trigger {name} on bugs is missing"),
            ),
            _ => findings.problem(
                Mend::Unknown,
                format!(
                    "this account may not see the trigger {name} on bugs for lack of the right TRIGGER, which Bugzilla's own account has"
                ),
            ),
        }
    }
    for definer in &definers {
        check_definer(conn, definer, findings)?;
    }
    check_backup(conn, &definers, findings)
}

/// The triggers act with the rights of the account that made them. `definer` is written
/// `user@host`.
fn check_definer(conn: &mut Conn, definer: &str, findings: &mut Findings) -> ::mysql::Result<()> {
    // Everybody sees the rights of their own account, and few those of others.
    if definer != current_account(conn)? {
        let find = "SELECT COUNT(*) FROM mysql.user WHERE CONCAT(user, '@', host) = ?";
        let Ok(count) = conn.exec_first::<i64, _, _>(find, (definer,)) else {
            findings.unknown.push(format!(
                "whether {definer} exists, with whose rights the triggers act"
            ));
            return Ok(());
        };
        if count == Some(0) {
            findings.problem(Mend::Script, format!("the account {definer}, with whose rights the triggers act, does not exist: each edit fails (ERROR 1449)"));
            return Ok(());
        }
    }
    for (right, table) in [
        ("TRIGGER", "bugs"),
        ("SELECT", "bugs"),
        ("INSERT", "push_notify"),
    ] {
        let has_right = has_right(conn, &quoted(definer), right, table)?;
        findings.expect(has_right, Mend::Script, || {
            format!("the account {definer}, with whose rights the triggers act, has no right to {right} on {table} (a role's does not count): each edit fails")
        });
    }
    Ok(())
}

/// Bugzilla's own account must be able to dump its tables, and to restore what it has dumped.
fn check_backup(
    conn: &mut Conn,
    definers: &BTreeSet<String>,
    findings: &mut Findings,
) -> ::mysql::Result<()> {
    // An account that may alter the tables of this database, and not those of all. Roles have no
    // host.
    let accounts: Vec<String> = conn.query(
        "SELECT grantee FROM information_schema.schema_privileges \
         WHERE DATABASE() LIKE table_schema AND privilege_type IN ('ALTER', 'UPDATE') AND grantee NOT LIKE \"%@''\" \
         GROUP BY grantee HAVING COUNT(DISTINCT privilege_type) = 2 ORDER BY grantee",
    )?;
    let database = database(conn)?;
    for account in &accounts {
        let has_right = has_right(conn, account, "TRIGGER", "bugs")?;
        let mend = Mend::Statement(format!("GRANT TRIGGER ON `{database}`.* TO {account}"));
        findings.expect(has_right, mend, || {
            format!("{account}, which looks like Bugzilla's own account, has no right to TRIGGER on bugs: a dump by it ends there (ERROR 1227)")
        });
    }
    for definer in definers {
        let is_safe = accounts.is_empty() || accounts.contains(&quoted(definer));
        findings.expect(is_safe, Mend::Script, || {
            format!(
                "the triggers belong to {definer}, and not to what looks like Bugzilla's own account, {}, which so cannot restore a dump of them",
                accounts.join(" or ")
            )
        });
    }
    Ok(())
}

/// Whether an account itself has a right on a table; a role's does not count.
fn has_right(conn: &mut Conn, grantee: &str, right: &str, table: &str) -> ::mysql::Result<bool> {
    let count: Option<i64> = conn.exec_first(
        "SELECT (SELECT COUNT(*) FROM information_schema.user_privileges WHERE grantee = :grantee AND privilege_type = :right) \
              + (SELECT COUNT(*) FROM information_schema.schema_privileges \
                 WHERE grantee = :grantee AND privilege_type = :right AND DATABASE() LIKE table_schema) \
              + (SELECT COUNT(*) FROM information_schema.table_privileges \
                 WHERE grantee = :grantee AND privilege_type = :right AND table_schema = DATABASE() AND table_name = :table)",
        params! { "grantee" => grantee, "right" => right, "table" => table },
    )?;
    Ok(count != Some(0))
}

/// The account that the server takes this connection for, written `user@host`.
fn current_account(conn: &mut Conn) -> ::mysql::Result<String> {
    Ok(conn
        .query_first("SELECT CURRENT_USER()")?
        .unwrap_or_default())
}

fn database(conn: &mut Conn) -> ::mysql::Result<String> {
    Ok(conn.query_first("SELECT DATABASE()")?.unwrap_or_default())
}

/// An account as statements and the information_schema name it; `account` is written `user@host`.
fn quoted(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, ""));
    format!("'{user}'@'{host}'")
}

/// The body of a trigger as this version makes it.
fn body(name: &str) -> &'static str {
    part(
        part(
            Engine::Mysql.installation(),
            &format!(" TRIGGER {name} AFTER"),
            "//",
        ),
        "BEGIN",
        "//",
    )
}
