//! Asks Bugzilla's own database which bugs have changed: a read of the columns `bug_id` and
//! `delta_ts` of the table `bugs`. Owns the connection, which is made anew after each failure.

use super::Database;
use super::table::Row;
use crate::bugzilla::{Asker, Found, Since};
use crate::update::{Update, When};
use crate::work::Error;

/// How many bugs an answer may have. Where more have changed, that is a gap.
const BUGS_MAX: usize = 200_000;

/// A connection to the database.
pub(super) trait Ask: Send {
    /// Whether there is a table `bugs`, and the account may read its columns.
    ///
    /// # Errors
    /// When the database does not answer.
    fn can_ask(&mut self) -> Result<bool, Error>;

    /// The bugs with the newest changes, newest first, `rows_max` at most.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn newest(&mut self, rows_max: usize) -> Result<Vec<Row>, Error>;

    /// The bugs that changed at or after `since`, which reads `YYYY-MM-DD HH:MM:SS` in UTC, by the
    /// time of their change, `rows_max` at most.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn changed(&mut self, since: &str, rows_max: usize) -> Result<Vec<Row>, Error>;

    /// The database's time (UTC, Unix seconds).
    ///
    /// # Errors
    /// When the database does not answer.
    fn now(&mut self) -> Result<i64, Error>;
}

/// Somebody who asks a database.
pub(super) struct DatabaseAsker {
    database: Database,
    connection: Option<Box<dyn Ask>>,
}

impl DatabaseAsker {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            connection: None,
        }
    }

    /// Does something over the connection, which a failure ends.
    fn attempt<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn Ask) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.open_asker()?,
        };
        let answer = ask(&mut *connection)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Asker for DatabaseAsker {
    fn can_ask(&mut self) -> Result<bool, Error> {
        self.attempt(|connection| connection.can_ask())
    }

    fn ask(&mut self, since: Since) -> Result<Found, Error> {
        self.attempt(|connection| {
            // Before the bugs are read: what changes meanwhile is asked for again.
            let now = connection.now()?;
            let (mut rows, rows_max) = match since {
                Since::Newest(bugs) => {
                    let mut rows = connection.newest(bugs.saturating_add(1))?;
                    let is_whole = rows.len() <= bugs;
                    rows.truncate(bugs);
                    rows.reverse();
                    (rows, if is_whole { usize::MAX } else { 0 })
                }
                Since::Time(since) => {
                    let since = When::from_unix_seconds(since).to_string().replace('T', " ");
                    (connection.changed(&since, BUGS_MAX + 1)?, BUGS_MAX)
                }
            };
            let is_whole = rows.len() <= rows_max;
            let updates: Vec<Update> = rows.drain(..).filter_map(|row| row.update()).collect();
            Ok(Found {
                updates,
                now,
                is_whole,
            })
        })
    }
}
