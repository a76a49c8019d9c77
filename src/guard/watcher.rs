//! Looks at all queues again and again, and does what the judge says. Knows nothing of how people
//! are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::judge::{Judge, Limits, Sight, Verdict};
use super::memory::{Keeper, Memory};
use super::notice::{Event, Notice};
use crate::management::{self, Client, Queue, Record};
use crate::pulse::{AccountName, Exempts};
use crate::work::{Error, Health, Stop, Supervised, unix_now};

/// How many times as long as the broker takes to answer it is left alone afterwards.
const REST: u32 = 4;

/// How long it is left alone at most: a queue that overgrows must not wait for ever.
const REST_MAX: Duration = Duration::from_secs(60);

/// What the names begin with that AMQP reserves for brokers.
const BROKERS_OWN: &str = "amq.";

/// How the guard goes about.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) vhost: String,
    pub(crate) limits: Limits,
    /// How often the queues are looked at.
    pub(crate) every: Duration,
    /// How long the broker may be away before the administrators are told: a restart is no outage.
    pub(crate) outage: Duration,
    /// What names begin with that are nobody's business.
    pub(crate) reserved: Vec<String>,
    /// Mail addresses of those who are told what has no owner.
    pub(crate) administrators: Vec<String>,
    /// Whether nothing is deleted, and nobody told.
    pub(crate) is_dry: bool,
}

/// The watch, run by `work::supervise`.
pub(super) struct Watcher {
    pub(super) client: Client,
    pub(super) rules: Rules,
    pub(super) keeper: Arc<Keeper>,
    /// The ways of telling, each with the bell that wakes whoever tells.
    pub(super) ways: Vec<(&'static str, SyncSender<()>)>,
    pub(super) judge: Judge,
    pub(super) health: Health,
}

/// What is known of a Pulse beside its queues.
struct Known {
    exempts: Exempts,
    accounts: BTreeSet<String>,
    records: BTreeMap<String, Record>,
}

impl Supervised for Watcher {
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        let result = self.watch(stop);
        if let Err(error) = &result {
            self.outage(&error.to_string())?;
        }
        result
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn is_final(&mut self, _: &Error) -> bool {
        false
    }

