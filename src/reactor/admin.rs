//! The listener for those who run the server: a few short connections, each with one request and its
//! answer, in the loop of the clients and apart from them, so that it answers when there is no place
//! for another client. Knows no server and no answer.

use std::io::{self, Read, Write};
use std::str::FromStr;
use std::thread;

use log::warn;
use mio::{Events, Interest, Poll, Registry, Token};

use super::address::{Address, Addresses};
use super::listener::{Accepted, Listener, Socket};
use crate::http::{self, Reply};
use crate::work::unix_now;

/// How many connections there may be. A further one takes the place of the oldest.
const CONNECTIONS_MAX: usize = 16;

/// How many bytes of a request are read at once.
const READ_BYTES: usize = 4 * 1024;

/// Where those who run a server may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    /// Nowhere.
    Off,
    /// At each of these.
    At(Addresses),
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let addresses: Addresses = text.parse().map_err(|why| format!("{why}, and off"))?;
        match &addresses.all[..] {
            [Address::Tls(_), ..] => Err(format!(
                "'{text}' has TLS; accepted are 127.0.0.1:8845, [::1]:8845, unix:FILE, and off"
            )),
            _ => Ok(Self::At(addresses)),
        }
    }
}

/// The listener and its connections.
pub(crate) struct Admin {
    listener: Listener,
    connections: Vec<Option<Connection>>,
    /// Of the listener; those of the connections follow it.
    first: Token,
    /// How many connections there have been.
    count: u64,
}

struct Connection {
    socket: Socket,
    /// How many there were before it.
    number: u64,
    request: Vec<u8>,
    response: Vec<u8>,
    /// How much of the response is sent.
    sent: usize,
}

impl Admin {
    /// How many tokens it uses.
    pub(crate) const TOKENS: usize = CONNECTIONS_MAX + 1;

    /// Registers a listener with the poll, with [`Admin::TOKENS`] tokens from `first` on.
    pub(crate) fn open(
        mut listener: Listener,
        registry: &Registry,
        first: Token,
    ) -> io::Result<Self> {
        registry.register(&mut listener, first, Interest::READABLE)?;
        let connections = std::iter::repeat_with(|| None).take(CONNECTIONS_MAX);
        Ok(Self {
            listener,
            connections: connections.collect(),
            first,
            count: 0,
        })
    }

    /// Acts on an event. Each complete request gets what `reply` has at its path with its query.
    /// `unix_time` is the answer's date.
    pub(crate) fn act(
        &mut self,
        token: Token,
        registry: &Registry,
        unix_time: i64,
        reply: impl FnOnce(&str, &str) -> Option<Reply>,
    ) {
        let Some(at) = token.0.checked_sub(self.first.0 + 1) else {
            return self.accept(registry);
        };
        let Some(connection) = self.connections.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        if !connection.goes_on(unix_time, reply) {
            // Its file is closed, and the poll forgets it.
            self.connections[at] = None;
        }
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            match self.listener.accept() {
                Ok(Accepted::Plain(socket, _)) => self.add(socket, registry),
                // It has none; see AdminAddress.
                Ok(Accepted::Tls(..)) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return warn!("cannot accept an admin connection: {error}"),
            }
        }
    }

    fn add(&mut self, mut socket: Socket, registry: &Registry) {
        let age = |at: &usize| self.connections[*at].as_ref().map(|it| it.number);
        let Some(at) = (0..CONNECTIONS_MAX).min_by_key(age) else {
            return;
        };
        let (token, both) = (
            Token(self.first.0 + 1 + at),
            Interest::READABLE | Interest::WRITABLE,
        );
        self.connections[at] = None;
        if let Err(error) = registry.register(&mut socket, token, both) {
            return warn!("cannot watch an admin connection: {error}");
        }
        self.connections[at] = Some(Connection {
            socket,
            number: self.count,
            request: Vec::new(),
            response: Vec::new(),
            sent: 0,
        });
        self.count += 1;
    }
}

/// Answers at a listener in a thread of its own until the program ends: for a command without a loop.
///
/// # Errors
/// When the poll cannot watch it, or there is no thread.
pub(crate) fn answer_apart(
    listener: Listener,
    reply: impl Fn(&str, &str) -> Option<Reply> + Send + 'static,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut admin = Admin::open(listener, poll.registry(), Token(0))?;
    let run = move || {
        let mut events = Events::with_capacity(Admin::TOKENS);
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return warn!("the admin listener has failed: {error}"),
                Ok(()) => {}
            }
            for event in &events {
                admin.act(event.token(), poll.registry(), unix_now(), &reply);
            }
        }
    };
    thread::Builder::new()
        .name("admin".to_owned())
        .spawn(run)
        .map(drop)
}

impl Connection {
    /// Reads and writes as far as it goes; returns whether there is more to do.
    fn goes_on(&mut self, unix_time: i64, reply: impl FnOnce(&str, &str) -> Option<Reply>) -> bool {
        if self.response.is_empty() {
            if !self.read() {
                return false;
            }
            if !http::respond_plainly(&self.request, unix_time, &mut self.response, reply) {
                return true;
            }
        }
        self.write()
    }

    /// Reads what has come; returns whether the peer is still there. A request is not long, and what
    /// is read of one that is too long is enough to refuse it.
    fn read(&mut self) -> bool {
        let mut buffer = [0; READ_BYTES];
        while self.request.len() <= http::HEAD_BYTES_MAX {
            match self.socket.read(&mut buffer) {
                Ok(0) => return false,
                Ok(bytes) => self.request.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Writes the response; returns whether some of it is left.
    fn write(&mut self) -> bool {
        while self.sent < self.response.len() {
            match self.socket.write(&self.response[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_one_without_tls_or_off() {
        assert_eq!("off".parse(), Ok(AdminAddress::Off));
        for text in ["127.0.0.1:0", "[::1]:8845", "unix:a.sock?mode=600"] {
            assert!(matches!(text.parse(), Ok(AdminAddress::At(_))), "{text}");
        }
        for text in ["tls:127.0.0.1:1", "on", "8845"] {
            let why = text.parse::<AdminAddress>().unwrap_err();
            assert!(why.contains(text) && why.contains("off"), "{why}");
        }
    }
}
