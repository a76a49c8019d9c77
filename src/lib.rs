//! Pushes Bugzilla changes to WebSocket clients.

pub mod backoff;
pub mod bench;
pub mod client;
pub mod command;
pub mod connection;
pub mod duration;
pub mod failure;
pub mod frame;
pub mod handshake;
pub mod history;
pub mod hub;
pub mod inbox;
pub mod lock;
pub mod logging;
pub mod moment;
pub mod page;
pub mod protocol;
pub mod pulse;
pub mod reactor;
pub mod relay;
pub mod server;
pub mod source;
pub mod subscriptions;
pub mod tls;
pub mod turn;
pub mod update;
