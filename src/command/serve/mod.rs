//! `bugzfeed serve`: the WebSocket server. Puts together what the settings ask for, and runs it.

mod access;
mod examined;
mod feeds;
mod mode;
mod options;
mod reload;
mod sockets;
mod tls;
mod values;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Command;
use log::{info, warn};

pub use self::options::Options;
use self::reload::{Others, Reloader};
use self::sockets::{Inherited, Sockets};

use super::admin;
use crate::allocator;
use crate::failure::Failure;
use crate::history::History;
use crate::http::{Page, Site, Webhook};
use crate::hub::Hub;
use crate::inbox::Sender;
use crate::logging::Log;
use crate::machine;
use crate::memory::Budget;
use crate::page;
use crate::reactor::{Listener, Reactor, Socket};
use crate::server::{AddressRules, Limits, Server};
use crate::settings;
use crate::source::{self, CatchUpAddress, HistoryFile, Kept, OpenError};
use crate::update::FeedId;
use crate::work::{FileLock, Threads};

/// Files that are not clients' connections: listeners, the poll, the default feed, and connections
/// that are accepted beyond the limit, 32 of them to be refused and 32 to post.
const FILES_RESERVED: usize = 128;

/// Files of each further feed: its source, its catch-up, its history, and their locks.
const FILES_PER_FEED: usize = 16;

/// How long the end of the program waits for the sources.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How often a history whose disk is full is tried again.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// A feed's hub with what its history file remembers, and that file.
type Remembered = (Hub, (Option<HistoryFile>, Kept));

/// What must be had before anything is served.
type Opened = (Vec<Listener>, Option<FileLock>, Vec<Remembered>);

/// Serves until a signal ends it; `program` is what the settings are read by.
///
/// # Errors
/// When a setting is wrong, or an address or a file is not to be had.
pub fn run(options: &Options, program: Command) -> Result<(), Failure> {
    allocator::give_back_memory();
    let inherited = sockets::inherited()?;
    let log = options.log.start()?;
    settings::log_file(options.config.as_deref());
    let result = serve(options, program, inherited, &log);
    log.finish();
    result
}

/// Checks the settings as a start does, and starts nothing.
///
/// # Errors
/// When a server could not be started with them.
pub(super) fn check(options: &Options) -> Result<(), Failure> {
    options.check(Sockets::Bound).map(drop)
}

fn serve(
    options: &Options,
    program: Command,
    inherited: Inherited,
    log: &Log,
) -> Result<(), Failure> {
    let feeds = options.feeds()?;
    let connections_max = options.connections_max()?;
    let catch_ups = feeds
        .iter()
        .map(|(path, source)| options.catch_up(path, source))
        .collect::<Result<Vec<_>, _>>()?;
    let sockets = Sockets::of(&inherited.listeners);
    let tls = options.tls(sockets)?;
    let _pid_file = options.claim_pid_file()?;
    let (listeners, _claim, remembered) = options.open(&feeds, inherited.listeners)?;
    let addresses = sockets::addresses(&listeners)?;
    let admin = match inherited.admin {
        Some(listener) => Some(listener),
        None => admin::listener(options.admin.as_ref(), admin::SERVE)?,
    };
    let admin_address = sockets::addresses(admin.as_slice())?.pop();
    let (hubs, kept): (Vec<_>, Vec<_>) = remembered.into_iter().unzip();
    let mut server = Server::new(options.limits(connections_max), options.site(&feeds)?, hubs);
    if let Some(tls) = &tls {
        server.secure(tls.sessions());
    }
    if options.closed_details && admin.is_some() {
        server.measure_traffic();
    }
    server.know_addresses(options.address_rules()?);
    let guard = options.guard(&mut server)?;
    let (mut reactor, inbox) = options.reactor(listeners, admin, server)?;
    let mut threads = Threads::default();
    let certificates = tls.map(|tls| tls.keep(&mut threads)).transpose()?;
    if let Some(certificates) = &certificates {
        reactor.show_certificates(Arc::clone(certificates));
    }
    let others = Others {
        certificates,
        tokens: guard.start(&mut reactor, inbox.clone(), &mut threads)?,
        decider: options.decider(),
    };
    let reloader = Arc::new(Reloader::new(program, sockets, others, inbox.clone())?);
    reactor.reload_by(move || reloader.begin());
    for (at, ((feed, kept), catch_up)) in feeds.iter().zip(kept).zip(catch_ups).enumerate() {
        let (id, (path, source)) = (FeedId(at as u8), feed);
        reactor.name_feed(path, source.to_string());
        let posts = options.start_feed(id, source, kept, catch_up, inbox.clone(), &mut threads)?;
        if let Some(posts) = posts {
            reactor.hand_posts_to(id, posts);
        }
    }
    log.announce(&sockets::announcement(
        &addresses,
        admin_address.as_ref(),
        &feeds,
        connections_max,
    ));
    let refusal = reactor
        .run()
        .map_err(|error| Failure::Unavailable(format!("the loop has failed: {error}.")));
    threads.request_stop();
    if !threads.join_within(STOP_PATIENCE) {
        warn!("a source did not stop in time");
    }
    match refusal? {
        Some(why) => Err(Failure::Unavailable(format!("{why}."))),
        None => Ok(()),
    }
}

