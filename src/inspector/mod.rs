//! The inspector's page: what goes by on a Pulse, shown in a browser. Serves HTTP on an address of
//! its own, by blocking threads, since its readers are few. Each page that looks has a connection
//! of its own to the broker, with a queue of its own ([`viewer`]). Whoever knows the token in the
//! path may look; nothing else stands anywhere. Knows no terminal and no signal.

mod content;
mod listener;
mod reader;
mod viewer;
mod wish;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

pub(crate) use content::Content;

use crate::amqp;
use crate::http::Site;
use crate::page;

/// What all connections share.
struct Inspector {
    broker: amqp::Settings,
    site: Site,
    connections: AtomicUsize,
    viewers: AtomicUsize,
}

/// Serves the page at `/TOKEN/` of an address, from now on; returns the address that it has got.
///
/// # Errors
/// When the address is not to be had.
pub(crate) fn start(broker: amqp::Settings, address: &str, token: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let path = format!("/{token}/");
    let inspector = Arc::new(Inspector {
        broker,
        site: Site {
            pages: page::inspector(&path),
            feeds: vec![path],
            ..Site::default()
        },
        connections: AtomicUsize::new(0),
        viewers: AtomicUsize::new(0),
    });
    thread::Builder::new()
        .name("listener".to_owned())
        .spawn(move || listener::accept(&listener, &inspector))?;
    Ok(address)
}
