//! The load: processes that hold thousands of clients, and know which updates each one should get.
//! Knows no scenario, and nothing of how the server was started.

pub mod clients;
pub mod fleet;
pub mod histogram;
pub mod ledger;
pub mod order;
pub mod plan;
pub mod segment;
pub mod wire;
pub mod worker;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the clock that all processes of the machine share.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
