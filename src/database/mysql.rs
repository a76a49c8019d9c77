//! MariaDB and MySQL, `mysql://`: a table of notifications, and Bugzilla's own tables.

use std::time::Duration;

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, OptsBuilder, SslOpts, TxOpts};

use super::bugs::{self, Bugs, From, Largest, Look};
use super::options::{Mode, Options, Zone, offset_text};
use super::settings::{Settings, Tls};
use super::table::{self, BATCH_ROWS, Row};
use crate::update::BugId;
use crate::work::Error;

/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// `delta_ts` in UTC. Each session has the zone that the server calls its own, unless `tz=` says
/// otherwise.
const UTC: &str =
    "DATE_FORMAT(CONVERT_TZ(delta_ts, @@session.time_zone, '+00:00'), '%Y-%m-%dT%H:%i:%s')";

/// Connects to the database.
///
/// # Errors
/// When it cannot be reached, or refuses the account or the time zone.
pub fn connect(settings: &Settings) -> Result<Conn, Error> {
    let ssl = match &settings.tls {
        Tls::Off => None,
        Tls::Unverified => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
        Tls::Verified { ca_file } => Some(SslOpts::default().with_root_cert_path(ca_file.clone())),
    };
    // A reader of READ COMMITTED takes no locks between rows, which writers would wait for.
    let mut init = vec![
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
        "SET SESSION innodb_lock_wait_timeout = 2, autocommit = 1".to_owned(),
    ];
    match &settings.options.zone {
        Zone::Own => {}
        Zone::Offset(seconds) => init.push(format!(
            "SET SESSION time_zone = '{}'",
            offset_text(*seconds)
        )),
        Zone::Named(name) => init.push(format!("SET SESSION time_zone = '{name}'")),
    }
    let options = OptsBuilder::new()
        .ip_or_hostname(Some(settings.host.clone()))
        .tcp_port(settings.port)
        .socket(
            settings
                .socket
                .as_ref()
                .map(|socket| socket.display().to_string()),
        )
        .prefer_socket(false)
        .user(Some(settings.user.clone()))
        .pass(settings.password()?)
        .db_name(Some(settings.database.clone()))
        .ssl_opts(ssl)
        .init(init)
        .tcp_connect_timeout(Some(ANSWER_TIMEOUT))
        .read_timeout(Some(ANSWER_TIMEOUT))
        .write_timeout(Some(ANSWER_TIMEOUT));
    Conn::new(options).map_err(|error| {
        let why = sentence(&error);
        let is_tls = matches!(
            &error,
            ::mysql::Error::TlsError(_)
                | ::mysql::Error::DriverError(::mysql::DriverError::TlsNotSupported)
        );
        let hint = if is_tls || why.contains("certificate") {
            settings.tls_hint()
        } else {
            ""
        };
        format!("cannot connect to the database: {why}{hint}").into()
    })
}

