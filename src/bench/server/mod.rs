//! The server that is measured: how it is found or started, how it learns of updates, what it and
//! its machine use. Knows no client.

pub(crate) mod floor;
pub(crate) mod inlet;
pub(crate) mod machine;
pub(crate) mod sample;
pub(crate) mod target;
