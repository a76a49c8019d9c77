//! The door: accepts connections, as many and as fast as memory, files and the server allow. Owns
//! the listeners. Knows nothing of what clients send.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::warn;
use mio::{Interest, Registry, Token};

use super::listener::{Accepted, Listener, Socket};
use crate::memory::Budget;
use crate::moment::Moment;
use crate::server::Server;

/// How long nothing is accepted after the process ran out of files. The kernel does not notify
/// again of a connection that waits already.
const PAUSE: Duration = Duration::from_millis(250);

/// How many connections are accepted in one turn: those who are in have their updates in between.
const NEWCOMERS_PER_TURN: usize = 256;

/// The listeners, and when they are to be accepted from.
pub(super) struct Door {
    listeners: Vec<Listener>,
    turns: Turns,
    /// When to accept again, where that is known.
    again_at: Option<Instant>,
    when_short: Pace,
    /// The pace at all times, where there is one.
    pace: Option<Pace>,
    /// Whether fewer connections may wait than usual.
    has_short_backlog: bool,
}

/// Whose turn it is: each listener with connections that wait is accepted from once before one is
/// accepted from again, so that a crowd at one keeps nobody out at another.
struct Turns {
    /// At which listeners connections may wait.
    ready: Vec<bool>,
    /// The first of those whose turn may be next.
    next: usize,
}

impl Turns {
    fn of(listeners: usize) -> Self {
        Self {
            ready: vec![true; listeners],
            next: 0,
        }
    }

    /// The listener whose turn it is, if connections may wait at any.
    fn peek(&self) -> Option<usize> {
        let count = self.ready.len();
        (self.next..self.next + count)
            .map(|at| at % count)
            .find(|&at| self.ready[at])
    }

    /// To be called when a listener has had its turn, with whether no more connections wait at it.
    fn pass(&mut self, at: usize, is_empty: bool) {
        self.ready[at] = !is_empty;
        self.next = at + 1;
    }
}

/// How fast newcomers are accepted while memory is short, mostly to be refused: the kernel gives
/// the memory of closed connections back only after a while.
const PER_SECOND_WHEN_SHORT: u32 = 320;

/// How fast newcomers are accepted. Those beyond wait in the kernel's queue.
struct Pace {
    /// How many in each interval.
    newcomers: u32,
    interval: Duration,
    /// The end of the interval that runs.
    end: Instant,
    /// How many more are accepted in it.
    left: u32,
}

impl Pace {
    /// The shortest interval.
    const INTERVAL: Duration = Duration::from_millis(100);

    fn per_second(number: u32) -> Self {
        let newcomers = number.div_ceil(10).max(1);
        Self {
            newcomers,
            interval: (Duration::from_secs(1) * newcomers / number.max(1)).max(Self::INTERVAL),
            end: Instant::now(),
            left: 0,
        }
    }

    /// Admits one more, or returns when to try again.
    fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        if self.end <= now {
            (self.end, self.left) = (now + self.interval, self.newcomers);
        }
        self.left = self.left.checked_sub(1).ok_or(self.end)?;
        Ok(())
    }
}

impl Door {
    /// Registers the listeners with the poll, with one token each from `first` on.
    pub(super) fn open(
        mut listeners: Vec<Listener>,
        registry: &Registry,
        first: Token,
    ) -> io::Result<Self> {
        for (at, listener) in listeners.iter_mut().enumerate() {
            registry.register(listener, Token(first.0 + at), Interest::READABLE)?;
        }
        Ok(Self {
            turns: Turns::of(listeners.len()),
            listeners,
            again_at: None,
            when_short: Pace::per_second(PER_SECOND_WHEN_SHORT),
            pace: None,
            has_short_backlog: false,
        })
    }

    /// Accepts so many connections per second at most.
    pub(super) fn set_pace(&mut self, per_second: Option<u32>) {
        self.pace = per_second.map(Pace::per_second);
    }

    /// To be called when connections wait at the listener with the number `at`.
    pub(super) fn ready(&mut self, at: usize) {
        if let Some(ready) = self.turns.ready.get_mut(at) {
            *ready = true;
        }
    }

    /// Closes the listeners; the kernel resets connections that still wait, unless somebody else
    /// listens on the same sockets, as systemd does: those wait for the next server.
    pub(super) fn close(&mut self) {
        self.adapt_backlog(false);
        self.listeners.clear();
        self.turns = Turns::of(0);
    }

