//! How a running relay looks to those who run it: whether all goes well, its metrics and its state.
//! Reads the backlog anew each time, as `--status` does, and what the relay's threads have counted.
//! Knows no socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::backlog::{Backlog, Status};
use super::outlet::OutletCounts;
use crate::machine;
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::Page;
use crate::work::HealthView;

/// Looks at a relay, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    started: Instant,
    backlog: PathBuf,
    from: String,
    intake: HealthView,
    outlets: Vec<(String, Arc<OutletCounts>)>,
}

impl Monitor {
    pub(super) fn new(backlog: PathBuf, from: &str, intake: HealthView) -> Self {
        Self {
            started: Instant::now(),
            backlog,
            from: from.to_owned(),
            intake,
            outlets: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, destination: String, counts: Arc<OutletCounts>) {
        self.outlets.push((destination, counts));
    }

    /// What does not go well, a line for each, without a password.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let intake = self.intake.complaint();
        let mut complaints: Vec<String> = intake
            .map(|why| format!("the table of {}: {why}", self.from))
            .into_iter()
            .collect();
        match self.destinations() {
            Ok(destinations) => complaints.extend(destinations.iter().filter_map(complaint)),
            Err(error) => complaints.push(format!(
                "the backlog {} cannot be read: {error}",
                self.backlog.display()
            )),
        }
        // An error of somebody else's may be of several lines.
        complaints
            .iter()
            .map(|why| why.replace(char::is_control, " "))
            .collect()
    }

    /// The page that Prometheus reads. Without the backlog, it lacks what stands there. `now` is the
    /// time in Unix seconds.
    pub(crate) fn metrics(&self, version: &str, now: i64) -> String {
        let mut page = Page::default();
        let is_taking = u8::from(self.intake.complaint().is_none());
        let help = "Whether changes are taken from the table.";
        page.add_one("bugzfeed_relay_source_up", Gauge, help, is_taking);
        let known = self.destinations().unwrap_or_default();
        let mut add = |name, kind, help, value: &dyn Fn(&Status) -> u64| {
            let values: Vec<_> = known
                .iter()
                .map(|status| ([("destination", status.name.as_str())], value(status)))
                .collect();
            let values = values.iter().map(|(labels, value)| (&labels[..], *value));
            page.add(name, kind, help, values);
        };
        let help = "Whether the last attempt to send has not failed.";
        add("bugzfeed_relay_destination_up", Gauge, help, &|it| {
            u64::from(it.next_attempt.is_none())
        });
        let help = "Changes that wait.";
        add("bugzfeed_relay_waiting", Gauge, help, &|it| it.depth);
        let help = "How long the oldest of them has waited.";
        add("bugzfeed_relay_oldest_seconds", Gauge, help, &|it| {
            it.oldest.map_or(0, |oldest| (now - oldest).max(0) as u64)
        });
        let help = "Changes that were dropped, since too many waited.";
        add("bugzfeed_relay_dropped_total", Counter, help, &|it| {
            it.dropped
        });
        self.add_sent(&mut page);
        page.add_program(version, &machine::process());
        page.into_text()
    }

    fn add_sent(&self, page: &mut Page) {
        let mut values = Vec::new();
        for (name, counts) in &self.outlets {
            for (result, count) in [
                ("ok", &counts.arrived),
                ("refused", &counts.refused),
                ("failed", &counts.failed),
            ] {
                let labels = [("destination", name.as_str()), ("result", result)];
                values.push((labels, count.load(Ordering::Relaxed)));
            }
        }
        page.add(
            "bugzfeed_relay_sent_total",
            Counter,
            "Changes that have arrived or were refused for good, and attempts that have failed.",
            values.iter().map(|(labels, count)| (&labels[..], *count)),
        );
    }

    /// The state of the relay and of each destination. Times are in Unix seconds.
    pub(crate) fn status_json(&self, version: &str, now: i64) -> Value {
        let complaints = self.complaints();
        let destinations = self.destinations().unwrap_or_default();
        let destinations: Vec<Value> = destinations
            .iter()
            .map(|it| {
                let error = it.error.as_ref();
                json!({
                    "name": it.name,
                    "waiting": it.depth,
                    "oldest": it.oldest,
                    "error": error.map(|(why, _)| why),
                    "error_at": error.map(|(_, at)| at),
                    "next_attempt": it.next_attempt,
                    "refused": it.refused,
                    "dropped": it.dropped,
                })
            })
            .collect();
        json!({
            "version": version,
            "now": now,
            "uptime": self.started.elapsed().as_secs(),
            "state": if complaints.is_empty() { "ready" } else { "broken" },
            "from": self.from,
            "complaints": complaints,
            "destinations": destinations,
        })
    }

    /// The destinations of this relay, as the backlog knows them.
    fn destinations(&self) -> rusqlite::Result<Vec<Status>> {
        let mut known = Backlog::look(&self.backlog)?.status()?;
        known.retain(|destination| destination.is_in_use);
        Ok(known)
    }
}

fn complaint(status: &Status) -> Option<String> {
    status.next_attempt?;
    let why = status.error.as_ref().map_or("it fails", |(why, _)| why);
    Some(format!("{}: {why}", status.name))
}
