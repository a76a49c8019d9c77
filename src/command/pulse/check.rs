//! `bugzfeed pulse check`: compares a RabbitMQ with a Pulse. Changes nothing.

use clap::Args;

use super::bound;
use super::{Broker, quoted, say};
use crate::failure::Failure;
use crate::management::{Account, Client, Exchange, Permission, Queue};
use crate::pulse::{AccountName, EXCHANGES};

/// Settings of `bugzfeed pulse check`.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    broker: Broker,
}

/// What makes the broker accept TLS; the files are the administrator's.
const TLS: &str = "add to /etc/rabbitmq/rabbitmq.conf, and restart: listeners.ssl.default = 5671, ssl_options.certfile = FILE, ssl_options.keyfile = FILE, ssl_options.cacertfile = FILE";

/// Prints each difference with what mends it.
///
/// # Errors
/// When there is one, or the broker cannot be reached.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let client = options.broker.client()?;
    let mut check = Check {
        client: &client,
        vhost: &options.broker.vhost,
        differences: Vec::new(),
    };
    if !client.has_vhost(check.vhost)? {
        check.differs(
            format!("there is no virtual host {}", check.vhost),
            check.init(),
        );
        return check.end();
    }
    check.accounts()?;
    check.exchanges()?;
    check.policies()?;
    check.queues()?;
    let overview = client.overview()?;
    if !overview
        .listeners
        .iter()
        .any(|listener| listener.protocol == "amqp/ssl")
    {
        check.differs(
            "there is no TLS listener, so that passwords cross the network as they are".to_owned(),
            TLS.to_owned(),
        );
    }
    check.end()?;
    say(&format!(
        "RabbitMQ {} at {} is a Pulse.",
        overview.rabbitmq_version, options.broker.management
    ));
    Ok(())
}

struct Check<'a> {
    client: &'a Client,
    vhost: &'a str,
    /// What differs, and what mends it.
    differences: Vec<(String, String)>,
}

