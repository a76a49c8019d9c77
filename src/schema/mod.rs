//! The table of notifications and the triggers that fill it: their SQL, and whether a database has
//! them intact. Changes nothing.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use crate::database::Database;
use crate::work::Error;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// MariaDB or MySQL
    #[value(alias = "mariadb")]
    Mysql,
    /// PostgreSQL
    #[value(alias = "postgresql")]
    Postgres,
    /// SQLite
    Sqlite,
}

impl Engine {
    /// The script that makes the table and the triggers, for the database's own client.
    pub fn installation(self) -> &'static str {
        match self {
            Engine::Mysql => include_str!("mysql.sql"),
            Engine::Postgres => include_str!("postgres.sql"),
            Engine::Sqlite => include_str!("sqlite.sql"),
        }
    }

    /// The script that removes them.
    pub fn removal(self) -> &'static str {
        match self {
            Engine::Mysql => include_str!("mysql-drop.sql"),
            Engine::Postgres => include_str!("postgres-drop.sql"),
            Engine::Sqlite => include_str!("sqlite-drop.sql"),
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Mysql => "mysql",
            Engine::Postgres => "postgres",
            Engine::Sqlite => "sqlite",
        }
    }

    /// The kind of a database.
    pub(crate) fn of(database: &Database) -> Self {
        match database {
            Database::Sqlite(_) => Engine::Sqlite,
            #[cfg(feature = "mysql")]
            Database::Mysql(_) => Engine::Mysql,
            #[cfg(feature = "postgres")]
            Database::Postgres(_) => Engine::Postgres,
        }
    }
}

/// What a check has found; all of it without a full stop.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What is missing or damaged. Nothing, where all is well.
    pub(crate) problems: Vec<String>,
    /// What the account may not see, so that nothing is known of it.
    pub(crate) unknown: Vec<String>,
}

impl Findings {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Adds a problem unless all is well.
    fn expect(&mut self, is_well: bool, text: impl FnOnce() -> String) {
        if !is_well {
            self.problems.push(text());
        }
    }
}

/// Finds out whether a database has the table and the triggers as this version makes them.
///
/// # Errors
/// When the database cannot be asked.
pub(crate) fn check(database: &Database) -> Result<Findings, Error> {
    match database {
        Database::Sqlite(settings) => sqlite::check(settings),
        #[cfg(feature = "mysql")]
        Database::Mysql(settings) => mysql::check(settings),
        #[cfg(feature = "postgres")]
        Database::Postgres(settings) => postgres::check(settings),
    }
}

/// The part of `script` from `start` to just before `end`.
fn part<'a>(script: &'a str, start: &str, end: &str) -> &'a str {
    let from = script.find(start).unwrap_or(script.len());
    let length = script[from..].find(end).unwrap_or(script.len() - from);
    &script[from..from + length]
}

/// The same statement written differently is the same.
fn is_same(one: &str, other: &str) -> bool {
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_lowercase).collect() };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_a_script_that_makes_a_trigger_is_found() {
        let script = Engine::Sqlite.installation();
        let trigger = part(script, "CREATE TRIGGER push_notify_insert", ";\n\n");
        assert!(
            trigger.starts_with("CREATE TRIGGER push_notify_insert AFTER INSERT ON bugs\nBEGIN"),
            "{trigger}"
        );
        assert!(trigger.ends_with("END"), "{trigger}");
        assert!(is_same(
            trigger,
            &trigger.to_uppercase().replace('\n', "  ")
        ));
        assert!(!is_same(trigger, &trigger.replace("INSERT", "UPDATE")));
    }
}
