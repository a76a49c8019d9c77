//! The table of notifications in PostgreSQL.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ::postgres::error::SqlState;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::{Client, Row as SqlRow, Statement};

use super::super::options::Shown;
use super::super::settings::ServerSettings;
use super::super::table::{BATCH_ROWS, CLAIM_TIMEOUT, Change, Recorder, Row, Table, Triggers};
use super::watched::Watched;
use super::{ANSWER_TIMEOUT, UTC, connect, failed, now, private, row as row_of, sentence};
use crate::update::BugId;
use crate::work::{Error, Stop};

/// How long a wait for notifications may keep the program from stopping: nothing else can end it.
const STOP_DELAY: Duration = Duration::from_millis(250);

/// Makes the server notice within half a minute that this host is gone.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '30s'";

/// The table of notifications.
pub(crate) struct Notifications {
    client: Client,
    select: Statement,
    find: Statement,
    delete: Statement,
    is_listening: bool,
    /// The original's table: one row per bug, which each edit writes anew.
    is_in_place: bool,
    /// SQL for the number that is locked to claim the table, in two halves.
    lock: String,
    claim_timeout: Duration,
    is_own_table: bool,
    shown: Shown,
}

/// The table, whose answers are waited for with a limit.
pub(crate) struct WatchedTable {
    table: Watched<Notifications>,
    is_in_place: bool,
}

impl Notifications {
    /// Opens the table.
    ///
    /// # Errors
    /// When the database cannot be reached, or the account may not read the table and delete from
    /// it.
    pub(crate) fn open(settings: &ServerSettings) -> Result<WatchedTable, Error> {
        let settings = settings.clone();
        let mut table = Watched::open(move || Self::connect(&settings))?;
        let is_in_place = table.ask(|table: &mut Self| Ok(table.is_in_place))?;
        Ok(WatchedTable { table, is_in_place })
    }

    fn connect(settings: &ServerSettings) -> Result<Self, Error> {
        let (mut client, options) = (connect(settings)?, &settings.options);
        let table = options.table.quoted('"');
        // An account that may not delete is better known now than after the first update.
        client
            .batch_execute(&format!("DELETE FROM {table} WHERE id = 0"))
            .map_err(failed("delete from the table of notifications"))?;
        let is_in_place = has_one_row_per_bug(&mut client, &table)
            .map_err(failed("read the indexes of the table of notifications"))?;
        let condition = if is_in_place {
            "id = $1::bigint AND delta_ts = $2::text::timestamp"
        } else {
            "id = ANY($1::bigint[])"
        };
        let columns =
            format!("SELECT id::bigint, bug_id::bigint, delta_ts::text, {UTC} FROM {table}");
        let mut select = |rest: &str| {
            client
                .prepare(&format!("{columns} {rest}"))
                .map_err(failed("read the table of notifications"))
        };
        let find = select("WHERE id = $1::bigint")?;
        let select = select(&format!("ORDER BY {table}.id LIMIT {}", BATCH_ROWS + 1))?;
        let delete = client
            .prepare(&format!("DELETE FROM {table} WHERE {condition}"))
            .map_err(failed("delete from the table of notifications"))?;
        // What the triggers notify has the same name as the table.
        let channel = options.table.unqualified();
        let listening = client.batch_execute(&format!("LISTEN \"{channel}\""));
        if let Err(error) = &listening {
            log::info!(
                "the database sends no notifications ({}): the table is polled",
                sentence(error)
            );
        }
        Ok(Self {
            client,
            select,
            find,
            delete,
            is_listening: listening.is_ok(),
            is_in_place,
            // The number "bugz" and the table's; it counts within the database.
            lock: format!("(1651861370::bigint << 32) + '{table}'::regclass::oid::bigint"),
            is_own_table: options.is_own_table(),
            shown: options.shown,
            claim_timeout: CLAIM_TIMEOUT.max(options.poll.saturating_mul(2)),
        })
    }
}

