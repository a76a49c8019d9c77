//! What a check of a MariaDB or MySQL looks at. What the account may not see is distinguished
//! from what is missing, as far as possible.

use std::collections::{HashMap, HashSet};

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, params};

use super::{Engine, Findings, is_same, part};
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
            "there is no table bugs, or this account may not see it: is this Bugzilla's own database? \
             An account of the administrator's sees all",
        );
        return Ok(());
    }
    check_table(conn, findings)?;
    check_triggers(conn, findings)?;
    let update = body("push_notify_update");
    for column in update
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
        .filter_map(|word| word.strip_prefix("NEW."))
    {
        if !of_bugs.contains_key(column) {
            findings.problem(format!("the table bugs has no column {column}, which the trigger push_notify_update names: each edit fails"));
        }
    }
    // A column is named more than once.
    let mut known = HashSet::new();
    findings
        .problems
        .retain(|problem| known.insert(problem.clone()));
    Ok(())
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
        findings.problem("the table push_notify is missing, or this account may not see it");
        return Ok(());
    }
    check_columns(&columns, findings);
    check_engine(conn, findings)?;
    check_indexes(conn, findings)?;
    check_rights(conn, findings);
    Ok(())
}

fn check_columns(columns: &HashMap<String, (String, String)>, findings: &mut Findings) {
    for (name, accepted) in [
        ("id", &["bigint", "int"][..]),
        ("bug_id", &["int", "mediumint", "bigint"]),
        ("delta_ts", &["datetime"]),
    ] {
        match columns.get(name) {
            None => findings.problem(format!("the table push_notify has no column {name}")),
            Some((kind, extra)) => {
                findings.expect(accepted.contains(&kind.as_str()), || {
                    format!(
                        "the column {name} of push_notify is {kind}, not {}",
                        accepted.join(" or ")
                    )
                });
                findings.expect(name != "id" || extra.contains("auto_increment"), || {
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
    findings.expect(engine.eq_ignore_ascii_case("InnoDB"), || {
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
        findings.expect(columns == "id", || {
            format!("the table push_notify has the unique index {name}, which makes edits fail")
        });
    }
    let has_key = unique
        .iter()
        .any(|(name, columns)| name == "PRIMARY" && columns == "id");
    findings.expect(has_key, || {
        "id is not the primary key of push_notify, so that reading it takes long".to_owned()
    });
    let keys: Option<i64> = conn.query_first(
        "SELECT COUNT(*) FROM information_schema.table_constraints \
         WHERE table_schema = DATABASE() AND table_name = 'push_notify' AND constraint_type = 'FOREIGN KEY'",
    )?;
    findings.expect(keys == Some(0), || {
        "the table push_notify has a foreign key, which makes edits wait or fail".to_owned()
    });
    Ok(())
}

/// Tries what a reader does.
fn check_rights(conn: &mut Conn, findings: &mut Findings) {
    for (right, statement) in [
        (
            "SELECT",
            "SELECT id, bug_id, delta_ts FROM push_notify WHERE id = 0",
        ),
        ("DELETE", "DELETE FROM push_notify WHERE id = 0"),
    ] {
        if let Err(error) = conn.query_drop(statement) {
            findings.problem(format!(
                "this account cannot {right} on push_notify: {}",
                sentence(&error)
            ));
        }
    }
}

fn check_triggers(conn: &mut Conn, findings: &mut Findings) -> ::mysql::Result<()> {
    let mut definers = HashSet::new();
    for (name, event) in [
        ("push_notify_insert", "INSERT"),
        ("push_notify_update", "UPDATE"),
    ] {
        let trigger: Option<(String, String, String, String, String)> = conn.exec_first(
            "SELECT event_object_table, action_timing, event_manipulation, action_statement, definer \
             FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND trigger_name = ?",
            (name,),
        )?;
        let Some((table, timing, manipulation, statement, definer)) = trigger else {
            findings.problem(format!("the trigger {name} on bugs is missing, or this account may not see it for lack of the right TRIGGER"));
            continue;
        };
        let is_ours = table.eq_ignore_ascii_case("bugs")
            && timing == "AFTER"
            && manipulation == event
            && is_same(&statement, body(name));
        findings.expect(is_ours, || {
            format!("the trigger {name} on bugs is not the one that this version makes")
        });
        definers.insert(definer);
    }
    for definer in definers {
        check_definer(conn, &definer, findings)?;
    }
    Ok(())
}

/// The triggers act with the rights of the account that made them. `definer` is written
/// `user@host`.
fn check_definer(conn: &mut Conn, definer: &str, findings: &mut Findings) -> ::mysql::Result<()> {
    let (user, host) = definer.rsplit_once('@').unwrap_or((definer, ""));
    let Ok(count) = conn.exec_first::<i64, _, _>(
        "SELECT COUNT(*) FROM mysql.user WHERE user = ? AND host = ?",
        (user, host),
    ) else {
        findings.unknown.push(format!(
            "whether {definer} exists, with whose rights the triggers act"
        ));
        return Ok(());
    };
    if count == Some(0) {
        findings.problem(format!("the account {definer}, with whose rights the triggers act, does not exist: each edit fails (ERROR 1449)"));
        return Ok(());
    }
    let grantee = format!("'{user}'@'{host}'");
    for (right, table) in [
        ("TRIGGER", "bugs"),
        ("SELECT", "bugs"),
        ("INSERT", "push_notify"),
    ] {
        let count: Option<i64> = conn.exec_first(
            "SELECT (SELECT COUNT(*) FROM information_schema.user_privileges WHERE grantee = :grantee AND privilege_type = :right) \
                  + (SELECT COUNT(*) FROM information_schema.schema_privileges \
                     WHERE grantee = :grantee AND privilege_type = :right AND DATABASE() LIKE table_schema) \
                  + (SELECT COUNT(*) FROM information_schema.table_privileges \
                     WHERE grantee = :grantee AND privilege_type = :right AND table_schema = DATABASE() AND table_name = :table)",
            params! { "grantee" => &grantee, "right" => right, "table" => table },
        )?;
        findings.expect(count != Some(0), || {
            format!("the account {definer}, with whose rights the triggers act, has no right to {right} on {table}: each edit fails")
        });
    }
    Ok(())
}

/// The body of a trigger as this version makes it.
fn body(name: &str) -> &'static str {
    part(
        part(
            Engine::Mysql.installation(),
            &format!("CREATE TRIGGER {name}"),
            "//",
        ),
        "BEGIN",
        "//",
    )
}
