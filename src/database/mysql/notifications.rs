//! The table of notifications in MariaDB and MySQL.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, Value};
use log::info;

use super::super::options::{ReadOptions, Shown};
use super::super::settings::ServerSettings;
use super::super::table::{
    BATCH_ROWS, CLAIM_TIMEOUT, Change, Recorder, Row, Table, Triggers, text,
};
use super::long_poll::{LOOP_MAX, LongPoll};
use super::{UTC, connect, failed, in_transaction, now, private, row as row_of, sentence};
use crate::update::BugId;
use crate::work::{Error, Stop};

/// The table of notifications.
pub(crate) struct Notifications {
    conn: Conn,
    select: String,
    find: String,
    delete: String,
    /// The keys of the rows that were read last and are still there.
    known: Vec<i64>,
    /// What waits for other rows, where the server can.
    long_poll: Option<LongPoll>,
    /// The original's table: one row per bug, which each edit writes anew.
    is_in_place: bool,
    /// SQL for the name that is locked to claim the table.
    lock: String,
    claim_timeout: Duration,
    is_own_table: bool,
    shown: Shown,
}

/// The columns of a row.
type Columns = (i64, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);

fn row((id, bug_id, delta_ts, utc): Columns) -> Row {
    Row {
        id,
        ..row_of((bug_id, delta_ts, utc))
    }
}

/// An id as the column has it: one above 2^63 was read as a negative number.
fn key(id: i64) -> Value {
    match id {
        0.. => Value::Int(id),
        _ => Value::UInt(id.cast_unsigned()),
    }
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
        let condition = if is_in_place {
            "id = ? AND delta_ts = ?"
        } else {
            "id = ?"
        };
        let select = format!(
            "SELECT CAST(id AS SIGNED), CAST(bug_id AS SIGNED), CAST(delta_ts AS CHAR), {UTC} FROM {table}"
        );
        Ok(Self {
            conn,
            known: Vec::new(),
            long_poll: Some(LongPoll::new(table.clone())),
            find: format!("{select} WHERE id = ?"),
            select: format!("{select} ORDER BY id LIMIT {}", BATCH_ROWS + 1),
            delete: format!("DELETE FROM {table} WHERE {condition}"),
            is_in_place,
            lock: lock(options),
            is_own_table: options.is_own_table(),
            shown: options.shown,
            claim_timeout: CLAIM_TIMEOUT.max(options.poll.saturating_mul(2)),
        })
    }
}

/// SQL for a name that belongs to the table. Names count for the whole server, and have 64
/// characters.
fn lock(options: &ReadOptions) -> String {
    let schema = options
        .table
        .schema()
        .map_or("DATABASE()".to_owned(), |schema| format!("'{schema}'"));
    let table = options.table.unqualified();
    format!("CONCAT('bugzfeed relay ', LEFT(SHA2(CONCAT({schema}, '.{table}'), 256), 40))")
}

/// What records changes in the table.
pub(crate) struct Changes {
    conn: Conn,
    insert: String,
}

impl Changes {
    /// Connects.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Self, Error> {
        let (mut conn, options) = (connect(settings)?, &settings.options);
        let is_in_place = has_one_row_per_bug(&mut conn, options)
            .map_err(failed("read the indexes of the table of notifications"))?;
        let insert = format!(
            "INSERT INTO {} (bug_id, delta_ts) VALUES (?, COALESCE(CONVERT_TZ(?, '+00:00', @@session.time_zone), NOW())){}",
            options.table.quoted('`'),
            if is_in_place {
                " ON DUPLICATE KEY UPDATE delta_ts = VALUES(delta_ts)"
            } else {
                ""
            }
        );
        Ok(Self { conn, insert })
    }
}

