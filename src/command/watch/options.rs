//! The settings of `bugzfeed watch`. Owns how they are read; knows nothing of what is done with
//! them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::bugzilla::rest::{FactFinder, Settings};
use crate::client::FeedUrl;
use crate::failure::Failure;
use crate::update::{BugId, When};

/// Settings of `bugzfeed watch`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "bugzfeed watch [OPTIONS] [URL] <BUG>...")]
pub struct Options {
    /// Bugs to watch; before them, the URL of the feed may stand
    #[arg(required = true, value_name = "BUG")]
    targets: Vec<Target>,
    /// Feed to watch, where no URL stands before the bugs: ws:// or wss://, or http:// or https://
    /// for the same
    #[arg(
        long,
        env = "BUGZFEED_URL",
        value_name = "URL",
        default_value = "ws://127.0.0.1:8844/"
    )]
    url: FeedUrl,
    /// Print the messages of the server, one JSON object per line, instead of "2014-04-03T21:13:45
    /// bug 1234"
    #[arg(long)]
    pub(super) json: bool,
    /// Print lines also on a terminal, in place of a table that is kept up to date
    #[arg(long)]
    lines: bool,
    /// Ask this Bugzilla what the bugs are about, for the table and for --exec: the URL of its start page;
    /// with #key_file=FILE behind it, by an API key
    #[arg(long, env = "BUGZFEED_BUGZILLA", value_name = "URL", value_parser = Settings::parse)]
    pub(super) bugzilla: Option<Settings>,
    /// Start with what changed at this time (UTC) or later, as far as the server remembers
    #[arg(long, value_name = "YYYY-MM-DDTHH:MM:SS")]
    pub(super) since: Option<When>,
    /// Run this by "sh -c" for each update, one after the other, with BUGZFEED_BUG and
    /// BUGZFEED_WHEN in its environment; with --bugzilla, BUGZFEED_PAGE, too, and BUGZFEED_SUMMARY and
    /// BUGZFEED_STATUS where Bugzilla tells them
    #[arg(long, value_name = "COMMAND")]
    pub(super) exec: Option<String>,
    /// End after this many updates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End with exit code 69 when the feed cannot be reached or is lost, instead of trying again
    #[arg(long)]
    pub(super) no_retry: bool,
    /// Trust the certificates in this PEM file instead of this machine's (wss:// only)
    #[arg(long, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,
    /// Show the token in this file to a server that wants one (wss://, or on this machine); it is read
    /// at each attempt to connect
    #[arg(long, env = "BUGZFEED_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Say nothing on stderr about connecting and reconnecting
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Ask for a sign of life after this much silence, and reconnect when none comes within a third
    /// of it
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = silence)]
    pub(super) silence_max: Duration,
}

/// How long Bugzilla may take for an answer.
const BUGZILLA_PATIENCE: Duration = Duration::from_secs(10);

impl Options {
    /// Whether a table is to be shown, where that is possible.
    pub(super) fn wants_table(&self) -> bool {
        !self.lines && !self.json
    }

    /// Somebody who asks what bugs are about, where a Bugzilla is named.
    ///
    /// # Errors
    /// When a file that its address names cannot be used.
    pub(super) fn fact_finder(&self) -> Result<Option<FactFinder>, Failure> {
        let finder = self
            .bugzilla
            .as_ref()
            .map(|bugzilla| bugzilla.fact_finder(BUGZILLA_PATIENCE));
        finder
            .transpose()
            .map_err(|why| Failure::Configuration(format!("{why} (setting --bugzilla).")))
    }

    /// Separates the URL from the bugs.
    ///
    /// # Errors
    /// When there is no bug, or a second URL.
    pub(super) fn feed_and_bugs(&self) -> Result<(FeedUrl, BTreeSet<BugId>), Failure> {
        let (url, rest) = match self.targets.split_first() {
            Some((Target::Url(url), rest)) => (url, rest),
            _ => (&self.url, self.targets.as_slice()),
        };
        let mut bugs = BTreeSet::new();
        for target in rest {
            match target {
                Target::Bug(bug) => bugs.insert(*bug),
                Target::Url(url) => {
                    return Err(Failure::Usage(format!(
                        "{url} does not stand before the bugs; one URL can be watched at a time."
                    )));
                }
            };
        }
        if bugs.is_empty() {
            return Err(Failure::Usage(
                "no bug is named; those to watch stand behind the URL.".to_owned(),
            ));
        }
        Ok((url.clone(), bugs))
    }
}

/// A positional argument.
#[derive(Clone, Debug)]
enum Target {
    Url(FeedUrl),
    Bug(BugId),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return text.parse().map(Target::Url);
        }
        text.parse()
            .map(Target::Bug)
            .map_err(|error| format!("{error}, or the URL of a feed such as ws://127.0.0.1:8844/"))
    }
}

fn silence(text: &str) -> Result<Duration, String> {
    match crate::duration::parse(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}
