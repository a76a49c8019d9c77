//! The load: thousands of clients on one poll. Owns their sockets and where each one is between connecting and closing; what they get
//! goes to the ledger. Memory per client is small, since a test machine holds both ends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use foldhash::fast::RandomState;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Type};

use super::histogram::Histogram;
use super::ledger::{Delivery, Ledger};
use super::plan::Plan;
use super::wire::{self, Said};

/// Where the clients connect to, and as what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The server.
    pub address: SocketAddr,
    /// What the header field Host says.
    pub host: String,
    /// The feed's path. With `{bug}` in it, the path is the subscription, and no command is sent.
    pub path: String,
    /// Who subscribes to what.
    pub plan: Plan,
    /// Which of the plan's clients these are.
    pub clients: Range<u32>,
    /// The addresses that they connect from, in turn; any where there are none.
    pub sources: Vec<Ipv4Addr>,
    /// Whether a client leaves without a close frame.
    pub is_abrupt: bool,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Connecting,
    Upgrading,
    Subscribing,
    Open,
    Closing,
}

#[derive(Debug)]
struct Client {
    stream: Option<TcpStream>,
    state: State,
    /// It connected with `since`.
    has_asked: bool,
    /// It does not read.
    is_stopped: bool,
    /// When it began to connect or to close, in microseconds of the clock, modulo 2^32.
    begun: u32,
}

/// What has happened to the clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Clients that are subscribed.
    pub open: u32,
    /// Times that a client came to be subscribed.
    pub opened: u64,
    /// Times that a client left as it wanted to.
    pub closed: u64,
    /// Times that a client could not connect, by the reason.
    pub failed: BTreeMap<String, u64>,
    /// Times that the server ended a client that was subscribed, by the reason.
    pub dropped: BTreeMap<String, u64>,
    /// Replies that said that history does not reach back far enough.
    pub incomplete: u64,
    /// Bytes read.
    pub bytes: u64,
    /// From the begin of connecting until subscribed.
    pub connect: Histogram,
}

/// All clients of one process.
#[derive(Debug)]
pub struct Clients {
    setup: Setup,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// Bytes of a head or frame that is not complete.
    partial: HashMap<u32, Vec<u8>, RandomState>,
    received: Box<[u8]>,
    /// The last bytes that were nothing but updates, and what they said: the next client mostly gets the same.
    seen: (Vec<u8>, Vec<Delivery>),
    /// Those that are to connect, and with `since` or without.
    waiting: VecDeque<u32>,
    with_since: bool,
    in_flight: u32,
    in_flight_max: u32,
    /// How many begin to connect per second; 0 for all at once.
    rate: u32,
    /// When the first of those in `waiting` began, and how many have since.
    ramp: (u64, u64),
    /// They leave as soon as they are subscribed.
    is_churning: bool,
    /// How many cycles of connecting and leaving are still to begin.
    cycles: u64,
    request: Vec<u8>,
    /// What the clients should get, and got.
    pub ledger: Ledger,
    /// What has happened to them.
    pub tally: Tally,
}

