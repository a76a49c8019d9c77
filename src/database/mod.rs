//! Databases: MariaDB, MySQL, PostgreSQL and SQLite, how they are reached, the table of
//! notifications in them, and Bugzilla's own tables. Knows no feed, and nobody who reads.

mod asker;
mod bookmark;
pub(crate) mod bugs;
mod claim;
mod flaws;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
mod options;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod reader;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod settings;
pub(crate) mod sqlite;
mod table;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use claim::Claimed;
pub(crate) use options::{Mode, ReadOptions};
pub(crate) use reader::{OpenTable, Reader};
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use settings::ServerSettings;
pub(crate) use table::{Change, Recorder};
pub use table::{Row, Table, Triggers};

use self::options::Shown;
use crate::bugzilla::Asker;
use crate::update::BugId;
use crate::work::Error;

/// A database as the user names it, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// `sqlite:FILE`
    Sqlite(sqlite::FileSettings),
    /// `mysql://…`: MariaDB or MySQL.
    #[cfg(feature = "mysql")]
    Mysql(ServerSettings),
    /// `postgres://…`: PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(ServerSettings),
}

impl Database {
    /// Whether a URL with this scheme names a database.
    pub(crate) fn has_scheme(scheme: &str) -> bool {
        matches!(
            scheme,
            "sqlite" | "mysql" | "mariadb" | "postgres" | "postgresql"
        )
    }

    /// How the database is read.
    pub(crate) fn options(&self) -> &ReadOptions {
        match self {
            Database::Sqlite(settings) => &settings.options,
            #[cfg(feature = "mysql")]
            Database::Mysql(settings) => &settings.options,
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => &settings.options,
        }
    }

    /// Whether only public bugs are shown.
    pub(crate) fn is_public_only(&self) -> bool {
        self.options().shown == Shown::Public
    }

    /// Opens the table of notifications.
    ///
    /// # Errors
    /// When it cannot be reached, or the account may not read it and delete from it.
    pub fn table(&self) -> Result<Box<dyn Table>, Error> {
        if self.options().mode == Mode::Bugs {
            return Err("mode=bugs has no table of notifications".into());
        }
        Ok(match self {
            Database::Sqlite(settings) => Box::new(sqlite::Notifications::open(settings)?),
            #[cfg(feature = "mysql")]
            Database::Mysql(settings) => Box::new(mysql::Notifications::open(settings)?),
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => Box::new(postgres::Notifications::open(settings)?),
        })
    }

    /// Records in the table of notifications that bugs changed just now.
    ///
    /// # Errors
    /// When the database cannot be reached, or the account may not insert.
    pub fn notify(&self, bugs: &[BugId]) -> Result<(), Error> {
        let changes: Vec<Change> = bugs.iter().map(|&bug| (bug, None)).collect();
        self.recorder()?.record(&changes)
    }

    /// Connects to record changes in the table of notifications.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(crate) fn recorder(&self) -> Result<Box<dyn Recorder>, Error> {
        if self.options().mode == Mode::Bugs {
            return Err("mode=bugs has no table of notifications".into());
        }
        Ok(match self {
            Database::Sqlite(settings) => Box::new(sqlite::Notifications::open(settings)?),
            #[cfg(feature = "mysql")]
            Database::Mysql(settings) => Box::new(mysql::Changes::open(settings)?),
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => Box::new(postgres::Changes::open(settings)?),
        })
    }

    /// How to open the table of notifications.
    pub(crate) fn open_table(&self) -> OpenTable {
        let database = self.clone();
        Box::new(move || database.table())
    }

    /// How to open the table of notifications, and the pause between two looks into it; none with
    /// `mode=bugs`.
    pub(crate) fn notifications(&self) -> Option<(OpenTable, Duration)> {
        let ReadOptions { mode, poll, .. } = *self.options();
        (mode == Mode::Table).then(|| (self.open_table(), poll))
    }

    /// The longest pause after failures: to try a local file again costs nobody anything.
    pub(crate) fn pause_max(&self) -> Duration {
        match self {
            Database::Sqlite(_) => Duration::from_secs(1),
            #[cfg(any(feature = "mysql", feature = "postgres"))]
            _ => Duration::from_secs(30),
        }
    }

    /// Opens Bugzilla's own tables.
    ///
    /// # Errors
    /// When they cannot be reached.
    pub(crate) fn bugs(&self) -> Result<Box<dyn bugs::Bugs>, Error> {
        Ok(match self {
            Database::Sqlite(settings) => Box::new(sqlite::BugsTables::open(settings)?),
            #[cfg(feature = "mysql")]
            Database::Mysql(settings) => Box::new(mysql::BugsTables::open(settings)?),
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => Box::new(postgres::BugsTables::open(settings)?),
        })
    }

    /// Somebody who asks this database which bugs have changed, not yet connected.
    pub(crate) fn asker(&self) -> Box<dyn Asker> {
        Box::new(asker::DatabaseAsker::new(self.clone()))
    }

    fn open_asker(&self) -> Result<Box<dyn asker::Ask>, Error> {
        Ok(match self {
            Database::Sqlite(settings) => Box::new(sqlite::BugsAsker::open(settings)?),
            #[cfg(feature = "mysql")]
            Database::Mysql(settings) => Box::new(mysql::BugsAsker::open(settings)?),
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => Box::new(postgres::BugsAsker::open(settings)?),
        })
    }
}

impl FromStr for Database {
    type Err = String;

    /// Reads a URL. An error repeats no part of it that may hold the password.
    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "sqlite" => sqlite::FileSettings::parse(rest).map(Database::Sqlite),
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => ServerSettings::parse(settings::MYSQL, text).map(Database::Mysql),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                ServerSettings::parse(settings::POSTGRES, text).map(Database::Postgres)
            }
            scheme if Self::has_scheme(scheme) => Err(format!(
                "this bugzfeed was built without support for {scheme}://"
            )),
            _ => Err(
                "it is no database; accepted are sqlite:FILE, mysql://USER:PASSWORD@HOST/DATABASE and postgres://…"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Database {
    /// The URL without its password, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Sqlite(settings) => settings.fmt(f),
            #[cfg(feature = "mysql")]
            Database::Mysql(settings) => settings.fmt(f),
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => settings.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_file_is_tried_again_within_a_second() {
        let database: Database = "sqlite:x".parse().unwrap();
        assert_eq!(database.pause_max(), Duration::from_secs(1));
    }
}
