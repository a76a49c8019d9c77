//! Settings that are read anew while the server runs: at SIGHUP, in a thread of its own, since files
//! may be slow. What is wrong with them changes nothing; what takes a restart is named.

use std::env;
use std::ffi::OsString;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clap::{ArgMatches, Command, FromArgMatches};
use log::{error, info};

use super::Options;
use super::access::Ask;
use super::sockets::Sockets;
use crate::certificate::Certificates;
use crate::failure::Failure;
use crate::inbox::{Notice, Reloaded, Sender};
use crate::server::Terms;
use crate::settings;
use crate::work::unix_now;

/// Those that are of use only with the certificates that the server has read at its start.
const TLS_FLAGS: [&str; 2] = ["--tls-cert", "--tls-key"];

/// Those that stay what they are while a Bugzilla decides who sees what: readers show it their
/// credentials, and it is asked bug by bug.
const DECIDER_FLAGS: [&str; 2] = ["--bugzilla", "--firehose"];

/// What reads the settings anew.
pub(super) struct Reloader {
    arguments: Vec<OsString>,
    program: Command,
    /// The settings of the start, and those that were read last.
    known: Mutex<Known>,
    sockets: Sockets,
    others: Others,
    inbox: Sender,
}

/// What is read anew beside the settings.
pub(super) struct Others {
    /// Those that clients are shown.
    pub certificates: Option<Arc<Certificates>>,
    /// Asks for the file of tokens to be read anew.
    pub tokens: Option<Ask>,
    /// The Bugzilla that decides who sees what: it does so until the server ends.
    pub decider: Option<String>,
}

struct Known {
    at_start: ArgMatches,
    last: ArgMatches,
}

impl Reloader {
    /// Something that reads the settings of `program` anew, and others, and sends them to the loop.
    ///
    /// # Errors
    /// When the settings have become wrong since they were read.
    pub(super) fn new(
        program: Command,
        sockets: Sockets,
        others: Others,
        inbox: Sender,
    ) -> Result<Self, Failure> {
        let arguments: Vec<_> = env::args_os().collect();
        let at_start = settings::parse_again(program.clone(), &arguments)?;
        let last = at_start.clone();
        Ok(Self {
            arguments,
            program,
            known: Mutex::new(Known { at_start, last }),
            sockets,
            others,
            inbox,
        })
    }

    /// Begins to read; [`Notice::Reloaded`] is sent when that is done.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn begin(self: &Arc<Self>) -> io::Result<()> {
        let reloader = Arc::clone(self);
        let run = move || {
            let reloaded = reloader.read().unwrap_or_else(|failure| {
                for line in failure.to_string().lines() {
                    error!("the settings stay what they were: {line}");
                }
                None
            });
            // Where the loop is gone, nobody needs them any more.
            let _ = reloader.inbox.send(Notice::Reloaded(reloaded));
        };
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(run)?;
        Ok(())
    }

    fn read(&self) -> Result<Option<Box<Reloaded>>, Failure> {
        let matches = settings::parse_again(self.program.clone(), &self.arguments)?;
        let mut options = Options::from_arg_matches(&matches)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let (certificates, connections_max) = options.check(self.sockets)?;
        if let Some(decider) = &self.others.decider {
            options.keep_to(decider);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (changed, waiting) = self.compare(&known, &matches);
        let reloaded = Reloaded {
            terms: options.terms(connections_max)?,
            drain: options.drain,
            memory_reserve: options.memory_reserve,
            accept_rate: options.accept_rate(),
            level: options.log.level,
            changed,
            waiting,
        };
        if let (Some(shown), Some(read)) = (&self.others.certificates, certificates) {
            shown.replace(read);
            info!("certificates were read anew");
            shown.warn_of_ends(unix_now());
        }
        if let Some(ask) = &self.others.tokens {
            ask();
        }
        known.last = matches;
        Ok(Some(Box::new(reloaded)))
    }

    /// The flags of what has changed since the last time, and of what differs from what the server
    /// was started with and takes a restart.
    fn compare(&self, known: &Known, now: &ArgMatches) -> (Vec<String>, Vec<String>) {
        let Some(command) = self.program.find_subcommand("serve") else {
            return Default::default();
        };
        let has_tls = self.others.certificates.is_some();
        let has_decider = self.others.decider.is_some();
        let takes_effect = |flag: &String| {
            (has_tls || !TLS_FLAGS.contains(&flag.as_str()))
                && !(has_decider && DECIDER_FLAGS.contains(&flag.as_str()))
        };
        let (mut changed, _) = settings::changed(command, &known.last, now);
        changed.retain(takes_effect);
        let (since_start, mut waiting) = settings::changed(command, &known.at_start, now);
        waiting.extend(since_start.into_iter().filter(|flag| !takes_effect(flag)));
        (changed, waiting)
    }
}

impl Options {
    /// Whether a server could be started with these settings, without starting anything; returns
    /// the certificates, and how many connections there may be.
    ///
    /// # Errors
    /// As the start's own.
    pub(super) fn check(&self, sockets: Sockets) -> Result<(Option<Certificates>, usize), Failure> {
        let feeds = self.feeds()?;
        let connections_max = self.connections_max()?;
        for (path, source) in &feeds {
            if let Some((address, _)) = self.catch_up(path, source)? {
                address.check().map_err(|why| {
                    Failure::Configuration(format!("--catch-up {address}: {why}."))
                })?;
            }
        }
        self.check_listen()?;
        let certificates = self.certificates(sockets)?;
        self.site(&feeds)?;
        self.address_rules()?;
        self.tokens()?;
        Ok((certificates, connections_max))
    }

    /// How many connections are accepted per second, where that is bounded.
    pub(super) fn accept_rate(&self) -> Option<u32> {
        self.accept_rate.map(|per_second| per_second as u32)
    }

    /// What can change while the server runs.
    fn terms(&self, connections_max: usize) -> Result<Terms, Failure> {
        Ok(Terms {
            limits: self.limits(connections_max),
            subscriptions_max: self.subscriptions,
            offers_all: self.firehose,
            pages: self.pages(),
            origins: self.origin.clone(),
            head_bytes_max: self.head_size,
            addresses: self.address_rules()?,
        })
    }
}