impl Check<'_> {
    fn differs(&mut self, what: String, mend: String) {
        self.differences.push((what, mend));
    }

    fn end(&self) -> Result<(), Failure> {
        for (what, mend) in &self.differences {
            say(&format!("{what}\n    {mend}"));
        }
        match self.differences.len() {
            0 => Ok(()),
            1 => Err(Failure::CheckFailed(
                "1 difference from a Pulse.".to_owned(),
            )),
            count => Err(Failure::CheckFailed(format!(
                "{count} differences from a Pulse."
            ))),
        }
    }

    /// The command that makes it as it should be.
    fn init(&self) -> String {
        format!(
            "bugzfeed pulse init --management {} --vhost {}",
            quoted(&self.client.settings().in_full()),
            quoted(self.vhost)
        )
    }

    fn accounts(&mut self) -> Result<(), Failure> {
        let accounts = self.client.accounts()?;
        if accounts.iter().any(|account| account.name == "guest") {
            self.guest();
        }
        for account in &accounts {
            if account.has_tag("policymaker") && !account.is_administrator() {
                self.differs(
                    format!(
                        "{} is a policymaker, who can change what the queues of others do",
                        account.name
                    ),
                    format!("rabbitmqctl set_user_tags {}", quoted(&account.name)),
                );
            }
        }
        for permission in self.client.permissions()? {
            let is_theirs =
                |account: &Account| account.name == permission.user && !account.is_administrator();
            if permission.vhost == self.vhost && accounts.iter().any(is_theirs) {
                self.permission(&permission);
            }
        }
        Ok(())
    }

    /// RabbitMQ lets guest in from its own machine only, unless told otherwise, which this API does
    /// not say. From another machine, it can be tried.
    fn guest(&mut self) {
        let settings = self.client.settings();
        let guest = Client::new(settings.with_user("guest", "guest"));
        let is_let_in = !settings.is_local() && guest.is_ok_and(|guest| guest.whoami().is_ok());
        let what = match is_let_in {
            true => "everybody can log in as guest, from other machines, too",
            false => "there is still the account guest, whose password everybody knows",
        };
        self.differs(what.to_owned(), self.init());
    }

    fn permission(&mut self, permission: &Permission) {
        let (user, vhost) = (quoted(&permission.user), quoted(self.vhost));
        let Ok(name) = permission.user.parse::<AccountName>() else {
            self.differs(
                format!(
                    "{} has rights, and no name that an account of a Pulse can have",
                    permission.user
                ),
                format!("rabbitmqctl clear_permissions -p {vhost} {user}"),
            );
            return;
        };
        let lawful = name.rights();
        if !permission.rights.is_within(&lawful) {
            let [configure, write, read] =
                [&lawful.configure, &lawful.write, &lawful.read].map(|right| quoted(right));
            self.differs(
                format!("{name} has more rights than to its own queues and exchanges"),
                format!("rabbitmqctl set_permissions -p {vhost} {user} {configure} {write} {read}"),
            );
        }
    }

    fn exchanges(&mut self) -> Result<(), Failure> {
        let exchanges = self.client.exchanges(self.vhost)?;
        for name in EXCHANGES {
            if !exchanges.iter().any(|exchange| exchange.name == name) {
                self.differs(format!("there is no exchange {name}"), self.init());
            }
        }
        for exchange in exchanges {
            if is_published_to(&exchange) && (exchange.kind != "topic" || !exchange.durable) {
                self.exchange(&exchange);
            }
        }
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let is_durable = if exchange.durable {
            "durable"
        } else {
            "not durable"
        };
        let url = self
            .client
            .address(&["exchanges", self.vhost, &exchange.name]);
        let user = &self.client.settings().user;
        self.differs(
            format!(
                "the exchange {} is of the type {} and {is_durable}, where consumers expect a durable topic exchange",
                exchange.name, exchange.kind
            ),
            format!(
                "curl -u {} -X DELETE {}; it is then to be made anew",
                quoted(user),
                quoted(&url)
            ),
        );
    }

    fn policies(&mut self) -> Result<(), Failure> {
        let bound = self.client.policy(self.vhost, bound::BOUND)?;
        if !bound.as_ref().is_some_and(bound::is_a_bound) {
            self.differs(
                format!("no operator policy {} bounds all queues", bound::BOUND),
                self.init(),
            );
        }
        let exempts = self.client.exempts()?.unwrap_or_default();
        let exempt = self.client.policy(self.vhost, bound::EXEMPT)?;
        if exempt != bound::exempt_policy(&exempts) {
            self.differs(
                format!(
                    "the operator policy {} is not what the list of exempt queues says: {exempts}",
                    bound::EXEMPT
                ),
                self.init(),
            );
        }
        Ok(())
    }

    fn queues(&mut self) -> Result<(), Failure> {
        for queue in self.client.queues(self.vhost)? {
            if queue.name.starts_with("queue/") {
                self.queue(&queue);
            }
        }
        Ok(())
    }

    fn queue(&mut self, queue: &Queue) {
        let name = &queue.name;
        if !queue.is_bounded() {
            let mend = match queue.operator_policy.as_deref() {
                // One of a higher priority has taken the place of ours.
                Some(other) if other != bound::BOUND => format!(
                    "rabbitmqctl clear_operator_policy -p {} {}",
                    quoted(self.vhost),
                    quoted(other)
                ),
                Some(_) | None => self.init(),
            };
            self.differs(format!("nothing bounds the queue {name}"), mend);
        }
        if queue.refuses() {
            self.differs(
                format!(
                    "the queue {name} refuses messages when it is full, so that publishers that wait for confirms are told of a failure"
                ),
                format!(
                    "rabbitmqctl delete_queue -p {} {}",
                    quoted(self.vhost),
                    quoted(name)
                ),
            );
        }
    }
}

/// Whether consumers bind to an exchange. What servers and relays of bugzfeed make for themselves
/// has other types: see `amqp::topology`.
fn is_published_to(exchange: &Exchange) -> bool {
    let name = &exchange.name;
    name.starts_with("exchange/")
        && !name.contains("/bound-to/")
        && !name.ends_with("/lost")
        && !name.ends_with("/announce")
}
