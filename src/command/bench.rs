//! `bugzfeed bench`: measures a server. Puts together what the settings ask for, runs the rounds, and shows what came out.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io};

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::assertion::Assertion;
use crate::bench::floor::{self, Audience};
use crate::bench::machine::{self, Need};
use crate::bench::plan::{Pattern, Plan};
use crate::bench::progress::Line;
use crate::bench::publisher::Address;
use crate::bench::report::{FLOOR, Point, Report, Side};
use crate::bench::run::{Load, Pace, Run};
use crate::bench::scenario::{self, Amount, Scenario};
use crate::bench::target::{Kind, Url};
use crate::bench::{plots, table, worker};
use crate::duration;
use crate::failure::Failure;

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
    /// Where that server learns of changes: sqlite:FILE, amqp://…, http://[KEY@]HOST:PORT/PATH or lines:HOST:PORT
    #[arg(long, value_name = "DESTINATION", requires = "url")]
    publish: Option<Address>,
    /// What that server is called in the results
    #[arg(long, value_name = "NAME", requires = "url")]
    name: Option<String>,
    /// That server remembers nothing, so clients that come back do not ask for what they missed
    #[arg(long)]
    without_history: bool,
    /// Measure the floor alone: a server that does nothing but the system calls
    #[arg(long, conflicts_with = "url")]
    raw: bool,
    /// Clients; several numbers, such as 1000,5000,15000, are measured one after the other; 15000 by default, or as many as there may be files
    #[arg(long, short = 'n', value_name = "NUMBER", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    connections: Vec<u32>,
    /// Which bugs the clients subscribe to
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<Pattern>,
    /// Bugs that each client subscribes to
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    bugs: u32,
    /// Updates to publish
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    updates: Option<u32>,
    /// Updates that are published at the same time; 20 in the scenario slow, else 1 by default
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
    /// Bursts per second, due at their time however long those before take; 0 for each one as soon as all have got the one before
    #[arg(long, value_name = "NUMBER")]
    rate: Option<f64>,
    /// Times that a client connects and leaves in all
    #[arg(long, value_name = "NUMBER", default_value_t = 30_000)]
    cycles: u64,
    /// Clients per second that lose their connection and come back in a soak
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    roaming: u32,
    /// In the scenario slow, each so-many-th client stops reading
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    slow_every: u32,
    /// How long clients are idle (1s by default), and how long a soak lasts (60s by default)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// How long updates may take to arrive before they count as missing
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    patience: Duration,
    /// Clients that begin to connect per second; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    connect_rate: u32,
    /// Clients that are connecting at the same time; 200 by default, 1000 in a storm
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
    /// What must hold, else the exit code is 1: such as missing=0,p99<50ms,rss<=160,delivery_ratio<=1.03
    #[arg(long, value_name = "CONDITION", value_delimiter = ',')]
    assert: Vec<Assertion>,
    /// File of --json from an earlier run to compare with
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// File of --json from a run against another server, to be shown beside; may be given several times
    #[arg(long, value_name = "FILE")]
    beside: Vec<PathBuf>,
    /// File that all numbers are written to
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File that a page with tables and plots is written to
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Folder that each plot is written to, as SVG
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Measure(Scenario),
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
            Task::Measure(Scenario::Idle),
            Task::Measure(Scenario::Fanout),
            Task::Measure(Scenario::Sparse),
            Task::Measure(Scenario::Churn),
            Task::Measure(Scenario::Storm),
            Task::Measure(Scenario::Slow),
            Task::Measure(Scenario::Soak),
            Task::Show,
            Task::Worker,
            Task::Floor,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Task::Measure(scenario) => return scenario.to_possible_value(),
            Task::Show => PossibleValue::new("show").help("Nothing; show the files of --beside"),
            Task::Worker => PossibleValue::new("worker").hide(true),
            Task::Floor => PossibleValue::new("floor").hide(true),
        })
    }
}

