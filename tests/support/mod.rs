//! What several tests share: real programs to play against, our own among them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::Write;

/// Says that something is not tested here, and why; what a test prints by the usual macros is shown
/// only where it fails.
pub fn not_tested(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {why}");
}

/// Whether what takes minutes is to be tested, too; says so aloud where it is not.
pub fn is_long(what: &str) -> bool {
    let is_long = std::env::var_os("TESTS_LONG").is_some();
    if !is_long {
        not_tested(&format!("{what}, which takes minutes: tests/run --long"));
    }
    is_long
}

pub mod browser;
pub mod client;
pub mod contract;
pub mod disk;
pub mod docs;
#[cfg(feature = "mysql")]
pub mod mariadb;
pub mod pika;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod proxy;
pub mod rabbitmq;
pub mod server;
pub mod stock;
pub mod unprivileged;
