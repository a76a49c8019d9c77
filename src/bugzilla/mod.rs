//! Bugzilla itself, as somebody who can be asked which bugs have changed: `bugs.delta_ts` holds the
//! last change of each bug, for all time. And who sees which
//! bug. Owns the questions and the answers. Knows no feed.

pub(crate) mod rest;
mod rights;

pub(crate) use rights::Rights;
#[cfg(any(test, fuzzing))]
pub(crate) use rights::{said_in_json, said_in_xml};

use crate::update::Update;
use crate::work::Error;

/// Somebody who can ask Bugzilla which bugs have changed.
pub(crate) trait Asker: Send {
    /// Whether questions make sense: false where the rights do not suffice, or Bugzilla is not
    /// there.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn can_ask(&mut self) -> Result<bool, Error>;

    /// Asks once, over a new connection where there is none.
    ///
    /// # Errors
    /// When Bugzilla does not answer, or refuses.
    fn ask(&mut self, since: Since) -> Result<Found, Error>;
}

/// Which bugs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many that changed last.
    Newest(usize),
    /// Those that changed at or after this time (UTC, Unix seconds).
    Time(i64),
}

/// Bugzilla's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The last change of each bug that was asked for, by time.
    pub(crate) updates: Vec<Update>,
    /// Bugzilla's own time (UTC, Unix seconds) when it answered.
    pub(crate) now: i64,
    /// Whether these are all that there are; otherwise they are the newest.
    pub(crate) is_whole: bool,
}

/// Which bugs an asker sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// All: what is not found does not exist.
    All,
    /// Some: what is found is made good, and nothing is proven.
    Some,
}
