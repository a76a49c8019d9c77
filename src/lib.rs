//! Pushes Bugzilla changes to WebSocket clients.

pub mod command;
pub mod duration;
pub mod failure;
pub mod history;
pub mod hub;
pub mod inbox;
pub mod protocol;
pub mod source;
pub mod subscriptions;
pub mod update;
