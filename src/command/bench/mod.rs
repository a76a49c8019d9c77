//! `bugzfeed bench`: measures a server. Puts together what the settings ask for, runs the rounds,
//! and shows what came out.

mod options;

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::cores;
use crate::bench::interrupt;
use crate::bench::load::plan::{Pattern, Plan};
use crate::bench::load::worker;
use crate::bench::report::{FLOOR, Point, Report, Side};
use crate::bench::report::{plots, text};
use crate::bench::run::{Load, Pace, Run};
use crate::bench::scenario::{self, Amount, Scenario};
use crate::bench::server::floor::{self, Audience};
use crate::bench::server::machine::{self, Need};
use crate::bench::server::target::TargetKind;
use crate::bench::status_line::Line;
use crate::failure::Failure;
use crate::source::unix_now;
use crate::update::When;

pub use self::options::Options;
use self::options::Task;

/// Measures.
///
/// # Errors
/// When a delivery was missing, repeated or out of order, or a condition does not hold; when a
/// setting is wrong; when there is no server.
pub fn run(options: &Options) -> Result<(), Failure> {
    raise_files();
    let line = Line::new(options.quiet);
    if matches!(options.scenario, Task::Measure(_)) {
        interrupt::watch().map_err(|error| ended(&error.to_string()))?;
    }
    // A file that cannot be read is told before anything is measured.
    let beside = options
        .beside
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    let old = options.compare.as_ref().map(read).transpose()?;
    let mut report = match options.scenario {
        Task::Worker => return worker::run().map_err(|error| ended(&error.to_string())),
        Task::Floor => {
            return floor::run(options.audience()).map_err(|error| ended(&error.to_string()));
        }
        Task::Show => Report::default(),
        Task::Measure(scenario) => options.measure(scenario, &line)?,
    };
    line.end();
    if let Some(why) = report
        .ended_early
        .as_ref()
        .filter(|_| report.points.is_empty())
    {
        return Err(ended(why));
    }
    for other in beside {
        if report.points.is_empty() {
            report = other;
        } else {
            report.add_sides(&other);
        }
    }
    options.show(&report, old.as_ref())?;
    if let Some(why) = report
        .ended_early
        .as_ref()
        .filter(|_| report.is_reconciled())
    {
        return Err(ended(why));
    }
    for assertion in &options.assert {
        assertion
            .check(&report)
            .map_err(|why| Failure::CheckFailed(format!("{why}.")))?;
    }
    if report.is_reconciled() {
        Ok(())
    } else {
        Err(Failure::CheckFailed(
            "what came is not what should have come; the table says of which server.".to_owned(),
        ))
    }
}

fn ended(why: &str) -> Failure {
    Failure::Unavailable(format!("the bench has ended early: {why}."))
}

/// Raises the limit of open files as far as it goes.
fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, fewer clients fit, which is told before a run.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