/// Nanoseconds of the clock that all processes of the machine share.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Clients {
    /// Clients that have yet to connect.
    ///
    /// # Errors
    /// When the kernel has no file for the poll.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let absent = || Client { stream: None, state: State::Absent, has_asked: false, is_stopped: false, begun: 0 };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            clients: setup.clients.clone().map(|_| absent()).collect(),
            partial: HashMap::default(),
            received: vec![0; 256 * 1024].into(),
            seen: (Vec::new(), Vec::new()),
            waiting: VecDeque::new(),
            with_since: false,
            in_flight: 0,
            in_flight_max: 0,
            rate: 0,
            ramp: (0, 0),
            is_churning: false,
            cycles: 0,
            request: wire::upgrade(&setup.host, &setup.path),
            ledger: Ledger::new(setup.plan.clone(), setup.clients.clone()),
            tally: Tally::default(),
            setup,
        })
    }

    /// The poll, so that something else can end its wait.
    pub fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Forgets what is known of earlier bytes: updates are expected that were not before.
    pub fn expect(&mut self, segment: super::ledger::Segment) {
        self.seen.0.clear();
        self.ledger.expect(segment);
    }

    /// Sets how many may be connecting or leaving at the same time, and how many may begin to connect per second (0: no limit).
    pub fn pace(&mut self, in_flight: u32, rate: u32) {
        (self.in_flight_max, self.rate) = (in_flight, rate);
    }

    /// Lets all that are absent connect.
    pub fn connect(&mut self, with_since: bool) {
        self.is_churning = false;
        self.with_since = with_since;
        self.waiting = (0..self.clients.len() as u32).filter(|&client| self.clients[client as usize].state == State::Absent).collect();
        self.ramp = (now(), 0);
    }

    /// Lets clients connect and leave again, `cycles` times in all.
    pub fn churn(&mut self, cycles: u64) {
        self.connect(false);
        let first = cycles.min(self.waiting.len() as u64);
        self.waiting.truncate(first as usize);
        self.cycles = cycles - first;
        self.is_churning = true;
    }

    /// Whether nobody is connecting or leaving.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }

    /// Lets all that are open leave. Those that are abrupt are gone at once.
    pub fn close(&mut self) {
        for client in 0..self.clients.len() as u32 {
            if self.clients[client as usize].state == State::Open {
                self.leave(client);
            }
        }
    }

    /// Ends all connections without a word, as a network that fails.
    pub fn cut(&mut self) {
        for client in 0..self.clients.len() as u32 {
            if self.clients[client as usize].state == State::Open {
                self.tally.closed += 1;
                self.forget(client);
            }
        }
    }

    /// Lets each `every`-th client read no more.
    pub fn stop_reading(&mut self, every: u32) {
        self.clients.iter_mut().step_by(every.max(1) as usize).for_each(|client| client.is_stopped = true);
    }

    /// Lets all clients read again.
    pub fn resume_reading(&mut self) {
        for client in 0..self.clients.len() as u32 {
            if std::mem::take(&mut self.clients[client as usize].is_stopped) {
                self.readable(client);
            }
        }
    }

    /// How many clients that are open have not the newest update of each of their bugs.
    pub fn behind(&self) -> u64 {
        let is_behind = |&client: &usize| self.clients[client].state == State::Open && !self.ledger.is_up_to_date(client);
        (0..self.clients.len()).filter(is_behind).count() as u64
    }

    /// Begins what may begin now, waits for something to happen and lets the clients act on it.
    ///
    /// # Errors
    /// When the poll itself fails.
    pub fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let pause = self.begin();
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let timeout = pause.into_iter().chain(patience).min();
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        for event in &events {
            let Ok(client) = u32::try_from(event.token().0) else { continue };
            if event.is_writable() && self.state(client) == Some(State::Connecting) {
                self.upgrade(client);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.readable(client);
            }
        }
        self.events = events;
        Ok(())
    }

    fn state(&self, client: u32) -> Option<State> {
        self.clients.get(client as usize).map(|client| client.state)
    }

    /// Lets as many connect as may; returns how long to wait for the next one, where that depends on the clock.
    fn begin(&mut self) -> Option<Duration> {
        while self.in_flight < self.in_flight_max {
            let due = if self.rate == 0 { 0 } else { self.ramp.0 + self.ramp.1 * 1_000_000_000 / u64::from(self.rate) };
            let time = now();
            if !self.waiting.is_empty() && due > time {
                return Some(Duration::from_nanos(due - time));
            }
            let client = self.waiting.pop_front()?;
            self.ramp.1 += 1;
            self.in_flight += 1;
            self.clients[client as usize].begun = (time / 1_000) as u32;
            self.clients[client as usize].state = State::Connecting;
            if let Err(error) = self.open(client) {
                self.fail(client, &format!("connect: {error}"));
            }
        }
        None
    }

    fn open(&mut self, client: u32) -> io::Result<()> {
        let socket = socket2::Socket::new(Domain::for_address(self.setup.address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(&source) = self.setup.sources.get(client as usize % self.setup.sources.len().max(1)) {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.setup.address.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(client as usize), Interest::READABLE | Interest::WRITABLE)?;
        self.clients[client as usize].stream = Some(stream);
        Ok(())
    }

    fn upgrade(&mut self, client: u32) {
        let own_request;
        let request = if self.setup.path.contains("{bug}") {
            let bug = self.ledger.bugs_of(client as usize)[0].to_string();
            own_request = wire::upgrade(&self.setup.host, &self.setup.path.replace("{bug}", &bug));
            &own_request
        } else {
            &self.request
        };
        let Some(stream) = &mut self.clients[client as usize].stream else { return };
        match stream.write(request) {
            Ok(_) => self.clients[client as usize].state = State::Upgrading,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(client, &format!("connect: {error}")),
        }
    }

    fn readable(&mut self, client: u32) {
        let mut received = std::mem::take(&mut self.received);
        while let Some(Client { stream: Some(stream), is_stopped: false, .. }) = self.clients.get_mut(client as usize) {
            match stream.read(&mut received) {
                Ok(0) => {
                    self.ended(client, "closed without a close frame");
                    break;
                }
                Ok(bytes) => {
                    self.tally.bytes += bytes as u64;
                    self.take(client, &received[..bytes]);
                    if bytes < received.len() && self.state(client) != Some(State::Closing) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended(client, &error.to_string());
                    break;
                }
            }
        }
        self.received = received;
    }

    fn take(&mut self, client: u32, bytes: &[u8]) {
        if !self.partial.is_empty()
            && let Some(mut begun) = self.partial.remove(&client)
        {
            begun.extend_from_slice(bytes);
            return self.take_whole(client, &begun);
        }
        self.take_whole(client, bytes);
    }

    fn take_whole(&mut self, client: u32, bytes: &[u8]) {
        let state = self.clients[client as usize].state;
        if state == State::Open && bytes == self.seen.0 {
            let time = now();
            let has_asked = self.clients[client as usize].has_asked;
            for at in 0..self.seen.1.len() {
                self.ledger.enter(client as usize, &self.seen.1[at], has_asked, time);
            }
            return;
        }
        let mut rest = bytes;
        if state == State::Upgrading {
            match wire::upgraded(rest) {
                Ok(Some(head)) => {
                    rest = &rest[head..];
                    self.subscribe(client);
                }
                Ok(None) => {
                    self.partial.insert(client, rest.to_vec());
                    return;
                }
                Err(why) => return self.fail(client, &why),
            }
        }
        self.take_frames(client, rest);
    }

    fn take_frames(&mut self, client: u32, bytes: &[u8]) {
        let mut rest = bytes;
        let mut deliveries = std::mem::take(&mut self.seen.1);
        deliveries.clear();
        let mut is_pure = true;
        let time = now();
        while !rest.is_empty() && !matches!(self.clients[client as usize].state, State::Absent) {
            let frame = match wire::frame(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.partial.insert(client, rest.to_vec());
                    is_pure = false;
                    break;
                }
                Err(why) => {
                    self.ended(client, why);
                    break;
                }
            };
            match (frame.opcode, if frame.opcode == wire::TEXT { wire::read(frame.payload) } else { Said::Other }) {
                (_, Said::Update { bug, when }) => {
                    let delivery = self.ledger.identify(bug, when);
                    let has_asked = self.clients[client as usize].has_asked;
                    self.ledger.enter(client as usize, &delivery, has_asked, time);
                    deliveries.push(delivery);
                }
                (opcode, said) => {
                    is_pure = false;
                    self.take_other(client, opcode, said, frame.payload);
                }
            }
            rest = &rest[frame.bytes..];
        }
        self.seen.1 = deliveries;
        self.seen.0.clear();
        if is_pure {
            self.seen.0.extend_from_slice(bytes);
        }
    }

    fn take_other(&mut self, client: u32, opcode: u8, said: Said, payload: &[u8]) {
        match (opcode, said) {
            (wire::TEXT, Said::Ok { is_incomplete }) => {
                self.tally.incomplete += u64::from(is_incomplete);
                if self.state(client) == Some(State::Subscribing) {
                    self.opened(client);
                }
            }
            (wire::TEXT, _) => self.fail(client, &format!("answered {:?}", String::from_utf8_lossy(payload))),
            (wire::PING, _) => {
                let mut pong = Vec::new();
                wire::write_frame(&mut pong, wire::PONG, payload);
                self.write(client, &pong);
            }
            (wire::CLOSE, _) => {
                let code = payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                self.ended(client, &format!("closed with {code}"));
            }
            _ => {}
        }
    }

    fn subscribe(&mut self, client: u32) {
        if self.setup.path.contains("{bug}") {
            return self.opened(client);
        }
        let since = self.with_since.then(|| self.ledger.since(client as usize));
        let mut command = Vec::new();
        wire::write_subscribe(&mut command, self.ledger.bugs_of(client as usize), since.as_deref());
        let client_state = &mut self.clients[client as usize];
        client_state.has_asked = since.is_some();
        client_state.state = State::Subscribing;
        self.write(client, &command);
    }

    fn opened(&mut self, client: u32) {
        self.in_flight -= 1;
        self.tally.open += 1;
        self.tally.opened += 1;
        let state = &mut self.clients[client as usize];
        state.state = State::Open;
        let micros = ((now() / 1_000) as u32).wrapping_sub(state.begun);
        self.tally.connect.record(u64::from(micros) * 1_000, 1);
        if self.is_churning {
            self.leave(client);
        }
    }

    /// A small write to a client that reads little: the kernel always has room for it, or the connection is gone, which the next read
    /// will tell.
    fn write(&mut self, client: u32, bytes: &[u8]) {
        if let Some(stream) = &mut self.clients[client as usize].stream {
            let _ = stream.write(bytes);
        }
    }

    fn leave(&mut self, client: u32) {
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
    fn ended(&mut self, client: u32, why: &str) {
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

    fn fail(&mut self, client: u32, why: &str) {
        *self.tally.failed.entry(why.to_owned()).or_default() += 1;
        self.forget(client);
    }

    fn forget(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        match state.state {
            State::Absent => return,
            State::Open => self.tally.open -= 1,
            State::Connecting | State::Upgrading | State::Subscribing | State::Closing => self.in_flight -= 1,
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
