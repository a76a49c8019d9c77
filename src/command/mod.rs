//! The commands, one file each: its settings, and what it does with them.

mod address;
pub mod bench;
pub mod notify;
pub mod relay;
pub mod schema;
pub mod serve;
pub mod watch;
