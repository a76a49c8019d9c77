//! What a check of a PostgreSQL looks at: its catalogs, which every account may read.

use ::postgres::Client;

use super::{Engine, Findings, Mend, is_same, part};
use crate::database::ServerSettings;
use crate::database::postgres::{connect, sentence};
use crate::work::Error;

type Result<T> = std::result::Result<T, ::postgres::Error>;

pub(super) fn check(settings: &ServerSettings) -> std::result::Result<Findings, Error> {
    let mut client = connect(settings)?;
    let mut findings = Findings::default();
    check_all(&mut client, &mut findings)
        .map_err(|error| format!("cannot read the catalogs: {}", sentence(&error)))?;
    Ok(findings)
}

fn check_all(client: &mut Client, findings: &mut Findings) -> Result<()> {
    // Where Bugzilla's tables are, the table of notifications belongs, too.
    let found = client.query_opt(
        "SELECT set_config('search_path', quote_ident(n.nspname), FALSE), n.nspname::text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('bugs')",
        &[],
    )?;
    let Some(found) = found else {
        findings.problem(
            Mend::Unknown,
            "there is no table bugs: is this Bugzilla's own database, and its schema on the search_path?",
        );
        return Ok(());
    };
    let schema: String = found.try_get(1)?;
    let here = client.query_one("SELECT to_regclass('push_notify') IS NOT NULL", &[])?;
    if here.try_get(0)? {
        check_table(client, findings)?;
        check_rights(client, findings)?;
    } else {
        findings.problem(
            Mend::Script,
            format!("the table push_notify is missing in the schema {schema}, which bugs is in"),
        );
    }
    check_triggers(client, findings)?;
    check_function(client, &schema, findings)
}

