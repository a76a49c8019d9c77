//! All clients of all feeds: accepts them, answers them, sends them updates, and removes them. Owns
//! the connections and the order in which things happen to them. Generic over the stream and given
//! the time, so that a simulation can drive it; knows no poll, no thread, no clock.
//!
//! Nobody is removed while events are handled, and nothing is written but what was held up and must
//! come before a reply: [`Server::flush`] writes once per client and turn, and [`Server::reap`] is
//! the one place that removes a client.

mod access;
mod closed;
mod deadlines;
mod dear;
mod drain;
mod end;
mod events;
mod flush;
mod followers;
mod hold;
mod input;
mod posts;
mod readers;
mod room;
mod secure;
mod seldom;
#[cfg(test)]
mod tests;
mod traffic;
mod visitors;
mod withheld;

use slab::Slab;

use crate::connection::{CloseReason, Connection, Phase, Stream};
use crate::http::{Origin, Page, Site};
use crate::hub::Hub;
use crate::metrics::{Counts, FeedCounts};
use crate::moment::Moment;
use crate::secure::Sessions;
use crate::subscriptions::ClientId;
use crate::turn::{Place, Turn};
use crate::update::{FeedId, Update};

pub(crate) use visitors::AddressRules;

/// The size of the one buffer that all clients' bytes are received in.
const RECEIVED_BYTES_MAX: usize = 64 * 1024;

/// A turn that has more bytes to send than this takes no more input: a thousand clients may each
/// ask for a large reply at once.
const TURN_BYTES_MAX: usize = 256 * 1024;

/// Slots for clients that are never given back.
const SLOTS_KEPT: usize = 1_024;

/// What a client may do. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that speak WebSocket; those beyond are refused with a 503.
    pub connections_max: usize,
    /// The size of a message from a client, in bytes.
    pub message_bytes_max: usize,
    /// How many messages a client may send per second in the long run: at most 1,000, since each is
    /// counted as whole milliseconds.
    pub messages_per_second: u32,
    /// How many messages a client may send at once.
    pub messages_burst: u32,
    /// How long a handshake may take.
    pub handshake: u32,
    /// How long a message may take, from its first byte to its last.
    pub message: u32,
    /// How long a client may be silent before it is pinged.
    pub ping: u32,
    /// How long it may stay silent after that.
    pub pong: u32,
    /// How long a client may take no bytes while there are some for it.
    pub stall: u32,
}

/// What can change while the server runs.
#[derive(Debug)]
pub(crate) struct Terms {
    /// They hold for those who are connected, too, from their next message or deadline on.
    pub limits: Limits,
    /// How many bugs a client may subscribe to; what it has subscribed to stays.
    pub subscriptions_max: usize,
    /// Whether a client may subscribe to all bugs.
    pub offers_all: bool,
    /// The site's pages.
    pub pages: Vec<Page>,
    /// The origins that newcomers may come from.
    pub origins: Vec<Origin>,
    /// The longest head that is read, in bytes.
    pub head_bytes_max: usize,
    /// What is to be known of clients' addresses, if anything is.
    pub addresses: Option<AddressRules>,
}

/// Who may have the feeds.
#[derive(Debug)]
enum Access {
    Everybody,
    /// Those who hold a token.
    Holders(access::Holders),
    /// Those whom Bugzilla shows a bug.
    Readers(Box<readers::Readers>),
}

/// All clients, and what the current turn does with them.
#[derive(Debug)]
pub struct Server<S> {
    limits: Limits,
    access: Access,
    /// How many connections the memory allows; see [`Server::allow`].
    connections_allowed: usize,
    site: Site,
    hubs: Vec<Hub>,
    connections: Slab<Connection<S>>,
    /// How many of them speak WebSocket, or get server-sent events.
    open: usize,
    /// How many of those get events.
    listening: usize,
    turn: Turn,
    /// The last place in the turn's list when its flush was held up.
    held_up: Option<Place>,
    /// Writes since the last flush, for clients that were to get a reply while more was held up for
    /// them.
    early_writes: usize,
    /// The one receive buffer: a client with nothing unfinished owns none.
    received: Box<[u8]>,
    /// Clients that end with this turn.
    ended: Vec<ClientId>,
    /// Clients whose input was left for the next turn.
    left: Vec<ClientId>,
    /// Clients that the kernel refused bytes for in this turn.
    refused: Vec<ClientId>,
    /// When the next deadline of any client may be.
    sweep_at: Option<Moment>,
    drain: Option<drain::Drain>,
    /// One for each feed.
    gap_reports: Vec<drain::GapReport>,
    /// One for each feed.
    holds: Vec<hold::Holds>,
    posts: posts::Posts,
    /// The TLS of those who connect by it.
    tls: Option<secure::Tls>,
    beyond: room::Beyond,
    /// Who the clients are, where somebody wants to know.
    visitors: Option<Box<visitors::Visitors>>,
    /// What goes by at each client, where somebody wants to know.
    traffic: Option<Box<traffic::AllTraffic>>,
    /// The connections that ended last, where somebody can ask.
    closed: Option<Box<closed::Closed>>,
    counts: Counts,
    /// One for each feed.
    feed_counts: Vec<FeedCounts>,
    /// Bytes that have come from clients with something unfinished.
    grown: usize,
    /// Unix seconds.
    unix_time: i64,
}

