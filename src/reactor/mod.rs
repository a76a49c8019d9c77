//! The loop: one thread waits for sockets, signals and the inbox, and lets the server act on what
//! came. Owns the poll and the clock; the listeners are the door's. Knows nothing of what clients
//! send.

mod address;
mod admin;
mod door;
mod listener;
mod observed;
mod questions;
mod summary;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::access::News;
use crate::asker::Questions;
use crate::certificate::Certificates;
use crate::inbox::{self, Inbox, Notice, PostSender, Reloaded, Sender};
use crate::memory::{Budget, PACKETS_INTERVAL};
use crate::moment::Moment;
use crate::post::Answer;
use crate::server::Server;
use crate::subscriptions::ClientId;
use crate::systemd::Manager;
use crate::update::FeedId;
use crate::work::unix_now;

pub(crate) use address::{Address, Addresses};
use admin::Admin;
pub(crate) use admin::{AdminAddress, answer_apart};
use door::Door;
pub(crate) use listener::{Listener, Socket, takes_ipv4};
use observed::Observed;
use summary::{Summary, Totals, spoken};

/// Tokens count down from the top for all that is no client; a client's token is its key in the
/// server's slab.
const INBOX: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const FIRST_LISTENER: Token = Token(usize::MAX - 1_000);
const FIRST_ADMIN: Token = Token(FIRST_LISTENER.0 - Admin::TOKENS);

/// Events taken from the kernel in one turn. When thousands leave at once, a turn's worth of them
/// keeps its memory until the turn ends.
const EVENTS_MAX: usize = 256;

/// How much longer than the loop the process may take to end: its threads are waited for.
const STOPPING_MORE: Duration = Duration::from_secs(10);

/// The loop and all that it waits for.
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    inbox: Inbox,
    signals: Signals,
    door: Door,
    server: Server<Socket>,
    budget: Budget,
    /// Has the settings read anew, elsewhere; a notice says when that is done.
    reload: Box<dyn Fn() -> io::Result<()>>,
    reloading: Reloading,
    /// Who asks Bugzilla about readers, if somebody does.
    questions: Option<Questions>,
    /// The inboxes of the sources that clients post to.
    post_senders: Vec<(FeedId, PostSender)>,
    started: Instant,
    /// Over how long the clients are closed in the end, in milliseconds.
    drain: u32,
    /// Whether the inbox may hold notices.
    is_inbox_ready: bool,
    shutdown: Option<Shutdown>,
    /// Why a source may not read, if that ends the loop.
    refusal: Option<String>,
    manager: Manager,
    observed: Observed,
    /// Where those ask who run the server, if anywhere.
    admin: Option<Admin>,
    /// When the turn began.
    turn_began: Instant,
    summary: Summary,
}

/// Whether the settings are being read anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reloading {
    No,
    Yes,
    /// And they are to be read once more after that.
    Again,
}

/// The end of the loop.
enum Shutdown {
    /// When all clients are closed, or at this time at the latest.
    By(Instant),
    Now,
}

