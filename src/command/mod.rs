//! The commands, one file each: its settings, and what it does with them.

mod admin;
pub mod bench;
pub mod check;
pub mod config;
mod discreet;
pub mod doctor;
pub mod generate;
pub mod health;
mod log;
pub mod notify;
pub mod pulse;
pub mod relay;
pub mod reload;
pub mod schema;
pub mod serve;
pub mod token;
pub mod watch;
