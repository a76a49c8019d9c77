//! The load: thousands of clients on one poll. Owns their sockets and where each one is between
//! connecting and closing; what they get goes to the ledger. Memory per client is small, since a
//! test machine holds both ends.

mod connect;
mod gate;
mod receive;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use foldhash::fast::RandomState;
use mio::net::TcpStream;
use mio::{Events, Poll};
use serde::{Deserialize, Serialize};

use self::gate::Gate;
use self::receive::Seen;
use super::histogram::Histogram;
use super::ledger::Ledger;
use super::now;
use super::plan::Plan;
use super::segment::Segment;
use super::tls::{Session, Terms, TlsSetup};
use super::wire;

/// Where the clients connect to, and as what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
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
    /// How they speak TLS, if they do.
    pub tls: Option<TlsSetup>,
    /// Whether a client leaves without a close frame.
    pub is_abrupt: bool,
    /// Whether the server is to be filled: it may refuse clients by a 503.
    pub may_refuse: bool,
    /// Whether the kernel is to buffer little for a client, so that it does not take megabytes to
    /// make one slow.
    pub has_small_buffers: bool,
    /// Whether the server reads from where several updates of a bug may come as one.
    pub may_combine: bool,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
    tls: Option<Box<Session>>,
    phase: Phase,
    /// It connected with `since`, and has got nothing new since then: the number from which on
    /// updates may come again, the oldest first.
    repeats_from: Option<u32>,
    /// It does not read.
    is_stopped: bool,
    /// It has not read for a time, so that some updates may have been left out, until it has the
    /// newest of each of its bugs again.
    was_stopped: bool,
    /// When it began to connect, and once it is open when that was, in ticks of the clock.
    begun: u32,
}

impl Client {
    const ABSENT: Self = Self {
        stream: None,
        tls: None,
        phase: Phase::Absent,
        repeats_from: None,
        is_stopped: false,
        was_stopped: false,
        begun: 0,
    };
}

/// Ten microseconds, so that four bytes count half a day before they begin anew.
const TICK: u64 = 10_000;

fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds / TICK) as u32
}

/// What has happened to the clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Clients that are subscribed.
    pub open: u32,
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
    /// From the begin of connecting until subscribed.
    pub connect: Histogram,
    /// Handshakes of TLS that were full.
    pub full: u64,
    /// Those that resumed an earlier one.
    pub resumed: u64,
}

/// What clients do once they are subscribed.
#[derive(Clone, Copy, Debug)]
enum Activity {
    /// They stay; whether they named what they had by `since`.
    Stay { with_since: bool },
    /// They leave at once; so many more times a client that has gone connects again.
    Churn { cycles: u64 },
    /// They lose their connection now and then, and come back with `since`.
    Roam(Roaming),
}

#[derive(Clone, Copy, Debug)]
struct Roaming {
    per_second: u32,
    since: u64,
    done: u64,
}

/// All clients of one process.
#[derive(Debug)]
pub(crate) struct Clients {
    setup: Setup,
    /// What a client sends to be upgraded, where all ask for the same path.
    request: Vec<u8>,
    /// What handshakes of TLS are made with, where there is any.
    terms: Option<Terms>,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    gate: Gate,
    activity: Activity,
    /// What one read takes, for all clients.
    received: Box<[u8]>,
    /// What was in it, where that was sealed; what is to be sent, sealed.
    opened: Vec<u8>,
    sealed: Vec<u8>,
    /// Bytes of a head or frame that is not complete.
    partial: HashMap<u32, Vec<u8>, RandomState>,
    seen: Seen,
    /// What the clients should get, and got.
    pub ledger: Ledger,
    /// What has happened to them.
    pub tally: Tally,
}

impl Clients {
    /// Clients that have yet to connect.
    pub(crate) fn new(setup: Setup) -> io::Result<Self> {
        Ok(Self {
            request: wire::upgrade(&setup.host, &setup.path),
            terms: setup.tls.as_ref().map(Terms::new).transpose()?,
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            clients: setup.clients.clone().map(|_| Client::ABSENT).collect(),
            gate: Gate::default(),
            activity: Activity::Stay { with_since: false },
            received: vec![0; 256 * 1024].into(),
            opened: Vec::new(),
            sealed: Vec::new(),
            partial: HashMap::default(),
            seen: Seen::default(),
            ledger: Ledger::new(setup.plan.clone(), setup.clients.clone()),
            tally: Tally::default(),
            setup,
        })
    }

    /// The poll, so that something else can end its wait.
    pub(crate) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Updates that will be published. What is known of earlier bytes is forgotten: updates are
    /// expected that were not before.
    pub(crate) fn expect(&mut self, segment: Segment) {
        self.seen.clear();
        self.ledger.expect(segment);
    }