impl Reactor {
    /// A loop that serves what connects to `listeners` as far as `budget` allows, and the sender
    /// through which sources reach it. Clients are closed within `drain` milliseconds after the
    /// first SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the kernel has no file left for the poll, the waker or the signals.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        server: Server<Socket>,
        budget: Budget,
        drain: u32,
    ) -> io::Result<(Self, Sender)> {
        let poll = Poll::new()?;
        let (sender, inbox) = inbox::open(poll.registry(), INBOX)?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        let door = Door::open(listeners, poll.registry(), FIRST_LISTENER)?;
        let reactor = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            inbox,
            signals,
            door,
            server,
            budget,
            reload: Box::new(|| Ok(())),
            reloading: Reloading::No,
            questions: None,
            post_senders: Vec::new(),
            started: Instant::now(),
            drain,
            is_inbox_ready: false,
            shutdown: None,
            refusal: None,
            manager: Manager::of_this_process(),
            observed: Observed::new(),
            admin: None,
            turn_began: Instant::now(),
            summary: Summary::each(1 << 30),
        };
        Ok((reactor, sender))
    }

    /// Sets what SIGHUP does: it must not block, and [`Notice::Reloaded`] must follow.
    pub(crate) fn reload_by(&mut self, reload: impl Fn() -> io::Result<()> + 'static) {
        self.reload = Box::new(reload);
    }

    /// Says in the log what has happened, each `interval` milliseconds.
    pub(crate) fn summarize_each(&mut self, interval: u32) {
        self.summary = Summary::each(interval);
    }

    /// Accepts so many connections per second at most.
    pub(crate) fn accept_at_most(&mut self, per_second: Option<u32>) {
        self.door.set_pace(per_second);
    }

    /// Answers those who run the server at this listener.
    ///
    /// # Errors
    /// When the poll cannot watch it.
    pub(crate) fn answer_at(&mut self, listener: Listener) -> io::Result<()> {
        let admin = Admin::open(listener, self.poll.registry(), FIRST_ADMIN)?;
        self.admin = Some(admin);
        self.server.remember_closed();
        Ok(())
    }

    /// Names the next feed, by its path and its source's name without a password, to those.
    pub(crate) fn name_feed(&mut self, path: &str, source: String) {
        self.observed.add_feed(path, source);
    }

    /// Shows them when these certificates end.
    pub(crate) fn show_certificates(&mut self, certificates: Arc<Certificates>) {
        self.observed.set_certificates(certificates);
    }

    /// Has what is posted for `feed` handed to a source.
    pub(crate) fn hand_posts_to(&mut self, feed: FeedId, posts: PostSender) {
        self.post_senders.push((feed, posts));
    }

    /// Serves until a signal ends it, or a source that may not read; returns why it may not.
    ///
    /// # Errors
    /// When the poll itself fails; nothing that a client does leads to it.
    pub(crate) fn run(mut self) -> io::Result<Option<String>> {
        self.manager.ready();
        while !self.is_done() {
            self.wait()?;
            self.act();
            self.publish();
            self.flush();
            self.reap();
            self.accept();
            self.observed.end_turn(self.turn_began);
            self.summarize();
        }
        let time = spoken(self.started.elapsed());
        info!("stopped after {time}: {}", self.totals());
        Ok(self.refusal)
    }

    /// What has happened since the start.
    fn totals(&self) -> Totals {
        let counts = self.server.counts();
        Totals {
            accepted: counts.accepted,
            ended: counts.closed.values().sum(),
            updates: self.server.feed_counts().iter().map(|it| it.updates).sum(),
            deliveries: counts.deliveries,
        }
    }

    fn summarize(&mut self) {
        let now = self.now();
        if self.summary.until_due(now) == 0 {
            let since = self.summary.take(self.totals(), now);
            let connections = self.server.len();
            info!("{connections} connections; since the last such line: {since}");
        }
    }

    fn is_done(&self) -> bool {
        match self.shutdown {
            None => false,
            Some(Shutdown::Now) => true,
            Some(Shutdown::By(end)) => self.server.is_empty() || Instant::now() >= end,
        }
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed().as_millis() as u32)
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let polled = self.poll.poll(&mut self.events, timeout);
        self.turn_began = Instant::now();
        match polled {
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
        if self.server.has_left() || self.is_inbox_ready {
            return Some(Duration::ZERO);
        }
        let now = self.now();
        let by_server = self.server.until_tick(now);
        let by_manager = self.manager.until_tick(now);
        let by_summary = self.summary.until_due(now);
        let by_time = by_server
            .into_iter()
            .chain(by_manager)
            .chain([by_summary])
            .min();
        let by_time = by_time.map(|milliseconds| Duration::from_millis(milliseconds.into()));
        by_time.into_iter().chain(self.door.until_accept()).min()
    }

    /// Lets the server act on what has happened to sockets, and on the time.
    fn act(&mut self) {
        let now = self.now();
        self.server.set_unix_time(unix_now());
        self.server.resume(now);
        let mut has_signals = false;
        let mut admin_tokens = Vec::new();
        for event in &self.events {
            match event.token() {
                INBOX => self.is_inbox_ready = true,
                SIGNALS => has_signals = true,
                token if token >= FIRST_LISTENER => self.door.ready(token.0 - FIRST_LISTENER.0),
                token if token >= FIRST_ADMIN => admin_tokens.push(token),
                Token(key) => {
                    let client = ClientId(key as u32);
                    if event.is_writable() {
                        self.server.writable(client, now);
                    }
                    let is_ended = event.is_read_closed() || event.is_error();
                    if event.is_readable() || is_ended {
                        self.server.readable(client, is_ended, now);
                    }
                }
            }
        }
        if has_signals {
            self.take_signals(now);
        }
        self.hand_over_posts(now);
        self.server.tick(now);
        self.hand_over_question(now);
        self.manager.tick(self.server.len(), now);
        self.spare_memory(now);
        self.answer(&admin_tokens);
    }

    /// Answers those who run the server.
    fn answer(&mut self, tokens: &[Token]) {
        let Some(admin) = &mut self.admin else {
            return;
        };
        let (observed, server, budget) = (&self.observed, &self.server, &self.budget);
        for &token in tokens {
            admin.act(token, self.poll.registry(), unix_now(), |path, query| {
                observed.reply(path, query, server, budget)
            });
        }
    }

    /// Closes clients that own much while memory is short.
    fn spare_memory(&mut self, now: Moment) {
        let grown = self.server.take_grown();
        let missing = self.budget.missing(grown, self.server.len(), now);
        if missing > 0 {
            self.server.close_dearest(missing, now);
        }
        self.server.allow_handshakes(self.budget.handshakes());
    }

    fn take_signals(&mut self, now: Moment) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            if signal == SIGHUP {
                self.begin_reload();
            } else if self.shutdown.is_some() {
                warn!("stopping at once");
                self.shutdown = Some(Shutdown::Now);
            } else {
                self.stop(now);
            }
        }
    }

    fn begin_reload(&mut self) {
        if self.reloading == Reloading::No {
            self.reloading = Reloading::Yes;
            self.manager.reloading();
            if let Err(error) = (self.reload)() {
                error!(
                    "the settings stay what they were: there is no thread to read them: {error}"
                );
                self.reloading = Reloading::No;
                self.manager.ready();
            }
        } else {
            self.reloading = Reloading::Again;
        }
    }

    /// Takes over settings that were read anew, if they are any good.
    fn end_reload(&mut self, reloaded: Option<Box<Reloaded>>, now: Moment) {
        if let Some(reloaded) = reloaded {
            reloaded.log();
            self.server.change(reloaded.terms, now);
            self.drain = reloaded.drain;
            self.budget.set_reserve(reloaded.memory_reserve);
            self.door.set_pace(reloaded.accept_rate);
        }
        let before = std::mem::replace(&mut self.reloading, Reloading::No);
        self.manager.ready();
        if before == Reloading::Again {
            self.begin_reload();
        }
    }

    fn stop(&mut self, now: Moment) {
        info!(
            "stopping: closing {} connections; a second signal stops at once",
            self.server.len()
        );
        self.door.close();
        self.server.drain(self.drain, now);
        // A moment more than the client that is closed last has to leave.
        let patience = Duration::from_millis(u64::from(self.drain) + 3_000);
        self.manager.stopping(patience + STOPPING_MORE);
        self.shutdown = Some(Shutdown::By(Instant::now() + patience));
    }

    /// A source may not read: the loop ends as by a signal.
    fn take_refusal(&mut self, why: String, now: Moment) {
        self.refusal.get_or_insert(why);
        if self.shutdown.is_none() {
            self.stop(now);
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
            || !std::mem::take(&mut self.is_inbox_ready)
        {
            return;
        }
        let now = self.now();
        self.inbox.begin();
        while let Some(notice) = self.inbox.take() {
            match notice {
                Notice::Updates {
                    feed,
                    updates,
                    credible_until,
                    read_at,
                } => {
                    self.observed.carry(read_at);
                    for update in updates {
                        self.server.publish(feed, update, credible_until);
                    }
                }
                Notice::Source { feed, state } => self.observed.set_source(feed, state),
                Notice::Keeping { feed, is_keeping } => {
                    self.observed.set_keeping(feed, is_keeping);
                }
                Notice::Earlier { feed, updates } => self.server.remember(feed, updates),
                Notice::Promise { feed, promise } => self.server.promise(feed, promise),
                Notice::Gap { feed } => self.server.gap(feed, now),
                Notice::Clock { feed, ahead } => self.server.set_database_clock(feed, ahead),
                Notice::Refused { why } => self.take_refusal(why, now),
                Notice::Key { feed, key } => self.server.set_webhook_key(feed, &key),
                Notice::Access(News::Tokens(tokens)) => self.server.require_tokens(tokens, now),
                Notice::Access(News::Answer(answer)) => self.server.take_answer(answer, now),
                Notice::Reloaded(reloaded) => self.end_reload(reloaded, now),
                Notice::Answer { post, answer } => self.server.answer(post, answer, now),
            }
            if self.server.has_enough() {
                self.is_inbox_ready = true;
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
        if self.server.unflushed_len() == 0 {
            self.observed.written();
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

    fn accept(&mut self) {
        if self.door.is_due() {
            let (now, registry) = (self.now(), self.poll.registry());
            self.door
                .accept(&mut self.server, &mut self.budget, registry, now);
        }
        self.door.adapt_backlog(self.budget.is_short());
    }
}
