//! Measures a server: how many clients it holds in how much memory, what a delivery costs, how late
//! it is, and whether all have come. Works against anything that speaks the protocol, and against
//! the floor, a server that does nothing but the system calls.
//!
//! One process, the bench itself, publishes updates and samples the server; others hold the clients
//! and know which updates they should get. Every delivery is entered in their ledgers.

pub mod assertion;
pub mod clients;
pub mod cores;
pub mod fleet;
pub mod floor;
pub mod histogram;
pub mod interrupt;
pub mod ledger;
pub mod machine;
pub mod measure;
pub mod plan;
pub mod plots;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod run;
pub mod sample;
pub mod scenario;
pub mod svg;
pub mod table;
pub mod target;
pub mod wire;
pub mod worker;