/// What records changes in the table.
pub(crate) struct Changes {
    client: Client,
    insert: String,
    channel: String,
}

impl Changes {
    /// Connects.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(crate) fn open(settings: &ServerSettings) -> Result<Self, Error> {
        let (mut client, options) = (connect(settings)?, &settings.options);
        let table = options.table.quoted('"');
        let is_in_place = has_one_row_per_bug(&mut client, &table)
            .map_err(failed("read the indexes of the table of notifications"))?;
        let insert = format!(
            "INSERT INTO {table} (bug_id, delta_ts) \
             SELECT bug_id, COALESCE(utc::timestamp AT TIME ZONE 'UTC' AT TIME ZONE current_setting('TimeZone'), LOCALTIMESTAMP(0)) \
             FROM unnest($1::int[], $2::text[]) AS changes (bug_id, utc){}",
            if is_in_place {
                " ON CONFLICT DO NOTHING"
            } else {
                ""
            }
        );
        Ok(Self {
            client,
            insert,
            channel: options.table.unqualified().to_owned(),
        })
    }
}

impl Recorder for Changes {
    fn record(&mut self, changes: &[Change]) -> Result<(), Error> {
        let bugs: Vec<i32> = changes
            .iter()
            .map(|(bug, _)| bug.get().cast_signed())
            .collect();
        let times: Vec<Option<String>> = changes
            .iter()
            .map(|(_, when)| when.as_ref().map(ToString::to_string))
            .collect();
        let mut record = || {
            let mut transaction = self.client.transaction()?;
            transaction.execute(&self.insert, &[&bugs, &times])?;
            transaction.execute("SELECT pg_notify($1, '')", &[&self.channel])?;
            transaction.commit()
        };
        record().map_err(failed("write to the table of notifications"))
    }
}

/// Whether the table is the original's, with a unique index on `bug_id` alone.
fn has_one_row_per_bug(client: &mut Client, table: &str) -> Result<bool, ::postgres::Error> {
    let row = client.query_one(
        "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indrelid = $1::text::regclass AND i.indisunique AND i.indnkeyatts = 1 AND a.attname = 'bug_id')",
        &[&table],
    )?;
    row.try_get(0)
}

fn row(row: &SqlRow) -> Result<Row, ::postgres::Error> {
    Ok(Row {
        id: row.try_get(0)?,
        ..row_of(row, 1)?
    })
}

impl Table for WatchedTable {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        self.table.ask(Notifications::read)
    }

    fn delete(&mut self, rows: &[Row]) -> Result<usize, Error> {
        let rows = rows.to_vec();
        self.table.ask(move |table| table.delete(&rows))
    }

    fn find(&mut self, id: i64) -> Result<Option<Row>, Error> {
        self.table.ask(move |table| table.find(id))
    }

    fn private(&mut self, bugs: &[BugId]) -> Result<HashSet<BugId>, Error> {
        let bugs = bugs.to_vec();
        self.table
            .ask(move |table| private(&mut table.client, table.shown, &bugs))
    }

    fn now(&mut self) -> Result<i64, Error> {
        self.table.ask(|table| now(&mut table.client))
    }

    fn claim(&mut self) -> Result<bool, Error> {
        self.table.ask(Notifications::claim)
    }

    fn triggers(&mut self) -> Result<Triggers, Error> {
        self.table.ask(Notifications::triggers)
    }

    fn holder(&mut self) -> Option<String> {
        self.table.ask(|table| Ok(table.holder())).ok().flatten()
    }

    fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    fn wait(&mut self, poll: Duration, stop: &Stop) -> Result<bool, Error> {
        let stop = stop.clone();
        self.table
            .ask_within(poll.saturating_add(ANSWER_TIMEOUT), move |table| {
                table.wait(poll, &stop)
            })
    }
}

