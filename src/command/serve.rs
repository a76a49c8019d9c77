//! `bugzfeed serve`: the WebSocket server. Puts together what the settings ask for, and runs it.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;
use log::{LevelFilter, error, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::address::Discreet;
use crate::allocator;
use crate::duration;
use crate::failure::Failure;
use crate::history::History;
use crate::http::{Site, Webhook};
use crate::hub::Hub;
use crate::logging;
use crate::memory::Budget;
use crate::page;
use crate::protocol::VERSION;
use crate::reactor::{Address, Listener, Reactor};
use crate::server::{Limits, Server};
use crate::source::{self, HistoryFile, Sink, Source, Stop};
use crate::update::FeedId;

/// Files that are not clients' connections: listeners, the poll, the sources, the history, and
/// connections that are told 503.
const FILES_RESERVED: usize = 96;

/// How long the end of the program waits for the sources.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Settings of `bugzfeed serve`.
#[derive(Args, Debug)]
pub struct Options {
    /// Address to listen on: HOST:PORT or unix:FILE; may be given several times
    #[arg(
        long,
        env = "BUGZFEED_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8844"
    )]
    listen: Vec<Address>,
    /// Share the addresses with other servers of this machine that say so, too: the kernel spreads
    /// the clients among them
    #[arg(long, env = "BUGZFEED_REUSE_PORT")]
    reuse_port: bool,
    /// Where the default feed, at /, reads changes from
    #[arg(long, env = "BUGZFEED_SOURCE", hide_env_values = true, value_name = "SOURCE", default_value = "sqlite:bugzfeed.db", value_parser = Discreet(str::parse::<source::Address>))]
    source: source::Address,
    /// Another feed, such as /dev/=amqp://…; may be given several times
    #[arg(long, env = "BUGZFEED_FEED", hide_env_values = true, value_name = "PATH=SOURCE", value_delimiter = ' ', value_parser = Discreet(parse_feed))]
    feed: Vec<(String, source::Address)>,
    /// SQLite file that keeps the history over a restart, or none
    #[arg(
        long,
        env = "BUGZFEED_HISTORY",
        value_name = "FILE",
        default_value = "bugzfeed.db"
    )]
    history: PathBuf,
    /// Updates that are remembered per feed
    #[arg(
        long,
        env = "BUGZFEED_HISTORY_SIZE",
        value_name = "UPDATES",
        default_value_t = 10_000
    )]
    history_size: usize,
    /// Bugzilla that the page links bugs to
    #[arg(
        long,
        env = "BUGZFEED_BUGZILLA",
        value_name = "URL",
        default_value = ""
    )]
    bugzilla: String,
    /// Origin that browsers may connect from, such as https://*.example.org; may be given several
    /// times; all by default
    #[arg(
        long,
        env = "BUGZFEED_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    origin: Vec<String>,
    /// Connections at the same time; as many as there may be open files, and watches of polls, by
    /// default
    #[arg(long, env = "BUGZFEED_CONNECTIONS", value_name = "NUMBER")]
    connections: Option<usize>,
    /// Memory to leave alone, the kernel's included: with less left, newcomers get 503; 1/32 of all
    /// by default, 8 to 256 MiB
    #[arg(long, env = "BUGZFEED_MEMORY_RESERVE", value_name = "BYTES")]
    memory_reserve: Option<u64>,
    /// Subscriptions of one connection
    #[arg(
        long,
        env = "BUGZFEED_SUBSCRIPTIONS",
        value_name = "NUMBER",
        default_value_t = 10_000
    )]
    subscriptions: usize,
    /// Size of a message from a client
    #[arg(long, env = "BUGZFEED_MESSAGE_SIZE", value_name = "BYTES", default_value_t = 256 * 1024)]
    message_size: usize,
    /// Messages per second from one client in the long run
    #[arg(long, env = "BUGZFEED_MESSAGE_RATE", value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    message_rate: u32,
    /// Messages at once from one client
    #[arg(long, env = "BUGZFEED_MESSAGE_BURST", value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    message_burst: u32,
    /// Time that a handshake may take
    #[arg(long, env = "BUGZFEED_HANDSHAKE_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = milliseconds)]
    handshake_timeout: u32,
    /// Time after which a silent client is pinged
    #[arg(long, env = "BUGZFEED_PING", value_name = "DURATION", default_value = "30s", value_parser = milliseconds)]
    ping: u32,
    /// Time that a client has to answer a ping
    #[arg(long, env = "BUGZFEED_PONG", value_name = "DURATION", default_value = "30s", value_parser = milliseconds)]
    pong: u32,
    /// Time after which a client that takes no bytes is closed
    #[arg(long, env = "BUGZFEED_STALL", value_name = "DURATION", default_value = "60s", value_parser = milliseconds)]
    stall: u32,
    /// Time over which clients are closed when the server stops
    #[arg(long, env = "BUGZFEED_DRAIN", value_name = "DURATION", default_value = "10s", value_parser = milliseconds)]
    drain: u32,
    /// How much is logged: off, error, warn, info, debug or trace
    #[arg(
        long,
        env = "BUGZFEED_LOG",
        value_name = "LEVEL",
        default_value = "info"
    )]
    log: LevelFilter,
}