impl<S: Stream> Server<S> {
    /// A server without clients, with one hub for each of the site's feeds.
    pub fn new(limits: Limits, site: Site, hubs: Vec<Hub>) -> Self {
        debug_assert_eq!(site.feeds.len(), hubs.len());
        Self {
            limits,
            access: Access::Everybody,
            connections_allowed: usize::MAX,
            site,
            gap_reports: hubs.iter().map(|_| drain::GapReport::default()).collect(),
            feed_counts: hubs.iter().map(|_| FeedCounts::default()).collect(),
            holds: hubs.iter().map(|_| hold::Holds::default()).collect(),
            hubs,
            connections: Slab::new(),
            open: 0,
            listening: 0,
            turn: Turn::default(),
            held_up: None,
            early_writes: 0,
            received: vec![0; RECEIVED_BYTES_MAX].into(),
            ended: Vec::new(),
            left: Vec::new(),
            refused: Vec::new(),
            sweep_at: None,
            drain: None,
            posts: posts::Posts::new(),
            tls: None,
            beyond: room::Beyond::default(),
            visitors: None,
            traffic: None,
            closed: None,
            counts: Counts::default(),
            grown: 0,
            unix_time: 0,
        }
    }

    /// Sets how many connections there may be, where that is fewer than the limits say. Existing
    /// connections stay.
    pub(crate) fn allow(&mut self, connections: usize) {
        self.connections_allowed = connections;
    }

    /// Changes the terms. Nobody is disconnected.
    pub(crate) fn change(&mut self, terms: Terms, now: Moment) {
        self.limits = terms.limits;
        self.site.pages = terms.pages;
        self.site.origins = terms.origins;
        self.site.head_bytes_max = terms.head_bytes_max;
        for hub in &mut self.hubs {
            hub.set_terms(terms.subscriptions_max, terms.offers_all);
        }
        self.know_addresses(terms.addresses);
        // Deadlines may be sooner now.
        self.sweep_by(now.plus(deadlines::SWEEP_INTERVAL));
    }

    /// How many connections may speak WebSocket now.
    pub(crate) fn connections_max(&self) -> usize {
        self.limits.connections_max.min(self.connections_allowed)
    }

    /// Whether all clients are being closed.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// The feeds, in order of their numbers.
    pub(crate) fn hubs(&self) -> &[Hub] {
        &self.hubs
    }

    /// The number of connections in all phases.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// The number of connections that speak WebSocket, or get server-sent events.
    pub fn open_len(&self) -> usize {
        self.open
    }

    /// The number of those that get server-sent events.
    pub(crate) fn listening_len(&self) -> usize {
        self.listening
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many clients own more memory than a slot: they have unfinished input or unsent output.
    pub fn unfinished_len(&self) -> usize {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.unfinished.is_some())
            .count()
    }

    /// Takes a new connection. To be called when no event of this turn is left, so that none can
    /// reach it that was meant for the client that had its slot before.
    pub fn accept(&mut self, stream: S, now: Moment) -> ClientId {
        let key = self.connections.insert(Connection::new(stream, now));
        self.sweep_by(now.plus(self.limits.handshake));
        let client = ClientId(key as u32);
        self.counts.accepted += 1;
        self.note_beyond(client);
        client
    }

    /// Has connections accepted whose stream has a session: see [`Server::begin_session`].
    pub fn secure(&mut self, sessions: Sessions) {
        self.tls = Some(secure::Tls::new(sessions));
    }

    /// The stream of a client that is still there.
    pub(crate) fn stream(&mut self, client: ClientId) -> Option<&mut S> {
        self.connections
            .get_mut(client.index())
            .map(|connection| &mut connection.stream)
    }

    /// To be called when a client's stream takes bytes again.
    pub fn writable(&mut self, client: ClientId, now: Moment) {
        let Some(connection) = self.connections.get_mut(client.index()) else {
            return;
        };
        if !connection.unfinished.has_unsent() {
            return;
        }
        let written = match connection.stream.session() {
            None => connection.write_unsent(None, now),
            Some(session) => secure::write_unsent(&mut self.tls, session, connection, now),
        };
        match written {
            Err(_) => self.break_off(client, CloseReason::Gone),
            Ok(taken) => {
                self.counts.sent_bytes += taken as u64;
                if let Some(traffic) = &mut self.traffic {
                    traffic.sent(client, taken);
                }
                if connection.unfinished.has_unsent() {
                    return;
                }
                self.counts.unsent_clients -= 1;
                if connection.unfinished.is_input_left() {
                    self.left.push(client);
                }
                self.after_writing(client);
            }
        }
    }

