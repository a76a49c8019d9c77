//! The connections that ended last, as JSON.

use serde_json::{Value, json};

use super::Snapshot;

impl Snapshot<'_> {
    /// The connections that ended last, the latest first.
    pub(crate) fn closed_json(&self) -> Value {
        let closed = self.closed.iter().map(|ended| {
            let feed = ended
                .feed
                .and_then(|feed| self.feeds.get(usize::from(feed)));
            json!({
                "at": ended.at,
                "reason": ended.reason,
                "feed": feed.map(|feed| feed.path),
                "address": ended.address.map(|address| address.to_string()),
                "subscriptions": ended.subscriptions,
                "seconds": ended.passed.map(|it| it.seconds),
                "received": ended.passed.map(|it| it.received),
                "sent": ended.passed.map(|it| it.sent),
            })
        });
        json!({ "closed": closed.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Parts;

    #[test]
    fn a_connection_that_ended_is_shown_with_what_is_known_of_it() {
        let mut parts = Parts::new();
        let shown = parts.snapshot().closed_json();
        assert_eq!(
            shown.to_string(),
            r#"{"closed":[{"address":"192.0.2.7","at":1000,"feed":"/","reason":"gone","received":null,"seconds":null,"sent":null,"subscriptions":3}]}"#
        );
        (parts.ended.feed, parts.ended.address) = (None, None);
        let shown = parts.snapshot().closed_json();
        assert!(shown["closed"][0]["address"].is_null() && shown["closed"][0]["feed"].is_null());
    }
}
