//! The bookmark: the row that was handed over last. It stays in the table until the next ones are
//! deleted, and who reads notes which one it is. Found again, it proves that nobody else has read,
//! restored or replaced the table. Knows no database.
//!
//! Ids alone would prove nothing: transactions that are rolled back skip some, and others commit
//! out of order.

use std::fmt;
use std::str::FromStr;

use super::table::Row;

/// What identifies the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bookmark {
    id: i64,
    bug_id: i64,
    delta_ts: String,
}

impl Bookmark {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            id: row.id,
            bug_id: row.bug_id,
            delta_ts: row.delta_ts.clone(),
        }
    }

    /// The row's key.
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Whether this is the row.
    pub(super) fn marks(&self, row: &Row) -> bool {
        *self == Self::of(row)
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.id, self.bug_id, self.delta_ts)
    }
}

impl FromStr for Bookmark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().ok_or(());
        Ok(Self {
            id: next()?.parse().map_err(drop)?,
            bug_id: next()?.parse().map_err(drop)?,
            delta_ts: next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_that_was_noted_marks_the_same_row_and_no_other() {
        let row = Row {
            id: -7,
            bug_id: 35,
            delta_ts: "2026-11-20 15:50:32".to_owned(),
            utc: None,
        };
        let bookmark: Bookmark = Bookmark::of(&row).to_string().parse().unwrap();
        assert!(bookmark.marks(&row));
        let restored = Row {
            delta_ts: "2026-11-20 15:50:33".to_owned(),
            ..row
        };
        assert!(!bookmark.marks(&restored));
        for text in ["", "7", "7 35", "x 35 2026"] {
            assert_eq!(text.parse::<Bookmark>(), Err(()), "{text}");
        }
    }
}
