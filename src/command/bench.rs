//! `bugzfeed bench`: measures a server. Puts together what the settings ask for, runs the rounds, and says what came out.

use std::net::Ipv4Addr;
use std::time::Duration;
use std::{env, fs, io};

use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::floor::{self, Audience};
use crate::bench::plan::{Pattern, Plan};
use crate::bench::progress::Line;
use crate::bench::publisher::Address;
use crate::bench::report::{Report, Side};
use crate::bench::run::{Load, Pace, Run};
use crate::bench::scenario::{self, Amount, Scenario};
use crate::bench::target::{Kind, Url};
use crate::bench::worker;
use crate::duration;
use crate::failure::Failure;

/// Files of a process of the load that are no clients.
const FILES_RESERVED: u64 = 32;

/// Settings of `bugzfeed bench`.
#[derive(Args, Debug)]
pub struct Options {
    /// What to measure
    scenario: Task,
    /// Server to measure: ws://HOST:PORT/PATH; by default one is started, and the floor beside it
    url: Option<Url>,
    /// Process of that server, for its memory and CPU time
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Option<u32>,
    /// Where that server learns of changes: sqlite:FILE, lines:HOST:PORT or http://HOST:PORT/PATH
    #[arg(long, value_name = "DESTINATION", requires = "url")]
    publish: Option<Address>,
    /// Measure the floor alone
    #[arg(long, conflicts_with = "url")]
    raw: bool,
    /// Clients; 15000 by default, or as many as there may be files
    #[arg(long, short = 'n', value_name = "NUMBER")]
    connections: Option<u32>,
    /// Which bugs the clients subscribe to
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<Pattern>,
    /// Bugs that each client subscribes to
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    bugs: u32,
    /// Updates to publish
    #[arg(long, value_name = "NUMBER")]
    updates: Option<u32>,
    /// Updates that are published at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    burst: u32,
    /// Bursts per second; 0 for each one as soon as all have got the one before
    #[arg(long, value_name = "NUMBER")]
    rate: Option<f64>,
    /// Times that a client connects and leaves in all
    #[arg(long, value_name = "NUMBER", default_value_t = 30_000)]
    cycles: u64,
    /// How long clients are idle, and how long a soak lasts
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    duration: Duration,
    /// Clients that begin to connect per second; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    connect_rate: u32,
    /// Clients that are connecting at the same time; 200 by default, 2000 in a storm
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: Option<u32>,
    /// Address that clients connect from; may be given several times; 16 of 127.0.0.0/8 by default if the server is there
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    source_ip: Vec<Ipv4Addr>,
    /// Clients leave without a close frame
    #[arg(long)]
    abrupt: bool,
    /// Processes that hold the clients; as many as their files ask for by default
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    processes: Option<u32>,
    /// Rounds; each one measures the servers one after the other, and medians are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// File that all numbers are written to
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Argument for the server that is started; may be given several times
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    serve_arg: Vec<String>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
    /// Who gets the floor's updates: a number or "owner"
    #[arg(long, hide = true, default_value = "owner")]
    audience: String,
}

/// What this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Memory of clients that do nothing
    Idle,
    /// Updates that many want
    Fanout,
    /// Updates that one client wants, or nobody
    Sparse,
    /// Clients that connect, subscribe and leave
    Churn,
    /// All clients connect again at once, and ask for what they missed
    Storm,
    /// Some clients stop reading
    Slow,
    /// Everything at once, for long
    Soak,
    #[value(hide = true)]
    Worker,
    #[value(hide = true)]
    Floor,
}

/// Measures.
///
/// # Errors
/// When a delivery was missing, repeated or out of order; when a setting is wrong; when there is no server.
pub fn run(options: &Options) -> Result<(), Failure> {
    let unavailable = |error: io::Error| Failure::Unavailable(format!("the bench has ended early: {error}."));
    raise_files();
    let scenario = match options.scenario {
        Task::Worker => return worker::run().map_err(unavailable),
        Task::Floor => return floor::run(options.audience()).map_err(unavailable),
        Task::Idle => Scenario::Idle,
        Task::Fanout => Scenario::Fanout,
        Task::Sparse => Scenario::Sparse,
        Task::Churn => Scenario::Churn,
        Task::Storm => Scenario::Storm,
        Task::Slow => Scenario::Slow,
        Task::Soak => Scenario::Soak,
    };
    let line = Line::new(options.quiet);
    let report = options.measure(scenario, &line).map_err(unavailable)?;
    line.end();
    print!("{}", report.table());
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| unavailable(error.into()))?;
        fs::write(file, text).map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}.", file.display())))?;
    }
    if report.is_reconciled() { Ok(()) } else { Err(Failure::CheckFailed("not all that was expected has come, or more.".to_owned())) }
}

