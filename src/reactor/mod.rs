//! The loop: one thread waits for sockets, signals and the inbox, and lets the server act on what
//! came. Owns the poll, the listeners and the clock. Knows nothing of what clients say.

mod listener;

use std::io;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::inbox::{self, Inbox, Notice, PostSender, Sender};
use crate::memory::{Budget, PACKETS_INTERVAL};
use crate::moment::Moment;
use crate::post::Answer;
use crate::server::Server;
use crate::subscriptions::ClientId;
use crate::update::FeedId;

pub use listener::{Address, Listener, Socket};

/// Tokens count down from the top for all that is no client; a client's token is its key in the
/// server's slab.
const INBOX: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const FIRST_LISTENER: usize = usize::MAX - 1_000;

/// Events taken from the kernel in one turn. When thousands leave at once, a turn's worth of them
/// keeps its memory until the turn ends.
const EVENTS_MAX: usize = 256;

/// How long nothing is accepted after the process ran out of files. The kernel does not tell again
/// that a connection waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// The loop and all that it waits for.
pub struct Reactor {
    poll: Poll,
    events: Events,
    inbox: Inbox,
    signals: Signals,
    listeners: Vec<Listener>,
    server: Server<Socket>,
    budget: Budget,
    /// What was done last about memory that is short.
    is_short: bool,
    pace: Pace,
    /// The inboxes of the sources that clients post to.
    post_senders: Vec<(FeedId, PostSender)>,
    started: Instant,
    /// How long a departure may take, in milliseconds.
    drain: u32,
    /// Listeners may have connections waiting.
    has_newcomers: bool,
    accept_again_at: Option<Instant>,
    /// Events were left in the inbox for the next turn.
    has_inbox_left: bool,
    departure: Option<Departure>,
}

/// How fast newcomers are accepted while memory is short, mostly to be refused: the kernel gives
/// the memory of closed connections back only after a while.
struct Pace {
    /// The end of the interval that runs.
    end: Instant,
    /// How many more are accepted in it.
    left: usize,
}

impl Pace {
    const INTERVAL: Duration = Duration::from_millis(100);
    const NEWCOMERS: usize = 32;

    /// Lets one more in, or says when to try again.
    fn admit(&mut self) -> Result<(), Instant> {
        let now = Instant::now();
        if self.end <= now {
            (self.end, self.left) = (now + Self::INTERVAL, Self::NEWCOMERS);
        }
        self.left = self.left.checked_sub(1).ok_or(self.end)?;
        Ok(())
    }
}

enum Departure {
    /// All is given up at this time at the latest.
    Until(Instant),
    Now,
}

