//! The server that is measured: how it is found or started, how it learns of updates, what it and
//! its machine use. Knows no client.

pub mod floor;
pub mod inlet;
pub mod machine;
pub mod sample;
pub mod target;
