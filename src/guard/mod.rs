//! The guard of a Pulse: warns the owners of queues that overgrow, and deletes those that go on
//! growing. Owns its threads: one looks at the queues, and one for each way of telling people.
//! Knows no signal and no terminal.

mod judge;
mod mail;
mod memory;
mod notice;
mod postman;
mod status;
mod watcher;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use log::warn;

pub(crate) use self::judge::Limits;
pub(crate) use self::mail::Settings as MailSettings;
pub(crate) use self::status::status;
pub(crate) use self::watcher::Rules;

use self::judge::Judge;
use self::memory::Keeper;
use self::postman::{Postman, Way};
use self::watcher::Watcher;
use self::webhook::Webhook;
use crate::failure::Failure;
use crate::management::Client;
use crate::relay::WebhookSettings;
use crate::work::{self, Health, Stop, Supervised, Threads};

/// How long the end of the program waits for the threads. What hangs is left behind: what is still
/// to be told is in the file.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What a guard is to do.
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) mail: Option<MailSettings>,
    pub(crate) webhook: Option<WebhookSettings>,
    /// The file that remembers what was told.
    pub(crate) memory: PathBuf,
}

/// A running guard.
pub(crate) struct Guard {
    threads: Threads,
}

impl Guard {
    /// Starts a guard.
    ///
    /// # Errors
    /// When a setting makes no sense, a file cannot be used, or another guard uses the same one.
    pub(crate) fn start(client: Client, settings: Settings) -> Result<Self, Failure> {
        let keeper = Arc::new(settings.keeper()?);
        let mut guard = Self {
            threads: Threads::default(),
        };
        let mut bells = Vec::new();
        for way in settings.ways()? {
            let (ring, bell) = mpsc::sync_channel(1);
            bells.push((way.name(), ring));
            guard.add_postman(way, keeper.clone(), bell)?;
        }
        let watcher = Watcher {
            health: Health::new("watching the queues at", client.settings().to_string()),
            client,
            rules: settings.rules,
            keeper,
            ways: bells,
            judge: Judge::default(),
        };
        guard.supervise("watcher", watcher)?;
        Ok(guard)
    }

    /// Ends the threads. One that hangs is left behind.
    pub(crate) fn stop(self) {
        self.threads.request_stop();
        if !self.threads.join_within(STOP_PATIENCE) {
            warn!(
                "the broker or the mail server did not answer in time; what is still to be told is told at the next start"
            );
        }
    }

    fn add_postman(
        &mut self,
        way: Way,
        keeper: Arc<Keeper>,
        bell: Receiver<()>,
    ) -> Result<(), Failure> {
        let name = way.name();
        let postman = Postman {
            health: Health::new("telling by", name.to_owned()),
            way,
            keeper,
            bell,
        };
        self.supervise(name, postman)
    }

    fn supervise(
        &mut self,
        name: &str,
        mut work: impl Supervised + Send + 'static,
    ) -> Result<(), Failure> {
        let stop = Stop::default();
        let seen = stop.clone();
        self.threads
            .start(name, stop, move || work::supervise(&mut work, &seen))
            .map_err(|error| Failure::Unavailable(format!("cannot start a thread: {error}.")))
    }
}

impl Settings {
    fn keeper(&self) -> Result<Keeper, Failure> {
        let file = self.memory.display();
        let keeper = match self.rules.is_dry {
            true => Keeper::dry(&self.memory).map(Some),
            false => Keeper::open(&self.memory),
        };
        match keeper {
            Ok(Some(keeper)) => Ok(keeper),
            Ok(None) => Err(Failure::Unavailable(format!(
                "another guard uses the file {file} (setting --state); there must be only one guard per broker, and each has its own file."
            ))),
            Err(error) => Err(Failure::Configuration(format!(
                "cannot use the file {file} (setting --state): {error}."
            ))),
        }
    }

    /// A dry run tells nobody but the log.
    fn ways(&self) -> Result<Vec<Way>, Failure> {
        let mut ways = Vec::new();
        if self.rules.is_dry {
            return Ok(ways);
        }
        if let Some(mail) = &self.mail {
            ways.push(Way::Mail(mail.clone()));
        }
        if let Some(webhook) = &self.webhook {
            let webhook = Webhook::new(webhook.clone())
                .map_err(|why| Failure::Configuration(format!("--webhook: {why}.")))?;
            ways.push(Way::Webhook(webhook));
        }
        Ok(ways)
    }
}
