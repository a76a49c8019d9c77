//! Catching up with Bugzilla itself: asks it at each start, after each loss and every minute which
//! bugs have changed, so that what the source has lost is made good, whatever lost it. Knows no
//! database and no client.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use log::{info, warn};

use super::sink::{Shared, Sink};
use crate::bugzilla::{Asker, Sees, rest};
use crate::database::Database;
use crate::inbox::Closed;
use crate::work::{self, Error, Health, Stop, Supervised};

/// How often Bugzilla is asked: what was lost is made good within a minute, and half a second of
/// its CPU time, which an answer over HTTP costs, is a hundredth of that.
const ASK_EVERY: Duration = Duration::from_secs(50);

/// How long a source that has begun to read is left alone before Bugzilla is asked.
const SETTLING: Duration = Duration::from_millis(300);

/// Who is asked, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `sqlite:FILE`, `mysql://…` or `postgres://…`: Bugzilla's own database.
    Database(Database),
    /// `https://…` or `http://…`: Bugzilla's start page.
    Bugzilla(rest::Settings),
}

impl Address {
    /// Which bugs are seen.
    pub(crate) fn sees(&self) -> Sees {
        match self {
            Address::Database(_) => Sees::All,
            Address::Bugzilla(settings) => settings.sees,
        }
    }

    /// Whether only public bugs are found.
    pub(crate) fn is_public_only(&self) -> bool {
        match self {
            Address::Database(database) => database.is_public_only(),
            Address::Bugzilla(settings) => settings.is_public_only(),
        }
    }

    fn asker(&self) -> Result<Box<dyn Asker>, String> {
        match self {
            Address::Database(database) => Ok(database.asker()),
            Address::Bugzilla(settings) => settings.asker(),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads a URL. An error repeats no part of it that may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")).0 {
            scheme if Database::has_scheme(scheme) => text.parse().map(Address::Database),
            "http" | "https" => rest::Settings::parse(text).map(Address::Bugzilla),
            _ => Err("it is no Bugzilla; accepted are https://HOST/PATH, mysql://USER:PASSWORD@HOST/DATABASE, postgres://… and sqlite:FILE".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    /// The URL without any secret, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Database(database) => database.fmt(f),
            Address::Bugzilla(settings) => settings.fmt(f),
        }
    }
}

/// The work of asking, for a thread of its own.
pub struct CatchUp {
    asker: Box<dyn Asker>,
    /// Whether nobody has asked for the catch-up: where it is not possible, there is none.
    is_optional: bool,
    shared: Shared,
    health: Health,
}

impl CatchUp {
    /// Asks `address` for what the source of `sink` lacks. `is_optional` says that there need not
    /// be a catch-up.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(crate) fn new(address: &Address, is_optional: bool, sink: &Sink) -> Result<Self, String> {
        Ok(Self {
            asker: address.asker()?,
            is_optional,
            shared: sink.shared(),
            health: Health::new("catching up with", address.to_string()),
        })
    }

    /// Asks until `stop` is requested or the loop is gone.
    pub(crate) fn keep_up(mut self, stop: &Stop) {
        work::supervise(&mut self, stop);
    }
}

impl CatchUp {
    fn can_ask(&mut self) -> Result<bool, Error> {
        match self.asker.can_ask()? {
            true => Ok(true),
            false if self.is_optional && says_bugzilla(self.health.name()) => {
                warn!(
                    "{}: there is no table bugs: is this Bugzilla's own file? It is in data/db in Bugzilla's folder, and called as the database in localconfig",
                    self.health.name()
                );
                Ok(false)
            }
            false if self.is_optional => {
                info!(
                    "{}: there is no table bugs of which this account can read bug_id and delta_ts, so what gets lost is reported to clients and not made good",
                    self.health.name()
                );
                Ok(false)
            }
            false => Err("this account cannot read bug_id and delta_ts in the table bugs, or there is no such table; GRANT SELECT (bug_id, delta_ts) ON bugs".into()),
        }
    }
}

/// Whether this is an SQLite file where Bugzilla keeps its own, or that is called like it.
fn says_bugzilla(name: &str) -> bool {
    let Some(file) = name.strip_prefix("sqlite:") else {
        return false;
    };
    let file = file.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = file.split('/').collect();
    parts.ends_with(&["bugs"]) || parts.windows(2).any(|pair| pair == ["data", "db"])
}

impl Supervised for CatchUp {
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        let (ring, bell) = self.shared.bell();
        let at_stop = ring.clone();
        stop.on_request(move || {
            // A bell that rings already rings for this as well.
            let _ = at_stop.try_send(());
        });
        // The first question, and the one after a failure, are due at once.
        let _ = ring.try_send(());
        loop {
            if let Err(RecvTimeoutError::Disconnected) = bell.recv_timeout(ASK_EVERY) {
                return Ok(());
            }
            if stop.is_requested() {
                return Ok(());
            }
            // What waits for the source need not come from Bugzilla.
            if stop.wait(SETTLING) {
                return Ok(());
            }
            while bell.try_recv().is_ok() {}
            if !self.health.has_worked_for(Duration::ZERO) && !self.can_ask()? {
                return Ok(self.shared.cannot_ask()?);
            }
            let (question, since) = self.shared.question();
            let found = self.asker.ask(since)?;
            self.shared.made_good(question, since, found)?;
            self.health.working();
        }
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn is_final(&mut self, error: &Error) -> bool {
        error.is::<Closed>()
    }
}
