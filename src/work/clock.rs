//! This machine's clock, for what is compared with the outside. The loop has its own, in
//! milliseconds since its start: `moment`.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by this machine's clock.
pub fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
