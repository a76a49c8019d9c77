//! This machine's clock, for what is compared with the outside. The loop has its own, in
//! milliseconds since its start: `moment`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time by both of this machine's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For what is measured: it never goes back.
    pub(crate) instant: Instant,
    /// For what is compared with the outside: seconds since 1970.
    pub(crate) unix: i64,
}

impl Now {
    /// The time at this moment.
    pub(crate) fn read() -> Self {
        Self {
            instant: Instant::now(),
            unix: unix_now(),
        }
    }
}

/// Seconds since 1970 by this machine's clock.
pub fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
