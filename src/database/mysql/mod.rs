//! MariaDB and MySQL, `mysql://`. Owns the connection and how times and errors are read from it.

mod asker;
mod bugs;
mod long_poll;
mod notifications;

use std::collections::HashSet;
use std::time::Duration;

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, DriverError, OptsBuilder, SslOpts};

pub(super) use self::asker::BugsAsker;
pub(super) use self::bugs::BugsTables;
pub(super) use self::notifications::{Changes, Notifications};
use super::options::{Shown, Zone, offset_text};
use super::settings::{ServerSettings, Tls};
use super::table::{Row, text};
use crate::systemd;
use crate::update::BugId;
use crate::work::{Error, Panicked, catch_panic};

/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// "Unknown column", "Table doesn't exist", "SELECT command denied … for table" and "… for column".
const CANNOT_READ: [u16; 4] = [1054, 1146, 1142, 1143];

/// `delta_ts` in UTC. Each session has the zone that the server calls its own, unless `tz=` says
/// otherwise.
const UTC: &str =
    "DATE_FORMAT(CONVERT_TZ(delta_ts, @@session.time_zone, '+00:00'), '%Y-%m-%dT%H:%i:%s')";

/// Connects to the database.
///
/// # Errors
/// When it cannot be reached, or refuses the account or the time zone.
pub(crate) fn connect(settings: &ServerSettings) -> Result<Conn, Error> {
    let ssl = match &settings.tls {
        Tls::Off => None,
        Tls::Unverified => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
        Tls::Verified { ca_file } => {
            let ca_file = ca_file.as_deref().map(systemd::file).transpose()?;
            Some(SslOpts::default().with_root_cert_path(ca_file))
        }
    };
    let mut init = vec!["SET SESSION innodb_lock_wait_timeout = 2, autocommit = 1".to_owned()];
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
    let mut conn = log_in(options)?
        .map_err(|error| format!("cannot connect to the database: {}", why(&error, settings)))?;
    set_isolation(&mut conn).map_err(failed("set up the session"))?;
    Ok(conn)
}

/// Connects. The library panics where an account logs in by a plugin that it was built without; so
/// far that is `parsec`.
fn log_in(options: OptsBuilder) -> Result<::mysql::Result<Conn>, Panicked> {
    match catch_panic(|| Conn::new(options)) {
        Err(Panicked(message)) if message.contains("`parsec`") => Ok(Err(
            DriverError::UnknownAuthPlugin("parsec".to_owned()).into(),
        )),
        result => result,
    }
}

/// Why there is no connection, and what would help.
fn why(error: &::mysql::Error, settings: &ServerSettings) -> String {
    let why = sentence(error);
    match error {
        ::mysql::Error::DriverError(DriverError::UnknownAuthPlugin(plugin)) => {
            unknown_plugin(&settings.user, plugin)
        }
        ::mysql::Error::DriverError(DriverError::OldMysqlPasswordDisabled) => {
            unknown_plugin(&settings.user, "mysql_old_password")
        }
        ::mysql::Error::TlsError(_) | ::mysql::Error::DriverError(DriverError::TlsNotSupported) => {
            why + settings.tls_hint()
        }
        _ if why.contains("certificate") => why + settings.tls_hint(),
        _ => why,
    }
}

fn unknown_plugin(user: &str, plugin: &str) -> String {
    format!(
        "the account '{user}' logs in by the authentication plugin '{plugin}', which bugzfeed does not know; accepted are mysql_native_password, caching_sha2_password and ed25519"
    )
}

/// A reader of READ COMMITTED takes no locks between rows, which writers would wait for. With a
/// binary log of statements the server refuses to delete at that level (error 1665); a row that is
/// deleted by its primary key locks nothing but itself at the next level, too.
fn set_isolation(conn: &mut Conn) -> ::mysql::Result<()> {
    let settings: Vec<(String, String)> =
        conn.query("SHOW SESSION VARIABLES WHERE variable_name IN ('log_bin', 'binlog_format')")?;
    let is = |name: &str, value: &str| {
        settings
            .iter()
            .any(|(known, set)| known == name && set.eq_ignore_ascii_case(value))
    };
    let level = if is("log_bin", "ON") && is("binlog_format", "STATEMENT") {
        "REPEATABLE READ"
    } else {
        "READ COMMITTED"
    };
    conn.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"))
}

/// Does `work` between the statement `begin` and a commit. The library's own transactions panic
/// when the connection is lost at their beginning.
fn in_transaction<T>(
    conn: &mut Conn,
    begin: &str,
    work: impl FnOnce(&mut Conn) -> ::mysql::Result<T>,
) -> ::mysql::Result<T> {
    conn.query_drop(begin)?;
    let result = work(conn);
    match &result {
        Ok(_) => conn.query_drop("COMMIT")?,
        Err(::mysql::Error::MySqlError(_)) => conn.query_drop("ROLLBACK")?,
        // The connection is lost, and the transaction with it.
        Err(_) => {}
    }
    result
}

/// An error's own words, without the names of Rust's types.
pub(crate) fn sentence(error: &::mysql::Error) -> String {
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

/// Those of these bugs that are not to be shown.
fn private(conn: &mut Conn, shown: Shown, bugs: &[BugId]) -> Result<HashSet<BugId>, Error> {
    let Some(find) = shown.find_private(bugs) else {
        return Ok(HashSet::new());
    };
    let found: Vec<u32> = conn
        .query(find)
        .map_err(failed("read which bugs are in a group"))?;
    Ok(found.into_iter().filter_map(BugId::new).collect())
}

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn row((bug_id, delta_ts, utc): (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>)) -> Row {
    Row {
        id: 0,
        bug_id: bug_id.unwrap_or(0),
        delta_ts: text(&delta_ts.unwrap_or_default()),
        utc: utc.as_deref().map(text),
    }
}

/// The database's time (UTC, Unix seconds), read as `delta_ts` is: Bugzilla writes that in the
/// server's zone, and `tz=` may call it another.
fn now(conn: &mut Conn) -> Result<i64, Error> {
    let now = conn.query_first(
        "SELECT CAST(UNIX_TIMESTAMP(CONVERT_TZ(NOW(), @@session.time_zone, @@global.time_zone)) AS SIGNED)",
    );
    let now: Option<i64> = now.map_err(failed("ask for the time"))?;
    now.ok_or_else(|| "the database does not tell the time".into())
}
