//! What the loop has seen of itself and of the sources, and how all of it looks to those who run the
//! server.

use std::sync::Arc;
use std::time::Instant;

use super::listener::Socket;
use crate::certificate::Certificates;
use crate::http::Reply;
use crate::machine;
use crate::memory::Budget;
use crate::metrics::{CONTENT_TYPE, Histogram, SourceState};
use crate::protocol::VERSION;
use crate::server::Server;
use crate::status::{Feed, History, Readiness, Snapshot};
use crate::update::FeedId;
use crate::work::unix_now;

/// Bounds of the time between reading changes and writing them, in seconds.
const DELAYS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Bounds of the time that a turn takes, in seconds.
const TURNS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// What the loop has seen.
pub(super) struct Observed {
    started: Instant,
    feeds: Vec<Observation>,
    certificates: Option<Arc<Certificates>>,
    turns: Histogram,
    delays: Histogram,
    /// When those changes were read that this turn carries.
    carried: Vec<Instant>,
}

/// What is known of a feed and its source.
struct Observation {
    path: String,
    source: String,
    state: SourceState,
    errors: u64,
    is_keeping: bool,
}

impl Observed {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            feeds: Vec::new(),
            certificates: None,
            turns: Histogram::new(TURNS),
            delays: Histogram::new(DELAYS),
            carried: Vec::new(),
        }
    }

    /// Adds the next feed, by its path and its source's name without a password.
    pub(super) fn add_feed(&mut self, path: &str, source: String) {
        self.feeds.push(Observation {
            path: path.to_owned(),
            source,
            state: SourceState::default(),
            errors: 0,
            is_keeping: true,
        });
    }

    pub(super) fn set_certificates(&mut self, certificates: Arc<Certificates>) {
        self.certificates = Some(certificates);
    }

    pub(super) fn set_source(&mut self, feed: FeedId, state: SourceState) {
        if let Some(feed) = self.feeds.get_mut(usize::from(feed.0)) {
            feed.errors += u64::from(matches!(state, SourceState::Failing(_)));
            feed.state = state;
        }
    }

    pub(super) fn set_keeping(&mut self, feed: FeedId, is_keeping: bool) {
        if let Some(feed) = self.feeds.get_mut(usize::from(feed.0)) {
            feed.is_keeping = is_keeping;
        }
    }

    /// This turn carries changes that were read then.
    pub(super) fn carry(&mut self, read_at: Instant) {
        self.carried.push(read_at);
    }

    /// All that the turn carried is written.
    pub(super) fn written(&mut self) {
        if !self.carried.is_empty() {
            let now = Instant::now();
            for read_at in self.carried.drain(..) {
                self.delays.observe((now - read_at).as_secs_f64());
            }
        }
    }

    /// A turn that began then is over.
    pub(super) fn end_turn(&mut self, began: Instant) {
        self.turns.observe(began.elapsed().as_secs_f64());
    }

    /// What stands at a path of the admin listener.
    pub(super) fn reply(
        &self,
        path: &str,
        query: &str,
        server: &Server<Socket>,
        budget: &Budget,
    ) -> Option<Reply> {
        if path == "/livez" {
            return Some(Reply::text("200 OK", String::new(), "alive\n".to_owned()));
        }
        if !["/readyz", "/metrics", "/status", "/closed"].contains(&path) {
            return None;
        }
        let snapshot = self.snapshot(server, budget);
        Some(match path {
            "/readyz" => readyz(&snapshot, query),
            "/metrics" => Reply {
                content_type: CONTENT_TYPE,
                ..Reply::text("200 OK", String::new(), snapshot.metrics())
            },
            "/status" => Reply::json(&snapshot.status_json()),
            _ => Reply::json(&snapshot.closed_json()),
        })
    }

    fn snapshot<'a>(&'a self, server: &'a Server<Socket>, budget: &Budget) -> Snapshot<'a> {
        let feeds = self
            .feeds
            .iter()
            .zip(server.hubs())
            .zip(server.feed_counts());
        let feeds = feeds.map(|((feed, hub), counts)| {
            let (subscriptions, bugs) = hub.subscriptions().totals();
            Feed {
                path: &feed.path,
                source: &feed.source,
                state: &feed.state,
                errors: feed.errors,
                is_keeping: feed.is_keeping,
                counts,
                commands: hub.commands(),
                subscriptions,
                bugs,
                history: History {
                    updates: hub.history().count(),
                    oldest: hub.history().oldest(),
                    floor: Some(hub.history().floor()).filter(|&floor| floor != i64::MIN),
                },
            }
        });
        Snapshot {
            version: VERSION,
            now: unix_now(),
            uptime: self.started.elapsed().as_secs(),
            connections: server.len(),
            open: server.open_len(),
            listening: server.listening_len(),
            connections_max: server.connections_max(),
            is_draining: server.is_draining(),
            is_memory_short: budget.is_short(),
            memory_left: budget.left(),
            memory_reserve: budget.reserve(),
            counts: server.counts(),
            rights: server.rights_counts(),
            feeds: feeds.collect(),
            turns: &self.turns,
            delays: &self.delays,
            certificates: self.certificates.iter().flat_map(|it| it.ends()).collect(),
            process: machine::process(),
            closed: server.closed().collect(),
        }
    }
}

/// Whether the server can take clients. With the query `full=ok`, one that is full counts as one
/// that can.
fn readyz(snapshot: &Snapshot<'_>, query: &str) -> Reply {
    let (readiness, lines) = snapshot.readiness();
    let is_full_ok = query.split('&').any(|part| part == "full=ok");
    let status = match readiness {
        Readiness::Ready => "200 OK",
        Readiness::Full if is_full_ok => "200 OK",
        Readiness::Full | Readiness::Draining | Readiness::Broken => "503 Service Unavailable",
    };
    Reply::text(
        status,
        format!("Bugzfeed-State: {}\r\n", readiness.word()),
        lines,
    )
}
