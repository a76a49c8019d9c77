//! What the API tells about: accounts, exchanges, queues and the rest. What nobody needs is not
//! read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::pulse::Rights;

/// Somebody who can log in.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// What it may do beside its permissions.
    pub(crate) tags: Vec<String>,
}

impl Account {
    /// Whether it may do everything.
    pub(crate) fn is_administrator(&self) -> bool {
        self.has_tag("administrator")
    }

    /// Whether it has a tag.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|other| other == tag)
    }
}

/// What an account may do in a virtual host.
#[derive(Debug, Deserialize)]
pub(crate) struct Permission {
    pub(crate) user: String,
    pub(crate) vhost: String,
    #[serde(flatten)]
    pub(crate) rights: Rights,
}

/// An exchange.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) durable: bool,
}

/// A queue, and what the broker has counted.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Queue {
    pub(crate) name: String,
    /// Ready and unacknowledged; `None` while the broker has not counted, or the queue is down.
    pub(crate) messages: Option<u64>,
    #[serde(default)]
    pub(crate) consumers: u64,
    #[serde(default)]
    pub(crate) arguments: Value,
    /// The operator's policy that it has.
    #[serde(default)]
    pub(crate) operator_policy: Option<String>,
    /// What policies say about it, the operator's included.
    #[serde(default)]
    pub(crate) effective_policy_definition: Value,
    #[serde(default)]
    pub(crate) message_stats: BTreeMap<String, Value>,
    /// The connection that has it alone.
    #[serde(default)]
    pub(crate) owner_pid_details: Value,
}

impl Queue {
    /// How many messages were taken out of it by consumers, since the broker began to count; `None`
    /// where the broker does not count.
    pub(crate) fn taken(&self) -> Option<u64> {
        let count = |name: &str| self.message_stats.get(name).and_then(Value::as_u64);
        if self.message_stats.is_empty() {
            return None;
        }
        let counts = ["ack", "deliver_no_ack", "get_no_ack"].into_iter();
        Some(counts.filter_map(count).fold(0, u64::saturating_add))
    }

    /// Whether an argument or a policy bounds what it holds.
    pub(crate) fn is_bounded(&self) -> bool {
        let has = |names: &Value, name: &str| names.get(name).is_some();
        ["max-length", "max-length-bytes"].iter().any(|name| {
            has(&self.effective_policy_definition, name)
                || has(&self.arguments, &format!("x-{name}"))
        })
    }

    /// Whether it refuses messages when it is full, which whoever publishes has to bear.
    pub(crate) fn refuses(&self) -> bool {
        self.arguments["x-overflow"]
            .as_str()
            .is_some_and(|overflow| overflow.starts_with("reject-publish"))
    }
}

/// What holds for all queues whose names match. An operator's policy adds to what other policies and
/// arguments say: of two bounds, the smaller one counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) pattern: String,
    pub(crate) definition: Map<String, Value>,
    #[serde(rename = "apply-to")]
    pub(crate) apply_to: String,
    pub(crate) priority: i64,
}

/// The broker itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Overview {
    pub(crate) rabbitmq_version: String,
    pub(crate) listeners: Vec<Listener>,
}

/// Where the broker can be reached.
#[derive(Debug, Deserialize)]
pub(crate) struct Listener {
    pub(crate) protocol: String,
}

/// A connection.
#[derive(Debug, Deserialize)]
pub(crate) struct Connection {
    pub(crate) user: Option<String>,
}

/// What brings messages into a queue.
#[derive(Debug, Deserialize)]
pub(crate) struct Binding {
    /// The exchange; empty for the one that each queue has by itself.
    pub(crate) source: String,
}

/// A machine of the broker's.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) mem_alarm: bool,
    #[serde(default)]
    pub(crate) disk_free_alarm: bool,
}
