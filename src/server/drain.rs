//! Closing many clients, spread over some time: all of them at the end of the server, and those of
//! a feed that may have missed updates, so that they come back and ask.

use std::collections::HashSet;

use super::Server;
use crate::connection::{CloseReason, Phase, Stream};
use crate::moment::Moment;
use crate::protocol::FeedState;
use crate::subscriptions::ClientId;
use crate::update::FeedId;

/// Closes the clients in random order, spread over some time, so that they do not all come back at
/// once.
#[derive(Debug)]
pub(super) struct Drain {
    began: Moment,
    /// Milliseconds.
    duration: u32,
    /// Those that are still to be closed.
    clients: Vec<ClientId>,
    /// The same, to be found in.
    waiting: HashSet<ClientId, foldhash::fast::RandomState>,
    /// Those of them that cannot wait.
    hurried: Vec<ClientId>,
    /// Those of them that are closed last.
    late: Vec<ClientId>,
    clients_at_begin: usize,
}

/// The longest time, in milliseconds, over which the clients of a feed are closed after a gap.
const GAP_SPREAD_MAX: u32 = 60_000;

/// The least time between two such occasions, in milliseconds. What is missed meanwhile is reported
/// at its end.
pub(super) const GAP_INTERVAL: u32 = 600_000;

/// What a feed's gaps mean for those who were connected.
#[derive(Debug, Default)]
pub(super) struct GapReport {
    /// When the last one was reported.
    last: Option<Moment>,
    /// Whether there was another one since.
    is_due: bool,
    /// Those who are closed.
    drain: Option<Drain>,
}

impl<S: Stream> Server<S> {
    /// Reports that a feed may have missed updates while its clients were connected: tells those who
    /// have asked to be told, and closes the others who have subscriptions, so that they come back and
    /// ask.
    pub fn gap(&mut self, feed: FeedId, now: Moment) {
        if let Some(report) = self.gap_reports.get_mut(usize::from(feed.0)) {
            report.is_due = true;
            self.feed_counts[usize::from(feed.0)].gaps += 1;
            self.continue_gap_reports(now);
        }
    }

    pub(super) fn continue_gap_reports(&mut self, now: Moment) {
        for feed in 0..self.gap_reports.len() {
            let report = &mut self.gap_reports[feed];
            // Moments of more than 24 days ago would seem to lie ahead.
            report
                .last
                .take_if(|last| last.plus(GAP_INTERVAL).since(now) == 0);
            if report.is_due && report.until_next(now) == 0 {
                let clients = self.subscribers_of(FeedId(feed as u8));
                self.tell_followers(FeedId(feed as u8), FeedState::Gap);
                let spread = GAP_SPREAD_MAX.min(clients.len() as u32);
                self.gap_reports[feed] = GapReport {
                    last: Some(now),
                    is_due: false,
                    drain: Some(Drain::new(clients, spread, now)),
                };
            }
            let Some(drain) = &mut self.gap_reports[feed].drain else {
                continue;
            };
            for client in drain.take_due(now) {
                let connection = self.connections.get(client.index());
                if connection.is_some_and(|connection| connection.phase == Phase::Open) {
                    self.end(client, CloseReason::MissedUpdates, now);
                }
            }
            self.gap_reports[feed]
                .drain
                .take_if(|drain| drain.waiting.is_empty());
        }
    }

    /// The milliseconds until [`Server::continue_gap_reports`] has something to do, if it ever has.
    pub(super) fn until_gap_report(&self, now: Moment) -> Option<u32> {
        let until = |report: &GapReport| {
            let next = report.is_due.then(|| report.until_next(now));
            let close = report
                .drain
                .as_ref()
                .and_then(|drain| drain.until_next(now));
            next.into_iter().chain(close).min()
        };
        self.gap_reports.iter().filter_map(until).min()
    }

