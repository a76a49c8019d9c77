//! The whole state of a server, as JSON.

use serde_json::{Value, json};

use super::{Feed, Snapshot};
use crate::metrics::SourceState;

impl Snapshot<'_> {
    /// The state of the server and of each feed. Times are in Unix seconds.
    pub(crate) fn status_json(&self) -> Value {
        let feeds: Vec<Value> = self.feeds.iter().map(|feed| self.feed(feed)).collect();
        json!({
            "version": self.version,
            "now": self.now,
            "uptime": self.uptime,
            "state": self.readiness().0.word(),
            "connections": {
                "open": self.open,
                "events": self.listening,
                "all": self.connections,
                "max": self.connections_max,
                "accepted": self.counts.accepted,
            },
            "memory": {
                "left": self.memory_left,
                "reserve": self.memory_reserve,
                "is_short": self.is_memory_short,
            },
            "rights": self.rights.map(|rights| json!({
                "answered": rights.answered,
                "failed": rights.failed,
                "waiting": rights.waiting,
                "readers": rights.readers,
            })),
            "feeds": feeds,
        })
    }

    fn feed(&self, feed: &Feed<'_>) -> Value {
        let (state, error) = match feed.state {
            SourceState::Starting => ("starting", None),
            SourceState::Reading => ("reading", None),
            SourceState::Failing(why) => ("failing", Some(why)),
        };
        json!({
            "path": feed.path,
            "source": feed.source,
            "state": state,
            "error": error,
            "updates": feed.counts.updates,
            "last_update": feed.counts.last_update,
            "lag": feed.counts.delay(),
            "clients": feed.counts.clients,
            "subscriptions": feed.subscriptions,
            "bugs": feed.bugs,
            "gaps": feed.counts.gaps,
            "history": {
                "updates": feed.history.updates,
                "oldest": feed.history.oldest,
                "floor": feed.history.floor,
                "is_kept": feed.is_keeping,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Parts;
    use super::*;

    #[test]
    fn the_state_of_each_feed_is_shown() {
        let mut parts = Parts::new();
        parts.feed.last_update = Some(990);
        parts.feed.lag = 2;
        parts.state = SourceState::Failing("refused".to_owned());
        let status = parts.snapshot().status_json();
        assert_eq!(status["state"], "broken");
        let feed = &status["feeds"][0];
        assert_eq!(
            (&feed["state"], &feed["error"]),
            (&json!("failing"), &json!("refused"))
        );
        assert_eq!(
            (&feed["last_update"], &feed["lag"]),
            (&json!(990), &json!(2))
        );
        assert_eq!(feed["history"]["oldest"], 500);
        parts.feed.last_update = None;
        assert!(parts.snapshot().status_json()["feeds"][0]["lag"].is_null());
    }
}