/// An error's own words, without the names of Rust's types.
pub fn sentence(error: &::mysql::Error) -> String {
    match error {
        ::mysql::Error::IoError(error) => error.to_string(),
        ::mysql::Error::CodecError(error) => error.to_string(),
        ::mysql::Error::MySqlError(error) => error.to_string(),
        ::mysql::Error::DriverError(error) => error.to_string(),
        ::mysql::Error::TlsError(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn failed(what: &'static str) -> impl Fn(::mysql::Error) -> Error {
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
    let conn = connect(settings)?;
    Ok(Box::new(Table::new(conn, &settings.options)?))
}

/// The table of notifications.
struct Table {
    conn: Conn,
    select: String,
    delete: String,
    insert: String,
    /// The original's table: one row per bug, which each edit writes anew.
    is_in_place: bool,
    claim: String,
}

impl Table {
    fn new(mut conn: Conn, options: &Options) -> Result<Self, Error> {
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
fn claim(options: &Options) -> String {
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
fn has_one_row_per_bug(conn: &mut Conn, options: &Options) -> ::mysql::Result<bool> {
    let index: Option<String> = conn.exec_first(
        "SELECT index_name FROM information_schema.statistics \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND non_unique = 0 \
         GROUP BY index_name HAVING GROUP_CONCAT(column_name) = 'bug_id'",
        (options.table.schema(), options.table.unqualified()),
    )?;
    Ok(index.is_some())
}

impl table::Table for Table {
    fn read(&mut self) -> Result<Vec<Row>, Error> {
        type Columns = (i64, Option<i64>, Option<String>, Option<String>);
        let row = |(id, bug_id, delta_ts, utc): Columns| Row {
            id,
            ..bug((bug_id, delta_ts, utc))
        };
        self.conn
            .query_map(&self.select, row)
            .map_err(failed("read the table of notifications"))
    }

    /// Row by row: `IN (…)` would scan the table, and wait for each open edit.
    fn delete(&mut self, rows: &[Row]) -> Result<(), Error> {
        let result = if self.is_in_place {
            // Not in one transaction: the row of an open edit must not make the locks on all others
            // last.
            let mut delete = |row: &Row| self.conn.exec_drop(&self.delete, (row.id, &row.delta_ts));
            rows.iter().try_for_each(&mut delete)
        } else {
            self.conn
                .start_transaction(TxOpts::default())
                .and_then(|mut transaction| {
                    transaction.exec_batch(&self.delete, rows.iter().map(|row| (row.id,)))?;
                    transaction.commit()
                })
        };
        result.map_err(failed("delete from the table of notifications"))
    }

    fn insert(&mut self, bugs: &[BugId]) -> Result<(), Error> {
        let result = self
            .conn
            .start_transaction(TxOpts::default())
            .and_then(|mut transaction| {
                transaction.exec_batch(&self.insert, bugs.iter().map(|bug| (bug.get(),)))?;
                transaction.commit()
            });
        result.map_err(failed("write to the table of notifications"))
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

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn bug((bug_id, delta_ts, utc): (Option<i64>, Option<String>, Option<String>)) -> Row {
    Row {
        id: 0,
        bug_id: bug_id.unwrap_or(0),
        delta_ts: delta_ts.unwrap_or_default(),
        utc,
    }
}

/// Opens Bugzilla's own tables.
///
/// # Errors
/// When the database cannot be reached.
pub fn open_bugs(settings: &Settings) -> Result<Box<dyn Bugs>, Error> {
    let mut conn = connect(settings)?;
    // What belongs together is read from one snapshot.
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .map_err(failed("set up the session"))?;
    let has_ids = conn.query_first::<(i64, i64), _>(bugs::LARGEST).is_ok();
    if !has_ids {
        log::info!(
            "bugs_activity.id and longdescs.comment_id cannot be read: a second edit within one second will not be noticed"
        );
    }
    Ok(Box::new(BugsTable { conn, has_ids }))
}

/// Bugzilla's own tables.
struct BugsTable {
    conn: Conn,
    has_ids: bool,
}

impl Bugs for BugsTable {
    fn look(&mut self, from: &From) -> Result<Look, Error> {
        self.try_look(from)
            .map_err(failed("read Bugzilla's tables"))
    }
}

impl BugsTable {
    fn try_look(&mut self, from: &From) -> ::mysql::Result<Look> {
        let columns =
            format!("SELECT CAST(bug_id AS SIGNED), CAST(delta_ts AS CHAR), {UTC} FROM bugs");
        let mut transaction = self
            .conn
            .start_transaction(TxOpts::default().set_with_consistent_snapshot(true))?;
        let now: Option<String> = transaction.query_first("SELECT CAST(NOW() AS CHAR)")?;
        let now = now.unwrap_or_default();
        let in_window = transaction.exec_map(
            format!(
                "{columns} WHERE delta_ts >= LEAST(CAST(? AS DATETIME), NOW()) - INTERVAL {} SECOND ORDER BY delta_ts, bug_id",
                from.window.as_secs()
            ),
            (from.newest.as_ref().unwrap_or(&now),),
            bug,
        )?;
        let largest = if self.has_ids {
            transaction.query_first(bugs::LARGEST)?
        } else {
            None
        };
        let largest = largest.map(|(activity, comment)| Largest { activity, comment });
        let touched = match (from.largest, largest) {
            (Some(before), Some(largest)) if before != largest => {
                transaction.query_map(format!("{columns} {}", bugs::touched(before)), bug)?
            }
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
