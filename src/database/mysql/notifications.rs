//! The table of notifications in MariaDB and MySQL.

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use super::super::options::ReadOptions;
use super::super::settings::ServerSettings;
use super::super::table::{BATCH_ROWS, Row, Table};
use super::{UTC, connect, failed, in_transaction, now, row as row_of};
use crate::update::BugId;
use crate::work::Error;

/// The table of notifications.
pub(crate) struct Notifications {
    conn: Conn,
    select: String,
    delete: String,
    insert: String,
    /// The original's table: one row per bug, which each edit writes anew.
    is_in_place: bool,
    claim: String,
}

impl Notifications {
    /// Opens the table.
    ///
    /// # Errors
    /// When the database cannot be reached, or the account may not read the table and delete from
    /// it.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Self, Error> {
        let (mut conn, options) = (connect(settings)?, &settings.options);
        let table = options.table.quoted('`');
        // An account that may not delete is better known now than after the first update.
        conn.query_drop(format!("DELETE FROM {table} WHERE id = 0"))
            .map_err(failed("delete from the table of notifications"))?;
        let is_in_place = has_one_row_per_bug(&mut conn, options)
            .map_err(failed("read the indexes of the table of notifications"))?;
        let (condition, at_duplicate) = if is_in_place {
            (
                "id = ? AND delta_ts = ?",
                " ON DUPLICATE KEY UPDATE delta_ts = NOW()",
            )
        } else {
            ("id = ?", "")
        };
        Ok(Self {
            conn,
            select: format!(
                "SELECT CAST(id AS SIGNED), CAST(bug_id AS SIGNED), CAST(delta_ts AS CHAR), {UTC} FROM {table} ORDER BY id LIMIT {BATCH_ROWS}"
            ),
            delete: format!("DELETE FROM {table} WHERE {condition}"),
            insert: format!(
                "INSERT INTO {table} (bug_id, delta_ts) VALUES (?, NOW()){at_duplicate}"
            ),
            is_in_place,
            claim: claim(options),
        })
    }
}

/// Locks a name that belongs to the table, and ends with the connection. Names count for the whole
/// server, and have 64 characters.
fn claim(options: &ReadOptions) -> String {
    let schema = options
        .table
        .schema()
        .map_or("DATABASE()".to_owned(), |schema| format!("'{schema}'"));
    let table = options.table.unqualified();
    format!(
        "SELECT GET_LOCK(CONCAT('bugzfeed relay ', LEFT(SHA2(CONCAT({schema}, '.{table}'), 256), 40)), 0)"
    )
}

/// Whether the table is the original's, with a unique index on `bug_id` alone.
fn has_one_row_per_bug(conn: &mut Conn, options: &ReadOptions) -> ::mysql::Result<bool> {
    let index: Option<String> = conn.exec_first(
        "SELECT index_name FROM information_schema.statistics \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND non_unique = 0 \
         GROUP BY index_name HAVING GROUP_CONCAT(column_name) = 'bug_id'",
        (options.table.schema(), options.table.unqualified()),
    )?;
    Ok(index.is_some())
}

impl Table for Notifications {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        type Columns = (i64, Option<i64>, Option<String>, Option<String>);
        let row = |(id, bug_id, delta_ts, utc): Columns| Row {
            id,
            ..row_of((bug_id, delta_ts, utc))
        };
        self.conn
            .query_map(&self.select, row)
            .map_err(failed("read the table of notifications"))
    }

    /// Row by row: `IN (…)` would scan the table, and wait for each open edit. (The library's
    /// `exec_batch` is refused over TLS: it uses MariaDB's bulk command without having announced
    /// it.)
    fn delete(&mut self, rows: &[Row]) -> Result<(), Error> {
        let result = if self.is_in_place {
            // Not in one transaction: the row of an open edit must not make the locks on all others
            // last.
            let mut delete = |row: &Row| self.conn.exec_drop(&self.delete, (row.id, &row.delta_ts));
            rows.iter().try_for_each(&mut delete)
        } else {
            in_transaction(&mut self.conn, "START TRANSACTION", |conn| {
                rows.iter()
                    .try_for_each(|row| conn.exec_drop(&self.delete, (row.id,)))
            })
        };
        result.map_err(failed("delete from the table of notifications"))
    }

    fn insert(&mut self, bugs: &[BugId]) -> Result<(), Error> {
        let result = in_transaction(&mut self.conn, "START TRANSACTION", |conn| {
            bugs.iter()
                .try_for_each(|bug| conn.exec_drop(&self.insert, (bug.get(),)))
        });
        result.map_err(failed("write to the table of notifications"))
    }

    fn now(&mut self) -> Result<i64, Error> {
        now(&mut self.conn)
    }

    fn claim(&mut self) -> Result<bool, Error> {
        let got: Option<Option<i64>> = self
            .conn
            .query_first(&self.claim)
            .map_err(failed("lock the table of notifications"))?;
        Ok(got.flatten() == Some(1))
    }

    /// MySQL's triggers cannot tell the edit of a custom field from the second edit within a
    /// second.
    fn has_surplus_rows(&self) -> bool {
        true
    }
}