    /// How long until [`Door::accept`] must be called; `None` while only an event can say.
    pub(super) fn until_accept(&self) -> Option<Duration> {
        self.again_at
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether [`Door::accept`] has something to do.
    pub(super) fn is_due(&self) -> bool {
        self.again_at
            .map_or(self.turns.peek().is_some(), |at| at <= Instant::now())
    }

    /// Accepts who waits, as many as one turn may. To be called last in a turn, so that no event of the turn can reach a
    /// newcomer in the slot of a client that has gone.
    pub(super) fn accept(
        &mut self,
        server: &mut Server<Socket>,
        budget: &mut Budget,
        registry: &Registry,
        now: Moment,
    ) {
        self.again_at = None;
        let mut left = NEWCOMERS_PER_TURN;
        while let Some(at) = self.turns.peek() {
            if left == 0 {
                self.again_at = Some(Instant::now());
                return;
            }
            left -= 1;
            if !server.has_room() && !server.make_room(now) {
                // Those who wait are accepted as soon as others have gone, or have had their time.
                self.again_at = server
                    .until_room(now)
                    .map(|ms| Instant::now() + Duration::from_millis(ms.into()));
                return;
            }
            server.allow(budget.allowed(server.len(), now));
            if let Err(again_at) = self.admit_one(budget.is_short()) {
                self.again_at = Some(again_at);
                return;
            }
            let accepted = self.listeners[at].accept();
            let is_empty = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            self.turns.pass(at, accepted.as_ref().is_err_and(is_empty));
            match accepted {
                Ok(Accepted::Plain(socket, peer)) => admit(socket, peer, server, registry, now),
                Ok(Accepted::Tls(stream, peer)) => {
                    if let Some(session) = server.begin_session() {
                        let socket = Socket::Tls(stream, session);
                        admit(socket, Some(peer), server, registry, now);
                    }
                }
                Err(error) if is_out_of_resources(&error) => {
                    warn!("cannot accept connections for the moment: {error}");
                    self.again_at = Some(Instant::now() + PAUSE);
                    return;
                }
                // None waits, or one was gone before it was accepted; the next one need not be.
                Err(_) => {}
            }
        }
    }

    /// Lets one more in, or returns when to try again.
    fn admit_one(&mut self, is_short: bool) -> Result<(), Instant> {
        let now = Instant::now();
        if is_short {
            self.when_short.admit(now)?;
        }
        self.pace.as_mut().map_or(Ok(()), |pace| pace.admit(now))
    }

    /// Lets fewer connections wait while memory is short.
    pub(super) fn adapt_backlog(&mut self, is_short: bool) {
        if std::mem::replace(&mut self.has_short_backlog, is_short) == is_short {
            return;
        }
        for listener in &self.listeners {
            if let Err(error) = listener.set_backlog(is_short) {
                warn!("cannot change how many connections wait: {error}");
            }
        }
    }
}

/// Hands a connection to the server, and has the poll watch it.
fn admit(
    socket: Socket,
    peer: Option<IpAddr>,
    server: &mut Server<Socket>,
    registry: &Registry,
    now: Moment,
) {
    let client = server.accept(socket, now);
    server.introduce(client, peer, now);
    let Some(stream) = server.stream(client) else {
        return;
    };
    if let Err(error) = registry.register(stream, Token(client.index()), Interest::READABLE) {
        warn!("cannot watch a new connection: {error}");
        server.abandon(client);
    }
}

/// Whether an error of accept says that the process or the system has run out of something: EMFILE,
/// ENFILE, ENOBUFS, ENOMEM.
fn is_out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_so_many_in_each_second() {
        for (per_second, seconds, expected) in
            [(1, 10, 10), (7, 10, 70), (32, 10, 320), (5_000, 1, 5_000)]
        {
            let mut pace = Pace::per_second(per_second);
            let began = Instant::now();
            let (mut now, mut admitted) = (began, 0);
            while now < began + Duration::from_secs(seconds) {
                match pace.admit(now) {
                    Ok(()) => admitted += 1,
                    Err(again_at) => {
                        assert!(again_at > now);
                        now = again_at;
                    }
                }
            }
            // The first interval begins at once, and the last one may be cut off.
            let burst = per_second.div_ceil(10);
            assert!(
                (expected..=expected + burst).contains(&admitted),
                "{per_second} per second: {admitted} in {seconds} s"
            );
        }
    }

    #[test]
    fn a_crowd_at_one_listener_keeps_nobody_out_at_another() {
        let mut turns = Turns::of(3);
        let mut waiting = [1_000, 2, 3];
        let mut accepted = Vec::new();
        while accepted.len() < 9
            && let Some(at) = turns.peek()
        {
            turns.pass(at, waiting[at] == 0);
            if waiting[at] > 0 {
                waiting[at] -= 1;
                accepted.push(at);
            }
        }
        assert_eq!(accepted, [0, 1, 2, 0, 1, 2, 0, 2, 0]);
        turns.ready[1] = true;
        assert_eq!(turns.peek(), Some(1));
        assert_eq!(Turns::of(0).peek(), None);
    }
}