fn parse_feed(text: &str) -> Result<(String, source::Address), String> {
    let (path, source) = text
        .split_once('=')
        .ok_or("accepted is PATH=SOURCE, such as /dev/=sqlite:dev.db")?;
    let is_path = path.starts_with('/')
        && path.ends_with('/')
        && path.len() > 1
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'?');
    if !is_path {
        // Without a path, what stands before the first '=' may be a source with its password.
        return Err("it has no path of a feed; accepted is one that starts and ends with a slash, such as /dev/=sqlite:dev.db".to_owned());
    }
    Ok((path.to_owned(), source.parse()?))
}

fn milliseconds(text: &str) -> Result<u32, String> {
    let duration = duration::parse(text)?;
    // Moments are compared within 24 days.
    u32::try_from(duration.as_millis())
        .ok()
        .filter(|&ms| ms < 1 << 30)
        .ok_or_else(|| format!("'{text}' is too long; accepted is up to 298h"))
}

/// Serves until a signal ends it.
///
/// # Errors
/// When a setting is wrong, or an address or a file is not to be had.
pub fn run(options: &Options) -> Result<(), Failure> {
    allocator::give_back_memory();
    let log = logging::start(options.log)
        .map_err(|error| Failure::Unavailable(format!("cannot start the log: {error}.")))?;
    let result = serve(options);
    log.finish();
    result
}

fn serve(options: &Options) -> Result<(), Failure> {
    let feeds = options.feeds()?;
    let connections_max = options.connections_max()?;
    let listeners = options.listeners()?;
    let addresses = addresses(&listeners)?;
    let remembered: Result<Vec<_>, _> = feeds
        .iter()
        .map(|(path, source)| options.remember(path, source))
        .collect();
    let (hubs, files): (Vec<_>, Vec<_>) = remembered?.into_iter().unzip();
    let server = Server::new(options.limits(connections_max), options.site(&feeds)?, hubs);
    let (mut reactor, inbox) = Reactor::new(
        listeners,
        server,
        Budget::new(options.memory_reserve),
        options.drain,
    )
    .map_err(|error| Failure::Unavailable(format!("cannot set up the loop: {error}.")))?;
    let mut sources = Sources::default();
    for (at, ((_, address), file)) in feeds.iter().zip(files).enumerate() {
        let feed = FeedId(at as u8);
        let (source, posts) = address.open();
        if let Some(posts) = posts {
            reactor.hand_posts_to(feed, posts);
        }
        sources.start(
            source,
            Sink::new(feed, address.to_string(), file, inbox.clone()),
        )?;
    }
    announce(&addresses, &feeds, connections_max);
    let result = reactor
        .run()
        .map_err(|error| Failure::Unavailable(format!("the loop has failed: {error}.")));
    sources.stop();
    result
}

impl Options {
    /// The feeds with their sources, the default feed first.
    fn feeds(&self) -> Result<Vec<(String, source::Address)>, Failure> {
        let mut feeds = vec![("/".to_owned(), self.source.clone())];
        for (path, source) in &self.feed {
            if feeds.iter().any(|(known, _)| known == path) {
                return Err(Failure::Usage(format!(
                    "--feed names the path {path} twice."
                )));
            }
            feeds.push((path.clone(), source.clone()));
        }
        if feeds.len() > usize::from(u8::MAX) {
            return Err(Failure::Usage(format!(
                "--feed is given {} times; accepted is up to {}.",
                self.feed.len(),
                u8::MAX - 1
            )));
        }
        Ok(feeds)
    }

