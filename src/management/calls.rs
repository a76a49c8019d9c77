//! The calls of the API that bugzfeed needs, by name. An object of this API is replaced as a whole
//! by each `put`.

use serde_json::{Value, json};

use super::client::{Client, Error};
use super::objects::{
    Account, Binding, Connection, Exchange, Node, Overview, Permission, Policy, Queue,
};
use crate::pulse::Rights;

/// What is asked of queues: all of it is ten times as much.
const QUEUE_COLUMNS: &str = "columns=name,arguments,operator_policy,effective_policy_definition";

/// How many messages there are now. Without this, RabbitMQ gives the numbers of up to twelve seconds
/// ago.
const QUEUE_TOTALS: &str = "disable_stats=true&enable_queue_totals=true&columns=name,messages";

impl Client {
    /// Who asks.
    pub(crate) fn whoami(&self) -> Result<Account, Error> {
        self.get(&["whoami"], "")
    }

    /// The broker itself.
    pub(crate) fn overview(&self) -> Result<Overview, Error> {
        self.get(&["overview"], "columns=rabbitmq_version,listeners")
    }

    /// Whether there is a virtual host.
    pub(crate) fn has_vhost(&self, vhost: &str) -> Result<bool, Error> {
        let found: Option<Value> = self.find(&["vhosts", vhost], "")?;
        Ok(found.is_some())
    }

    /// Makes a virtual host.
    pub(crate) fn make_vhost(&self, vhost: &str) -> Result<(), Error> {
        self.put(&["vhosts", vhost], &json!({}))
    }

    /// All accounts.
    pub(crate) fn accounts(&self) -> Result<Vec<Account>, Error> {
        self.get(&["users"], "")
    }

    /// An account, if it is there.
    pub(crate) fn account(&self, name: &str) -> Result<Option<Account>, Error> {
        self.find(&["users", name], "")
    }

    /// Makes an account, or gives one a new password and tags. Its connections stay.
    pub(crate) fn set_account(
        &self,
        name: &str,
        password: &str,
        tags: &[String],
    ) -> Result<(), Error> {
        let account = json!({"password": password, "tags": tags.join(",")});
        self.put(&["users", name], &account)
    }

    /// Deletes an account, which ends its connections; returns whether it was there.
    pub(crate) fn delete_account(&self, name: &str) -> Result<bool, Error> {
        self.delete(&["users", name])
    }

    /// What all accounts may do in all virtual hosts.
    pub(crate) fn permissions(&self) -> Result<Vec<Permission>, Error> {
        self.get(&["permissions"], "")
    }

    /// What an account may do in a virtual host, if it may enter.
    pub(crate) fn rights(&self, vhost: &str, user: &str) -> Result<Option<Rights>, Error> {
        self.find(&["permissions", vhost, user], "")
    }

    /// Says what an account may do in a virtual host.
    pub(crate) fn set_rights(&self, vhost: &str, user: &str, to: &Rights) -> Result<(), Error> {
        self.put(&["permissions", vhost, user], to)
    }

    /// All exchanges of a virtual host.
    pub(crate) fn exchanges(&self, vhost: &str) -> Result<Vec<Exchange>, Error> {
        self.get(&["exchanges", vhost], "columns=name,type,durable")
    }

    /// An exchange, if it is there.
    pub(crate) fn exchange(&self, vhost: &str, name: &str) -> Result<Option<Exchange>, Error> {
        self.find(&["exchanges", vhost, name], "columns=name,type,durable")
    }

    /// Makes a durable topic exchange.
    pub(crate) fn make_exchange(&self, vhost: &str, name: &str) -> Result<(), Error> {
        let exchange = json!({"type": "topic", "durable": true, "auto_delete": false, "internal": false, "arguments": {}});
        self.put(&["exchanges", vhost, name], &exchange)
    }

    /// Deletes an exchange; returns whether it was there.
    pub(crate) fn delete_exchange(&self, vhost: &str, name: &str) -> Result<bool, Error> {
        self.delete(&["exchanges", vhost, name])
    }

    /// How many messages all queues of a virtual host hold now, and nothing else of them.
    pub(crate) fn queue_totals(&self, vhost: &str) -> Result<Vec<Queue>, Error> {
        self.get(&["queues", vhost], QUEUE_TOTALS)
    }

    /// All queues of a virtual host, with what bounds them.
    pub(crate) fn queues(&self, vhost: &str) -> Result<Vec<Queue>, Error> {
        self.get(&["queues", vhost], QUEUE_COLUMNS)
    }

    /// A queue, if it is there; its numbers are some seconds old.
    pub(crate) fn queue(&self, vhost: &str, name: &str) -> Result<Option<Queue>, Error> {
        self.find(&["queues", vhost, name], "")
    }

    /// The exchanges that a queue is bound to.
    pub(crate) fn bindings(&self, vhost: &str, queue: &str) -> Result<Vec<String>, Error> {
        let found: Option<Vec<Binding>> =
            self.find(&["queues", vhost, queue, "bindings"], "columns=source")?;
        let found = found.unwrap_or_default().into_iter();
        Ok(found.map(|binding| binding.source).collect())
    }

    /// The nodes that take no messages, and what they are short of.
    pub(crate) fn alarms(&self) -> Result<Vec<String>, Error> {
        let nodes: Vec<Node> = self.get(&["nodes"], "columns=name,mem_alarm,disk_free_alarm")?;
        let short = nodes.into_iter().flat_map(|node| {
            let of = |is_short: bool, what: &str| {
                is_short.then(|| format!("{} is short of {what}", node.name))
            };
            [
                of(node.mem_alarm, "memory"),
                of(node.disk_free_alarm, "disk"),
            ]
        });
        Ok(short.flatten().collect())
    }

    /// Deletes a queue with what it holds; returns whether it was there.
    pub(crate) fn delete_queue(&self, vhost: &str, name: &str) -> Result<bool, Error> {
        self.delete(&["queues", vhost, name])
    }

    /// The operator's policy of a name, if there is one.
    pub(crate) fn policy(&self, vhost: &str, name: &str) -> Result<Option<Policy>, Error> {
        self.find(&["operator-policies", vhost, name], "")
    }

    /// Sets the operator's policy of a name.
    pub(crate) fn set_policy(&self, vhost: &str, name: &str, policy: &Policy) -> Result<(), Error> {
        self.put(&["operator-policies", vhost, name], policy)
    }

    /// Deletes the operator's policy of a name; returns whether it was there.
    pub(crate) fn delete_policy(&self, vhost: &str, name: &str) -> Result<bool, Error> {
        self.delete(&["operator-policies", vhost, name])
    }

    /// All connections.
    pub(crate) fn connections(&self) -> Result<Vec<Connection>, Error> {
        self.get(&["connections"], "columns=user")
    }

    /// Ends a connection; returns whether it was there.
    pub(crate) fn end_connection(&self, name: &str) -> Result<bool, Error> {
        self.delete(&["connections", name])
    }
}
