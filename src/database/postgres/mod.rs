//! PostgreSQL, `postgres://`: a table of notifications, and Bugzilla's own tables.

mod tls;

use std::time::{Duration, Instant};

use ::postgres::config::SslMode;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::ToSql;
use ::postgres::{Client, Config, GenericClient, IsolationLevel, NoTls, Row as SqlRow, Statement};

use super::bugs::{self, Bugs, From, Largest, Look};
use super::options::{Mode, Options, Zone, offset_text};
use super::settings::{Settings, Tls};
use super::table::{self, BATCH_ROWS, Row};
use crate::update::BugId;
use crate::work::{Error, Stop};

/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a wait for notifications may keep the program from stopping: nothing else can end it.
const STOP_DELAY: Duration = Duration::from_millis(250);

/// `delta_ts` in UTC. Each session has the zone that the server calls its own, unless `tz=` says
/// otherwise.
const UTC: &str = "to_char(delta_ts::timestamp AT TIME ZONE current_setting('TimeZone') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')";

/// Connects to the database.
///
/// # Errors
/// When it cannot be reached, or refuses the account or the time zone.
pub fn connect(settings: &Settings) -> Result<Client, Error> {
    let mut config = Config::new();
    config
        .user(&settings.user)
        .dbname(&settings.database)
        .port(settings.port)
        .application_name("bugzfeed")
        .connect_timeout(ANSWER_TIMEOUT)
        // A server that has vanished is noticed this way, since this client has no timeout for an
        // answer.
        .tcp_user_timeout(ANSWER_TIMEOUT)
        .keepalives_idle(ANSWER_TIMEOUT);
    match &settings.socket {
        Some(folder) => config.host_path(folder),
        None => config.host(&settings.host),
    };
    if let Some(password) = settings.password()? {
        config.password(password);
    }
    let client = match &settings.tls {
        Tls::Off => config.ssl_mode(SslMode::Disable).connect(NoTls),
        Tls::Unverified => config
            .ssl_mode(SslMode::Require)
            .connect(tls::Connector(crate::tls::unverified_client_config())),
        Tls::Verified { ca_file } => {
            let tls = crate::tls::client_config(ca_file.as_deref())?;
            config
                .ssl_mode(SslMode::Require)
                .connect(tls::Connector(tls))
        }
    };
    let mut client = client.map_err(|error| {
        let hint = if error.to_string().contains("TLS") {
            settings.tls_hint()
        } else {
            ""
        };
        format!("cannot connect to the database: {}{hint}", sentence(&error))
    })?;
    client
        .batch_execute(&session(&settings.options.zone))
        .map_err(failed("set up the session"))?;
    Ok(client)
}

/// What a session begins with.
fn session(zone: &Zone) -> String {
    let limits = format!(
        "SET statement_timeout = '{}s'; SET lock_timeout = '2s'",
        ANSWER_TIMEOUT.as_secs()
    );
    match zone {
        Zone::Own => limits,
        // Only an INTERVAL is counted to the east: a bare offset is read as POSIX has it, the other
        // way round.
        Zone::Offset(seconds) => format!(
            "{limits}; SET TIME ZONE INTERVAL '{}' HOUR TO MINUTE",
            offset_text(*seconds)
        ),
        Zone::Named(name) => format!("{limits}; SET TIME ZONE '{name}'"),
    }
}

