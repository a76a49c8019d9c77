//! The doctor: finds what is wrong with a machine and with what the settings name before people ask,
//! and says what mends it. Owns the checks, one file for each thing that is looked at. Changes
//! nothing. Knows no command line, and no running server but by its address.

mod broker;
mod database;
mod feed;
mod files;
mod machine;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::certificate::Files;
use crate::client::FeedUrl;
use crate::database::Database;
use crate::management;
use crate::{amqp, source};

/// How far two clocks may be apart, in seconds.
const CLOCKS_APART_MAX: i64 = 5;

/// What is to be looked at.
#[derive(Default)]
pub(crate) struct Setup {
    /// How many clients there shall be; `None` where nobody has said.
    pub(crate) clients: Option<u64>,
    /// Files that a server has open beside its clients' connections.
    pub(crate) files_reserved: u64,
    /// What a server leaves alone, in bytes, if that is set.
    pub(crate) memory_reserve: Option<u64>,
    /// Whether clients come by TLS to the server itself.
    pub(crate) is_tls: bool,
    /// TCP ports that the server listens at.
    pub(crate) ports: Vec<u16>,
    /// Whether a proxy is believed about who its clients are.
    pub(crate) trusts_proxy: bool,
    /// Whether connections are counted by address.
    pub(crate) counts_addresses: bool,
    /// The time after which a silent client is pinged.
    pub(crate) ping: Duration,
    /// Whose feeds are read, without those of the relay.
    pub(crate) sources: Vec<source::Address>,
    /// The table that a relay reads.
    pub(crate) relayed: Option<Database>,
    /// Brokers that a relay publishes to.
    pub(crate) destinations: Vec<amqp::Settings>,
    /// SQLite files that must be written, each with its setting's name.
    pub(crate) kept: Vec<(&'static str, PathBuf)>,
    /// Certificates with their keys.
    pub(crate) certificates: Vec<Files>,
    /// RabbitMQ's management API, which knows what AMQP does not tell.
    pub(crate) management: Option<management::Settings>,
    /// The feed as clients reach it.
    pub(crate) feed: Option<Public>,
}

impl Setup {
    /// Whether a database is a file of bugzfeed's own: the default one, or that of the history.
    fn is_own(&self, database: &Database) -> bool {
        let file = match database {
            Database::Sqlite(settings) => settings.file(),
            #[cfg(any(feature = "mysql", feature = "postgres"))]
            _ => return false,
        };
        file.file_name() == Some("bugzfeed.db".as_ref())
            || self.kept.iter().any(|(_, kept)| kept == file)
    }
}

/// The feed as clients reach it.
pub(crate) struct Public {
    /// Where it is.
    pub(crate) url: FeedUrl,
    /// Certificates to trust, in place of this machine's own.
    pub(crate) ca_file: Option<PathBuf>,
    /// What is shown to a server that lets in only those who hold one.
    pub(crate) token: Option<String>,
    /// How long a silent connection is watched; two pings where nobody has said.
    pub(crate) hold: Option<Duration>,
}

/// How a thing is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Not known, or worth knowing.
    Note,
    /// Something must be mended.
    Mend,
}

/// What was found at one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) state: State,
    /// What was found.
    pub(crate) text: String,
    /// The line that mends it: a command, a setting, or what to write where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

/// All that was found, in the order of looking.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    /// All is well with something.
    pub(crate) fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, State::Ok, text.into(), None);
    }

    /// Something is not known, or worth knowing.
    pub(crate) fn note(
        &mut self,
        check: &'static str,
        text: impl Into<String>,
        mend: Option<String>,
    ) {
        self.add(check, State::Note, text.into(), mend);
    }

    /// Something must be mended, by this line.
    pub(crate) fn mend(
        &mut self,
        check: &'static str,
        text: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(check, State::Mend, text.into(), Some(mend.into()));
    }

    fn add(&mut self, check: &'static str, state: State, text: String, mend: Option<String>) {
        self.0.push(Finding {
            check,
            state,
            text,
            mend,
        });
    }

    /// Compares another clock with this machine's; both in Unix seconds.
    fn clocks(&mut self, whose: &str, theirs: i64, ours: i64) {
        let apart = theirs - ours;
        if apart.abs() <= CLOCKS_APART_MAX {
            self.ok(
                "clock",
                format!("{whose} has the same time as this machine"),
            );
            return;
        }
        let direction = if apart > 0 { "ahead of" } else { "behind" };
        self.mend(
            "clock",
            format!(
                "the clock of {whose} is {} s {direction} this machine's",
                apart.abs()
            ),
            "timedatectl set-ntp true    # on both machines",
        );
    }
}

/// Looks at everything, and then, for as long as that takes, at the feed.
pub(crate) fn examine(setup: &Setup, findings: &mut Findings) {
    machine::examine(setup, findings);
    files::examine(setup, findings);
    for source in &setup.sources {
        match source {
            source::Address::Database(database) => {
                database::examine(database, "bugzfeed", setup.is_own(database), findings);
            }
            source::Address::Amqp(settings) => {
                broker::examine(settings, setup.management.as_ref(), true, findings);
            }
            source::Address::Webhook(settings) => match settings.credentials() {
                Ok(_) => findings.ok("webhook", format!("{settings} has its key")),
                Err(why) => findings.mend(
                    "webhook",
                    format!("{settings}: {why}"),
                    "openssl rand -hex 32 > FILE    # as key_file=FILE names it",
                ),
            },
        }
    }
    if let Some(database) = &setup.relayed {
        database::examine(database, "bugzfeed-relay", false, findings);
    }
    for settings in &setup.destinations {
        broker::examine(settings, setup.management.as_ref(), false, findings);
    }
    if let Some(public) = &setup.feed {
        feed::examine(public, setup, findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_apart_by_some_seconds() {
        let mut findings = Findings::default();
        findings.clocks("the database", 1_000_005, 1_000_000);
        findings.clocks("the database", 999_000, 1_000_000);
        let states: Vec<State> = findings.0.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Ok, State::Mend]);
        assert_eq!(
            findings.0[1].text,
            "the clock of the database is 1000 s behind this machine's"
        );
    }
}
