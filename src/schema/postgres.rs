//! What a check of a PostgreSQL looks at: its catalogs, which every account may read.

use ::postgres::Client;

use super::{Engine, Findings, is_same, part};
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
    let tables = client.query_one(
        "SELECT to_regclass('bugs') IS NOT NULL, to_regclass('push_notify') IS NOT NULL",
        &[],
    )?;
    if !tables.try_get(0)? {
        findings.problem("there is no table bugs: is this Bugzilla's own database, and its schema on the search_path?");
        return Ok(());
    }
    if tables.try_get(1)? {
        check_table(client, findings)?;
        check_rights(client, findings)?;
    } else {
        findings.problem("the table push_notify is missing");
    }
    check_triggers(client, findings)
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
            None => findings.problem(format!("the table push_notify has no column {name}")),
            Some(kind) => findings.expect(accepted.contains(&kind.as_str()), || {
                format!(
                    "the column {name} of push_notify is {kind}, not {}",
                    accepted.join(" or ")
                )
            }),
        }
    }
    findings.expect(counts || !kinds.contains_key("id"), || {
        "the column id of push_notify does not count by itself".to_owned()
    });
    let constraints = client.query(
        "SELECT i.indexrelid::regclass::text, i.indisprimary, ARRAY(SELECT a.attname::text FROM pg_attribute a \
                WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)) \
         FROM pg_index i WHERE i.indrelid = 'push_notify'::regclass AND i.indisunique",
        &[],
    )?;
    let mut has_key = false;
    for row in constraints {
        if row.try_get(1)? && row.try_get::<_, Vec<String>>(2)? == ["id"] {
            has_key = true;
        } else {
            let name: String = row.try_get(0)?;
            findings.problem(format!(
                "the table push_notify has the unique index {name}, which makes edits fail"
            ));
        }
    }
    findings.expect(has_key, || {
        "id is not the primary key of push_notify, so that reading it takes long".to_owned()
    });
    let keys = client.query_one("SELECT count(*) FROM pg_constraint WHERE conrelid = 'push_notify'::regclass AND contype = 'f'", &[])?;
    findings.expect(keys.try_get::<_, i64>(0)? == 0, || {
        "the table push_notify has a foreign key, which makes edits slow or fail".to_owned()
    });
    Ok(())
}

/// Who edits must be able to write the table, and this account to read it.
fn check_rights(client: &mut Client, findings: &mut Findings) -> Result<()> {
    let rights = client.query_one(
        "SELECT pg_get_userbyid(c.relowner)::text, has_table_privilege(c.relowner, 'push_notify', 'INSERT'), \
                COALESCE(has_sequence_privilege(c.relowner, pg_get_serial_sequence('push_notify', 'id'), 'USAGE'), TRUE), \
                current_user::text, has_table_privilege('push_notify', 'SELECT'), has_table_privilege('push_notify', 'DELETE') \
         FROM pg_class c WHERE c.oid = 'bugs'::regclass",
        &[],
    )?;
    let (owner, user): (String, String) = (rights.try_get(0)?, rights.try_get(3)?);
    findings.expect(rights.try_get(1)?, || {
        format!(
            "{owner}, the owner of bugs, may not INSERT into push_notify, which makes edits fail"
        )
    });
    findings.expect(rights.try_get(2)?, || {
        format!("{owner}, the owner of bugs, may not use the sequence of push_notify.id, which makes edits fail")
    });
    for (column, right) in [(4, "SELECT"), (5, "DELETE")] {
        findings.expect(rights.try_get(column)?, || {
            format!("this account, {user}, has no right to {right} on push_notify")
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
            "SELECT t.tgenabled IN ('O', 'A'), t.tgtype, t.tgqual IS NULL AND p.proname = 'push_notify_bug', p.prosrc, \
                    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr)) \
             FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = 'bugs'::regclass AND t.tgname = $1::text",
            &[&name],
        )?;
        let Some(row) = row else {
            findings.problem(format!("the trigger {name} on bugs is missing"));
            continue;
        };
        findings.expect(row.try_get(0)?, || {
            format!("the trigger {name} on bugs is disabled")
        });
        let is_ours = row.try_get::<_, i16>(1)? == kind
            && row.try_get(2)?
            && row.try_get::<_, Vec<String>>(4)?.join(" ") == columns;
        findings.expect(is_ours, || {
            format!("the trigger {name} on bugs is not the one that this version makes")
        });
        let body = part(
            part(Engine::Postgres.installation(), "BEGIN\n    INSERT", "$$"),
            "BEGIN",
            "$$",
        );
        let source: String = row.try_get(3)?;
        findings.expect(is_same(&source, body), || {
            format!(
                "the function that the trigger {name} calls is not the one that this version makes"
            )
        });
    }
    Ok(())
}