    /// Those who are to ask what they have missed, and are not told so.
    fn subscribers_of(&self, feed: FeedId) -> Vec<ClientId> {
        let Some(hub) = self.hubs.get(usize::from(feed.0)) else {
            return Vec::new();
        };
        self.connections
            .iter()
            .filter(|(_, connection)| connection.phase == Phase::Open)
            .filter(|(_, connection)| connection.feed() == Some(feed))
            .map(|(key, _)| ClientId(key as u32))
            .filter(|&client| hub.has_subscriptions(client) && !hub.follows(client))
            .collect()
    }

    /// Begins to close all clients, spread over at most `duration` milliseconds and at a thousand
    /// per second at least. Who is in its handshake is let in, and told to come back.
    pub fn drain(&mut self, duration: u32, now: Moment) {
        let clients = self.connections.iter().map(|(key, _)| ClientId(key as u32));
        let clients: Vec<ClientId> = clients.collect();
        let duration = duration.min(clients.len() as u32);
        self.drain = Some(Drain::new(clients, duration, now));
        self.continue_drain(now);
    }

    /// Closes those clients whose time has come.
    pub(super) fn continue_drain(&mut self, now: Moment) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        let is_over = drain.is_over(now);
        for client in drain.take_due(now) {
            let Some(connection) = self.connections.get(client.index()) else {
                continue;
            };
            let is_coming = matches!(
                connection.phase,
                Phase::Handshaking | Phase::Presenting | Phase::Proxied
            );
            if is_coming && !is_over {
                // Without an answer it would look like a refusal.
                self.drain
                    .as_mut()
                    .into_iter()
                    .for_each(|drain| drain.close_late(client));
            } else {
                self.end(client, CloseReason::ShuttingDown, now);
            }
        }
    }
}

impl GapReport {
    /// Whether a client is to be closed. It gets no update before: with the newer time it could go
    /// to another server, which would not send it what is missing here.
    pub(super) fn keeps_from(&mut self, client: ClientId) -> bool {
        let drain = self.drain.as_mut();
        let is_waiting = |drain: &&mut Drain| drain.waiting.contains(&client);
        let drain = drain.filter(is_waiting);
        drain.map(|drain| drain.hurried.push(client)).is_some()
    }

    /// Milliseconds until the next gap may be reported.
    fn until_next(&self, now: Moment) -> u32 {
        self.last
            .map_or(0, |last| last.plus(GAP_INTERVAL).since(now))
    }
}

impl Drain {
    fn new(mut clients: Vec<ClientId>, duration: u32, now: Moment) -> Self {
        fastrand::shuffle(&mut clients);
        Self {
            began: now,
            duration,
            clients_at_begin: clients.len(),
            waiting: clients.iter().copied().collect(),
            hurried: Vec::new(),
            late: Vec::new(),
            clients,
        }
    }

    fn is_over(&self, now: Moment) -> bool {
        now.since(self.began) >= self.duration
    }

    /// Has a client closed at the end.
    fn close_late(&mut self, client: ClientId) {
        self.waiting.insert(client);
        self.late.push(client);
    }

    fn take_due(&mut self, now: Moment) -> Vec<ClientId> {
        let passed = u64::from(now.since(self.began).min(self.duration));
        let left = match self.duration {
            0 => 0,
            duration => {
                self.clients_at_begin
                    - (self.clients_at_begin as u64 * passed / u64::from(duration)) as usize
            }
        };
        let mut due = self.clients.split_off(left.min(self.clients.len()));
        due.append(&mut self.hurried);
        if self.is_over(now) {
            due.append(&mut self.late);
        }
        due.retain(|client| self.waiting.remove(client));
        due
    }

    /// Milliseconds until the next client is to be closed.
    pub(super) fn until_next(&self, now: Moment) -> Option<u32> {
        const STEP: u32 = 10;
        let step = if self.hurried.is_empty() { STEP } else { 0 };
        (!self.waiting.is_empty()).then(|| self.began.plus(self.duration).since(now).min(step))
    }
}
