//! PostgreSQL, `postgres://`. Owns the connection and how times and errors are read from it.

mod asker;
mod bugs;
mod notifications;
mod tls;
mod watched;

use std::collections::HashSet;
use std::time::Duration;

use ::postgres::config::SslMode;
use ::postgres::error::SqlState;
use ::postgres::{Client, Config, NoTls, Row as SqlRow};

pub(super) use self::asker::BugsAsker;
pub(super) use self::bugs::BugsTables;
pub(super) use self::notifications::{Changes, Notifications};
use super::options::{Shown, Zone, offset_text};
use super::settings::{ServerSettings, Tls};
use super::table::Row;
use crate::update::BugId;
use crate::work::Error;

/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// `delta_ts` in UTC. Each session has the zone that the server calls its own, unless `tz=` says
/// otherwise. A time that no update can have is none: some of them make a conversion fail, and so
/// the whole query, and a year before Christ would lose that.
const UTC: &str = "CASE WHEN delta_ts::timestamp BETWEEN '0001-01-02' AND '9999-12-30' THEN to_char(delta_ts::timestamp AT TIME ZONE current_setting('TimeZone') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') END";

/// Connects to the database.
///
/// # Errors
/// When it cannot be reached, or refuses the account or the time zone.
pub(crate) fn connect(settings: &ServerSettings) -> Result<Client, Error> {
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
    // Times are read as text, which has a style of its own in each session.
    let limits = format!(
        "SET DateStyle = 'ISO, YMD'; SET statement_timeout = '{}s'; SET lock_timeout = '2s'",
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
pub(crate) fn sentence(error: &::postgres::Error) -> String {
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

/// Those of these bugs that are not to be shown.
fn private(client: &mut Client, shown: Shown, bugs: &[BugId]) -> Result<HashSet<BugId>, Error> {
    let Some(find) = shown.find_private(bugs) else {
        return Ok(HashSet::new());
    };
    let rows = client.query(
        &format!("SELECT bug_id::bigint FROM ({find}) AS private"),
        &[],
    );
    let bugs = rows.and_then(|rows| rows.iter().map(|row| row.try_get::<_, i64>(0)).collect());
    let bugs: Vec<i64> = bugs.map_err(failed("read which bugs are in a group"))?;
    let ids = bugs.into_iter().filter_map(|bug| u32::try_from(bug).ok());
    Ok(ids.filter_map(BugId::new).collect())
}

/// A row from the columns `bug_id`, `delta_ts` and the latter in UTC.
fn row(row: &SqlRow, first: usize) -> Result<Row, ::postgres::Error> {
    Ok(Row {
        id: 0,
        bug_id: row.try_get::<_, Option<i64>>(first)?.unwrap_or(0),
        delta_ts: row
            .try_get::<_, Option<String>>(first + 1)?
            .unwrap_or_default(),
        utc: row.try_get(first + 2)?,
    })
}

/// Whether there is no such table or column, or the account may not read it.
fn cannot_read(error: &::postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(
            &SqlState::UNDEFINED_TABLE
                | &SqlState::UNDEFINED_COLUMN
                | &SqlState::INSUFFICIENT_PRIVILEGE
        )
    )
}

/// The database's time (UTC, Unix seconds), read as `delta_ts` is: Bugzilla writes that in the zone
/// that the server gives to a session, and `tz=` may call it another.
fn now(client: &mut Client) -> Result<i64, Error> {
    let row = client.query_one(
        "SELECT floor(extract(epoch FROM (now() AT TIME ZONE (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone')) \
                                         AT TIME ZONE current_setting('TimeZone')))::bigint", &[]);
    row.and_then(|row| row.try_get(0))
        .map_err(failed("ask for the time"))
}
