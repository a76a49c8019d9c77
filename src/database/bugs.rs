//! Bugzilla's own tables: what can be asked of them by an account that may only read. Knows no
//! database, and remembers nothing between two looks.

use std::time::Duration;

use super::table::Row;
use crate::work::Error;

/// A connection to Bugzilla's tables.
pub(crate) trait Bugs: Send {
    /// Looks once, in one snapshot of the database.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    fn look(&mut self, from: &LookFrom) -> Result<Look, Error>;
}

/// Where a look begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LookFrom {
    /// The newest `delta_ts` found so far, without a time zone; none at the first look, which
    /// begins at the newest of all. A time that lies ahead of the database's own counts as that.
    pub newest: Option<String>,
    /// How long before that.
    pub window: Duration,
    /// The largest ids found so far, if any.
    pub largest: Option<Largest>,
}

/// The largest ids of the tables that have a row for most edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Largest {
    /// `bugs_activity.id`
    pub activity: i64,
    /// `longdescs.comment_id`
    pub comment: i64,
}

/// What a look found. The rows' ids mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The database's time, without a time zone.
    pub now: String,
    /// The database's time (UTC, Unix seconds).
    pub utc_now: i64,
    /// Bugs with a `delta_ts` in the window, by `delta_ts`.
    pub in_window: Vec<Row>,
    /// Bugs with activity or a comment above the largest ids that were found before.
    pub touched: Vec<Row>,
    /// The largest ids; none where the account may not read them, or a Bugzilla before 5.0 has
    /// none.
    pub largest: Option<Largest>,
}

/// The statement that reads [`Largest`], in each database's SQL.
pub(crate) const LARGEST: &str = "SELECT COALESCE((SELECT MAX(id) FROM bugs_activity), 0), COALESCE((SELECT MAX(comment_id) FROM longdescs), 0)";

/// What a `SELECT … FROM bugs` is joined with to read [`Look::touched`], in each database's SQL.
pub(crate) fn touched_since(before: Largest) -> String {
    let Largest { activity, comment } = before;
    format!(
        "JOIN (SELECT bug_id FROM bugs_activity WHERE id > {activity} \
         UNION SELECT bug_id FROM longdescs WHERE comment_id > {comment}) AS touched USING (bug_id)"
    )
}

/// Opens the connection anew: at the start, and after each failure.
pub(crate) type OpenBugs = Box<dyn FnMut() -> Result<Box<dyn Bugs>, Error> + Send>;
