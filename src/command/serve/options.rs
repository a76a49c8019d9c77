//! The settings of `bugzfeed serve`, and how each is read.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::mode::Mode;
use super::values::{milliseconds, number, web_address};
use crate::command::discreet::Discreet;
use crate::command::log::LogOptions;
use crate::http::{HEAD_BYTES_MAX, Origin};
use crate::proxy::TrustedProxy;
use crate::reactor::{Addresses, AdminAddress};
use crate::settings::RELOADED;
use crate::source::{self, CatchUpAddress};

/// Settings of `bugzfeed serve`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new(RELOADED).multiple(true).arg("level")))]
pub struct Options {
    /// File of settings, in TOML, with a table for each command; flags and the environment win over
    /// it; bugzfeed config default prints one
    #[arg(long, env = "BUGZFEED_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Address to listen on: HOST:PORT, [IPV6]:PORT, tls:HOST:PORT with TLS, or unix:FILE; may be
    /// given several times. A name stands for all its addresses, and [::] takes IPv4, too, unless
    /// 0.0.0.0 is there as well. unix:FILE?mode=660&group=www-data lets
    /// nginx in
    #[arg(
        long,
        env = "BUGZFEED_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8844"
    )]
    pub(super) listen: Vec<Addresses>,
    /// PEM file with the certificate for tls: addresses, and those that lead from it to an authority;
    /// may be given several times, and clients get the one with the name that they ask for, or the
    /// first
    #[arg(
        long,
        env = "BUGZFEED_TLS_CERT", group = RELOADED,
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(super) tls_cert: Vec<PathBuf>,
    /// PEM file with the key of the certificate at the same place among --tls-cert
    #[arg(
        long,
        env = "BUGZFEED_TLS_KEY", group = RELOADED,
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(super) tls_key: Vec<PathBuf>,
    /// File that keeps the keys by which clients resume TLS over a restart, or none; servers may
    /// share it
    #[arg(
        long,
        env = "BUGZFEED_TLS_TICKETS",
        value_name = "FILE",
        default_value = "bugzfeed.tickets"
    )]
    pub(super) tls_tickets: PathBuf,
    /// File that holds the number of the process while it runs, for bugzfeed reload
    #[arg(long, env = "BUGZFEED_PID_FILE", value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Share the addresses with other servers of this machine that say so, too: the kernel spreads
    /// the clients among them
    #[arg(long, env = "BUGZFEED_REUSE_PORT")]
    pub(super) reuse_port: bool,
    /// Where the default feed, at /, reads changes from
    #[arg(long, env = "BUGZFEED_SOURCE", hide_env_values = true, value_name = "SOURCE", default_value = "sqlite:bugzfeed.db", value_parser = Discreet(str::parse::<source::Address>))]
    pub(super) source: source::Address,
    /// Another feed at its own path, such as /dev/=sqlite:dev.db; may be given several times
    #[arg(long, env = "BUGZFEED_FEED", hide_env_values = true, value_name = "PATH=SOURCE", value_delimiter = ' ', value_parser = Discreet(parse_feed))]
    pub(super) feed: Vec<(String, source::Address)>,
    /// Bugzilla to catch up with: its start page (https://…) or its database (mysql://…,
    /// postgres://…, sqlite:…); or none. Behind PATH= for the feed at that path; may be given
    /// several times; by default the database that is the source
    #[arg(
        long,
        env = "BUGZFEED_CATCH_UP",
        hide_env_values = true,
        value_name = "[PATH=]URL",
        value_delimiter = ' ',
        value_parser = Discreet(parse_catch_up)
    )]
    pub(super) catch_up: Vec<(String, Option<CatchUpAddress>)>,
    /// Wait while another server or relay reads a table of changes, and take over when it has gone;
    /// without it, that ends the server with 69
    #[arg(long, env = "BUGZFEED_WAIT")]
    pub(super) wait: bool,
    /// SQLite file that keeps the history over a restart, or none; after a run with none, delete the
    /// file before it is used again
    #[arg(
        long,
        env = "BUGZFEED_HISTORY",
        value_name = "FILE",
        default_value = "bugzfeed.db"
    )]
    pub(super) history: PathBuf,
    /// Updates that are remembered per feed, up to 10000000
    #[arg(
        long,
        env = "BUGZFEED_HISTORY_SIZE",
        value_name = "UPDATES",
        default_value_t = 10_000,
        value_parser = number(0..=10_000_000)
    )]
    pub(super) history_size: usize,
    /// Bugzilla that the page links bugs to, and that --access bugzilla asks
    #[arg(
        long,
        env = "BUGZFEED_BUGZILLA", group = RELOADED,
        value_name = "URL",
        default_value = "",
        value_parser = web_address
    )]
    pub(super) bugzilla: String,
    /// Origin that browsers may connect from, as they send it: scheme, host, and a port that is not
    /// the scheme's own, in which one * stands for any text, such as https://*.example.org; may be
    /// given several times; all by default
    #[arg(
        long,
        env = "BUGZFEED_ORIGIN", group = RELOADED,
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub(super) origin: Vec<Origin>,
    /// Who may have the feeds, where not everybody may: tokens:FILE for those who hold a token of that
    /// file, which bugzfeed token keeps; bugzilla for what --bugzilla shows to each, by the cookies of a
    /// login to it or an API key, or bugzilla,login for those alone. Tokens and keys are taken by https
    /// or on this machine only
    #[arg(long, env = "BUGZFEED_ACCESS", value_name = "MODE")]
    pub(super) access: Option<Mode>,
    /// SQLite file that keeps for an hour what Bugzilla says with --access bugzilla, or none; its key is
    /// in FILE.key
    #[arg(
        long,
        env = "BUGZFEED_ACCESS_FILE",
        value_name = "FILE",
        default_value = "bugzfeed.access"
    )]
    pub(super) access_file: PathBuf,
    /// Time from one request to Bugzilla to the next, at least, with --access bugzilla
    #[arg(long, env = "BUGZFEED_ACCESS_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = milliseconds(1))]
    pub(super) access_interval: u32,
    /// Take a token in the address, too, as ?access_token=TOKEN: it is in the history of browsers then,
    /// and in the logs of proxies
    #[arg(long, env = "BUGZFEED_ACCESS_IN_ADDRESS")]
    pub(super) access_in_address: bool,
    /// Connections at the same time, those beyond get 503; by default as many as there may be open
    /// files, or fs.epoll.max_user_watches if that is less, less 128 and 16 for each feed at a path of
    /// its own
    #[arg(long, env = "BUGZFEED_CONNECTIONS", group = RELOADED, value_name = "NUMBER", value_parser = number(1..=u32::MAX.into()))]
    pub(super) connections: Option<usize>,
    /// Proxy that is believed about who its clients are, by its network or address, such as 10.0.0.0/8,
    /// or unix for all who come by unix: sockets: what it adds to X-Forwarded-For or, where that is
    /// missing, Forwarded, and its PROXY header; may be given several times
    #[arg(
        long,
        env = "BUGZFEED_TRUSTED_PROXY", group = RELOADED,
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub(super) trusted_proxy: Vec<TrustedProxy>,
    /// Connections from a --trusted-proxy begin with a PROXY header, of version 1 or 2, before TLS
    #[arg(long, env = "BUGZFEED_PROXY_PROTOCOL", group = RELOADED)]
    pub(super) proxy_protocol: bool,
    /// Connections of one address, IPv6 by /64, at the same time; those beyond get 429; a
    /// --trusted-proxy itself may have any number; unlimited by default. With this or a
    /// --trusted-proxy, each client takes 34 bytes more
    #[arg(long, env = "BUGZFEED_CONNECTIONS_PER_ADDRESS", group = RELOADED, value_name = "NUMBER", value_parser = number(1..=u32::MAX.into()))]
    pub(super) connections_per_address: Option<usize>,
    /// Connections that are accepted per second; those beyond wait in the kernel's queue; unlimited
    /// by default
    #[arg(long, env = "BUGZFEED_ACCEPT_RATE", group = RELOADED, value_name = "NUMBER", value_parser = number(1..=1_000_000))]
    pub(super) accept_rate: Option<usize>,
    /// Memory of the machine, or of the control group (version 2) that the server is in, to leave
    /// alone; the kernel's own use, some 4 KB for each client, counts; with less left, newcomers get
    /// 503; by default 1/32 of all, from 8 to 256 MiB
    #[arg(long, env = "BUGZFEED_MEMORY_RESERVE", group = RELOADED, value_name = "BYTES")]
    pub(super) memory_reserve: Option<u64>,
    /// Subscriptions of one connection
    #[arg(
        long,
        env = "BUGZFEED_SUBSCRIPTIONS", group = RELOADED,
        value_name = "NUMBER",
        default_value_t = 10_000,
        value_parser = number(1..=i32::MAX as u64)
    )]
    pub(super) subscriptions: usize,
    /// Let clients subscribe to "*", all bugs; the page then offers it
    #[arg(long, env = "BUGZFEED_FIREHOSE", group = RELOADED)]
    pub(super) firehose: bool,
    /// Size of a message from a client
    #[arg(long, env = "BUGZFEED_MESSAGE_SIZE", group = RELOADED, value_name = "BYTES", default_value_t = 256 * 1024, value_parser = number(128..=1 << 30))]
    pub(super) message_size: usize,
    /// Size of a request's head, up to 262144; single sign-on may make cookies of more than the
    /// default
    #[arg(long, env = "BUGZFEED_HEAD_SIZE", group = RELOADED, value_name = "BYTES", default_value_t = HEAD_BYTES_MAX, value_parser = number(1_024..=1 << 18))]
    pub(super) head_size: usize,
    /// Messages per second from one client in the long run: one in each 1000/N milliseconds, rounded
    /// down
    #[arg(long, env = "BUGZFEED_MESSAGE_RATE", group = RELOADED, value_name = "NUMBER", default_value_t = 100, value_parser = number(1..=1_000))]
    pub(super) message_rate: usize,
    /// Messages at once from one client
    #[arg(long, env = "BUGZFEED_MESSAGE_BURST", group = RELOADED, value_name = "NUMBER", default_value_t = 1_000, value_parser = number(1..=1_000_000))]
    pub(super) message_burst: usize,
    /// Time that a handshake may take, and that a connection whose post to a webhook was answered is
    /// kept for the next one
    #[arg(long, env = "BUGZFEED_HANDSHAKE_TIMEOUT", group = RELOADED, value_name = "DURATION", default_value = "10s", value_parser = milliseconds(100))]
    pub(super) handshake_timeout: u32,
    /// Time that a message may take, from its first byte to its last
    #[arg(long, env = "BUGZFEED_MESSAGE_TIMEOUT", group = RELOADED, value_name = "DURATION", default_value = "60s", value_parser = milliseconds(100))]
    pub(super) message_timeout: u32,
    /// Time after which a silent client is pinged
    #[arg(long, env = "BUGZFEED_PING", group = RELOADED, value_name = "DURATION", default_value = "30s", value_parser = milliseconds(100))]
    pub(super) ping: u32,
    /// Time that a client has to answer a ping
    #[arg(long, env = "BUGZFEED_PONG", group = RELOADED, value_name = "DURATION", default_value = "30s", value_parser = milliseconds(100))]
    pub(super) pong: u32,
    /// Time after which a client that takes no bytes is closed
    #[arg(long, env = "BUGZFEED_STALL", group = RELOADED, value_name = "DURATION", default_value = "60s", value_parser = milliseconds(100))]
    pub(super) stall: u32,
    /// Time over which clients are closed when the server stops
    #[arg(long, env = "BUGZFEED_DRAIN", group = RELOADED, value_name = "DURATION", default_value = "10s", value_parser = milliseconds(0))]
    pub(super) drain: u32,
    /// Address for those who run the server: HOST:PORT, unix:FILE or off; /livez, /readyz, /metrics,
    /// /status and /closed are there, for everybody who can connect; by default 127.0.0.1:8845, or
    /// none where that is taken
    #[arg(long, env = "BUGZFEED_ADMIN", value_name = "ADDRESS")]
    pub(super) admin: Option<AdminAddress>,
    /// Show in /closed how long each connection was there, and how many bytes went either way: each
    /// client takes 24 bytes more
    #[arg(long, env = "BUGZFEED_CLOSED_DETAILS")]
    pub(super) closed_details: bool,
    #[command(flatten)]
    pub(super) log: LogOptions,
    /// How often the log says what has happened
    #[arg(long, env = "BUGZFEED_SUMMARY", value_name = "DURATION", hide = true, default_value = "1h", value_parser = milliseconds(100))]
    pub(super) summary: u32,
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

/// Reads `[PATH=]URL` or `[PATH=]none`.
fn parse_catch_up(text: &str) -> Result<(String, Option<CatchUpAddress>), String> {
    let (path, address) = match text.split_once('=') {
        Some((path, address)) if path.starts_with('/') => (path, address),
        _ => ("/", text),
    };
    let address = match address {
        "none" => None,
        address => Some(address.parse()?),
    };
    Ok((path.to_owned(), address))
}