impl Reactor {
    /// A loop that serves what connects to `listeners` as far as `budget` allows, and the sender
    /// through which sources reach it. Clients are closed within `drain` milliseconds after the
    /// first SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the kernel has no file left for the poll, the waker or the signals.
    pub fn new(
        mut listeners: Vec<Listener>,
        server: Server<Socket>,
        budget: Budget,
        drain: u32,
    ) -> io::Result<(Self, Sender)> {
        let poll = Poll::new()?;
        let (sender, inbox) = inbox::open(poll.registry(), INBOX)?;
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        for (at, listener) in listeners.iter_mut().enumerate() {
            poll.registry()
                .register(listener, Token(FIRST_LISTENER + at), Interest::READABLE)?;
        }
        let reactor = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            inbox,
            signals,
            listeners,
            server,
            budget,
            is_short: false,
            pace: Pace {
                end: Instant::now(),
                left: 0,
            },
            post_senders: Vec::new(),
            started: Instant::now(),
            drain,
            has_newcomers: true,
            accept_again_at: None,
            has_inbox_left: false,
            departure: None,
        };
        Ok((reactor, sender))
    }

    /// Has what is posted for `feed` handed to a source.
    pub fn hand_posts_to(&mut self, feed: FeedId, posts: PostSender) {
        self.post_senders.push((feed, posts));
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// When the poll itself fails; nothing that a client does leads to it.
    pub fn run(mut self) -> io::Result<()> {
        while !self.is_done() {
            self.wait()?;
            self.act();
            self.publish();
            self.flush();
            self.reap();
            self.accept();
            self.spare_memory();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match self.departure {
            None => false,
            Some(Departure::Now) => true,
            Some(Departure::Until(end)) => self.server.is_empty() || Instant::now() >= end,
        }
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed().as_millis() as u32)
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.server.is_held_up() {
            return Some(Duration::from_millis(PACKETS_INTERVAL.into()));
        }
        if self.server.has_left() || self.has_inbox_left {
            return Some(Duration::ZERO);
        }
        let by_server = self
            .server
            .until_tick(self.now())
            .map(|milliseconds| Duration::from_millis(milliseconds.into()));
        let by_listeners = self
            .accept_again_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        by_server.into_iter().chain(by_listeners).min()
    }

    /// Lets the server act on what sockets and clock say.
    fn act(&mut self) {
        let now = self.now();
        self.server.resume(now);
        let mut has_signals = false;
        for event in &self.events {
            match event.token() {
                INBOX => self.has_inbox_left = true,
                SIGNALS => has_signals = true,
                Token(token) if token >= FIRST_LISTENER => self.has_newcomers = true,
                Token(key) => {
                    let client = ClientId(key as u32);
                    if event.is_writable() {
                        self.server.writable(client, now);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.server.readable(
                            client,
                            event.is_read_closed() || event.is_error(),
                            now,
                        );
                    }
                }
            }
        }
        if has_signals {
            self.take_signals(now);
        }
        self.hand_over_posts(now);
        self.server.tick(now);
    }

    fn take_signals(&mut self, now: Moment) {
        for _ in self.signals.pending() {
            self.departure = Some(if self.departure.is_some() {
                warn!("stopping at once");
                Departure::Now
            } else {
                info!(
                    "stopping: closing {} connections; a second signal stops at once",
                    self.server.len()
                );
                self.listeners.clear();
                self.server.drain(self.drain, now);
                // A moment more than the last one to be closed has.
                Departure::Until(
                    Instant::now() + Duration::from_millis(u64::from(self.drain) + 3_000),
                )
            });
        }
    }

    /// Hands what clients have posted to the sources.
    fn hand_over_posts(&mut self, now: Moment) {
        for (feed, post) in self.server.take_posts() {
            let id = post.id;
            let sender = self.post_senders.iter().find(|(owner, _)| *owner == feed);
            if !sender.is_some_and(|(_, sender)| sender.try_send(post)) {
                self.server.answer(id, Answer::NotKept, now);
            }
        }
    }

    /// Takes what the sources have sent, as much as fits one turn.
    fn publish(&mut self) {
        if (self.server.has_enough() && self.server.is_held_up())
            || !std::mem::take(&mut self.has_inbox_left)
        {
            return;
        }
        let now = self.now();
        self.inbox.begin();
        while let Some(notice) = self.inbox.take() {
            match notice {
                Notice::Updates { feed, updates } => updates
                    .into_iter()
                    .for_each(|update| self.server.publish(feed, update)),
                Notice::Gap { feed, until } => self.server.gap(feed, until),
                Notice::Doubt { feed, is_in_doubt } => self.server.doubt(feed, is_in_doubt),
                Notice::Answer { post, answer } => self.server.answer(post, answer, now),
            }
            if self.server.has_enough() {
                self.has_inbox_left = true;
                break;
            }
        }
    }

    fn flush(&mut self) {
        let now = self.now();
        while self.server.unflushed_len() > 0 {
            let packets = self.budget.packets(self.server.len(), now);
            self.budget.spend(self.server.flush(packets, now));
            if packets == 0 {
                break;
            }
        }
        for client in self.server.take_refused() {
            // Most clients never refuse a byte, so only those that do are watched for taking some
            // again.
            if let Some(stream) = self.server.stream(client) {
                let both = Interest::READABLE | Interest::WRITABLE;
                if let Err(error) =
                    self.poll
                        .registry()
                        .reregister(stream, Token(client.index()), both)
                {
                    warn!("cannot watch client {}: {error}", client.0);
                }
            }
        }
    }

    fn reap(&mut self) {
        self.server.reap(self.now());
    }

    /// Accepts all who wait; last in the turn, so that no event of it can reach a newcomer in the
    /// place of one who has gone.
    fn accept(&mut self) {
        let is_again = self
            .accept_again_at
            .take_if(|at| *at <= Instant::now())
            .is_some();
        if (!self.has_newcomers && !is_again) || self.accept_again_at.is_some() {
            return;
        }
        let now = self.now();
        for listener in &self.listeners {
            while self.server.has_room() {
                self.server
                    .allow(self.budget.allowed(self.server.len(), now));
                if self.budget.is_short()
                    && let Err(end) = self.pace.admit()
                {
                    self.accept_again_at = Some(end);
                    return;
                }
                match listener.accept() {
                    Ok(socket) => {
                        let client = self.server.accept(socket, now);
                        let Some(stream) = self.server.stream(client) else {
                            continue;
                        };
                        if let Err(error) = self.poll.registry().register(
                            stream,
                            Token(client.index()),
                            Interest::READABLE,
                        ) {
                            warn!("cannot watch a new connection: {error}");
                            self.server.abandon(client);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_out_of_resources(&error) => {
                        warn!("cannot accept connections for the moment: {error}");
                        self.accept_again_at = Some(Instant::now() + ACCEPT_PAUSE);
                        return;
                    }
                    // The connection was gone before it was accepted; the next one need not be.
                    Err(_) => {}
                }
            }
        }
        // Without room, those who wait are accepted as soon as others have gone.
        self.has_newcomers = !self.server.has_room();
    }

    /// Lets fewer connections wait while memory is short.
    fn spare_memory(&mut self) {
        let is_short = self.budget.is_short();
        if std::mem::replace(&mut self.is_short, is_short) != is_short {
            for listener in &self.listeners {
                if let Err(error) = listener.shorten_backlog(is_short) {
                    warn!("cannot change how many connections wait: {error}");
                }
            }
        }
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
