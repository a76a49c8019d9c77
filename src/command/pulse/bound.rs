//! What bounds the queues of a Pulse: two operator policies of RabbitMQ's, which leave room for an
//! administrator's own policies. Knows how they are built, and nothing of when they are set.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::duration;
use crate::management::Policy;
use crate::pulse::Exempts;

/// The policy for all queues, and that for those that are exempt from it.
pub(super) const BOUND: &str = "pulse-bound";
pub(super) const EXEMPT: &str = "pulse-exempt";

/// How many messages a queue holds, where nobody says otherwise, and how much they take together.
const MESSAGES_MAX: u64 = 20_000;
const BYTES_MAX: u64 = 256 << 20;

/// When a queue goes that nobody reads, where nobody says otherwise.
const EXPIRES: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a queue may hold that is exempt: enough for 100,000 updates many times over, and no full
/// disk.
const EXEMPT_BYTES_MAX: u64 = 1 << 30;

/// RabbitMQ's own limit of a queue's age, in milliseconds.
const EXPIRES_MILLIS_MAX: u128 = u32::MAX as u128;

/// What bounds each queue, where it is to be changed.
#[derive(Args, Debug)]
pub(super) struct Bound {
    /// Messages that a queue holds; the oldest go first [default: 20000, or as it is]
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    max_length: Option<u64>,
    /// Bytes that the messages of a queue take [default: 268435456, or as it is]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    max_length_bytes: Option<u64>,
    /// When a queue is deleted that no consumer reads [default: 168h, or as it is]
    #[arg(long, value_name = "DURATION", value_parser = expires)]
    expires: Option<Duration>,
}

impl Bound {
    /// The policy for all queues, where there is `before`: what is not to be changed stays.
    pub(super) fn policy(&self, before: Option<&Policy>) -> Policy {
        let before = before.map(|policy| &policy.definition);
        let known = |name: &str| before.and_then(|before| before.get(name)).cloned();
        let mut definition = Map::new();
        let mut set = |name: &str, asked: Option<u64>, default: u64| {
            let value = asked.map(Value::from).or_else(|| known(name));
            definition.insert(name.to_owned(), value.unwrap_or_else(|| default.into()));
        };
        set("max-length", self.max_length, MESSAGES_MAX);
        set("max-length-bytes", self.max_length_bytes, BYTES_MAX);
        set("expires", self.expires.map(millis), millis(EXPIRES));
        Policy {
            pattern: "^queue/".to_owned(),
            definition,
            apply_to: "queues".to_owned(),
            priority: 0,
        }
    }
}

/// The policy for the queues that are exempt; of two policies, a queue gets the one of the higher
/// priority alone. `None` where no queue is.
pub(super) fn exempt_policy(exempts: &Exempts) -> Option<Policy> {
    let mut definition = Map::new();
    definition.insert("max-length-bytes".to_owned(), json!(EXEMPT_BYTES_MAX));
    Some(Policy {
        pattern: exempts.expression()?,
        definition,
        apply_to: "queues".to_owned(),
        priority: 10,
    })
}

/// Whether a policy bounds all queues by something.
pub(super) fn is_a_bound(policy: &Policy) -> bool {
    let has = |name| policy.definition.contains_key(name);
    policy.pattern == "^queue/"
        && matches!(&*policy.apply_to, "queues" | "all")
        && has("max-length")
        && has("max-length-bytes")
        && has("expires")
}

/// A policy for people.
pub(super) fn describe(policy: &Policy) -> String {
    format!(
        "{} for {} that match {}",
        Value::Object(policy.definition.clone()),
        policy.apply_to,
        policy.pattern
    )
}

fn expires(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    match duration.as_millis() {
        1..=EXPIRES_MILLIS_MAX => Ok(duration),
        _ => Err("accepted is up to 1193h, which is RabbitMQ's limit".to_owned()),
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_stays_as_it_is() {
        let nothing = Bound {
            max_length: None,
            max_length_bytes: None,
            expires: None,
        };
        let first = nothing.policy(None);
        assert_eq!(
            Value::Object(first.definition.clone()),
            json!({"max-length": 20_000, "max-length-bytes": 268_435_456, "expires": 604_800_000})
        );
        let other = Bound {
            max_length: Some(5),
            ..nothing
        };
        let second = other.policy(Some(&first));
        assert_eq!(second.definition["max-length"], 5);
        let nothing = Bound {
            max_length: None,
            ..other
        };
        assert_eq!(nothing.policy(Some(&second)), second);
        assert!(is_a_bound(&second));
    }

    #[test]
    fn a_queue_does_not_live_longer_than_rabbitmq_can_count() {
        expires("0s").unwrap_err();
        expires("1194h").unwrap_err();
        expires("1193h").unwrap();
    }
}
