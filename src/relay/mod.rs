//! The relay: from a table of notifications to destinations. Owns its threads, one for the way in
//! and one for each way out, between which stands nothing but the backlog. Knows no signal and no
//! terminal.
//!
//! The way in takes changes from the table, keeps them in the backlog for all destinations at once,
//! and deletes them from the table. Each way out sends its own part of the backlog in order, and
//! deletes from it what has arrived. So one destination never waits for another, each gets its
//! changes in order, and a crash at any point repeats some changes and loses none.

mod address;
mod amqp;
pub(crate) mod backlog;
mod bound;
mod destination;
mod intake;
mod jsonl;
mod monitor;
mod outlet;
mod pauses;
mod status;
mod webhook;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;

use self::backlog::{Backlog, Commit, Key};
use self::bound::Bound;
use self::intake::Intake;
use self::outlet::{Outlet, OutletCounts};
use crate::database::{Database, OpenTable, Reader};
use crate::failure::Failure;
use crate::work::{self, Backoff, FileLock, Health, Stop, Threads};

pub(crate) use self::address::Address;
use self::destination::Destination;
pub(crate) use self::monitor::Monitor;
pub(crate) use self::pauses::Pauses;
pub(crate) use self::status::{forget, refused, status};
pub(crate) use self::webhook::Settings as WebhookSettings;

/// How long the end of the program waits for the threads. What hangs is left behind: all that
/// matters is in the backlog.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a relay that is starting waits for the backlog: `--status` claims it for a moment to
/// see whether a relay has it.
const CLAIM_PATIENCE: Duration = Duration::from_secs(1);

/// The pauses between attempts to reach a destination.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a relay is to do.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where changes are taken from.
    pub from: Database,
    /// Where they are sent to.
    pub to: Vec<Address>,
    /// The file that keeps them in between.
    pub backlog: PathBuf,
    /// Whether it waits while another server or relay has the table.
    pub is_standby: bool,
    /// How long a destination is left alone that does not take a change for now.
    pub pauses: Pauses,
    /// How many changes wait for a destination at most.
    pub backlog_size: u64,
}

/// Why a relay ends.
#[derive(Debug)]
pub(crate) enum End {
    /// It was asked to.
    Requested,
    /// Nobody reads what it prints.
    NobodyReads,
    /// It cannot do its work.
    Failed(Failure),
}

/// A running relay.
pub(crate) struct Relay {
    _claim: FileLock,
    backlog: Backlog,
    file: PathBuf,
    destinations: Vec<Key>,
    bells: Vec<SyncSender<()>>,
    is_claimed: Arc<AtomicBool>,
    threads: Threads,
    ends: Receiver<End>,
    end: Sender<End>,
    monitor: Monitor,
}

