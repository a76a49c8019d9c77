//! Proxies in front of the server: which ones are believed, and what they say of the client behind
//! them, by a PROXY header or by header fields of HTTP. Pure functions over bytes; knows no socket.

mod forwarded;
mod header;
mod network;

pub(crate) use forwarded::{FORWARDED, X_FORWARDED_FOR, client};
pub(crate) use header::{is_begun, parse};
pub(crate) use network::{Block, TrustedProxy, is_trusted};