/// Raises the limit of open files as far as it goes.
fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, fewer clients fit, which is seen later.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

impl Options {
    fn audience(&self) -> Audience {
        self.audience.parse().map_or(Audience::Owner, Audience::All)
    }

    fn measure(&self, scenario: Scenario, line: &Line) -> io::Result<Report> {
        let load = self.load(scenario);
        let amount = self.amount(scenario, &load.plan);
        let kinds = self.kinds(&load.plan);
        let mut report = Report {
            title: format!(
                "{scenario:?}: {} clients, {} {:?} bugs each, {} rounds",
                amount.clients, self.bugs, load.plan.pattern, self.rounds
            ),
            command: env::args().collect::<Vec<_>>().join(" "),
            sides: kinds.iter().map(|(name, _)| Side { name: name.clone(), ..Side::default() }).collect(),
            ..Report::default()
        };
        for round in 1..=self.rounds {
            for (at, (name, kind)) in kinds.iter().enumerate() {
                line.title(&format!("round {round} of {}, {name}", self.rounds));
                let mut run = Run::start(kind, &load, line)?;
                let amount = Amount { is_floor: matches!(kind, Kind::Floor(_)), ..amount.clone() };
                let measures = scenario::run(scenario, &amount, &mut run)?;
                let told = run.report()?;
                report.sides[at].add_round(measures, told, run.load_share());
            }
        }
        Ok(report)
    }

    fn kinds(&self, plan: &Plan) -> Vec<(String, Kind)> {
        let audience = (plan.pattern == Pattern::Shared).then_some(plan.bugs() + 1);
        let floor = ("floor".to_owned(), Kind::Floor(audience));
        if let Some(url) = &self.url {
            let kind = Kind::Running { url: url.clone(), pid: self.pid, publish: self.publish.clone() };
            return vec![(url.authority.clone(), kind)];
        }
        if self.raw {
            return vec![floor];
        }
        // Pings would count as costs of what is measured; the floor sends none.
        let mut arguments = vec!["--ping".to_owned(), "1h".to_owned()];
        arguments.extend(self.serve_arg.iter().cloned());
        let serve = ("serve".to_owned(), Kind::Serve(arguments));
        // The floor knows one bug of each client.
        let has_floor = plan.pattern == Pattern::Shared || (plan.pattern == Pattern::Own && plan.bugs_per_client == 1);
        if has_floor { vec![serve, floor] } else { vec![serve] }
    }

    fn load(&self, scenario: Scenario) -> Load {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20) - FILES_RESERVED;
        // A server that is started here has the same limit, and reserves more.
        let clients = self.connections.unwrap_or(15_000.min(files as u32 - 200));
        let pattern = self.pattern.unwrap_or(match scenario {
            Scenario::Idle | Scenario::Sparse | Scenario::Churn | Scenario::Soak => Pattern::Own,
            Scenario::Fanout | Scenario::Storm | Scenario::Slow => Pattern::Shared,
        });
        let is_near = self.url.as_ref().is_none_or(|url| url.authority.starts_with("127."));
        let sources = match &self.source_ip[..] {
            [] if is_near => (1..=16).map(|last| Ipv4Addr::new(127, 1, 0, last)).collect(),
            given => given.to_vec(),
        };
        Load {
            plan: Plan { pattern, clients, bugs_per_client: self.bugs, first_when: 0 },
            processes: self.processes.unwrap_or(clients.div_ceil(files as u32)),
            sources,
            in_flight: self.in_flight.unwrap_or(200),
            connect_rate: self.connect_rate,
            is_abrupt: self.abrupt,
        }
    }

    fn amount(&self, scenario: Scenario, plan: &Plan) -> Amount {
        let rate = self.rate.unwrap_or(if scenario == Scenario::Sparse { 100.0 } else { 0.0 });
        let updates = self.updates.unwrap_or(match scenario {
            Scenario::Sparse => 500,
            _ => 20 * self.burst,
        });
        Amount {
            clients: plan.clients,
            updates,
            pace: Pace { burst: self.burst, rate },
            cycles: self.cycles,
            storm_in_flight: self.in_flight.unwrap_or(2_000),
            duration: self.duration,
            is_floor: false,
        }
    }
}
