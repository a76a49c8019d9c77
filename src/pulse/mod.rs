//! Mozilla's Pulse as far as it needs no broker to be known: its messages, and the rules by which
//! accounts share it. Knows no connection, no clock and no log.

mod account;
mod exempt;
mod message;

pub(crate) use account::{AccountName, EXCHANGES, Rights};
pub(crate) use exempt::{Exempt, Exempts};
pub(crate) use message::{MESSAGE_BYTES_MAX, Unreadable, read, write};
