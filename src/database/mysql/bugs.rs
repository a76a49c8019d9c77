//! Bugzilla's own tables in MariaDB and MySQL.

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use super::super::bugs::{Bugs, LARGEST, Largest, Look, LookFrom, touched_since};
use super::super::settings::ServerSettings;
use super::{UTC, connect, failed, in_transaction, row};
use crate::work::Error;

/// Bugzilla's own tables.
pub(crate) struct BugsTables {
    conn: Conn,
    has_ids: bool,
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
        let has_ids = conn.query_first::<(i64, i64), _>(LARGEST).is_ok();
        if !has_ids {
            log::info!(
                "bugs_activity.id and longdescs.comment_id cannot be read: a second edit within one second will not be noticed"
            );
        }
        Ok(Self { conn, has_ids })
    }

    fn try_look(&mut self, from: &LookFrom) -> ::mysql::Result<Look> {
        let has_ids = self.has_ids;
        in_transaction(
            &mut self.conn,
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            |conn| look(conn, from, has_ids),
        )
    }
}

fn look(conn: &mut Conn, from: &LookFrom, has_ids: bool) -> ::mysql::Result<Look> {
    let columns = format!("SELECT CAST(bug_id AS SIGNED), CAST(delta_ts AS CHAR), {UTC} FROM bugs");
    let now: Option<String> = conn.query_first("SELECT CAST(NOW() AS CHAR)")?;
    let now = now.unwrap_or_default();
    let in_window = conn.exec_map(
        format!(
            "{columns} WHERE delta_ts >= LEAST(CAST(? AS DATETIME), NOW()) - INTERVAL {} SECOND ORDER BY delta_ts, bug_id",
            from.window.as_secs()
        ),
        (from.newest.as_ref().unwrap_or(&now),),
        row,
    )?;
    let largest = if has_ids {
        conn.query_first(LARGEST)?
    } else {
        None
    };
    let largest = largest.map(|(activity, comment)| Largest { activity, comment });
    let touched = match (from.largest, largest) {
        (Some(before), Some(largest)) if before != largest => {
            conn.query_map(format!("{columns} {}", touched_since(before)), row)?
        }
        _ => Vec::new(),
    };
    Ok(Look {
        now,
        in_window,
        touched,
        largest,
    })
}
