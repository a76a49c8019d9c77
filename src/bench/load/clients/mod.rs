//! The load: thousands of clients on one poll. Owns their sockets and where each one is between
//! connecting and closing; what they get goes to the ledger. Memory per client is small, since a
//! test machine holds both ends.

mod connect;
mod receive;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use foldhash::fast::RandomState;
use mio::net::TcpStream;
use mio::{Events, Poll};
use serde::{Deserialize, Serialize};

use crate::bench::load::histogram::Histogram;
use crate::bench::load::ledger::{Delivery, Ledger};
use crate::bench::load::plan::Plan;
use crate::bench::load::{now, wire};

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
    /// Whether the server is to be filled: it may refuse clients by a 503.
    pub may_refuse: bool,
    /// Whether the kernel is to buffer little for a client, so that it does not take megabytes to
    /// make one slow.
    pub has_small_buffers: bool,
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
    /// It connected with `since`, and has got no update since then.
    may_repeat: bool,
    /// It does not read.
    is_stopped: bool,
    /// It has not read for a time, so that some updates may have been left out.
    was_stopped: bool,
    /// When it began to connect, and once it is open when that was, in ticks of the clock.
    begun: u32,
}

/// Ten microseconds, so that four bytes count half a day before they begin anew.
const TICK: u64 = 10_000;

fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds / TICK) as u32
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
    /// Times that a client was refused by a 503, where that is as it should be.
    pub refused: u64,
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
    /// The last bytes that were nothing but updates, and what they said: the next client mostly
    /// gets the same.
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
    roaming: Option<Roaming>,
    request: Vec<u8>,
    /// What the clients should get, and got.
    pub ledger: Ledger,
    /// What has happened to them.
    pub tally: Tally,
}

/// Clients that lose their connection now and then and come back.
#[derive(Clone, Copy, Debug)]
struct Roaming {
    per_second: u32,
    since: u64,
    done: u64,
}

impl Clients {
    /// Clients that have yet to connect.
    ///
    /// # Errors
    /// When the kernel has no file for the poll.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let absent = || Client {
            stream: None,
            state: State::Absent,
            may_repeat: false,
            is_stopped: false,
            was_stopped: false,
            begun: 0,
        };
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
            roaming: None,
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
    pub fn expect(&mut self, segment: crate::bench::load::ledger::Segment) {
        self.seen.0.clear();
        self.ledger.expect(segment);
    }

    /// Sets how many may be connecting or leaving at the same time, and how many may begin to
    /// connect per second (0: no limit).
    pub fn pace(&mut self, in_flight: u32, rate: u32) {
        (self.in_flight_max, self.rate) = (in_flight, rate);
    }

    /// Lets all that are absent connect.
    pub fn connect(&mut self, with_since: bool) {
        self.is_churning = false;
        self.with_since = with_since;
        self.waiting = (0..self.clients.len() as u32)
            .filter(|&client| self.clients[client as usize].state == State::Absent)
            .collect();
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
        self.clients
            .iter_mut()
            .step_by(every.max(1) as usize)
            .for_each(|client| {
                (client.is_stopped, client.was_stopped) = (true, true);
            });
    }

    /// Lets all clients read again.
    pub fn resume_reading(&mut self) {
        for client in 0..self.clients.len() as u32 {
            if std::mem::take(&mut self.clients[client as usize].is_stopped) {
                self.readable(client);
            }
        }
    }

    /// Lets so many clients per second lose their connection and come back with `since`, from now
    /// on; 0 ends it.
    pub fn roam(&mut self, per_second: u32) {
        self.is_churning = false;
        self.with_since = true;
        self.ramp = (now(), 0);
        self.roaming = (per_second > 0).then(|| Roaming {
            per_second,
            since: now(),
            done: 0,
        });
    }

    /// Cuts off those whose turn it is; returns how long to wait for the next one.
    fn cut_off_due(&mut self) -> Option<Duration> {
        let mut roaming = self.roaming?;
        loop {
            let due = roaming.since + roaming.done * 1_000_000_000 / u64::from(roaming.per_second);
            if let Some(left) = due.checked_sub(now()).filter(|&left| left > 0) {
                self.roaming = Some(roaming);
                return Some(Duration::from_nanos(left));
            }
            roaming.done += 1;
            let client = fastrand::u32(0..self.clients.len() as u32);
            if self.clients[client as usize].state == State::Open {
                self.tally.closed += 1;
                self.forget(client);
                self.waiting.push_back(client);
            }
        }
    }

    /// From now on, updates are expected by those who are open, and by nobody else.
    pub fn enroll(&mut self) {
        let clients = &self.clients;
        self.ledger
            .enroll(|client| clients[client].state == State::Open);
    }

    /// How many clients that are open have not the newest update of each of their bugs.
    pub fn behind(&self) -> u64 {
        let is_behind = |&client: &usize| {
            self.clients[client].state == State::Open && !self.ledger.is_up_to_date(client)
        };
        (0..self.clients.len()).filter(is_behind).count() as u64
    }

    /// Begins what may begin now, waits for something to happen and lets the clients act on it.
    ///
    /// # Errors
    /// When the poll itself fails.
    pub fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let cut_off = self.cut_off_due();
        let pause = self.begin().into_iter().chain(cut_off).min();
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let timeout = pause.into_iter().chain(patience).min();
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        for event in &events {
            let Ok(client) = u32::try_from(event.token().0) else {
                continue;
            };
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
}