impl Relay {
    /// Starts a relay. While the backlog's disk is full, `wait` is called with the reason again and
    /// again; when it returns false, nothing is started.
    ///
    /// # Errors
    /// When a setting makes no sense, a file cannot be used, or another relay uses the same
    /// backlog. Whether another one takes changes from the same table turns out later.
    pub(crate) fn start(
        settings: &Settings,
        mut wait: impl FnMut(&str) -> bool,
    ) -> Result<Option<Self>, Failure> {
        let notifications = settings
            .from
            .notifications()
            .ok_or_else(|| no_table(&settings.from))?;
        let to = settings.open_destinations()?;
        let claim = settings.claim()?;
        let (end, ends) = mpsc::channel();
        let names: Vec<String> = to.iter().map(|(name, _)| name.clone()).collect();
        let (backlog, keys, may_be_torn) = loop {
            match settings.begin_backlog(&names) {
                Ok(begun) => break begun,
                Err(error) if backlog::is_full(&error) => {
                    let file = settings.backlog.display();
                    if !wait(&format!(
                        "the disk of the backlog {file} (setting --backlog) is full"
                    )) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(settings.cannot_use_backlog(&error)),
            }
        };
        if let Err(error) = claim.sign() {
            warn!(
                "cannot write into the backlog's lock, which tells a backlog from other files: {error}"
            );
        }
        let health = Health::new("taking changes from", settings.from.to_string());
        let mut relay = Self {
            _claim: claim,
            backlog,
            file: settings.backlog.clone(),
            destinations: keys.clone(),
            bells: Vec::new(),
            is_claimed: Arc::default(),
            threads: Threads::default(),
            ends,
            end,
            monitor: Monitor::new(settings.backlog.clone(), health.name(), health.view()),
        };
        let bound = Bound::new(settings.backlog_size, names.into_iter().zip(keys.clone()));
        for ((name, destination), key) in to.into_iter().zip(keys) {
            relay.add_outlet(settings, name, key, destination)?;
        }
        relay.warn_of_others(settings)?;
        relay.add_intake(settings, health, notifications, may_be_torn, bound)?;
        Ok(Some(relay))
    }

    /// What ends the relay when something is sent to it.
    pub(crate) fn end(&self) -> Sender<End> {
        self.end.clone()
    }

    /// What tells how it goes.
    pub(crate) fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Waits until there is a reason to end, for `patience` at most.
    pub(crate) fn wait(&self, patience: Duration) -> Option<End> {
        match self.ends.recv_timeout(patience) {
            Ok(end) => Some(end),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the relay itself can send, too"),
        }
    }

    /// How many changes wait, for all destinations together.
    ///
    /// # Errors
    /// When the backlog cannot be read.
    pub(crate) fn depth(&self) -> rusqlite::Result<u64> {
        self.destinations
            .iter()
            .map(|&key| self.backlog.depth(key))
            .sum()
    }

    /// Ends the threads. Each ends at once when asked to; one that hangs is left behind.
    pub(crate) fn stop(self) {
        self.threads.request_stop();
        for bell in &self.bells {
            // A bell that rings already rings for this as well.
            let _ = bell.try_send(());
        }
        if !self.threads.join_within(STOP_PATIENCE) {
            warn!(
                "the database or a destination did not answer in time; what it has not confirmed is sent again at the next start"
            );
        }
        if let Err(error) = self.backlog.end() {
            warn!("cannot close the backlog (setting --backlog): {error}");
        }
        drop(self.backlog);
        if let Err(error) = backlog::put_back(&self.file) {
            warn!(
                "cannot put the backlog {} back (setting --backlog): {error}",
                self.file.display()
            );
        }
    }

    fn add_outlet(
        &mut self,
        settings: &Settings,
        name: String,
        key: Key,
        destination: Box<dyn Destination>,
    ) -> Result<(), Failure> {
        let (ring, bell) = mpsc::sync_channel(1);
        let stop = Stop::default();
        let counts = Arc::<OutletCounts>::default();
        self.monitor.add(name.clone(), Arc::clone(&counts));
        let outlet = Outlet {
            name,
            destination,
            backlog: settings.open_backlog(Commit::Fast)?,
            key,
            bell,
            stop: stop.clone(),
            ends: self.end.clone(),
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
            pauses: settings.pauses.clone(),
            is_claimed: self.is_claimed.clone(),
            state: outlet::OutletState::default(),
            counts,
        };
        self.bells.push(ring);
        self.start_thread("destination", stop, move || outlet.run())
    }

    fn add_intake(
        &mut self,
        settings: &Settings,
        health: Health,
        (open, poll): (OpenTable, Duration),
        may_be_torn: bool,
        bound: Bound,
    ) -> Result<(), Failure> {
        let mut intake = Intake {
            may_be_torn,
            health,
            reader: Reader::new(open, settings.is_standby),
            poll,
            pause_max: settings.from.pause_max(),
            backlog: settings.open_backlog(Commit::Durable)?,
            destinations: self.destinations.clone(),
            bound,
            bells: self.bells.clone(),
            ends: self.end.clone(),
            has_claimed: self.is_claimed.clone(),
        };
        let stop = Stop::default();
        let seen = stop.clone();
        self.start_thread("table", stop, move || work::supervise(&mut intake, &seen))
    }

    fn start_thread(
        &mut self,
        name: &str,
        stop: Stop,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Failure> {
        self.threads
            .start(name, stop, run)
            .map_err(|error| Failure::Unavailable(format!("cannot start a thread: {error}.")))
    }

    /// A destination whose address was changed is another one: what waits for the old one would
    /// wait for ever, and nobody would know.
    fn warn_of_others(&self, settings: &Settings) -> Result<(), Failure> {
        let known = self
            .backlog
            .status()
            .map_err(|error| settings.cannot_use_backlog(&error))?;
        for other in known
            .iter()
            .filter(|known| !known.is_in_use && known.depth > 0)
        {
            let name = &other.name;
            warn!(
                "{} changes wait for {name}, which is no destination (setting --to) of this relay; 'bugzfeed relay --forget {name}' deletes them",
                other.depth
            );
        }
        Ok(())
    }
}

/// A destination and its name.
type Named = (String, Box<dyn Destination>);

/// What ends a relay that is to take changes from somewhere else than a table.
pub(crate) fn no_table(from: &dyn fmt::Display) -> Failure {
    Failure::Usage(format!(
        "--from {from} is no table of notifications; accepted are sqlite:FILE, mysql://USER:PASSWORD@HOST/DATABASE and postgres://…, without mode=bugs."
    ))
}

impl Settings {
    fn open_destinations(&self) -> Result<Vec<Named>, Failure> {
        let mut opened: Vec<Named> = Vec::new();
        for address in &self.to {
            let name = address.to_string();
            if opened.iter().any(|(known, _)| *known == name) {
                return Err(Failure::Usage(format!("--to names {name} twice.")));
            }
            let destination = address
                .open()
                .map_err(|why| Failure::Configuration(format!("--to {name}: {why}.")))?;
            opened.push((name, destination));
        }
        Ok(opened)
    }

    /// Whether another relay uses the backlog.
    pub(crate) fn is_backlog_in_use(&self) -> bool {
        matches!(backlog::claim(&self.backlog), Ok(None))
    }

    fn claim(&self) -> Result<FileLock, Failure> {
        let give_up = Instant::now() + CLAIM_PATIENCE;
        loop {
            match backlog::claim(&self.backlog) {
                Ok(Some(claim)) => return Ok(claim),
                Ok(None) if Instant::now() < give_up => thread::sleep(CLAIM_PATIENCE / 20),
                Ok(None) => {
                    return Err(Failure::Unavailable(format!(
                        "another relay uses the backlog {} (setting --backlog); there must be only one relay per Bugzilla, and each has its own backlog.",
                        self.backlog.display()
                    )));
                }
                Err(error) => return Err(self.cannot_use_backlog(&error)),
            }
        }
    }

    /// Opens the backlog for destinations with these names. Returns, too, whether the relay before has
    /// not ended as it should.
    fn begin_backlog(&self, names: &[String]) -> rusqlite::Result<(Backlog, Vec<Key>, bool)> {
        backlog::examine(&self.backlog)?;
        let mut backlog = Backlog::open(&self.backlog, Commit::Durable)?;
        backlog.rename(|name| name.parse::<Address>().ok().map(|known| known.to_string()))?;
        let keys = backlog.enroll(names)?;
        let was_left_open = backlog.was_left_open()?;
        backlog.begin()?;
        Ok((backlog, keys, was_left_open))
    }

    fn open_backlog(&self, commit: Commit) -> Result<Backlog, Failure> {
        Backlog::open(&self.backlog, commit).map_err(|error| self.cannot_use_backlog(&error))
    }

    fn cannot_use_backlog(&self, error: &dyn std::error::Error) -> Failure {
        Failure::Configuration(format!(
            "cannot use the backlog {} (setting --backlog): {error}.",
            self.backlog.display()
        ))
    }
}
