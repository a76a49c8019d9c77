//! `bugzfeed pulse init`: makes a RabbitMQ a Pulse. Each step looks first, so that a second run
//! changes nothing.

use std::path::PathBuf;

use clap::Args;

use super::bound::{self, Bound};
use super::secret::{self, NewPassword};
use super::{Broker, say};
use crate::failure::Failure;
use crate::management::{Client, Error};
use crate::pulse::{EXCHANGES, Exempt, Rights};

/// Settings of `bugzfeed pulse init`.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    broker: Broker,
    /// Administrator's account, made where it is not there [default: who asks, and "admin" where
    /// that is guest]
    #[arg(long, value_name = "NAME")]
    admin: Option<String>,
    /// File for the administrator's new password, which is printed where none is given
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    bound: Bound,
    /// Exempt an account's queues, or one queue, from the bound and from the guard; bugzfeed's own
    /// account is
    #[arg(long, value_name = "ACCOUNT|QUEUE")]
    unbounded: Vec<Exempt>,
    /// No longer exempt these
    #[arg(long, value_name = "ACCOUNT|QUEUE")]
    bounded: Vec<Exempt>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes the broker a Pulse, and says what is done and what is so already.
///
/// # Errors
/// When the broker cannot be reached, or something on it stands in the way.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let client = options.broker.client()?;
    let init = Init {
        client: &client,
        vhost: &options.broker.vhost,
        is_dry: options.dry_run,
    };
    init.vhost()?;
    init.administrator(options)?;
    for exchange in EXCHANGES {
        init.exchange(exchange)?;
    }
    init.bound(&options.bound)?;
    init.exempts(&options.unbounded, &options.bounded)?;
    init.no_guest()
}

struct Init<'a> {
    client: &'a Client,
    vhost: &'a str,
    is_dry: bool,
}

impl Init<'_> {
    /// Says what is done, then does it, where it is not so already.
    fn step(
        &self,
        is_so: bool,
        verb: &str,
        what: &str,
        act: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Failure> {
        if is_so {
            say(&format!("is so: {what}"));
            return Ok(());
        }
        if self.is_dry {
            say(&format!("would {verb}: {what}"));
            return Ok(());
        }
        say(&format!("{verb}: {what}"));
        Ok(act()?)
    }

    fn vhost(&self) -> Result<(), Failure> {
        let Self { client, vhost, .. } = self;
        let what = format!("the virtual host {vhost}");
        self.step(client.has_vhost(vhost)?, "make", &what, || {
            client.make_vhost(vhost)
        })
    }

    fn administrator(&self, options: &Options) -> Result<(), Failure> {
        let Self { client, vhost, .. } = self;
        let asking = &client.settings().user;
        let name = match &options.admin {
            Some(name) => name.as_str(),
            None if asking == "guest" => "admin",
            None => asking,
        };
        if name == "guest" {
            return Err(Failure::Usage(
                "--admin guest: guest is deleted, since everybody knows its password; accepted is any other name.".to_owned(),
            ));
        }
        let account = client.account(name)?;
        if account.as_ref().is_some_and(|it| !it.is_administrator()) {
            return Err(Failure::Configuration(format!(
                "the account {name} is there, and no administrator (setting --admin); name another one, or run rabbitmqctl set_user_tags {} administrator.",
                super::quoted(name)
            )));
        }
        let what = format!("the administrator {name}");
        if account.is_some() || self.is_dry {
            self.step(account.is_some(), "make", &what, || Ok(()))?;
        } else {
            self.make_administrator(name, &what, options)?;
        }
        let rights = client.rights(vhost, name)?;
        let what = format!("all rights in {vhost} for {name}");
        self.step(rights == Some(Rights::all()), "give", &what, || {
            client.set_rights(vhost, name, &Rights::all())
        })
    }

    fn make_administrator(&self, name: &str, what: &str, options: &Options) -> Result<(), Failure> {
        let client = self.client;
        let file = options.password_file.as_deref();
        secret::must_be_new(file)?;
        let password = NewPassword::make(file)?;
        let tags = ["administrator".to_owned()];
        match file {
            Some(file) => say(&format!("make: {what}, password in {}", file.display())),
            None => say(&format!("make: {what}, with this password:")),
        }
        client.set_account(name, password.text(), &tags)?;
        // The way back in, before guest is deleted.
        Client::new(client.settings().with_user(name, password.text()))?.whoami()?;
        password.tell()
    }

    fn exchange(&self, name: &str) -> Result<(), Failure> {
        let Self { client, vhost, .. } = self;
        let there = client.exchange(vhost, name)?;
        if let Some(there) = &there
            && (there.kind != "topic" || !there.durable)
        {
            return Err(Failure::Configuration(format!(
                "the exchange {name} is there, and not a durable topic exchange, which cannot be changed; pulse check prints what deletes it."
            )));
        }
        let what = format!("the exchange {name} (topic, durable)");
        self.step(there.is_some(), "make", &what, || {
            client.make_exchange(vhost, name)
        })
    }

    fn bound(&self, bound: &Bound) -> Result<(), Failure> {
        let Self { client, vhost, .. } = self;
        let before = client.policy(vhost, bound::BOUND)?;
        let policy = bound.policy(before.as_ref());
        let mut what = format!(
            "the operator policy {}: {}",
            bound::BOUND,
            bound::describe(&policy)
        );
        let is_so = before.as_ref() == Some(&policy);
        if let Some(before) = before.filter(|_| !is_so) {
            what.push_str(&format!(", instead of {}", bound::describe(&before)));
        }
        self.step(is_so, "set", &what, || {
            client.set_policy(vhost, bound::BOUND, &policy)
        })
    }

    /// The list, and the policy that is made of it.
    fn exempts(&self, add: &[Exempt], remove: &[Exempt]) -> Result<(), Failure> {
        let Self { client, vhost, .. } = self;
        let before = client.exempts()?;
        let mut exempts = before.clone().unwrap_or_default();
        exempts.change(add, remove);
        let what = format!("exempt from the bound and the guard: {exempts}");
        self.step(before.as_ref() == Some(&exempts), "set", &what, || {
            client.set_exempts(&exempts)
        })?;
        let before = client.policy(vhost, bound::EXEMPT)?;
        let policy = bound::exempt_policy(&exempts);
        let is_so = before == policy;
        match &policy {
            Some(policy) => {
                let what = format!(
                    "the operator policy {}: {}",
                    bound::EXEMPT,
                    bound::describe(policy)
                );
                self.step(is_so, "set", &what, || {
                    client.set_policy(vhost, bound::EXEMPT, policy)
                })
            }
            None => {
                let what = format!("no operator policy {}", bound::EXEMPT);
                self.step(is_so, "set", &what, || {
                    client.delete_policy(vhost, bound::EXEMPT).map(drop)
                })
            }
        }
    }

    /// Last of all, since whoever asks may be guest.
    fn no_guest(&self) -> Result<(), Failure> {
        let is_so = self.client.account("guest")?.is_none();
        self.step(is_so, "set", "no account guest", || {
            self.client.delete_account("guest").map(drop)
        })
    }
}
