//! Measures a server: how many clients it holds in how much memory, what a delivery costs, how late
//! it is, and whether every update has arrived. Works against anything that speaks the protocol, and
//! against the floor, a server that does nothing but the system calls.
//!
//! One process, the bench itself, publishes updates and samples the [`server`]; others are the
//! [`load`]: they hold the clients and enter every delivery in their ledgers. A [`scenario`] says
//! what is done with both, and the [`report`] shows what was measured.

pub(crate) mod cores;
pub(crate) mod interrupt;
pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod scenario;
pub(crate) mod server;
pub(crate) mod status_line;
