//! systemd: what it hands to a service, and what it is told about one (sd_notify(3),
//! sd_listen_fds(3)). Where the program is no service of systemd, nothing of this happens. Knows no
//! loop and no client.

mod credentials;
mod journal;
mod manager;
mod sockets;

pub(crate) use credentials::file;
pub(crate) use journal::is_journal;
pub(crate) use manager::Manager;
pub(crate) use sockets::{Socket, passed};
