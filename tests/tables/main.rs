//! Tables of notifications in real databases: what Bugzilla writes arrives, and nothing is lost or
//! harmed.

#![cfg(all(feature = "mysql", feature = "postgres"))]

#[path = "../support/mod.rs"]
mod support;

/// Runs a test for each kind of database.
macro_rules! for_each_engine {
    ($($(#[$attribute:meta])* fn $name:ident($engine:ident) $body:block)*) => {
        mod mariadb {
            $(#[test] #[ignore = "needs MariaDB and PostgreSQL: run tests/run"] fn $name() { super::$name(bugzfeed::schema::Engine::Mysql); })*
        }
        mod postgresql {
            $(#[test] #[ignore = "needs MariaDB and PostgreSQL: run tests/run"] fn $name() { super::$name(bugzfeed::schema::Engine::Postgres); })*
        }
        mod sqlite {
            $(#[test] fn $name() { super::$name(bugzfeed::schema::Engine::Sqlite); })*
        }
        $($(#[$attribute])* fn $name($engine: bugzfeed::schema::Engine) $body)*
    };
}

mod backup;
mod check;
mod connections;
mod database;
mod edits;
mod guide;
mod install;
mod private;
mod readers;
mod writers;
mod zones;
