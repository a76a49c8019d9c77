//! As a service of systemd: what it is told, by a stand-in of its socket; the sockets that it hands
//! over; and the units, by its own `systemd-analyze`.

#[path = "../support/mod.rs"]
mod support;

mod boot;
mod manager;
mod notified;
mod restart;
mod units;