impl Options {
    /// The loop with all that it listens at, and the way into it.
    fn reactor(
        &self,
        listeners: Vec<Listener>,
        admin: Option<Listener>,
        server: Server<Socket>,
    ) -> Result<(Reactor, Sender), Failure> {
        let budget = Budget::new(self.memory_reserve);
        let (mut reactor, inbox) = Reactor::new(listeners, server, budget, self.drain)
            .map_err(|error| Failure::Unavailable(format!("cannot set up the loop: {error}.")))?;
        if let Some(listener) = admin {
            reactor.answer_at(listener).map_err(|error| {
                Failure::Unavailable(format!("cannot set up the admin listener: {error}."))
            })?;
        }
        reactor.accept_at_most(self.accept_rate());
        reactor.summarize_each(self.summary);
        Ok((reactor, inbox))
    }

    /// The feeds with their sources, the default feed first.
    fn feeds(&self) -> Result<Vec<(String, source::Address)>, Failure> {
        if self.feed.len() >= usize::from(u8::MAX) {
            return Err(Failure::Usage(format!(
                "--feed is given {} times; accepted is up to {}.",
                self.feed.len(),
                u8::MAX - 1
            )));
        }
        let mut feeds = vec![("/".to_owned(), self.source.clone())];
        for (path, source) in &self.feed {
            if feeds.iter().any(|(known, _)| known == path) {
                return Err(Failure::Usage(format!(
                    "--feed names the path {path} twice."
                )));
            }
            feeds.push((path.clone(), source.clone()));
        }
        self.check_catch_up(&feeds)?;
        Ok(feeds)
    }

