//! The sockets that clients connect to: those of `--listen`, or those that systemd hands over.

use std::io;

use super::Options;
use crate::failure::Failure;
use crate::protocol::VERSION;
use crate::reactor::{Address, Listener, takes_ipv4};
use crate::source;
use crate::systemd;

/// The name of a socket of systemd (`FileDescriptorName=`) for clients with TLS.
const TLS_NAME: &str = "tls";

/// The name of the one for those who run the server.
const ADMIN_NAME: &str = "admin";

/// What systemd hands over.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// For clients.
    pub listeners: Vec<Listener>,
    /// For those who run the server.
    pub admin: Option<Listener>,
}

/// Where the sockets come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sockets {
    /// From `--listen`.
    Bound,
    /// From systemd; `--listen` is not used.
    Inherited {
        /// Whether one of them is for clients with TLS.
        with_tls: bool,
    },
}

impl Sockets {
    /// With those that systemd hands over, if any.
    pub(super) fn of(inherited: &[Listener]) -> Self {
        match inherited {
            [] => Sockets::Bound,
            all => Sockets::Inherited {
                with_tls: all.iter().any(|it| matches!(it, Listener::Tls(_))),
            },
        }
    }
}

/// The sockets that systemd hands over.
///
/// # Errors
/// When nobody can connect to one of them, or two are called `admin`.
pub(super) fn inherited() -> Result<Inherited, Failure> {
    let cannot_use = |what: &str, error: io::Error| {
        Failure::Configuration(format!(
            "cannot use {what} that systemd hands over: {error}."
        ))
    };
    let mut inherited = Inherited::default();
    for passed in systemd::passed().map_err(|error| cannot_use("a socket", error))? {
        let name = passed.name;
        let listener = Listener::inherit(passed.socket, name == TLS_NAME)
            .map_err(|error| cannot_use(&format!("the socket '{name}'"), error))?;
        if name != ADMIN_NAME {
            inherited.listeners.push(listener);
        } else if inherited.admin.replace(listener).is_some() {
            return Err(Failure::Configuration(
                "systemd hands over two sockets with the name admin; accepted is one.".to_owned(),
            ));
        }
    }
    Ok(inherited)
}

impl Options {
    /// Whether the addresses can be what they are to be.
    pub(super) fn check_listen(&self) -> Result<(), Failure> {
        let mut all = self.listen.iter().flat_map(|it| &it.all);
        match all.find(|address| matches!(address, Address::Unix(_))) {
            Some(address) if self.reuse_port => Err(Failure::Usage(format!(
                "--reuse-port cannot share {address}; accepted are addresses of the form HOST:PORT."
            ))),
            _ => Ok(()),
        }
    }

    /// Binds the addresses of `--listen`.
    ///
    /// # Errors
    /// When one of them is not to be had.
    pub(super) fn listeners(&self) -> Result<Vec<Listener>, Failure> {
        let all: Vec<Address> = self.listen.iter().flat_map(|it| it.all.clone()).collect();
        let mut listeners = Vec::new();
        self.check_listen()?;
        for addresses in &self.listen {
            let mut absent = None;
            let bound_before = listeners.len();
            for address in &addresses.all {
                let bound = Listener::bind(address, self.reuse_port, takes_ipv4(address, &all));
                let cannot_listen = |error| {
                    Failure::Unavailable(format!(
                        "cannot listen on {address} (setting --listen): {error}."
                    ))
                };
                match bound {
                    Ok(listener) => listeners.push(listener),
                    // What a name stands for elsewhere, or without IPv6, need not be there.
                    Err(error) if addresses.is_name && is_absent(&error) => {
                        absent = Some(cannot_listen(error));
                    }
                    Err(error) => return Err(cannot_listen(error)),
                }
            }
            if let Some(failure) = absent.filter(|_| listeners.len() == bound_before) {
                return Err(failure);
            }
        }
        Ok(listeners)
    }
}

/// Whether an address could not be bound because this machine does not have it, or no IPv6 at all.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    matches!(error.kind(), AddrNotAvailable | Unsupported)
}

/// The addresses that were really bound.
pub(super) fn addresses(listeners: &[Listener]) -> Result<Vec<Address>, Failure> {
    let addresses: Result<_, _> = listeners.iter().map(Listener::address).collect();
    addresses.map_err(|error| {
        Failure::Unavailable(format!("cannot find out the address listened on: {error}."))
    })
}

/// The line that says all that one needs to know.
pub(super) fn announcement(
    addresses: &[Address],
    admin: Option<&Address>,
    feeds: &[(String, source::Address)],
    connections_max: usize,
) -> String {
    let urls: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            Address::Tcp(address) => format!("ws://{address}/ (page: http://{address}/)"),
            Address::Tls(address) => format!("wss://{address}/ (page: https://{address}/)"),
            Address::Unix(_) => address.to_string(),
        })
        .collect();
    let sources: Vec<String> = feeds
        .iter()
        .map(|(path, source)| format!("{path} from {source}"))
        .collect();
    format!(
        "bugzfeed {VERSION} listens on {}; feeds: {}; up to {connections_max} connections; admin: {}",
        urls.join(", "),
        sources.join(", "),
        admin.map_or("off".to_owned(), ToString::to_string)
    )
}
