//! A server's metrics.

use std::collections::BTreeMap;

use super::{Feed, Snapshot};
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::{Page, SourceState};

impl Snapshot<'_> {
    /// The page that Prometheus reads.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page::default();
        self.add_clients(&mut page);
        self.add_delivery(&mut page);
        self.add_feeds(&mut page);
        self.add_commands(&mut page);
        self.add_rights(&mut page);
        self.add_machine(&mut page);
        page.add_program(self.version, &self.process);
        page.into_text()
    }

    fn add_clients(&self, page: &mut Page) {
        let counts = self.counts;
        let (all, open, closing) = (self.connections as u64, self.open as u64, counts.ending);
        page.add(
            "bugzfeed_connections",
            Gauge,
            "Connections by state: those that speak WebSocket or get events, those whose request is not answered, those that end.",
            [
                (&[("state", "open")][..], open),
                (&[("state", "handshaking")], all.saturating_sub(open + closing)),
                (&[("state", "closing")], closing),
            ],
        );
        let help = "Of those that are open, connections that get server-sent events.";
        page.add_one("bugzfeed_event_streams", Gauge, help, self.listening);
        let most = self.connections_max;
        let help =
            "WebSocket connections that there may be, as far as files and memory are good for.";
        page.add_one("bugzfeed_connections_max", Gauge, help, most);
        let help = "Connections that were accepted.";
        page.add_one("bugzfeed_connections_total", Counter, help, counts.accepted);
        let help = "Connections that have ended, by reason.";
        add_by_reason(
            page,
            "bugzfeed_connections_closed_total",
            help,
            &counts.closed,
        );
        let help = "HTTP requests that were refused, by reason.";
        add_by_reason(page, "bugzfeed_refused_total", help, &counts.refused);
    }

    fn add_delivery(&self, page: &mut Page) {
        let counts = self.counts;
        let help = "Updates that were handed over to a client.";
        page.add_one(
            "bugzfeed_deliveries_total",
            Counter,
            help,
            counts.deliveries,
        );
        let help = "Bytes that the kernel has taken for clients.";
        page.add_one(
            "bugzfeed_sent_bytes_total",
            Counter,
            help,
            counts.sent_bytes,
        );
        let help = "Updates that a newer one of the same bug has replaced while a client was slow.";
        page.add_one("bugzfeed_conflated_total", Counter, help, counts.conflated);
        let help = "Clients with output that the kernel has not taken yet.";
        page.add_one(
            "bugzfeed_unsent_clients",
            Gauge,
            help,
            counts.unsent_clients,
        );
        page.add_histogram(
            "bugzfeed_delivery_delay_seconds",
            "Time from reading some changes to the last write of the turn that carried them.",
            self.delays,
        );
        page.add_histogram(
            "bugzfeed_loop_turn_seconds",
            "Time that a turn of the loop takes, without waiting.",
            self.turns,
        );
    }

    fn add_feeds(&self, page: &mut Page) {
        let mut add = |name, kind, help, value: &dyn Fn(&Feed<'_>) -> Option<i64>| {
            let values: Vec<_> = self
                .feeds
                .iter()
                .filter_map(|feed| Some(([("feed", feed.path)], value(feed)?)))
                .collect();
            let values = values.iter().map(|(labels, value)| (&labels[..], *value));
            page.add(name, kind, help, values);
        };
        let whole = |number: u64| Some(number.cast_signed());
        let help = "Subscriptions of all clients.";
        add("bugzfeed_subscriptions", Gauge, help, &|feed| {
            whole(feed.subscriptions as u64)
        });
        let help = "Bugs that anybody is subscribed to.";
        add("bugzfeed_bugs", Gauge, help, &|feed| {
            whole(feed.bugs as u64)
        });
        let help = "Clients of the feed.";
        add("bugzfeed_clients", Gauge, help, &|feed| {
            whole(feed.counts.clients)
        });
        let help = "Updates that have come from the source, or from Bugzilla itself.";
        add("bugzfeed_updates_received_total", Counter, help, &|feed| {
            whole(feed.counts.updates)
        });
        let help = "Whether the source is read: 1, or 0.";
        add("bugzfeed_source_up", Gauge, help, &|feed| {
            Some(i64::from(*feed.state == SourceState::Reading))
        });
        let help = "When the last update came.";
        add(
            "bugzfeed_source_last_update_timestamp_seconds",
            Gauge,
            help,
            &|feed| feed.counts.last_update,
        );
        let help = "How often the source has failed.";
        add("bugzfeed_source_errors_total", Counter, help, &|feed| {
            whole(feed.errors)
        });
        let help = "Updates that the history holds.";
        add("bugzfeed_history_updates", Gauge, help, &|feed| {
            whole(feed.history.updates as u64)
        });
        let help = "Whether the history can be written: 1, or 0.";
        add("bugzfeed_history_up", Gauge, help, &|feed| {
            Some(i64::from(feed.is_keeping))
        });
        let help = "How often updates may have been missed while clients were connected.";
        add("bugzfeed_gap_total", Counter, help, &|feed| {
            whole(feed.counts.gaps)
        });
    }

    fn add_commands(&self, page: &mut Page) {
        let commands: Vec<_> = self
            .feeds
            .iter()
            .flat_map(|feed| {
                feed.commands.all().map(|(command, result, count)| {
                    let labels = [
                        ("feed", feed.path),
                        ("command", command),
                        ("result", result),
                    ];
                    (labels, count)
                })
            })
            .collect();
        page.add(
            "bugzfeed_commands_total",
            Counter,
            "Commands of clients, by name and result.",
            commands.iter().map(|(labels, count)| (&labels[..], count)),
        );
    }

    fn add_rights(&self, page: &mut Page) {
        let Some(rights) = self.rights else { return };
        page.add(
            "bugzfeed_rights_questions_total",
            Counter,
            "Requests to Bugzilla for who sees what, by result.",
            [
                (&[("result", "answered")][..], rights.answered),
                (&[("result", "failed")], rights.failed),
            ],
        );
        let help = "What Bugzilla is still to be asked: a bug for a reader, or who somebody is.";
        page.add_one("bugzfeed_rights_waiting", Gauge, help, rights.waiting);
        let help = "Credentials of readers that are remembered.";
        page.add_one("bugzfeed_rights_readers", Gauge, help, rights.readers);
    }

    fn add_machine(&self, page: &mut Page) {
        let help = "Memory that is left, with the reserve.";
        let left = self.memory_left.map(|left| (&[][..], left));
        page.add("bugzfeed_memory_left_bytes", Gauge, help, left);
        let help = "Memory that is left alone (setting --memory-reserve).";
        page.add_one(
            "bugzfeed_memory_reserve_bytes",
            Gauge,
            help,
            self.memory_reserve,
        );
        let help = "Whether the server goes away: 1, or 0.";
        page.add_one("bugzfeed_draining", Gauge, help, u8::from(self.is_draining));
        let ends: Vec<_> = self
            .certificates
            .iter()
            .map(|(file, end)| ([("file", file.as_str())], end))
            .collect();
        page.add(
            "bugzfeed_tls_certificate_not_after_seconds",
            Gauge,
            "When a certificate ends, in Unix seconds.",
            ends.iter().map(|(labels, end)| (&labels[..], *end)),
        );
    }
}