    /// Lets all that are absent connect: `in_flight` at the same time, `rate` per second (0: no
    /// limit).
    pub(crate) fn connect(&mut self, with_since: bool, in_flight: u32, rate: u32) {
        self.activity = Activity::Stay { with_since };
        self.gate.open(in_flight, rate, now());
        self.gate.fill(absent(&self.clients));
    }

    /// Lets clients connect and leave again, `cycles` times in all.
    pub(crate) fn churn(&mut self, cycles: u64, in_flight: u32) {
        let first = cycles.min(absent(&self.clients).count() as u64);
        self.activity = Activity::Churn {
            cycles: cycles - first,
        };
        self.gate.open(in_flight, 0, now());
        self.gate.fill(absent(&self.clients).take(first as usize));
    }

    /// Lets so many clients per second lose their connection and come back with `since`, from now
    /// on; 0 ends it.
    pub(crate) fn roam(&mut self, per_second: u32, in_flight: u32) {
        self.gate.open(in_flight, 0, now());
        self.activity = if per_second > 0 {
            Activity::Roam(Roaming {
                per_second,
                since: now(),
                done: 0,
            })
        } else {
            Activity::Stay { with_since: true }
        };
    }

    /// Whether nobody is connecting or leaving.
    pub(crate) fn is_settled(&self) -> bool {
        self.gate.is_settled()
    }

    /// Sets whether handshakes of TLS may resume earlier ones from now on.
    pub(crate) fn set_resuming(&self, resumes: bool) {
        if let Some(terms) = &self.terms {
            terms.set_resuming(resumes);
        }
    }

    /// Ends all connections without a close frame, as a network that fails.
    pub(crate) fn cut(&mut self) {
        (0..self.clients.len() as u32).for_each(|client| _ = self.cut_off(client));
    }

    /// Lets each `every`-th client read no more.
    pub(crate) fn stop_reading(&mut self, every: u32) {
        self.clients
            .iter_mut()
            .step_by(every.max(1) as usize)
            .for_each(|client| {
                (client.is_stopped, client.was_stopped) = (true, true);
            });
    }

    /// Lets all clients read again.
    pub(crate) fn resume_reading(&mut self) {
        for client in 0..self.clients.len() as u32 {
            if std::mem::take(&mut self.clients[client as usize].is_stopped) {
                self.clients[client as usize].was_stopped =
                    !self.ledger.is_up_to_date(client as usize);
                self.readable(client);
            }
        }
    }

    /// From now on, updates are expected by those who are open, and by nobody else.
    pub(crate) fn enroll(&mut self) {
        let clients = &self.clients;
        self.ledger
            .enroll(|client| clients[client].phase == Phase::Open);
    }

    /// Whether all that are open have the newest update of each of their bugs.
    pub(crate) fn are_up_to_date(&self) -> bool {
        (0..self.clients.len()).all(|client| {
            self.clients[client].phase != Phase::Open || self.ledger.is_up_to_date(client)
        })
    }

    /// Begins what may begin now, waits for something to happen and lets the clients act on it.
    pub(crate) fn poll(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let next_cut = self.cut_off_due();
        let next_begin = self.begin();
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let timeout = [next_cut, next_begin, patience].into_iter().flatten().min();
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        for event in &events {
            let Ok(client) = u32::try_from(event.token().0) else {
                continue;
            };
            if event.is_writable() && self.phase(client) == Some(Phase::Connecting) {
                self.upgrade(client);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.readable(client);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Cuts off those whose turn it is to roam; returns how long to wait for the next one.
    fn cut_off_due(&mut self) -> Option<Duration> {
        let Activity::Roam(mut roaming) = self.activity else {
            return None;
        };
        loop {
            let due = roaming.since + roaming.done * 1_000_000_000 / u64::from(roaming.per_second);
            if let Some(left) = due.checked_sub(now()).filter(|&left| left > 0) {
                self.activity = Activity::Roam(roaming);
                return Some(Duration::from_nanos(left));
            }
            roaming.done += 1;
            let client = fastrand::u32(0..self.clients.len() as u32);
            if self.cut_off(client) {
                self.gate.push(client);
            }
        }
    }

    /// Ends a client's connection without a close frame; returns whether it was open.
    fn cut_off(&mut self, client: u32) -> bool {
        let is_open = self.phase(client) == Some(Phase::Open);
        if is_open {
            self.tally.closed += 1;
            self.forget(client);
        }
        is_open
    }

    fn phase(&self, client: u32) -> Option<Phase> {
        self.clients.get(client as usize).map(|client| client.phase)
    }
}

fn absent(clients: &[Client]) -> impl Iterator<Item = u32> {
    (0..)
        .zip(clients)
        .filter(|(_, client)| client.phase == Phase::Absent)
        .map(|(at, _)| at)
}