    /// Each feed catches up with one Bugzilla at most.
    fn check_catch_up(&self, feeds: &[(String, source::Address)]) -> Result<(), Failure> {
        for (at, (path, _)) in self.catch_up.iter().enumerate() {
            if self.catch_up[..at].iter().any(|(known, _)| known == path) {
                return Err(Failure::Usage(format!(
                    "--catch-up names a Bugzilla for the feed {path} twice."
                )));
            }
            if !feeds.iter().any(|(feed, _)| feed == path) {
                let paths: Vec<&str> = feeds.iter().map(|(feed, _)| feed.as_str()).collect();
                return Err(Failure::Usage(format!(
                    "--catch-up names the path {path}, at which there is no feed; accepted are {}.",
                    paths.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Raises the limit of open files as far as it goes, and finds out how many connections that
    /// allows.
    fn connections_max(&self) -> Result<usize, Failure> {
        let reserved = FILES_RESERVED + FILES_PER_FEED * self.feed.len();
        let files = machine::raise_open_files() as usize;
        let watches = machine::epoll_watches().map_or(usize::MAX, |watches| watches as usize);
        let possible = files.min(watches).saturating_sub(reserved);
        match self.connections {
            Some(wanted) if wanted > files.saturating_sub(reserved) => {
                Err(Failure::Configuration(format!(
                    "--connections {wanted} needs {} open files, and the limit is {files}; raise it (ulimit -n, LimitNOFILE=) or ask for at most {possible}.",
                    wanted + reserved
                )))
            }
            Some(wanted) if wanted > possible => Err(Failure::Configuration(format!(
                "--connections {wanted} needs {} watches of the kernel's polls, and the limit is {watches}; raise it (sysctl fs.epoll.max_user_watches) or ask for at most {possible}.",
                wanted + reserved
            ))),
            Some(wanted) => Ok(wanted),
            None if possible == 0 => Err(Failure::Configuration(format!(
                "the limit of {files} open files leaves none for connections; raise it above {reserved} (ulimit -n, LimitNOFILE=)."
            ))),
            None => Ok(possible),
        }
    }

    /// Binds the addresses and opens the history. While its disk is full, that is tried again, and
    /// nobody is kept waiting at the addresses.
    fn open(
        &self,
        feeds: &[(String, source::Address)],
        inherited: Vec<Listener>,
    ) -> Result<Opened, Failure> {
        let mut has_said = false;
        if !inherited.is_empty() {
            info!("systemd hands over the sockets; --listen is not used");
        }
        loop {
            let bound = match inherited.is_empty() {
                true => self.listeners()?,
                false => Vec::new(),
            };
            let claim = self.claim_history()?;
            let remembered: Result<Vec<_>, _> = feeds
                .iter()
                .map(|(path, source)| self.remember(path, source))
                .collect();
            match remembered {
                Ok(remembered) => {
                    let listeners = if inherited.is_empty() {
                        bound
                    } else {
                        inherited
                    };
                    return Ok((listeners, claim, remembered));
                }
                Err(error) if !error.is_full() => return Err(self.cannot_use_history(&error)),
                Err(_) if has_said => {}
                Err(error) => {
                    has_said = true;
                    warn!(
                        "cannot use {} (setting --history): {error}; trying again until it works",
                        self.history.display()
                    );
                }
            }
            drop((bound, claim));
            thread::sleep(ROOM_EVERY);
        }
    }

    /// A feed's hub with what its history file remembers, and that file. A file that cannot be used
    /// ends the start: without it updates would go out that the next start knows nothing of, and
    /// would not know to be missing.
    fn remember(&self, path: &str, source: &source::Address) -> Result<Remembered, OpenError> {
        // What may be missing is for the source to find out.
        let mut history = History::new(self.history_size, i64::MIN);
        let (file, kept) = if self.keeps_history() {
            let source = source.to_string();
            let (file, kept) = HistoryFile::open(&self.history, path, &source, self.history_size)?;
            (Some(file), kept)
        } else {
            (None, Kept::default())
        };
        for (watermark, update) in &kept.updates {
            history.restore(*watermark, update.clone());
        }
        let hub = Hub::new(history, self.subscriptions).with_firehose(self.firehose);
        Ok((hub, (file, kept)))
    }

    fn keeps_history(&self) -> bool {
        self.history.as_os_str() != "none"
    }

    /// Claims the history file, if there is one: two servers would erase each other's.
    fn claim_history(&self) -> Result<Option<FileLock>, Failure> {
        if !self.keeps_history() {
            return Ok(None);
        }
        match source::claim(&self.history) {
            Ok(Some(claim)) => Ok(Some(claim)),
            Ok(None) => Err(Failure::Unavailable(format!(
                "another server uses {} (setting --history); each needs its own.",
                self.history.display()
            ))),
            Err(error) => Err(self.cannot_use_history(&error)),
        }
    }

    fn cannot_use_history(&self, error: &dyn std::error::Error) -> Failure {
        Failure::Configuration(format!(
            "cannot use {} (setting --history): {error}; accepted are a file that can be written, and none.",
            self.history.display()
        ))
    }

    /// Who can be asked for what the source of the feed at `path` lacks, and whether nobody has
    /// asked for that.
    ///
    /// # Errors
    /// When private bugs would come this way that the source leaves out.
    fn catch_up(
        &self,
        path: &str,
        source: &source::Address,
    ) -> Result<Option<(CatchUpAddress, bool)>, Failure> {
        let named = self.catch_up.iter().find(|(named, _)| named == path);
        let catch_up = match (named, source) {
            (Some((_, address)), _) => address.clone().map(|address| (address, false)),
            (None, source::Address::Database(database)) => {
                Some((CatchUpAddress::Database(database.clone()), true))
            }
            (None, _) => None,
        };
        let is_public_only =
            matches!(source, source::Address::Database(database) if database.is_public_only());
        match &catch_up {
            Some((address, _)) if is_public_only && !address.is_public_only() => {
                Err(Failure::Usage(format!(
                    "--catch-up {address} would show the private bugs that {source} leaves out; it must say bugs=public, too."
                )))
            }
            _ => Ok(catch_up),
        }
    }

    fn limits(&self, connections_max: usize) -> Limits {
        Limits {
            connections_max,
            message_bytes_max: self.message_size,
            messages_per_second: self.message_rate as u32,
            messages_burst: self.message_burst as u32,
            handshake: self.handshake_timeout,
            message: self.message_timeout,
            ping: self.ping,
            pong: self.pong,
            stall: self.stall,
        }
    }

    /// What is to be known of clients' addresses, if anything is.
    fn address_rules(&self) -> Result<Option<AddressRules>, Failure> {
        if self.proxy_protocol && self.trusted_proxy.is_empty() {
            return Err(Failure::Usage(
                "--proxy-protocol needs --trusted-proxy: who sends a PROXY header and is to be believed, such as 10.0.0.0/8."
                    .to_owned(),
            ));
        }
        let rules = AddressRules {
            trusted: self.trusted_proxy.clone(),
            expects_header: self.proxy_protocol,
            connections_max: self.connections_per_address.map(|most| most as u32),
        };
        let is_wanted = !rules.trusted.is_empty() || rules.connections_max.is_some();
        Ok(is_wanted.then_some(rules))
    }

    fn pages(&self) -> Vec<Page> {
        page::pages(&self.bugzilla, self.firehose)
    }

    /// Notes the process's number in `--pid-file`, and holds the file.
    fn claim_pid_file(&self) -> Result<Option<FileLock>, Failure> {
        let Some(file) = &self.pid_file else {
            return Ok(None);
        };
        let cannot_use = |why: &str| {
            Failure::Configuration(format!(
                "cannot use {} (setting --pid-file): {why}.",
                file.display()
            ))
        };
        let claim = FileLock::take(file).map_err(|error| cannot_use(&error.to_string()))?;
        let claim = claim.ok_or_else(|| cannot_use("another server has it"))?;
        claim
            .write(&format!("{}\n", std::process::id()))
            .map_err(|error| cannot_use(&error.to_string()))?;
        Ok(Some(claim))
    }

    fn site(&self, feeds: &[(String, source::Address)]) -> Result<Site, Failure> {
        let mut webhooks = Vec::new();
        for (at, (path, address)) in feeds.iter().enumerate() {
            if let source::Address::Webhook(settings) = address {
                let (field, key) = settings
                    .credentials()
                    .map_err(|why| Failure::Configuration(format!("{address}: {why}.")))?;
                webhooks.push(Webhook {
                    path: format!("{path}webhook"),
                    feed: FeedId(at as u8),
                    field,
                    key,
                });
            }
        }
        let paths = feeds.iter().map(|(path, _)| path.clone()).collect();
        Ok(Site {
            feeds: paths,
            pages: self.pages(),
            webhooks,
            origins: self.origin.clone(),
            credentials: self.credentials()?,
            offers_events: true,
            head_bytes_max: self.head_size,
        })
    }
}