    fn pause_max(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl Watcher {
    fn watch(&mut self, stop: &Stop) -> Result<(), Error> {
        loop {
            let started = Instant::now();
            self.look()?;
            self.health.working();
            let rest = (started.elapsed() * REST).min(REST_MAX);
            let pause = self.rules.every.max(rest);
            if stop.wait(pause) {
                return Ok(());
            }
        }
    }

    fn look(&mut self) -> Result<(), Error> {
        let accounts = self.client.accounts()?;
        let known = Known {
            exempts: self.client.exempts()?.unwrap_or_default(),
            accounts: accounts.into_iter().map(|account| account.name).collect(),
            records: self.client.records()?,
        };
        let queues = self.client.queue_totals(&self.rules.vhost)?;
        self.recovery()?;
        let names: BTreeSet<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        self.judge.retain(|queue| names.contains(queue));
        self.remember(|memory| {
            memory.looked = Some(unix_now());
            memory.queues = queues.len();
            memory
                .warned
                .retain(|queue, _| names.contains(queue.as_str()));
            memory
                .nameless
                .retain(|queue| names.contains(queue.as_str()));
        })?;
        let mut result = Ok(());
        for queue in &queues {
            if !self.is_reserved(&queue.name) && !known.exempts.covers(&queue.name) {
                match self.queue(queue, &known) {
                    // One that the broker can say nothing of, or cannot delete, keeps nobody from
                    // the others.
                    Err(error) if is_refusal(&error) => result = Err(error),
                    other => other?,
                }
            }
        }
        result
    }

    fn is_reserved(&self, queue: &str) -> bool {
        let mut reserved = self.rules.reserved.iter();
        queue.starts_with(BROKERS_OWN) || reserved.any(|prefix| queue.starts_with(prefix))
    }

    fn queue(&mut self, queue: &Queue, known: &Known) -> Result<(), Error> {
        let name = &queue.name;
        let account = AccountName::of_queue(name);
        if account.is_none() && !self.keeper.memory().nameless.contains(name) {
            self.remember(|memory| memory.nameless.insert(name.clone()))?;
            self.tell(Event::Nameless, name, String::new(), &[])?;
        }
        // A queue that is down, or that nobody has counted yet, is as it was.
        let Some(messages) = queue.messages else {
            return Ok(());
        };
        let is_warned = self.keeper.memory().warned.contains_key(name);
        let limits = &self.rules.limits;
        let queue = match messages {
            _ if messages <= limits.warn || messages <= limits.delete && is_warned => queue.clone(),
            _ => match self.client.queue(&self.rules.vhost, name)? {
                Some(queue) => queue,
                None => return Ok(()),
            },
        };
        let sight = Sight {
            messages,
            taken: queue.taken(),
        };
        let verdict = self
            .judge
            .judge(name, sight, is_warned, limits, Instant::now());
        let owners = account
            .as_ref()
            .filter(|account| known.accounts.contains(account.as_str()))
            .and_then(|account| known.records.get(account.as_str()))
            .map_or(&[][..], |record| &record.owners);
        match verdict {
            Verdict::Nothing if is_warned => {
                self.remember(|memory| memory.warned.insert(name.clone(), messages))?;
                Ok(())
            }
            Verdict::Nothing => Ok(()),
            Verdict::Warn => {
                self.remember(|memory| memory.warned.insert(name.clone(), messages))?;
                self.tell(
                    Event::Overgrowing,
                    name,
                    self.warning(&queue, messages),
                    owners,
                )
            }
            Verdict::Well => {
                self.remember(|memory| memory.warned.remove(name))?;
                let detail = format!("It holds {messages} messages.");
                self.tell(Event::Normal, name, detail, owners)
            }
            // Only administrators can have made it, and they have been told.
            Verdict::Delete if account.is_none() => Ok(()),
            Verdict::Delete => self.delete(&queue, messages, owners),
        }
    }

    fn warning(&self, queue: &Queue, messages: u64) -> String {
        let limits = &self.rules.limits;
        format!(
            "It holds {messages} messages, and has {} consumers. Above {} for {} seconds, it is deleted, unless its consumers empty it fast enough.",
            queue.consumers,
            limits.delete,
            limits.grace.as_secs()
        )
    }

    fn delete(&mut self, queue: &Queue, messages: u64, owners: &[String]) -> Result<(), Error> {
        let name = &queue.name;
        if self.rules.is_dry {
            info!("would delete the queue {name}, which holds {messages} messages");
            return Ok(());
        }
        if let Err(why) = self.client.delete_queue(&self.rules.vhost, name) {
            // One that belongs to a connection goes with it, and in no other way.
            let owner = queue.owner_pid_details["name"].as_str();
            let owner = owner.ok_or(why)?;
            self.client.end_connection(owner)?;
        }
        self.remember(|memory| memory.warned.remove(name))?;
        let detail = format!(
            "It held {messages} messages for {} seconds or more, and its consumers did not empty it fast enough.",
            self.rules.limits.grace.as_secs()
        );
        self.tell(Event::Deleted, name, detail, owners)
    }

    /// The broker cannot be asked.
    fn outage(&mut self, why: &str) -> Result<(), Error> {
        let now = unix_now();
        let since = self.remember(|memory| {
            let outage = memory.outage.get_or_insert((now, String::new()));
            why.clone_into(&mut outage.1);
            outage.0
        })?;
        let is_told = self.keeper.memory().is_outage_told;
        if !is_told && now - since >= self.rules.outage.as_secs() as i64 {
            self.remember(|memory| memory.is_outage_told = true)?;
            let broker = self.client.settings().to_string();
            self.tell(Event::Unreachable, &broker, format!("{why}."), &[])?;
        }
        Ok(())
    }

    /// The broker can be asked.
    fn recovery(&mut self) -> Result<(), Error> {
        let (outage, is_told) = {
            let memory = self.keeper.memory();
            (memory.outage.clone(), memory.is_outage_told)
        };
        let Some((since, _)) = outage else {
            return Ok(());
        };
        self.remember(|memory| (memory.outage, memory.is_outage_told) = (None, false))?;
        if !is_told {
            return Ok(());
        }
        let broker = self.client.settings().to_string();
        let detail = format!("It was away for {} seconds.", unix_now() - since);
        self.tell(Event::Reachable, &broker, detail, &[])
    }

    /// Tells the log, and those whom it concerns; the administrators where there is no owner.
    fn tell(
        &self,
        event: Event,
        subject: &str,
        detail: String,
        owners: &[String],
    ) -> Result<(), Error> {
        let to = match owners {
            [] => &self.rules.administrators,
            owners => owners,
        };
        let notice = Notice {
            event,
            subject: subject.to_owned(),
            detail,
            to: to.to_vec(),
            at: unix_now(),
        };
        warn!("{}: {}", notice.title(), notice.detail);
        self.remember(|memory| {
            for (way, _) in &self.ways {
                match *way {
                    // To each on its own: a repeat after a failure goes to nobody twice.
                    "mail" => to.iter().for_each(|to| {
                        let to = vec![to.clone()];
                        memory.tell(
                            way,
                            &Notice {
                                to,
                                ..notice.clone()
                            },
                        );
                    }),
                    _ => memory.tell(way, &notice),
                }
            }
        })?;
        for (_, bell) in &self.ways {
            // A bell that rings already rings for this as well.
            let _ = bell.try_send(());
        }
        Ok(())
    }

    fn remember<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> Result<T, Error> {
        self.keeper.change(change).map_err(|error| {
            format!("cannot write what is remembered (setting --state): {error}").into()
        })
    }
}

/// Whether the broker has answered, and refused.
fn is_refusal(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(management::Error::Refused(_)))
}
