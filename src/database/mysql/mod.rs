//! MariaDB and MySQL, `mysql://`. Owns the connection and how times and errors are read from it.

mod asker;
mod bugs;
mod notifications;

use std::time::Duration;

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, OptsBuilder, SslOpts};

pub(super) use self::asker::BugsAsker;
pub(super) use self::bugs::BugsTables;
pub(super) use self::notifications::Notifications;
use super::options::{Zone, offset_text};
use super::settings::{ServerSettings, Tls};
use super::table::Row;
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
pub(crate) fn connect(settings: &ServerSettings) -> Result<Conn, Error> {
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

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn row((bug_id, delta_ts, utc): (Option<i64>, Option<String>, Option<String>)) -> Row {
    Row {
        id: 0,
        bug_id: bug_id.unwrap_or(0),
        delta_ts: delta_ts.unwrap_or_default(),
        utc,
    }
}

/// The database's time (UTC, Unix seconds).
fn now(conn: &mut Conn) -> Result<i64, Error> {
    let now = conn.query_first("SELECT CAST(UNIX_TIMESTAMP() AS SIGNED)");
    let now: Option<i64> = now.map_err(failed("ask for the time"))?;
    now.ok_or_else(|| "the database does not tell the time".into())
}