impl Recorder for Changes {
    fn record(&mut self, changes: &[Change]) -> Result<(), Error> {
        let insert = &self.insert;
        let result = in_transaction(&mut self.conn, "START TRANSACTION", |conn| {
            changes.iter().try_for_each(|(bug, when)| {
                let when = when.as_ref().map(|when| when.to_string());
                conn.exec_drop(insert, (bug.get(), when))
            })
        });
        result.map_err(failed("write to the table of notifications"))
    }
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
        let rows = self.conn.query_map(&self.select, row);
        let rows = rows.map_err(failed("read the table of notifications"))?;
        self.known = rows.iter().map(|row| row.id).collect();
        Ok(rows)
    }

    /// Row by row: `IN (…)` would scan the table, and wait for each open edit. (The library's
    /// `exec_batch` is refused over TLS: it uses MariaDB's bulk command without having announced
    /// it.)
    fn delete(&mut self, rows: &[Row]) -> Result<usize, Error> {
        let mut deleted = 0;
        let result = if self.is_in_place {
            // Not in one transaction: the row of an open edit must not make the locks on all others
            // last.
            rows.iter().try_for_each(|row| {
                self.conn
                    .exec_drop(&self.delete, (key(row.id), &row.delta_ts))?;
                deleted += self.conn.affected_rows();
                Ok(())
            })
        } else {
            in_transaction(&mut self.conn, "START TRANSACTION", |conn| {
                rows.iter().try_for_each(|row| {
                    conn.exec_drop(&self.delete, (key(row.id),))?;
                    deleted += conn.affected_rows();
                    Ok(())
                })
            })
        };
        result.map_err(failed("delete from the table of notifications"))?;
        let deleted = deleted as usize;
        // One that cannot be deleted is no news each time.
        if deleted == rows.len() {
            let ids: HashSet<i64> = rows.iter().map(|row| row.id).collect();
            self.known.retain(|id| !ids.contains(id));
        }
        Ok(deleted)
    }

    fn find(&mut self, id: i64) -> Result<Option<Row>, Error> {
        let found = self.conn.exec_first(&self.find, (key(id),));
        let found = found.map_err(failed("read the table of notifications"))?;
        Ok(found.map(row))
    }

    /// The triggers cannot tell the edit of a custom field from the second edit within a second.
    fn has_old_times(&self) -> bool {
        true
    }

    fn private(&mut self, bugs: &[BugId]) -> Result<HashSet<BugId>, Error> {
        private(&mut self.conn, self.shown, bugs)
    }

    fn now(&mut self) -> Result<i64, Error> {
        now(&mut self.conn)
    }

    fn claim(&mut self) -> Result<bool, Error> {
        // A host that is gone closes no connection: the server has to miss it.
        let timeout = format!(
            "SET SESSION wait_timeout = {}",
            self.claim_timeout.as_secs()
        );
        let claim = format!("SELECT GET_LOCK({}, 0)", self.lock);
        let got: ::mysql::Result<Option<Option<i64>>> = self
            .conn
            .query_drop(timeout)
            .and_then(|()| self.conn.query_first(claim));
        let got = got.map_err(failed("lock the table of notifications"))?;
        Ok(got.flatten() == Some(1))
    }

    fn triggers(&mut self) -> Result<Triggers, Error> {
        let triggers = "SELECT COUNT(*) FROM information_schema.triggers \
             WHERE trigger_schema = DATABASE() AND event_object_table = 'bugs' AND trigger_name IN ('push_notify_insert', 'push_notify_update')";
        let rights = "SELECT COUNT(*) FROM (\
             SELECT grantee FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER' \
             UNION ALL SELECT grantee FROM information_schema.schema_privileges WHERE privilege_type = 'TRIGGER' AND DATABASE() LIKE table_schema \
             UNION ALL SELECT grantee FROM information_schema.table_privileges WHERE privilege_type = 'TRIGGER' AND table_schema = DATABASE() AND table_name = 'bugs') AS rights \
             WHERE grantee = CONCAT('\\'', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '\\'@\\'', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '\\'')";
        let bugs = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'bugs'";
        let mut count = |select: &str| -> Result<i64, Error> {
            let count: Option<i64> = self
                .conn
                .query_first(select)
                .map_err(failed("look at the triggers"))?;
            Ok(count.unwrap_or(0))
        };
        Ok(if !self.is_own_table || count(triggers)? == 2 {
            Triggers::Intact
        } else if count(rights)? == 0 {
            Triggers::Hidden
        } else if count(bugs)? == 0 {
            Triggers::Intact
        } else {
            Triggers::Missing
        })
    }

    /// An account sees its own connections; others only with the right PROCESS.
    fn holder(&mut self) -> Option<String> {
        let select = format!("SELECT CAST(IS_USED_LOCK({}) AS SIGNED)", self.lock);
        let id: i64 = self.conn.query_first(select).ok().flatten().flatten()?;
        let who: Option<(Vec<u8>, Vec<u8>)> = self
            .conn
            .exec_first(
                "SELECT user, host FROM information_schema.processlist WHERE id = ?",
                (id,),
            )
            .ok()
            .flatten();
        Some(match who {
            Some((user, host)) => {
                format!("connection {id} of {} from {}", text(&user), text(&host))
            }
            None => format!("connection {id}"),
        })
    }

    fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    fn wait(&mut self, poll: Duration, stop: &Stop) -> Result<bool, Error> {
        // The loop notices what changes: nothing is gained by a read that ends it.
        let longest = match &self.long_poll {
            Some(_) => poll.max(LOOP_MAX),
            None => poll,
        };
        let deadline = Instant::now() + longest;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if stop.is_requested() || left.is_zero() {
                return Ok(stop.is_requested());
            }
            let Some(long_poll) = &mut self.long_poll else {
                return Ok(stop.wait(left.min(poll)));
            };
            match long_poll.wait(&mut self.conn, &self.known, left, poll) {
                Ok(false) => {}
                Ok(true) => return Ok(stop.is_requested()),
                Err(error @ ::mysql::Error::MySqlError(_)) => {
                    info!(
                        "the database runs no loop ({}): the table is polled",
                        sentence(&error)
                    );
                    self.long_poll = None;
                }
                Err(error) => return Err(failed("wait for changes")(error)),
            }
        }
    }
}