fn read(file: &PathBuf) -> Result<Report, Failure> {
    let refuse =
        |error: String| Failure::Configuration(format!("cannot read {}: {error}.", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
}

fn write(file: &PathBuf, text: &str) -> Result<(), Failure> {
    fs::write(file, text)
        .map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}.", file.display())))
}

/// Whether the floor can do the same: it knows one bug of each client, or sends all to all, and
/// remembers nothing.
fn has_floor(scenario: Scenario, plan: &Plan) -> bool {
    let knows_bugs = plan.pattern == Pattern::Shared
        || (plan.pattern == Pattern::Own && plan.bugs_per_client == 1);
    knows_bugs && !matches!(scenario, Scenario::Slow | Scenario::Soak | Scenario::Fill)
}

impl Options {
    fn audience(&self) -> Audience {
        self.audience.parse().map_or(Audience::Owner, Audience::All)
    }

    fn show(&self, report: &Report, old: Option<&Report>) -> Result<(), Failure> {
        print!("{}", text::table(report));
        if let Some(old) = old {
            print!("{}", text::compare(report, old));
        }
        if let Some(file) = &self.json {
            let text = report.json().map_err(|error| ended(&error.to_string()))?;
            write(file, &text)?;
        }
        if let Some(folder) = &self.svg {
            fs::create_dir_all(folder).map_err(|error| {
                Failure::Unavailable(format!(
                    "cannot make the folder {}: {error}.",
                    folder.display()
                ))
            })?;
            for (name, svg) in plots::plots(report) {
                write(&folder.join(format!("{name}.svg")), &svg)?;
            }
        }
        Ok(())
    }

    fn measure(&self, scenario: Scenario, line: &Line) -> Result<Report, Failure> {
        let loads: Vec<Load> = self
            .numbers()
            .into_iter()
            .map(|clients| self.load(scenario, clients))
            .collect();
        for load in &loads {
            self.check(scenario, load)?;
        }
        let load_average = machine::load_average();
        if load_average > 1.0 && !self.quiet {
            eprintln!(
                "something else runs here (load average {load_average:.1}): times will differ from run to run; compare ratios"
            );
        }
        if cores::all() == 1 && self.is_near() && !self.quiet {
            eprintln!(
                "the server and the load share the only core: times on the wall are those of both, CPU times are the server's"
            );
        }
        let pattern = loads
            .first()
            .map(|load| load.plan.pattern)
            .unwrap_or_default();
        let mut report = Report {
            title: format!(
                "{scenario:?}: pattern {pattern:?}, {} bugs for each client, {} rounds",
                self.bugs, self.rounds
            ),
            command: env::args().collect::<Vec<_>>().join(" "),
            begun: When::from_unix_seconds(unix_now()).to_string(),
            machine: machine::describe(),
            ended_early: None,
            points: Vec::new(),
        };
        // Some take longer with more clients, others do not.
        let weight = |load: &Load| f64::from(load.plan.clients) + 1_000.0;
        let total: f64 = loads.iter().map(weight).sum();
        let (mut done, mut first_when) = (0.0, 0);
        for load in &loads {
            let share = done / total..(done + weight(load)) / total;
            done += weight(load);
            if let Err(error) = self.measure_point(
                scenario,
                load,
                line,
                share,
                &mut first_when,
                &mut report.points,
            ) {
                report.end_early(error.to_string());
                break;
            }
        }
        Ok(report)
    }

    /// Measures with one number of clients, which is this share of all that there is to do.
    fn measure_point(
        &self,
        scenario: Scenario,
        load: &Load,
        line: &Line,
        share: Range<f64>,
        first_when: &mut i64,
        points: &mut Vec<Point>,
    ) -> io::Result<()> {
        let kinds = self.kinds(scenario, &load.plan);
        let sides = kinds
            .iter()
            .map(|(name, _)| Side {
                name: name.clone(),
                ..Side::default()
            })
            .collect();
        points.push(Point {
            clients: load.plan.clients,
            sides,
        });
        let turns = (1..=self.rounds).flat_map(|round| {
            kinds
                .iter()
                .enumerate()
                .map(move |(at, kind)| (round, at, kind))
        });
        for (turn, (round, at, (name, kind))) in turns.enumerate() {
            let share = share.start
                + (share.end - share.start) * turn as f64
                    / (self.rounds as usize * kinds.len()) as f64;
            line.title(
                &format!(
                    "{} clients, round {round} of {}, {name}",
                    load.plan.clients, self.rounds
                ),
                share,
            );
            let mut run = Run::start(kind, load, *first_when, line)?;
            let has_history = !self.without_history && !matches!(kind, TargetKind::Floor(_));
            let amount = self.amount(scenario, &load.plan, has_history);
            let measured = scenario::run(scenario, &amount, &mut run);
            let told = run.report();
            *first_when = run.next_when();
            let Some(side) = points.last_mut().and_then(|point| point.sides.get_mut(at)) else {
                continue;
            };
            match (measured, told) {
                (Ok(measures), told) => side.add_round(measures, told?, run.load_share()),
                (Err(error), told) => {
                    // What has come until then is known, unless the load is what has failed.
                    if let Ok(told) = told {
                        side.add_told(told);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
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
        let need = Need {
            clients: load.plan.clients,
            processes: load.processes,
            sources: load.sources.clone(),
            servers: if self.url.is_some() { 0 } else { self.servers },
            // To fill a server is to ask more of it than it can have.
            pids: if scenario == Scenario::Fill {
                Vec::new()
            } else {
                self.pid.clone()
            },
        };
        need.check()
            .map_err(|why| Failure::Usage(format!("{why}.")))?;
        let publishes = !matches!(scenario, Scenario::Idle | Scenario::Churn);
        if publishes && self.url.is_some() && self.publish.is_none() {
            return Err(Failure::Usage(
                "updates must come from somewhere; --publish says how the server learns of them."
                    .to_owned(),
            ));
        }
        if matches!(scenario, Scenario::Slow | Scenario::Soak) && self.rate == Some(0.0) {
            return Err(Failure::Usage(
                "the scenarios slow and soak wait for nobody, so they need a --rate above 0."
                    .to_owned(),
            ));
        }
        if self.raw && !has_floor(scenario, &load.plan) {
            return Err(Failure::Usage("the floor that --raw measures knows one bug of each client, or the same bugs of all, and remembers nothing; accepted are --pattern own without --bugs, and --pattern shared, in all scenarios but slow, soak and fill.".to_owned()));
        }
        if load.plan.pattern != Pattern::Shared
            && u64::from(load.plan.clients) * u64::from(self.bugs) > 1_000_000_000
        {
            return Err(Failure::Usage(
                "so many clients with so many --bugs need more numbers than bugs have.".to_owned(),
            ));
        }
        Ok(())
    }

    fn kinds(&self, scenario: Scenario, plan: &Plan) -> Vec<(String, TargetKind)> {
        let audience = (plan.pattern == Pattern::Shared).then_some(plan.bugs() + 1);
        let floor = (FLOOR.to_owned(), TargetKind::Floor(audience));
        if let Some(url) = &self.url {
            let kind = TargetKind::Running {
                url: url.clone(),
                pids: self.pid.clone(),
                inlet: self.publish.clone().map(Box::new),
            };
            return vec![(
                self.name
                    .clone()
                    .unwrap_or_else(|| url.authority().to_owned()),
                kind,
            )];
        }
        if self.raw {
            return vec![floor];
        }
        // Pings would count as costs of what is measured; the floor sends none.
        let mut arguments = if scenario == Scenario::Soak {
            Vec::new()
        } else {
            vec!["--ping".to_owned(), "1h".to_owned()]
        };
        if self.bugs > 1_000 {
            arguments.extend(["--subscriptions".to_owned(), self.bugs.to_string()]);
        }
        if let Some(updates) = self
            .updates
            .filter(|&updates| scenario == Scenario::Storm && updates > 9_000)
        {
            // Room for what is missed, and for what was published before.
            arguments.extend(["--history-size".to_owned(), (updates + 1_000).to_string()]);
        }
        arguments.extend(self.serve_arg.iter().cloned());
        let serve = ("serve".to_owned(), TargetKind::Serve(arguments));
        if has_floor(scenario, plan) {
            vec![serve, floor]
        } else {
            vec![serve]
        }
    }

    /// Whether the server is on this machine.
    fn is_near(&self) -> bool {
        self.url.as_ref().is_none_or(|url| {
            let host = url.host();
            host.starts_with("127.") || host == "localhost" || host == "::1"
        })
    }

    fn load(&self, scenario: Scenario, clients: u32) -> Load {
        let pattern = self.pattern.unwrap_or(match scenario {
            Scenario::Idle | Scenario::Sparse | Scenario::Churn | Scenario::Fill => Pattern::Own,
            Scenario::Fanout | Scenario::Storm | Scenario::Slow => Pattern::Shared,
            Scenario::Soak => Pattern::Zipf,
        });
        let sources = match &self.source_ip[..] {
            [] if self.is_near() => (1..=16)
                .map(|last| Ipv4Addr::new(127, 1, 0, last))
                .collect(),
            given => given.to_vec(),
        };
        let processes = self
            .processes
            .unwrap_or(clients.div_ceil(machine::clients_max()));
        Load {
            plan: Plan {
                pattern,
                clients,
                bugs_per_client: self.bugs,
                first_when: 0,
            },
            servers: self.servers,
            processes: processes.next_multiple_of(self.servers),
            sources,
            in_flight: self.in_flight.unwrap_or(200),
            connect_rate: self.connect_rate,
            is_abrupt: self.abrupt,
            patience: self.patience,
            may_refuse: scenario == Scenario::Fill,
            has_small_buffers: scenario == Scenario::Slow,
        }
    }

    fn amount(&self, scenario: Scenario, plan: &Plan, has_history: bool) -> Amount {
        let burst = self
            .burst
            .unwrap_or(if scenario == Scenario::Slow { 20 } else { 1 });
        let (rate, updates, seconds) = match scenario {
            // Seldom enough that all servers are idle in between, whatever way they learn of an
            // update: one that gets the next as soon as all have the last never cools down.
            Scenario::Fanout => (
                (50_000.0 / f64::from(plan.clients)).clamp(0.2, 10.0),
                20 * burst,
                1,
            ),
            Scenario::Sparse => (100.0, 500, 1),
            Scenario::Slow => (20.0, 200 * burst, 1),
            Scenario::Soak => (100.0, 0, 60),
            Scenario::Fill => (
                0.0,
                if plan.pattern == Pattern::Shared {
                    4
                } else {
                    200
                } * burst,
                1,
            ),
            Scenario::Idle | Scenario::Churn | Scenario::Storm => (0.0, 20 * burst, 1),
        };
        Amount {
            clients: plan.clients,
            updates: self.updates.unwrap_or(updates),
            pace: Pace {
                burst,
                rate: self.rate.unwrap_or(rate),
            },
            cycles: self.cycles,
            storm_in_flight: self.in_flight.unwrap_or(1_000),
            slow_every: self.slow_every,
            roaming: self.roaming,
            duration: self.duration.unwrap_or(Duration::from_secs(seconds)),
            patience: self.patience,
            has_history,
        }
    }
}