    /// Remembers an update, and sends it to all who want it. Times after `credible_until` (Unix
    /// seconds) are not to be believed.
    pub fn publish(&mut self, feed: FeedId, update: Update, credible_until: i64) {
        let Some(hub) = self.hubs.get_mut(usize::from(feed.0)) else {
            return;
        };
        let counts = &mut self.feed_counts[usize::from(feed.0)];
        counts.updates += 1;
        counts.last_update = Some(self.unix_time);
        counts.lag = self.unix_time + hub.database_ahead() - update.when.unix_seconds();
        if let Access::Readers(_) = self.access {
            return self.publish_to_readers(feed, &update, credible_until);
        }
        let mut push = None;
        let mut deliveries = 0;
        let (turn, report) = (&mut self.turn, &mut self.gap_reports[usize::from(feed.0)]);
        let as_event = self.listening > 0;
        let connections = &mut self.connections;
        // Inside of one iterator, those who want all bugs cost the others nothing.
        hub.publish(update.clone(), credible_until)
            .for_each(|client| {
                let connection = &mut connections[client.index()];
                if connection.phase == Phase::Open && !report.keeps_from(client) {
                    let push =
                        *push.get_or_insert_with(|| turn.push(feed, update.clone(), as_event));
                    turn.deliver(client, &mut connection.listing, push);
                    deliveries += 1;
                }
            });
        self.counts.deliveries += deliveries;
    }

    /// Whether this turn sends so much already that it must be flushed before anything is added.
    pub fn has_enough(&self) -> bool {
        self.turn.bytes() > TURN_BYTES_MAX
    }

    /// Remembers updates from before, each with its watermark (Unix seconds), and sends them to
    /// nobody.
    pub(crate) fn remember(&mut self, feed: FeedId, updates: Vec<(i64, Update)>) {
        if let Some(hub) = self.hubs.get_mut(usize::from(feed.0)) {
            hub.remember(updates);
        }
    }

    /// Sets how far the clock of a feed's database is ahead of this machine's, in seconds.
    pub fn set_database_clock(&mut self, feed: FeedId, ahead: i64) {
        if let Some(hub) = self.hubs.get_mut(usize::from(feed.0)) {
            hub.set_database_clock(ahead);
        }
    }

    /// Sets this machine's time, in Unix seconds. A time that lies ahead of it is not believed.
    pub fn set_unix_time(&mut self, now: i64) {
        self.unix_time = now;
    }

    /// Replies to a client with what `write` appends.
    fn reply(&mut self, client: ClientId, write: impl FnOnce(&mut Vec<u8>)) {
        let connection = &mut self.connections[client.index()];
        self.turn.reply(client, &mut connection.listing, write);
    }

    /// Whether there were many more clients than there are now, whose slots are still kept.
    pub fn has_too_much_memory(&self) -> bool {
        self.connections.capacity() > SLOTS_KEPT
            && self.connections.len() < self.connections.capacity() / 4
    }

    /// Panics where the server's state contradicts itself; for tests, between two turns.
    pub fn check_invariants(&self) {
        assert!(self.ended.is_empty());
        assert!(self.turn.outgoing_len() == 0 || self.is_held_up());
        for (key, connection) in &self.connections {
            assert!(
                self.turn.is_valid(&connection.listing),
                "client {key} is listed in a turn that is over"
            );
            assert!(
                !matches!(connection.phase, Phase::Ended(_)),
                "client {key} has ended and is still there"
            );
            assert!(
                !connection.unfinished.is_input_left()
                    || connection.unfinished.has_unsent()
                    || connection.unfinished.held_until().is_some()
                    || self.left.contains(&ClientId(key as u32)),
                "client {key} is forgotten"
            );
            connection.check_invariants();
        }
        assert_eq!(
            self.open,
            self.connections
                .iter()
                .filter(|(_, connection)| connection.phase == Phase::Open)
                .count()
        );
        let listens = |(_, connection): &(usize, &Connection<S>)| {
            connection.phase == Phase::Open && connection.listens()
        };
        assert_eq!(
            self.listening,
            self.connections.iter().filter(listens).count()
        );
        let unsent = |(_, connection): &(usize, &Connection<S>)| connection.unfinished.has_unsent();
        assert_eq!(
            self.counts.unsent_clients,
            self.connections.iter().filter(unsent).count() as u64
        );
        let closed: u64 = self.counts.closed.values().sum();
        assert_eq!(self.counts.accepted, closed + self.connections.len() as u64);
        let clients: u64 = self.feed_counts.iter().map(|counts| counts.clients).sum();
        assert_eq!(clients, self.open as u64);
        if let Some(tls) = &self.tls {
            let has_session =
                |(_, connection): &(usize, &Connection<S>)| connection.stream.session().is_some();
            let secure = self.connections.iter().filter(has_session).count();
            assert_eq!(tls.sessions_len(), secure);
        }
        assert!(!self.has_too_much_memory() || self.sweep_at.is_some());
        self.hubs.iter().for_each(Hub::check_invariants);
    }
}
