//! The settings of `bugzfeed bench`, and their help. What is done with them is its parent's.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::bench::load::plan::Pattern;
use crate::bench::load::tls::Version;
use crate::bench::report::assertion::Assertion;
use crate::bench::scenario::Name;
use crate::bench::server::inlet::InletAddress;
use crate::client::FeedUrl;
use crate::duration;

/// Settings of `bugzfeed bench`.
#[derive(Args, Debug)]
pub struct Options {
    /// What to measure
    pub(super) scenario: Task,
    /// Server to measure: ws:// or wss://HOST[:PORT]/PATH; by default one is started, and the floor
    /// beside it
    pub(super) url: Option<FeedUrl>,
    /// PEM file with the certificates that a wss:// server is trusted by, in place of this machine's
    #[arg(
        long,
        value_name = "FILE",
        requires = "url",
        conflicts_with = "insecure"
    )]
    pub(super) cacert: Option<PathBuf>,
    /// Believe any wss:// server, and verify nothing
    #[arg(long, requires = "url")]
    pub(super) insecure: bool,
    /// Start a server with TLS, with a certificate of its own that is thrown away, and one without
    /// beside it
    #[arg(long, conflicts_with_all = ["url", "raw"])]
    pub(super) tls: bool,
    /// PEM file with another certificate for that server
    #[arg(long, value_name = "FILE", requires = "tls", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// The only version of TLS that the clients speak
    #[arg(long, value_name = "VERSION")]
    pub(super) tls_version: Option<Version>,
    /// Process of that server, for its memory and CPU time; may be given several times
    #[arg(long, value_name = "PID", requires = "url", value_delimiter = ',')]
    pub(super) pid: Vec<u32>,
    /// Where that server learns of changes: sqlite:FILE, mysql://…, postgres://…, amqp://…,
    /// http://[KEY@]HOST:PORT/PATH or lines:HOST:PORT
    #[arg(long, value_name = "DESTINATION", requires = "url")]
    pub(super) publish: Option<InletAddress>,
    /// Yes, publish invented updates to a server or a database that real users may read
    #[arg(long, requires = "publish")]
    pub(super) invent: bool,
    /// What that server is called in the results
    #[arg(long, value_name = "NAME", requires = "url")]
    pub(super) name: Option<String>,
    /// That server remembers nothing, so clients that come back do not ask for what they missed
    #[arg(long)]
    pub(super) without_history: bool,
    /// Measure the floor alone: a server that does nothing but the system calls
    #[arg(long, conflicts_with = "url")]
    pub(super) raw: bool,
    /// Clients; several numbers, such as 1000,5000,15000, are measured one after the other; 15000
    /// by default, or as many as there may be files
    #[arg(long, short = 'n', value_name = "NUMBER", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) connections: Vec<u32>,
    /// In a storm, clients that are in before it, and get ten updates a second while it lasts
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        conflicts_with = "raw"
    )]
    pub(super) present: u32,
    /// Which bugs the clients subscribe to
    #[arg(long, value_name = "PATTERN")]
    pub(super) pattern: Option<Pattern>,
    /// Bugs that each client subscribes to; with the pattern both, of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) bugs: u32,
    /// Updates to publish
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) updates: Option<u32>,
    /// Updates that are published at the same time; 20 in the scenario slow, else 1 by default
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) burst: Option<u32>,
    /// Bursts per second, due at their time however long those before take; 0 for each one as soon
    /// as all have got the one before; by default 100 in the scenarios sparse and soak, 50 in
    /// scale, 20 in slow, and in fanout 50000 divided by the clients, from 0.2 to 10
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Times that a client connects and leaves in all
    #[arg(long, value_name = "NUMBER", default_value_t = 30_000)]
    pub(super) cycles: u64,
    /// Clients per second that lose their connection and come back in a soak
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(super) roaming: u32,
    /// In a soak, let hostile clients come and go, and each ten seconds one of: all clients lose their
    /// connection and come back, some are slow, the server reads its settings anew; in the end it
    /// must be as it was before. 20 updates a second by default
    #[arg(long)]
    pub(super) trouble: bool,
    /// Command that happens in turn with these, such as one that kills the broker and starts it again;
    /// it ends when all is there again
    #[arg(long, value_name = "COMMAND", requires = "trouble")]
    pub(super) disturb: Option<String>,
    /// Metrics of that server, such as http://127.0.0.1:8845/metrics
    #[arg(long, value_name = "URL", requires = "url")]
    pub(super) metrics: Option<String>,
    /// In the scenario slow, each so-many-th client stops reading
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) slow_every: u32,
    /// How long clients are idle (1s by default), and how long a soak lasts (60s by default)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) duration: Option<Duration>,
    /// How long updates may take to arrive before they count as missing
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub(super) patience: Duration,
    /// Clients that begin to connect per second; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) connect_rate: u32,
    /// Clients that are connecting at the same time; 200 by default, 1000 in a storm
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) in_flight: Option<u32>,
    /// Address that clients connect from; may be given several times; 16 of 127.0.0.0/8 by default
    /// if the server is there
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) source_ip: Vec<Ipv4Addr>,
    /// Clients leave without a close frame
    #[arg(long)]
    pub(super) abrupt: bool,
    /// Processes that hold the clients; as many as their files ask for by default
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) processes: Option<u32>,
    /// Servers to start that share the clients, each with a part of them and all updates
    #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "url", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) servers: u32,
    /// Rounds; each one measures the servers one after the other, and medians are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    /// What must hold, else the exit code is 1: such as
    /// missing=0,p99<50ms,rss<=160,delivery_ratio<=1.03
    #[arg(long, value_name = "CONDITION", value_delimiter = ',')]
    pub(super) assert: Vec<Assertion>,
    /// File of --json from an earlier run to compare with
    #[arg(long, value_name = "FILE")]
    pub(super) compare: Option<PathBuf>,
    /// File of --json from a run against another server, to be shown beside; may be given several
    /// times
    #[arg(long, value_name = "FILE")]
    pub(super) beside: Vec<PathBuf>,
    /// File that all numbers are written to
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Folder that each plot is written to, as SVG
    #[arg(long, value_name = "FOLDER")]
    pub(super) svg: Option<PathBuf>,
    /// Argument for the server that is started; may be given several times
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(super) serve_arg: Vec<String>,
    /// Show no progress
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Who gets the floor's updates: a number or "owner"
    #[arg(long, hide = true, default_value = "owner")]
    pub(super) audience: String,
}

/// What this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Measure(Name),
    /// Show what was measured earlier.
    Show,
    /// Hold clients for the bench.
    Worker,
    /// Be the floor.
    Floor,
}

impl ValueEnum for Task {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Task::Measure(Name::Idle),
            Task::Measure(Name::Fanout),
            Task::Measure(Name::Sparse),
            Task::Measure(Name::Churn),
            Task::Measure(Name::Storm),
            Task::Measure(Name::Slow),
            Task::Measure(Name::Soak),
            Task::Measure(Name::Fill),
            Task::Measure(Name::Scale),
            Task::Show,
            Task::Worker,
            Task::Floor,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Task::Measure(name) => return name.to_possible_value(),
            Task::Show => PossibleValue::new("show").help("Nothing; show the files of --beside"),
            Task::Worker => PossibleValue::new("worker").hide(true),
            Task::Floor => PossibleValue::new("floor").hide(true),
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && (*rate == 0.0 || *rate >= 0.001));
    rate.ok_or_else(|| format!("'{text}' is no rate; accepted are 0 and numbers from 0.001 on"))
}
