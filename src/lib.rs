//! Pushes Bugzilla changes to WebSocket clients.

pub mod command;
pub mod duration;
pub mod failure;
pub mod history;
pub mod inbox;
pub mod source;
pub mod update;
