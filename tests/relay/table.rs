//! A table of notifications in SQLite, as Bugzilla's triggers would fill it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::WHEN;
use crate::support::server::PATIENCE;

pub struct Table(Connection);

impl Table {
    pub fn open(file: &Path) -> Self {
        let table = Connection::open(file).unwrap();
        table.busy_timeout(PATIENCE).unwrap();
        // A test does not need to survive a power failure.
        table.pragma_update(None, "synchronous", "OFF").unwrap();
        table
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS push_notify (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL, delta_ts TEXT NOT NULL)",
            )
            .unwrap();
        Self(table)
    }

    /// Records changes in one transaction.
    pub fn record(&mut self, bugs: impl IntoIterator<Item = u32>) {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        for bug in bugs {
            // As Bugzilla writes it.
            let when = WHEN.replace('T', " ");
            transaction
                .execute(
                    "INSERT INTO push_notify (bug_id, delta_ts) VALUES (?1, ?2)",
                    params![bug, when],
                )
                .unwrap();
        }
        transaction.commit().unwrap();
    }

    /// The keys of all rows.
    pub fn ids(&self) -> Vec<i64> {
        let mut select = self.0.prepare("SELECT id FROM push_notify").unwrap();
        let ids = select.query_map([], |row| row.get(0)).unwrap();
        ids.map(Result::unwrap).collect()
    }

    /// How many rows there are.
    pub fn rows(&self) -> i64 {
        self.0
            .query_row("SELECT count(*) FROM push_notify", [], |row| row.get(0))
            .unwrap()
    }
}
