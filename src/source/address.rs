//! `--source`: which source, where, and how to read it. The one place that knows all kinds of
//! source.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::database::{self, Engine};
#[cfg(feature = "mysql")]
use super::mysql;
use super::options::Mode;
#[cfg(feature = "postgres")]
use super::postgres;
use super::{Connect, Error, Source, Table, amqp, sqlite, webhook};
use crate::inbox::PostSender;
use crate::update::BugId;

/// A source as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `sqlite:FILE`: the table of notifications in an SQLite file.
    Sqlite(sqlite::Settings),
    /// `mysql://…`: the same in MariaDB or MySQL.
    #[cfg(feature = "mysql")]
    Mysql(database::Settings),
    /// `postgres://…`: the same in PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(database::Settings),
    /// `amqp://…` or `amqps://…`: a queue of a broker.
    Amqp(amqp::Settings),
    /// `webhook:`: what Bugzilla posts to the server.
    Webhook(webhook::Settings),
}

impl Address {
    /// The source behind this address, not yet connected, and where it takes posts, if it does.
    pub fn open(&self) -> (Box<dyn Source>, Option<PostSender>) {
        match self {
            Address::Sqlite(settings) => (settings.source(), None),
            #[cfg(feature = "mysql")]
            Address::Mysql(settings) => (mysql::source(settings.clone()), None),
            #[cfg(feature = "postgres")]
            Address::Postgres(settings) => (postgres::source(settings.clone()), None),
            Address::Amqp(settings) => (Box::new(amqp::Queue::new(settings.clone())), None),
            Address::Webhook(_) => {
                let (source, posts) = webhook::Webhook::new();
                (Box::new(source), Some(posts))
            }
        }
    }

    /// Opens the table of notifications behind this address.
    ///
    /// # Errors
    /// When it cannot be reached, or there is none.
    pub fn table(&self) -> Result<Box<dyn Table>, Error> {
        match self {
            Address::Sqlite(settings) => settings.table(),
            #[cfg(feature = "mysql")]
            Address::Mysql(settings) => mysql::open_table(settings),
            #[cfg(feature = "postgres")]
            Address::Postgres(settings) => postgres::open_table(settings),
            Address::Amqp(_) | Address::Webhook(_) => {
                Err("it has no table of notifications".into())
            }
        }
    }

    /// How to open the table of notifications behind this address, and the pause between two looks
    /// into it, if it has one.
    pub fn notifications(&self) -> Option<(Connect, Duration)> {
        let options = match self {
            Address::Sqlite(settings) => &settings.options,
            #[cfg(feature = "mysql")]
            Address::Mysql(settings) => &settings.options,
            #[cfg(feature = "postgres")]
            Address::Postgres(settings) => &settings.options,
            Address::Amqp(_) | Address::Webhook(_) => return None,
        };
        let address = self.clone();
        (options.mode == Mode::Table)
            .then(|| (Box::new(move || address.table()) as Connect, options.poll))
    }

    /// Records that bugs changed just now, where this source will read it.
    ///
    /// # Errors
    /// When the place cannot be reached or written to.
    pub fn notify(&self, bugs: &[BugId]) -> Result<(), Error> {
        match self {
            Address::Amqp(settings) => amqp::notify(settings, bugs),
            Address::Webhook(_) => {
                Err("a webhook takes posts, which bugzfeed notify does not send".into())
            }
            table => table.table()?.insert(bugs),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "sqlite" => sqlite::Settings::parse(rest).map(Address::Sqlite),
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => database::Settings::parse(Engine::Mysql, text).map(Address::Mysql),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => database::Settings::parse(Engine::Postgres, text).map(Address::Postgres),
            #[cfg(not(feature = "mysql"))]
            "mysql" | "mariadb" => Err(format!("this bugzfeed was built without support for {scheme}://")),
            #[cfg(not(feature = "postgres"))]
            "postgres" | "postgresql" => Err(format!("this bugzfeed was built without support for {scheme}://")),
            "webhook" => webhook::Settings::parse(rest).map(Address::Webhook),
            "amqp" | "amqps" => amqp::Settings::parse(text).map(Address::Amqp),
            // Nothing of it is repeated: with the scheme forgotten, it may start with a user and a
            // password.
            _ => Err("it is no source; accepted are sqlite:FILE, mysql://USER:PASSWORD@HOST/DATABASE, postgres://…, amqp://USER:PASSWORD@HOST/VHOST, amqps://… and webhook:?key_file=FILE"
                .to_owned()),
        }
    }
}

impl fmt::Display for Address {
    /// The address without its password, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Sqlite(settings) => settings.fmt(f),
            #[cfg(feature = "mysql")]
            Address::Mysql(settings) => settings.fmt(f),
            #[cfg(feature = "postgres")]
            Address::Postgres(settings) => settings.fmt(f),
            Address::Amqp(settings) => settings.fmt(f),
            Address::Webhook(settings) => settings.fmt(f),
        }
    }
}
