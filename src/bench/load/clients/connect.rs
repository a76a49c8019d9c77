//! How a client comes and goes: connecting, the handshake, the subscription, the close. Each step
//! that ends a state is a function here.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Type};

use super::gate::Next;
use super::{Activity, Client, Clients, Phase, TICK, ticks};
use crate::bench::load::tls::Session;
use crate::bench::load::{now, wire};

/// The least that the kernel allows, or nearly so, in bytes.
const SMALL_RECEIVE_BUFFER: usize = 4_096;
const SMALL_SEGMENT: u32 = 536;

impl Clients {
    /// Lets as many connect as may; returns how long to wait for the next one, where that depends
    /// on the clock.
    pub(super) fn begin(&mut self) -> Option<Duration> {
        loop {
            let time = now();
            match self.gate.next(time) {
                Next::Client(client) => {
                    self.clients[client as usize].begun = ticks(time);
                    self.clients[client as usize].phase = Phase::Connecting;
                    if let Err(error) = self.open(client) {
                        self.fail(client, &format!("connect: {error}"));
                    }
                }
                Next::At(due) => return Some(Duration::from_nanos(due - time)),
                Next::Nobody => return None,
            }
        }
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
        let hello;
        let mut begun = None;
        let first = match &self.terms {
            None => request,
            Some(terms) => {
                let mut output = Vec::new();
                match Session::new(terms, request, &mut output) {
                    Ok(session) => begun = Some(Box::new(session)),
                    Err(why) => return self.fail(client, &why),
                }
                hello = output;
                &hello
            }
        };
        let state = &mut self.clients[client as usize];
        let Some(stream) = &mut state.stream else {
            return;
        };
        state.tls = begun;
        match stream.write(first) {
            Ok(_) => self.clients[client as usize].phase = Phase::Upgrading,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(client, &format!("connect: {error}")),
        }
    }

    pub(super) fn subscribe(&mut self, client: u32) {
        if self.setup.path.contains("{bug}") {
            return self.opened(client);
        }
        let with_since = match self.activity {
            Activity::Stay { with_since } => with_since,
            Activity::Churn { .. } => false,
            Activity::Roam(_) => true,
        };
        let since = with_since.then(|| self.ledger.since(client as usize));
        let mut command = Vec::new();
        wire::write_subscribe(
            &mut command,
            self.ledger.bugs_of(client as usize),
            since.as_deref(),
        );
        let client_state = &mut self.clients[client as usize];
        client_state.repeats_from = since.is_some().then_some(0);
        client_state.phase = Phase::Subscribing;
        self.write(client, &command);
    }

    pub(super) fn opened(&mut self, client: u32) {
        self.gate.exit();
        self.tally.open += 1;
        let opened = ticks(now());
        let state = &mut self.clients[client as usize];
        let took = u64::from(opened.wrapping_sub(state.begun)) * TICK;
        (state.phase, state.begun) = (Phase::Open, opened);
        self.tally.connect.record(took, 1);
        if let Activity::Churn { .. } = self.activity {
            self.leave(client);
        }
    }

    /// A small write to a client that reads little: the kernel always has room for it, or the
    /// connection is gone, which the next read finds.
    pub(super) fn write(&mut self, client: u32, bytes: &[u8]) {
        let Client { stream, tls, .. } = &mut self.clients[client as usize];
        let Some(stream) = stream else {
            return;
        };
        let bytes = match tls {
            None => bytes,
            Some(tls) => {
                self.sealed.clear();
                tls.seal(bytes, &mut self.sealed);
                &self.sealed
            }
        };
        let _ = stream.write(bytes);
    }

    pub(super) fn leave(&mut self, client: u32) {
        if self.setup.is_abrupt {
            self.tally.closed += 1;
            return self.forget(client);
        }
        self.clients[client as usize].phase = Phase::Closing;
        self.tally.open -= 1;
        self.gate.enter();
        let mut close = Vec::new();
        wire::write_frame(&mut close, wire::CLOSE, &1_000u16.to_be_bytes());
        self.write(client, &close);
    }

    /// The connection has ended, by a close frame of the server or without one.
    pub(super) fn ended(&mut self, client: u32, why: &str) {
        match self.clients[client as usize].phase {
            Phase::Absent => {}
            // A full server need not answer a hello.
            Phase::Connecting | Phase::Upgrading
                if self.setup.may_refuse && self.terms.is_some() =>
            {
                self.tally.refused += 1;
                self.forget(client);
            }
            Phase::Connecting | Phase::Upgrading | Phase::Subscribing => self.fail(client, why),
            Phase::Open => {
                *self.tally.dropped.entry(why.to_owned()).or_default() += 1;
                self.forget(client);
            }
            Phase::Closing => {
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
        match state.phase {
            Phase::Absent => return,
            Phase::Open => self.tally.open -= 1,
            Phase::Connecting | Phase::Upgrading | Phase::Subscribing | Phase::Closing => {
                self.gate.exit()
            }
        }
        (state.stream, state.tls) = (None, None);
        state.phase = Phase::Absent;
        self.partial.remove(&client);
        if let Activity::Churn { cycles: left @ 1.. } = &mut self.activity {
            *left -= 1;
            self.gate.push(client);
        }
    }
}
