//! Bugzilla's own tables in MariaDB and MySQL.

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use super::super::bugs::{Bugs, LARGEST, Largest, Look, LookFrom, touched_since};
use super::super::options::Shown;
use super::super::settings::ServerSettings;
use super::{CANNOT_READ, UTC, connect, failed, in_transaction, row};
use crate::work::Error;

/// Bugzilla's own tables.
pub(crate) struct BugsTables {
    conn: Conn,
    has_ids: bool,
    shown: Shown,
}

impl Bugs for BugsTables {
    fn look(&mut self, from: &LookFrom) -> Result<Look, Error> {
        self.try_look(from)
            .map_err(failed("read Bugzilla's tables"))
    }
}

impl BugsTables {
    /// Connects to the database.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Self, Error> {
        let mut conn = connect(settings)?;
        // What belongs together is read from one snapshot.
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .map_err(failed("set up the session"))?;
        let has_ids = match conn.query_first::<(i64, i64), _>(LARGEST) {
            Ok(_) => true,
            Err(::mysql::Error::MySqlError(error)) if CANNOT_READ.contains(&error.code) => false,
            Err(error) => return Err(failed("read Bugzilla's tables")(error)),
        };
        if !has_ids {
            log::info!(
                "bugs_activity.id and longdescs.comment_id cannot be read: a second edit within one second will not be noticed"
            );
        }
        Ok(Self {
            conn,
            has_ids,
            shown: settings.options.shown,
        })
    }

    fn try_look(&mut self, from: &LookFrom) -> ::mysql::Result<Look> {
        let (has_ids, shown) = (self.has_ids, self.shown);
        in_transaction(
            &mut self.conn,
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            |conn| look(conn, from, has_ids, shown),
        )
    }
}

fn look(conn: &mut Conn, from: &LookFrom, has_ids: bool, shown: Shown) -> ::mysql::Result<Look> {
    let shown = shown.condition();
    let columns = format!("SELECT CAST(bug_id AS SIGNED), CAST(delta_ts AS CHAR), {UTC} FROM bugs");
    let now = "SELECT CAST(NOW() AS CHAR), CAST(UNIX_TIMESTAMP() AS SIGNED)";
    let (now, utc_now): (String, i64) = conn.query_first(now)?.unwrap_or_default();
    let in_window = conn.exec_map(
        format!(
            "{columns} WHERE {shown} AND delta_ts >= LEAST(COALESCE(CAST(? AS DATETIME), (SELECT MAX(delta_ts) FROM bugs), NOW()), NOW()) - INTERVAL {} SECOND \
             ORDER BY delta_ts, bug_id",
            from.window.as_secs()
        ),
        (from.newest.as_ref(),),
        row,
    )?;
    let largest = if has_ids {
        conn.query_first(LARGEST)?
    } else {
        None
    };
    let largest = largest.map(|(activity, comment)| Largest { activity, comment });
    let touched = match (from.largest, largest) {
        (Some(before), Some(largest)) if before != largest => conn.query_map(
            format!("{columns} {} WHERE {shown}", touched_since(before)),
            row,
        )?,
        _ => Vec::new(),
    };
    Ok(Look {
        now,
        utc_now,
        in_window,
        touched,
        largest,
    })
}
