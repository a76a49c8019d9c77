//! The claim on a table of notifications: whoever reads one has it for itself, since each of two
//! readers would get a part of the changes. Owns how long a reader waits for another. Knows no
//! database.

use std::fmt;
use std::time::{Duration, Instant};

use super::table::Table;
use crate::work::{Error, Stop};

/// How long a reader that is starting waits: the database may not know yet that the one before has
/// gone.
const PATIENCE: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(100);

/// How often a standby tries.
const STANDBY_EVERY: Duration = Duration::from_secs(1);

/// Claims a table; returns whether that has succeeded before the stop was requested. A standby
/// tries until it succeeds, and says once why it waits.
///
/// # Errors
/// [`Claimed`] when another reader has the table, and this one is no standby; or when the database
/// does not answer.
pub(super) fn claim(
    table: &mut dyn Table,
    is_standby: bool,
    stop: &Stop,
    mut waits: impl FnMut(&str),
) -> Result<bool, Error> {
    let give_up = Instant::now() + PATIENCE;
    while !table.claim()? {
        let is_late = Instant::now() >= give_up;
        if is_late {
            let claimed = Claimed {
                holder: table.holder(),
            };
            if !is_standby {
                return Err(claimed.into());
            }
            waits(&claimed.to_string());
        }
        if stop.wait(if is_late { STANDBY_EVERY } else { TRY_EVERY }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Another reader has the claim on the table.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// Who, as far as the database tells.
    holder: Option<String>,
}

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another server or relay takes changes from this table")?;
        if let Some(holder) = &self.holder {
            write!(f, " ({holder})")?;
        }
        f.write_str(", and there must be only one: each would get a part of them; with --wait this one waits until the other has gone")
    }
}

impl std::error::Error for Claimed {}