/// Adds a counter with a value for each reason.
fn add_by_reason(page: &mut Page, name: &str, help: &str, counts: &BTreeMap<&'static str, u64>) {
    let values: Vec<_> = counts
        .iter()
        .map(|(reason, count)| ([("reason", *reason)], count))
        .collect();
    let values = values.iter().map(|(labels, count)| (&labels[..], count));
    page.add(name, Counter, help, values);
}

#[cfg(test)]
mod tests {
    use super::super::tests::Parts;
    use crate::metrics::{CommandName, RightsCounts};

    #[test]
    fn each_metric_has_its_value() {
        let mut parts = Parts::new();
        parts.counts.accepted = 7;
        parts.counts.ending = 1;
        parts.counts.closed.insert("gone", 4);
        parts.counts.refused.insert("full", 2);
        parts.counts.deliveries = 11;
        parts.feed.updates = 5;
        parts.commands.count(CommandName::Subscribe, true);
        parts.commands.count(CommandName::Unknown, false);
        let mut snapshot = parts.snapshot();
        snapshot.certificates.push(("a.pem".to_owned(), 2_000));
        snapshot.process.cpu_seconds = Some(1.5);
        snapshot.rights = Some(RightsCounts {
            answered: 12,
            failed: 3,
            waiting: 4,
            readers: 6,
        });
        let text = snapshot.metrics();
        for line in [
            "bugzfeed_connections{state=\"open\"} 2",
            "bugzfeed_connections{state=\"handshaking\"} 0",
            "bugzfeed_connections{state=\"closing\"} 1",
            "bugzfeed_connections_total 7",
            "bugzfeed_connections_closed_total{reason=\"gone\"} 4",
            "bugzfeed_refused_total{reason=\"full\"} 2",
            "bugzfeed_deliveries_total 11",
            "bugzfeed_subscriptions{feed=\"/\"} 4",
            "bugzfeed_bugs{feed=\"/\"} 3",
            "bugzfeed_updates_received_total{feed=\"/\"} 5",
            "bugzfeed_source_up{feed=\"/\"} 1",
            "bugzfeed_commands_total{feed=\"/\",command=\"subscribe\",result=\"ok\"} 1",
            "bugzfeed_commands_total{feed=\"/\",command=\"unknown\",result=\"error\"} 1",
            "bugzfeed_rights_questions_total{result=\"answered\"} 12",
            "bugzfeed_rights_questions_total{result=\"failed\"} 3",
            "bugzfeed_rights_waiting 4",
            "bugzfeed_rights_readers 6",
            "bugzfeed_memory_left_bytes 5",
            "bugzfeed_tls_certificate_not_after_seconds{file=\"a.pem\"} 2000",
            "bugzfeed_build_info{version=\"1.2.3\"} 1",
            "process_cpu_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
        // A feed that has got nothing yet has no time of its last update.
        assert!(!text.contains("bugzfeed_source_last_update_timestamp_seconds{"));
    }
}
