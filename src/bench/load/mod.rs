//! The load: processes that hold thousands of clients, and know which updates each one should get.
//! Knows no scenario, and nothing of how the server was started.

pub(crate) mod clients;
pub(crate) mod fleet;
pub(crate) mod histogram;
pub(crate) mod hostile;
pub(crate) mod ledger;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod segment;
pub(crate) mod tls;
pub(crate) mod wire;
pub(crate) mod worker;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the clock that all processes of the machine share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
