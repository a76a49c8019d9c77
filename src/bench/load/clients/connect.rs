//! How a client comes and goes: connecting, the handshake, the subscription, the close. Each step
//! that ends a state is a function here.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Type};

use super::{Clients, State, TICK, ticks};
use crate::bench::load::{now, wire};

/// The least that the kernel allows, or nearly so, in bytes.
const SMALL_RECEIVE_BUFFER: usize = 4_096;
const SMALL_SEGMENT: u32 = 536;

impl Clients {
    /// Lets as many connect as may; returns how long to wait for the next one, where that depends
    /// on the clock.
    pub(super) fn begin(&mut self) -> Option<Duration> {
        while self.in_flight < self.in_flight_max {
            let due = if self.rate == 0 {
                0
            } else {
                self.ramp.0 + self.ramp.1 * 1_000_000_000 / u64::from(self.rate)
            };
            let time = now();
            if !self.waiting.is_empty() && due > time {
                return Some(Duration::from_nanos(due - time));
            }
            let client = self.waiting.pop_front()?;
            self.ramp.1 += 1;
            self.in_flight += 1;
            self.clients[client as usize].begun = ticks(time);
            self.clients[client as usize].state = State::Connecting;
            if let Err(error) = self.open(client) {
                self.fail(client, &format!("connect: {error}"));
            }
        }
        None
    }

    fn open(&mut self, client: u32) -> io::Result<()> {
        let socket = socket2::Socket::new(
            Domain::for_address(self.setup.address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        if self.setup.has_small_buffers {
            socket.set_recv_buffer_size(SMALL_RECEIVE_BUFFER)?;
            // The server's kernel buffers some twenty segments, which have 64 KB each on the
            // loopback.
            socket.set_tcp_mss(SMALL_SEGMENT)?;
        }
        if let Some(&source) = self
            .setup
            .sources
            .get(client as usize % self.setup.sources.len().max(1))
        {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.setup.address.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(
            &mut stream,
            Token(client as usize),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.clients[client as usize].stream = Some(stream);
        Ok(())
    }

    pub(super) fn upgrade(&mut self, client: u32) {
        let own_request;
        let request = if self.setup.path.contains("{bug}") {
            let bug = self.ledger.bugs_of(client as usize)[0].to_string();
            own_request = wire::upgrade(&self.setup.host, &self.setup.path.replace("{bug}", &bug));
            &own_request
        } else {
            &self.request
        };
        let Some(stream) = &mut self.clients[client as usize].stream else {
            return;
        };
        match stream.write(request) {
            Ok(_) => self.clients[client as usize].state = State::Upgrading,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(client, &format!("connect: {error}")),
        }
    }

    pub(super) fn subscribe(&mut self, client: u32) {
        if self.setup.path.contains("{bug}") {
            return self.opened(client);
        }
        let since = self.with_since.then(|| self.ledger.since(client as usize));
        let mut command = Vec::new();
        wire::write_subscribe(
            &mut command,
            self.ledger.bugs_of(client as usize),
            since.as_deref(),
        );
        let client_state = &mut self.clients[client as usize];
        client_state.may_repeat = since.is_some();
        client_state.state = State::Subscribing;
        self.write(client, &command);
    }

    pub(super) fn opened(&mut self, client: u32) {
        self.in_flight -= 1;
        self.tally.open += 1;
        self.tally.opened += 1;
        let state = &mut self.clients[client as usize];
        state.state = State::Open;
        let opened = ticks(now());
        self.tally
            .connect
            .record(u64::from(opened.wrapping_sub(state.begun)) * TICK, 1);
        state.begun = opened;
        if self.is_churning {
            self.leave(client);
        }
    }

    /// A small write to a client that reads little: the kernel always has room for it, or the
    /// connection is gone, which the next read will tell.
    pub(super) fn write(&mut self, client: u32, bytes: &[u8]) {
        if let Some(stream) = &mut self.clients[client as usize].stream {
            let _ = stream.write(bytes);
        }
    }

    pub(super) fn leave(&mut self, client: u32) {
        if self.setup.is_abrupt {
            self.tally.closed += 1;
            return self.forget(client);
        }
        self.clients[client as usize].state = State::Closing;
        self.tally.open -= 1;
        self.in_flight += 1;
        let mut close = Vec::new();
        wire::write_frame(&mut close, wire::CLOSE, &1_000u16.to_be_bytes());
        self.write(client, &close);
    }

    /// The connection has come to its end, by the server's word or without one.
    pub(super) fn ended(&mut self, client: u32, why: &str) {
        match self.clients[client as usize].state {
            State::Absent => {}
            State::Connecting | State::Upgrading | State::Subscribing => self.fail(client, why),
            State::Open => {
                *self.tally.dropped.entry(why.to_owned()).or_default() += 1;
                self.forget(client);
            }
            State::Closing => {
                self.tally.closed += 1;
                self.forget(client);
            }
        }
    }

    pub(super) fn fail(&mut self, client: u32, why: &str) {
        *self.tally.failed.entry(why.to_owned()).or_default() += 1;
        self.forget(client);
    }

    pub(super) fn forget(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        match state.state {
            State::Absent => return,
            State::Open => self.tally.open -= 1,
            State::Connecting | State::Upgrading | State::Subscribing | State::Closing => {
                self.in_flight -= 1
            }
        }
        state.stream = None;
        state.state = State::Absent;
        self.partial.remove(&client);
        if self.cycles > 0 {
            self.cycles -= 1;
            self.waiting.push_back(client);
        }
    }
}