fn check_table(client: &mut Client, findings: &mut Findings) -> Result<()> {
    let columns = client.query(
        "SELECT a.attname::text, format_type(a.atttypid, NULL), \
                a.attidentity <> '' OR COALESCE(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', FALSE) \
         FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attrelid = 'push_notify'::regclass AND a.attnum > 0 AND NOT a.attisdropped",
        &[],
    )?;
    let mut kinds = std::collections::HashMap::new();
    let mut counts = false;
    for row in &columns {
        let (name, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        counts |= name == "id" && row.try_get::<_, bool>(2)?;
        kinds.insert(name, kind);
    }
    for (name, accepted) in [
        ("id", &["bigint", "integer"][..]),
        ("bug_id", &["integer", "bigint"]),
        ("delta_ts", &["timestamp without time zone"]),
    ] {
        match kinds.get(name) {
            None => findings.problem(
                Mend::Anew,
                format!("the table push_notify has no column {name}"),
            ),
            Some(kind) => findings.expect(accepted.contains(&kind.as_str()), Mend::Anew, || {
                format!(
                    "the column {name} of push_notify is {kind}, not {}",
                    accepted.join(" or ")
                )
            }),
        }
    }
    findings.expect(counts || !kinds.contains_key("id"), Mend::Anew, || {
        "the column id of push_notify does not count by itself".to_owned()
    });
    check_constraints(client, findings)
}

/// The table must have its primary key, and nothing else that can make an edit fail.
fn check_constraints(client: &mut Client, findings: &mut Findings) -> Result<()> {
    let constraints = client.query(
        "SELECT i.indexrelid::regclass::text, i.indisprimary, ARRAY(SELECT a.attname::text FROM pg_attribute a \
                WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)), \
                EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid) \
         FROM pg_index i WHERE i.indrelid = 'push_notify'::regclass AND i.indisunique",
        &[],
    )?;
    let mut has_key = false;
    for row in constraints {
        if row.try_get(1)? && row.try_get::<_, Vec<String>>(2)? == ["id"] {
            has_key = true;
        } else {
            let name: String = row.try_get(0)?;
            let mend = if row.try_get(3)? {
                format!("ALTER TABLE push_notify DROP CONSTRAINT {name}")
            } else {
                format!("DROP INDEX {name}")
            };
            findings.problem(
                Mend::Statement(mend),
                format!(
                    "the table push_notify has the unique index {name}, which makes edits fail"
                ),
            );
        }
    }
    let mend = Mend::Statement("ALTER TABLE push_notify ADD PRIMARY KEY (id)".to_owned());
    findings.expect(has_key, mend, || {
        "id is not the primary key of push_notify, which makes edits fail".to_owned()
    });
    let keys = client.query(
        "SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = 'push_notify'::regclass AND contype = 'f'",
        &[],
    )?;
    for key in keys {
        let name: String = key.try_get(0)?;
        findings.problem(
            Mend::Statement(format!("ALTER TABLE push_notify DROP CONSTRAINT {name}")),
            "the table push_notify has a foreign key, which makes edits slow or fail",
        );
    }
    Ok(())
}

/// This account must be able to read the table.
fn check_rights(client: &mut Client, findings: &mut Findings) -> Result<()> {
    let rights = client.query_one(
        "SELECT current_user::text, quote_ident(current_user), \
                has_table_privilege('push_notify', 'SELECT'), has_table_privilege('push_notify', 'DELETE')",
        &[],
    )?;
    let (user, quoted): (String, String) = (rights.try_get(0)?, rights.try_get(1)?);
    for (column, right) in [(2, "SELECT"), (3, "DELETE")] {
        let mend = Mend::Statement(format!("GRANT SELECT, DELETE ON push_notify TO {quoted}"));
        findings.expect(rights.try_get(column)?, mend, || {
            format!("this account, {user}, has no right to {right} on push_notify")
        });
    }
    if rights.try_get(2)? {
        let changes = client.query_one("SELECT count(*) FROM push_notify", &[])?;
        findings.changes = Some(changes.try_get(0)?);
    }
    Ok(())
}

/// The triggers act with the rights of the function's owner, and find the table by its search path.
fn check_function(client: &mut Client, schema: &str, findings: &mut Findings) -> Result<()> {
    let function = client.query_opt(
        "SELECT p.prosecdef, COALESCE('search_path=' || quote_ident($1) || ', pg_temp' = ANY(p.proconfig), FALSE), \
                p.prosrc, pg_get_userbyid(p.proowner)::text, \
                COALESCE(has_table_privilege(p.proowner, to_regclass('push_notify'), 'INSERT'), TRUE), \
                COALESCE(has_sequence_privilege(p.proowner, (SELECT pg_get_serial_sequence(to_regclass('push_notify')::text, a.attname) \
                    FROM pg_attribute a WHERE a.attrelid = to_regclass('push_notify') AND a.attname = 'id'), 'USAGE'), TRUE), \
                has_schema_privilege(p.proowner, n.oid, 'USAGE') \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = 'push_notify_bug' AND n.nspname = $1",
        &[&schema],
    )?;
    let Some(function) = function else {
        findings.problem(Mend::Script, "the function push_notify_bug is missing");
        return Ok(());
    };
    findings.expect(function.try_get(0)?, Mend::Script, || {
        "the triggers act with the rights of whoever edits, and fail the edit of an account that lacks them".to_owned()
    });
    findings.expect(function.try_get(1)?, Mend::Script, || {
        format!("the triggers find push_notify by the search_path of whoever edits, not by that of bugs, {schema}")
    });
    let body = part(
        part(
            Engine::Postgres.installation(),
            "BEGIN\n    IF to_reg",
            "$$",
        ),
        "BEGIN",
        "$$",
    );
    let source: String = function.try_get(2)?;
    findings.expect(is_same(&source, body), Mend::Script, || {
        "the function that the triggers call is not the one that this version makes".to_owned()
    });
    let owner: String = function.try_get(3)?;
    for (column, right) in [
        (4, "INSERT into push_notify"),
        (5, "use the sequence of push_notify.id"),
        (6, "use their schema"),
    ] {
        findings.expect(function.try_get(column)?, Mend::Script, || {
            format!("{owner}, with whose rights the triggers act, may not {right}, which makes edits fail")
        });
    }
    Ok(())
}

fn check_triggers(client: &mut Client, findings: &mut Findings) -> Result<()> {
    // The bits of tgtype: 1 is FOR EACH ROW, 4 INSERT, 16 UPDATE; no other bit means AFTER.
    for (name, kind, columns) in [
        ("push_notify_insert", 5_i16, ""),
        ("push_notify_update", 17, "delta_ts"),
    ] {
        let row = client.query_opt(
            "SELECT t.tgenabled IN ('O', 'A'), t.tgtype, t.tgqual IS NULL AND p.proname = 'push_notify_bug', \
                    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr)) \
             FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = 'bugs'::regclass AND t.tgname = $1::text",
            &[&name],
        )?;
        let Some(row) = row else {
            findings.problem(
                Mend::Script,
                format!("the trigger {name} on bugs is missing"),
            );
            continue;
        };
        findings.expect(row.try_get(0)?, Mend::Script, || {
            format!("the trigger {name} on bugs is disabled")
        });
        let is_ours = row.try_get::<_, i16>(1)? == kind
            && row.try_get(2)?
            && row.try_get::<_, Vec<String>>(3)?.join(" ") == columns;
        findings.expect(is_ours, Mend::Script, || {
            format!("the trigger {name} on bugs is not the one that this version makes")
        });
    }
    Ok(())
}