/// An error with all its causes.
pub fn sentence(error: &::postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return error.to_string();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn failed(what: &'static str) -> impl Fn(::postgres::Error) -> Error {
    move |error| format!("cannot {what}: {}", sentence(&error)).into()
}

/// Opens the table of notifications.
///
/// # Errors
/// When the database cannot be reached, or the account may not read the table and delete from it.
pub fn open_table(settings: &Settings) -> Result<Box<dyn table::Table>, Error> {
    if settings.options.mode == Mode::Bugs {
        return Err("mode=bugs has no table of notifications".into());
    }
    let client = connect(settings)?;
    Ok(Box::new(Table::new(client, &settings.options)?))
}

/// The table of notifications.
struct Table {
    client: Client,
    select: Statement,
    delete: Statement,
    insert: String,
    /// What the triggers notify; the same name as the table's.
    channel: String,
    is_listening: bool,
    /// The original's table: one row per bug, which each edit writes anew.
    is_in_place: bool,
    claim: String,
}

impl Table {
    fn new(mut client: Client, options: &Options) -> Result<Self, Error> {
        let table = options.table.quoted('"');
        // An account that may not delete is better known now than after the first update.
        client
            .batch_execute(&format!("DELETE FROM {table} WHERE id = 0"))
            .map_err(failed("delete from the table of notifications"))?;
        let is_in_place = has_one_row_per_bug(&mut client, &table)
            .map_err(failed("read the indexes of the table of notifications"))?;
        let (condition, at_duplicate) = match is_in_place {
            true => (
                "id = $1::bigint AND delta_ts = $2::text::timestamp",
                " ON CONFLICT DO NOTHING",
            ),
            false => ("id = ANY($1::bigint[])", ""),
        };
        let select = format!(
            "SELECT id::bigint, bug_id::bigint, delta_ts::text, {UTC} FROM {table} ORDER BY {table}.id LIMIT {BATCH_ROWS}"
        );
        let select = client
            .prepare(&select)
            .map_err(failed("read the table of notifications"))?;
        let delete = client
            .prepare(&format!("DELETE FROM {table} WHERE {condition}"))
            .map_err(failed("delete from the table of notifications"))?;
        let channel = options.table.unqualified().to_owned();
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
            delete,
            insert: format!(
                "INSERT INTO {table} (bug_id, delta_ts) SELECT bug_id, LOCALTIMESTAMP(0) FROM unnest($1::int[]) AS bug_id{at_duplicate}"
            ),
            channel,
            is_listening: listening.is_ok(),
            is_in_place,
            // The number "bugz" and the table's; it counts within the database, and ends with the
            // connection.
            claim: format!(
                "SELECT pg_try_advisory_lock((1651861370::bigint << 32) + '{table}'::regclass::oid::bigint)"
            ),
        })
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

impl table::Table for Table {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        let rows = self
            .client
            .query(&self.select, &[])
            .map_err(failed("read the table of notifications"))?;
        let rows: Result<Vec<Row>, _> = rows
            .iter()
            .map(|row| {
                Ok(Row {
                    id: row.try_get(0)?,
                    ..bug(row, 1)?
                })
            })
            .collect();
        rows.map_err(failed("read the table of notifications"))
    }

    fn delete(&mut self, rows: &[Row]) -> Result<(), Error> {
        let result = if self.is_in_place {
            // Not in one transaction: the row of an open edit must not make the locks on all others
            // last.
            rows.iter().try_for_each(|row| {
                self.client
                    .execute(&self.delete, &[&row.id, &row.delta_ts])
                    .map(drop)
            })
        } else {
            let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            self.client.execute(&self.delete, &[&ids]).map(drop)
        };
        result.map_err(failed("delete from the table of notifications"))
    }

    fn insert(&mut self, bugs: &[BugId]) -> Result<(), Error> {
        let bugs: Vec<i32> = bugs.iter().map(|bug| bug.get().cast_signed()).collect();
        let mut insert = || {
            let mut transaction = self.client.transaction()?;
            transaction.execute(&self.insert, &[&bugs])?;
            transaction.execute("SELECT pg_notify($1, '')", &[&self.channel])?;
            transaction.commit()
        };
        insert().map_err(failed("write to the table of notifications"))
    }

    fn claim(&mut self) -> Result<bool, Error> {
        let locked = self
            .client
            .query_one(&self.claim, &[])
            .and_then(|row| row.try_get(0));
        locked.map_err(failed("lock the table of notifications"))
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

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn bug(row: &SqlRow, first: usize) -> Result<Row, ::postgres::Error> {
    Ok(Row {
        id: 0,
        bug_id: row.try_get::<_, Option<i64>>(first)?.unwrap_or(0),
        delta_ts: row
            .try_get::<_, Option<String>>(first + 1)?
            .unwrap_or_default(),
        utc: row.try_get(first + 2)?,
    })
}

/// Opens Bugzilla's own tables.
///
/// # Errors
/// When the database cannot be reached.
pub fn open_bugs(settings: &Settings) -> Result<Box<dyn Bugs>, Error> {
    let mut client = connect(settings)?;
    let has_ids = client.query_one(bugs::LARGEST, &[]).is_ok();
    if !has_ids {
        log::info!(
            "bugs_activity.id and longdescs.comment_id cannot be read: a second edit within one second will not be noticed"
        );
    }
    Ok(Box::new(BugsTable { client, has_ids }))
}

/// Bugzilla's own tables.
struct BugsTable {
    client: Client,
    has_ids: bool,
}

impl Bugs for BugsTable {
    fn look(&mut self, from: &From) -> Result<Look, Error> {
        self.try_look(from)
            .map_err(failed("read Bugzilla's tables"))
    }
}

impl BugsTable {
    fn try_look(&mut self, from: &From) -> Result<Look, ::postgres::Error> {
        let columns = format!("SELECT bug_id::bigint, delta_ts::text, {UTC} FROM bugs");
        // What belongs together is read from one snapshot.
        let snapshot = self
            .client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true);
        let mut transaction = snapshot.start()?;
        let now: String = transaction
            .query_one("SELECT LOCALTIMESTAMP(0)::text", &[])?
            .try_get(0)?;
        let in_window = format!(
            "{columns} WHERE delta_ts >= LEAST($1::text::timestamp, LOCALTIMESTAMP) - INTERVAL '{} seconds' ORDER BY bugs.delta_ts, bugs.bug_id",
            from.window.as_secs()
        );
        let in_window = rows(
            &mut transaction,
            &in_window,
            &[from.newest.as_ref().unwrap_or(&now)],
        )?;
        let largest = match self.has_ids {
            true => {
                let row = transaction.query_one(
                    &format!(
                        "SELECT a::bigint, c::bigint FROM ({}) AS largest (a, c)",
                        bugs::LARGEST
                    ),
                    &[],
                )?;
                Some(Largest {
                    activity: row.try_get(0)?,
                    comment: row.try_get(1)?,
                })
            }
            false => None,
        };
        let touched = match (from.largest, largest) {
            (Some(before), Some(largest)) if before != largest => rows(
                &mut transaction,
                &format!("{columns} {}", bugs::touched(before)),
                &[],
            )?,
            _ => Vec::new(),
        };
        transaction.commit()?;
        Ok(Look {
            now,
            in_window,
            touched,
            largest,
        })
    }
}

fn rows(
    client: &mut impl GenericClient,
    select: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, ::postgres::Error> {
    client
        .query(select, values)?
        .iter()
        .map(|row| bug(row, 0))
        .collect()
}