/// Measures.
///
/// # Errors
/// When a delivery was missing, repeated or out of order, or a condition does not hold; when a setting is wrong; when there is no server.
pub fn run(options: &Options) -> Result<(), Failure> {
    raise_files();
    let line = Line::new(options.quiet);
    let mut report = match options.scenario {
        Task::Worker => return worker::run().map_err(|error| ended(&error)),
        Task::Floor => return floor::run(options.audience()).map_err(|error| ended(&error)),
        Task::Show => Report::default(),
        Task::Measure(scenario) => options.measure(scenario, &line)?,
    };
    line.end();
    for file in &options.beside {
        let other = read(file)?;
        if report.points.is_empty() {
            report = other;
        } else {
            report.add_sides(&other);
        }
    }
    options.show(&report)?;
    for assertion in &options.assert {
        assertion.check(&report).map_err(|why| Failure::CheckFailed(format!("{why}.")))?;
    }
    if report.is_reconciled() {
        Ok(())
    } else {
        Err(Failure::CheckFailed("what came is not what should have come; the table says of which server.".to_owned()))
    }
}

fn ended(error: &io::Error) -> Failure {
    Failure::Unavailable(format!("the bench has ended early: {error}."))
}

/// Raises the limit of open files as far as it goes.
fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, fewer clients fit, which is told before a run.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn read(file: &PathBuf) -> Result<Report, Failure> {
    let refuse = |error: String| Failure::Configuration(format!("cannot read {}: {error}.", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
}

fn write(file: &PathBuf, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}.", file.display())))
}

impl Options {
    fn audience(&self) -> Audience {
        self.audience.parse().map_or(Audience::Owner, Audience::All)
    }

    fn show(&self, report: &Report) -> Result<(), Failure> {
        print!("{}", table::table(report));
        if let Some(file) = &self.compare {
            print!("{}", table::compare(report, &read(file)?));
        }
        if let Some(file) = &self.json {
            let text = serde_json::to_string(report).map_err(|error| ended(&error.into()))?;
            write(file, &text)?;
        }
        if let Some(file) = &self.html {
            write(file, &plots::html(report))?;
        }
        if let Some(folder) = &self.svg {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::Unavailable(format!("cannot make the folder {}: {error}.", folder.display())))?;
            for (name, svg) in plots::plots(report) {
                write(&folder.join(format!("{name}.svg")), &svg)?;
            }
        }
        Ok(())
    }

    fn measure(&self, scenario: Scenario, line: &Line) -> Result<Report, Failure> {
        let loads: Vec<Load> = self.numbers().into_iter().map(|clients| self.load(scenario, clients)).collect();
        for load in &loads {
            self.check(scenario, load)?;
        }
        let load_average = machine::load_average();
        if load_average > 1.0 && !self.quiet {
            eprintln!("something else runs here (load average {load_average:.1}): times will differ from run to run; compare ratios");
        }
        let pattern = loads.first().map(|load| load.plan.pattern).unwrap_or_default();
        let mut report = Report {
            title: format!("{scenario:?}: pattern {pattern:?}, {} bugs for each client, {} rounds", self.bugs, self.rounds),
            command: env::args().collect::<Vec<_>>().join(" "),
            machine: machine::describe(),
            points: Vec::new(),
        };
        for load in &loads {
            report.points.push(self.measure_point(scenario, load, line).map_err(|error| ended(&error))?);
        }
        Ok(report)
    }

    fn measure_point(&self, scenario: Scenario, load: &Load, line: &Line) -> io::Result<Point> {
        let kinds = self.kinds(scenario, &load.plan);
        let sides = kinds.iter().map(|(name, _)| Side { name: name.clone(), ..Side::default() }).collect();
        let mut point = Point { clients: load.plan.clients, sides };
        for round in 1..=self.rounds {
            for (at, (name, kind)) in kinds.iter().enumerate() {
                line.title(&format!("{} clients, round {round} of {}, {name}", load.plan.clients, self.rounds));
                let mut run = Run::start(kind, load, line)?;
                let has_history = !self.without_history && !matches!(kind, Kind::Floor(_));
                let amount = self.amount(scenario, &load.plan, has_history);
                let measures = scenario::run(scenario, &amount, &mut run)?;
                let told = run.report()?;
                point.sides[at].add_round(measures, told, run.load_share());
            }
        }
        Ok(point)
    }

    /// The numbers of clients to measure with.
    fn numbers(&self) -> Vec<u32> {
        match &self.connections[..] {
            [] => vec![15_000.min(machine::clients_max_of_server())],
            given => given.to_vec(),
        }
    }

    /// Finds out before anything is started what cannot work.
    fn check(&self, scenario: Scenario, load: &Load) -> Result<(), Failure> {
        let need =
            Need { clients: load.plan.clients, processes: load.processes, sources: load.sources.clone(), has_server: self.url.is_none() };
        need.check().map_err(|why| Failure::Usage(format!("{why}.")))?;
        let publishes = !matches!(scenario, Scenario::Idle | Scenario::Churn);
        if publishes && self.url.is_some() && self.publish.is_none() {
            return Err(Failure::Usage("updates must come from somewhere; --publish says how the server learns of them.".to_owned()));
        }
        if load.plan.pattern != Pattern::Shared && u64::from(load.plan.clients) * u64::from(self.bugs) > 1_000_000_000 {
            return Err(Failure::Usage("so many clients with so many --bugs need more numbers than bugs have.".to_owned()));
        }
        Ok(())
    }

    fn kinds(&self, scenario: Scenario, plan: &Plan) -> Vec<(String, Kind)> {
        let audience = (plan.pattern == Pattern::Shared).then_some(plan.bugs() + 1);
        let floor = (FLOOR.to_owned(), Kind::Floor(audience));
        if let Some(url) = &self.url {
            let kind = Kind::Running { url: url.clone(), pid: self.pid, publish: self.publish.clone().map(Box::new) };
            return vec![(self.name.clone().unwrap_or_else(|| url.authority.clone()), kind)];
        }
        if self.raw {
            return vec![floor];
        }
        // Pings would count as costs of what is measured; the floor sends none.
        let mut arguments = if scenario == Scenario::Soak { Vec::new() } else { vec!["--ping".to_owned(), "1h".to_owned()] };
        if self.bugs > 1_000 {
            arguments.extend(["--subscriptions".to_owned(), self.bugs.to_string()]);
        }
        arguments.extend(self.serve_arg.iter().cloned());
        let serve = ("serve".to_owned(), Kind::Serve(arguments));
        // The floor knows one bug of each client, and remembers nothing.
        let has_floor = plan.pattern == Pattern::Shared || (plan.pattern == Pattern::Own && plan.bugs_per_client == 1);
        if has_floor && !matches!(scenario, Scenario::Slow | Scenario::Soak) { vec![serve, floor] } else { vec![serve] }
    }

    fn load(&self, scenario: Scenario, clients: u32) -> Load {
        let pattern = self.pattern.unwrap_or(match scenario {
            Scenario::Idle | Scenario::Sparse | Scenario::Churn => Pattern::Own,
            Scenario::Fanout | Scenario::Storm | Scenario::Slow => Pattern::Shared,
            Scenario::Soak => Pattern::Zipf,
        });
        let is_near = self.url.as_ref().is_none_or(|url| url.authority.starts_with("127.") || url.authority.starts_with("localhost"));
        let sources = match &self.source_ip[..] {
            [] if is_near => (1..=16).map(|last| Ipv4Addr::new(127, 1, 0, last)).collect(),
            given => given.to_vec(),
        };
        Load {
            plan: Plan { pattern, clients, bugs_per_client: self.bugs, first_when: 0 },
            processes: self.processes.unwrap_or(clients.div_ceil(machine::clients_max())),
            sources,
            in_flight: self.in_flight.unwrap_or(200),
            connect_rate: self.connect_rate,
            is_abrupt: self.abrupt,
            patience: self.patience,
            has_small_buffers: scenario == Scenario::Slow,
        }
    }

    fn amount(&self, scenario: Scenario, plan: &Plan, has_history: bool) -> Amount {
        let burst = self.burst.unwrap_or(if scenario == Scenario::Slow { 20 } else { 1 });
        let (rate, updates, seconds) = match scenario {
            Scenario::Sparse => (100.0, 500, 1),
            Scenario::Slow => (20.0, 200 * burst, 1),
            Scenario::Soak => (100.0, 0, 60),
            Scenario::Idle | Scenario::Fanout | Scenario::Churn | Scenario::Storm => (0.0, 20 * burst, 1),
        };
        Amount {
            clients: plan.clients,
            updates: self.updates.unwrap_or(updates),
            pace: Pace { burst, rate: self.rate.unwrap_or(rate) },
            cycles: self.cycles,
            storm_in_flight: self.in_flight.unwrap_or(1_000),
            slow_every: self.slow_every,
            roaming: self.roaming,
            duration: self.duration.unwrap_or(Duration::from_secs(seconds)),
            has_history,
        }
    }
}
