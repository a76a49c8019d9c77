//! Waits in the server until the table of notifications holds another row. MariaDB notifies nobody,
//! but runs a loop for whoever may read the table. Owns how often that loop looks.
//!
//! What a look costs is mostly to wake up for it. One of the loop's wakes the server's thread alone,
//! and its answer comes at once. MySQL runs no loop outside of a stored procedure, and is polled.

use std::time::Duration;

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

/// How long the loop runs at most, and so may keep the program from stopping. To begin it again costs
/// as much as four looks.
pub(super) const LOOP_MAX: Duration = Duration::from_millis(500);

/// The pause between two looks right after a change. It doubles with each loop that finds nothing.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The same in a quiet night, when server and client together shall take 1 % of a core
/// (docs/benchmarks.md).
const PAUSE_QUIET: Duration = Duration::from_millis(35);

/// The loop, as often as it is run.
pub(super) struct LongPoll {
    /// The table's name, quoted.
    table: String,
    pause: Duration,
}

impl LongPoll {
    pub(super) fn new(table: String) -> Self {
        Self {
            table,
            pause: PAUSE_QUIET,
        }
    }

    /// Waits for `longest`, or for [`LOOP_MAX`] where that is shorter, until the table has a row
    /// beside those with the keys `known`; returns whether it has. Looks at least each `poll`.
    ///
    /// # Errors
    /// When the connection is lost, or the server runs no such loop.
    pub(super) fn wait(
        &mut self,
        conn: &mut Conn,
        known: &[i64],
        longest: Duration,
        poll: Duration,
    ) -> ::mysql::Result<bool> {
        let pause = self.pause.min(longest).min(poll);
        // Rounded up: a rest would be a loop of its own.
        let looks = (longest.min(LOOP_MAX).as_micros()).div_ceil(pause.as_micros().max(1));
        let found: Option<u32> = conn.query_first(self.statement(known, looks, pause))?;
        let is_found = found == Some(1);
        self.pause = match is_found {
            true => PAUSE_MIN,
            false => (2 * self.pause).min(PAUSE_QUIET),
        };
        Ok(is_found)
    }

    /// Each SELECT of the loop sees what was committed before it, and neither takes a lock nor waits
    /// for one, which an expression with the same SELECT in it does.
    fn statement(&self, known: &[i64], looks: u128, pause: Duration) -> String {
        let (table, pause) = (&self.table, pause.as_secs_f64());
        // No row has the key 0.
        let known: String = known
            .iter()
            .map(|id| format!(", {}", id.cast_unsigned()))
            .collect();
        format!(
            "BEGIN NOT ATOMIC DECLARE looks INT DEFAULT {looks}; DECLARE found INT DEFAULT 0; \
             REPEAT DO SLEEP({pause}); SET looks = looks - 1; \
             SELECT EXISTS (SELECT 1 FROM {table} WHERE id NOT IN (0{known})) INTO found; \
             UNTIL found OR looks <= 0 END REPEAT; SELECT found; END"
        )
    }
}