impl Notifications {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        let rows = self
            .client
            .query(&self.select, &[])
            .map_err(failed("read the table of notifications"))?;
        let rows: Result<Vec<Row>, _> = rows.iter().map(row).collect();
        rows.map_err(failed("read the table of notifications"))
    }

    fn delete(&mut self, rows: &[Row]) -> Result<usize, Error> {
        let result = if self.is_in_place {
            // Not in one transaction: the row of an open edit must not make the locks on all others
            // last.
            rows.iter().try_fold(0, |deleted, row| {
                let more = self
                    .client
                    .execute(&self.delete, &[&row.id, &row.delta_ts])?;
                Ok(deleted + more)
            })
        } else {
            let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            self.client.execute(&self.delete, &[&ids])
        };
        let deleted = result.map_err(failed("delete from the table of notifications"))?;
        Ok(deleted as usize)
    }

    fn find(&mut self, id: i64) -> Result<Option<Row>, Error> {
        self.client
            .query_opt(&self.find, &[&id])
            .and_then(|found| found.as_ref().map(row).transpose())
            .map_err(failed("read the table of notifications"))
    }

    fn claim(&mut self) -> Result<bool, Error> {
        let claim = format!("SELECT pg_try_advisory_lock({})", self.lock);
        // A host that is gone closes no connection: the server has to miss it. Servers before
        // version 14 know no limit for an idle session, and miss a host by its silence alone.
        let idle = format!(
            "SET idle_session_timeout = '{}s'",
            self.claim_timeout.as_secs()
        );
        let set = match self.client.batch_execute(&idle) {
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
            set => set,
        };
        let locked = set
            .and_then(|()| self.client.batch_execute(KEEPALIVE))
            .and_then(|()| self.client.query_one(&claim, &[]))
            .and_then(|row| row.try_get(0));
        locked.map_err(failed("lock the table of notifications"))
    }

    fn triggers(&mut self) -> Result<Triggers, Error> {
        let select = "SELECT to_regclass('bugs') IS NULL, \
             (SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('bugs') AND tgenabled IN ('O', 'A') \
              AND tgname IN ('push_notify_insert', 'push_notify_update'))";
        let row = self.client.query_one(select, &[]);
        let found: Result<(bool, i64), _> =
            row.and_then(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let (has_no_bugs, triggers) = found.map_err(failed("look at the triggers"))?;
        Ok(if has_no_bugs || !self.is_own_table {
            Triggers::Intact
        } else {
            Triggers::of(triggers)
        })
    }

    fn holder(&mut self) -> Option<String> {
        let who = format!(
            "SELECT l.pid, a.usename::text, host(a.client_addr) \
             FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid, (SELECT {} AS key) k \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                 AND l.classid::bigint = k.key >> 32 AND l.objid::bigint = k.key & 4294967295",
            self.lock
        );
        let row = self.client.query_opt(&who, &[]).ok().flatten()?;
        let pid: i32 = row.try_get(0).ok()?;
        let user: Option<String> = row.try_get(1).ok()?;
        let host: Option<String> = row.try_get(2).ok()?;
        let mut holder = format!("process {pid} of the database");
        if let Some(user) = user {
            holder += &format!(", of {user}");
        }
        if let Some(host) = host {
            holder += &format!(" from {host}");
        }
        Some(holder)
    }

    fn wait(&mut self, poll: Duration, stop: &Stop) -> Result<bool, Error> {
        if !self.is_listening {
            return Ok(stop.wait(poll));
        }
        let deadline = Instant::now() + poll;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if stop.is_requested() || left.is_zero() {
                return Ok(stop.is_requested());
            }
            let mut notifications = self.client.notifications();
            let notified = notifications
                .timeout_iter(left.min(STOP_DELAY))
                .next()
                .map_err(failed("wait for notifications"))?;
            if notified.is_some() {
                // All that have come so far are answered by one look.
                while notifications
                    .iter()
                    .next()
                    .map_err(failed("wait for notifications"))?
                    .is_some()
                {}
                return Ok(stop.is_requested());
            }
            drop(notifications);
            if self.client.is_closed() {
                return Err("the database has closed the connection".into());
            }
        }
    }
}