    /// Raises the limit of open files as far as it goes, and finds out how many connections that
    /// allows.
    fn connections_max(&self) -> Result<usize, Failure> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let files = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        // Without a limit, 2^30 is more than any kernel gives a process.
        let files = files.map_or(1 << 30, |files| files as usize);
        // How many sockets the polls of one user may watch; see epoll(7).
        let watches = fs::read_to_string("/proc/sys/fs/epoll/max_user_watches")
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let watches: usize = watches.unwrap_or(usize::MAX);
        let possible = files.min(watches).saturating_sub(FILES_RESERVED);
        match self.connections {
            Some(wanted) if wanted > files.saturating_sub(FILES_RESERVED) => {
                Err(Failure::Configuration(format!(
                    "--connections {wanted} needs {} open files, and the limit is {files}; raise it (ulimit -n, LimitNOFILE=) or ask for at most {possible}.",
                    wanted + FILES_RESERVED
                )))
            }
            Some(wanted) if wanted > possible => Err(Failure::Configuration(format!(
                "--connections {wanted} needs {} watches of the kernel's polls, and the limit is {watches}; raise it (sysctl fs.epoll.max_user_watches) or ask for at most {possible}.",
                wanted + FILES_RESERVED
            ))),
            Some(wanted) => Ok(wanted),
            None if possible == 0 => Err(Failure::Configuration(format!(
                "the limit of {files} open files leaves none for connections; raise it above {FILES_RESERVED} (ulimit -n, LimitNOFILE=)."
            ))),
            None => Ok(possible),
        }
    }

    fn listeners(&self) -> Result<Vec<Listener>, Failure> {
        let bind = |address: &Address| {
            if self.reuse_port && matches!(address, Address::Unix(_)) {
                return Err(Failure::Usage(format!(
                    "--reuse-port cannot share {address}; accepted are addresses of the form HOST:PORT."
                )));
            }
            Listener::bind(address, self.reuse_port).map_err(|error| {
                Failure::Unavailable(format!(
                    "cannot listen on {address} (setting --listen): {error}."
                ))
            })
        };
        self.listen.iter().map(bind).collect()
    }

    /// A feed's hub with what its history file remembers, and that file. A file that cannot be used
    /// ends the start: without it updates would go out that the next start knows nothing of, and
    /// would not know to be missing.
    fn remember(
        &self,
        path: &str,
        source: &source::Address,
    ) -> Result<(Hub, Option<HistoryFile>), Failure> {
        let now = source::unix_now();
        if self.history.as_os_str() == "none" {
            return Ok((
                Hub::new(History::new(self.history_size, now), self.subscriptions),
                None,
            ));
        }
        let opened = HistoryFile::open(
            &self.history,
            path,
            &source.to_string(),
            self.history_size,
            now,
        );
        let (file, kept) = opened.map_err(|error| {
            let name = self.history.display();
            Failure::Configuration(format!(
                "cannot use {name} (setting --history): {error}; accepted are a file that can be written, and none."
            ))
        })?;
        let mut history = History::new(self.history_size, kept.floor);
        history.restore(kept.watermark, kept.updates);
        Ok((Hub::new(history, self.subscriptions), Some(file)))
    }

    fn limits(&self, connections_max: usize) -> Limits {
        Limits {
            connections_max,
            message_bytes_max: self.message_size,
            messages_per_second: self.message_rate,
            messages_burst: self.message_burst,
            handshake: self.handshake_timeout,
            ping: self.ping,
            pong: self.pong,
            stall: self.stall,
        }
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
            pages: page::pages(&self.bugzilla),
            webhooks,
            origins: self.origin.clone(),
        })
    }
}

/// The addresses that were really bound.
fn addresses(listeners: &[Listener]) -> Result<Vec<Address>, Failure> {
    let addresses: Result<_, _> = listeners.iter().map(Listener::address).collect();
    addresses.map_err(|error| {
        Failure::Unavailable(format!("cannot find out the address listened on: {error}."))
    })
}

fn announce(addresses: &[Address], feeds: &[(String, source::Address)], connections_max: usize) {
    let urls: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            Address::Tcp(address) => format!("ws://{address}/ (page: http://{address}/)"),
            Address::Unix(_) => address.to_string(),
        })
        .collect();
    let sources: Vec<String> = feeds
        .iter()
        .map(|(path, source)| format!("{path} from {source}"))
        .collect();
    eprintln!(
        "bugzfeed {VERSION} listens on {}; feeds: {}; up to {connections_max} connections",
        urls.join(", "),
        sources.join(", ")
    );
}

/// The sources' threads.
#[derive(Default)]
struct Sources {
    running: Vec<(Stop, JoinHandle<()>)>,
}

impl Sources {
    fn start(&mut self, mut source: Box<dyn Source>, sink: Sink) -> Result<(), Failure> {
        let stop = Stop::default();
        let seen = stop.clone();
        let thread = thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || source::supervise(&mut *source, sink, &seen))
            .map_err(|error| {
                Failure::Unavailable(format!("cannot start a thread for a source: {error}."))
            })?;
        self.running.push((stop, thread));
        Ok(())
    }

    /// Ends the threads. Each ends at once when asked to; the process does not wait for one that
    /// hangs.
    fn stop(self) {
        for (stop, _) in &self.running {
            stop.request();
        }
        let (all_ended, waiting) = mpsc::channel::<()>();
        for (_, thread) in self.running {
            let ended = all_ended.clone();
            // Waits in a thread of its own, since a join has no deadline.
            thread::spawn(move || {
                if thread.join().is_err() {
                    error!("a source has panicked");
                }
                drop(ended);
            });
        }
        drop(all_ended);
        if waiting.recv_timeout(STOP_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            warn!("a source did not stop in time");
        }
    }
}
