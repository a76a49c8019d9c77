//! Measures a server: how many clients it holds in how much memory, what a delivery costs, how late it is, and whether all have come.
//! Works against anything that speaks the protocol, and against the floor, a server that does nothing but the system calls.

pub mod clients;
pub mod cores;
pub mod fleet;
pub mod floor;
pub mod histogram;
pub mod ledger;
pub mod plan;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod run;
pub mod sample;
pub mod scenario;
pub mod target;
pub mod wire;
pub mod worker;
