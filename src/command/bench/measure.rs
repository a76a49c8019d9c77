//! The rounds: with each number of clients, each server in turn, so that all of a round have the
//! same machine.

use std::env;
use std::io;
use std::ops::Range;

use super::options::Options;
use crate::bench::cores;
use crate::bench::report::{Point, Results, Side};
use crate::bench::run::{Load, Run};
use crate::bench::scenario::{self, Name};
use crate::bench::server::machine;
use crate::bench::server::target::TargetKind;
use crate::bench::status_line::StatusLine;
use crate::failure::Failure;
use crate::update::When;
use crate::work::unix_now;

impl Options {
    /// Measures with each number of clients; what is known is kept when a server or the load fails.
    pub(super) fn measure(&self, name: Name, status_line: &StatusLine) -> Result<Results, Failure> {
        let loads: Vec<Load> = self
            .numbers()
            .into_iter()
            .map(|clients| self.load(name, clients))
            .collect();
        for load in &loads {
            self.check(name, load)?;
        }
        self.warn();
        let mut results = self.no_results(name);
        let mut rounds = Rounds {
            options: self,
            name,
            status_line,
            first_when: 0,
        };
        for (load, share) in loads.iter().zip(shares(&loads)) {
            let (point, result) = rounds.measure(load, share);
            results.points.push(point);
            if let Err(error) = result {
                results.end_early(error.to_string());
                break;
            }
        }
        Ok(results)
    }

    fn no_results(&self, name: Name) -> Results {
        let pattern = self.pattern.unwrap_or(name.pattern());
        Results {
            title: format!(
                "{name:?}: pattern {pattern:?}, {} bugs for each client, {} rounds",
                self.bugs, self.rounds
            ),
            command: env::args().collect::<Vec<_>>().join(" "),
            begun: When::from_unix_seconds(unix_now()).to_string(),
            machine: machine::describe(),
            ended_early: None,
            points: Vec::new(),
        }
    }

    /// Says what will make the times worth less than they could be.
    fn warn(&self) {
        if self.quiet {
            return;
        }
        let load_average = crate::machine::load_average();
        if load_average > 1.0 {
            eprintln!(
                "something else runs here (load average {load_average:.1}): times will differ from run to run; compare ratios"
            );
        }
        if cores::all() == 1 && self.is_near() {
            eprintln!(
                "the server and the load share the only core: times on the wall are those of both, CPU times are the server's"
            );
        }
    }
}

/// Which share of all there is to do each load is, from 0 to 1. Some scenarios take longer with
/// more clients, others do not.
fn shares(loads: &[Load]) -> impl Iterator<Item = Range<f64>> {
    let weight = |load: &Load| f64::from(load.plan.clients) + 1_000.0;
    let total: f64 = loads.iter().map(weight).sum();
    loads.iter().scan(0.0, move |done, load| {
        let begin = *done;
        *done += weight(load);
        Some(begin / total..*done / total)
    })
}

/// What all rounds have in common.
struct Rounds<'a> {
    options: &'a Options,
    name: Name,
    status_line: &'a StatusLine,
    /// The first time that no update has had, in Unix seconds.
    first_when: i64,
}

impl Rounds<'_> {
    /// Measures with one number of clients, which is this share of all that there is to do; returns
    /// what is known, also where it has ended early.
    fn measure(&mut self, load: &Load, share: Range<f64>) -> (Point, io::Result<()>) {
        let targets = self.options.targets(self.name, &load.plan);
        let names = targets.iter().map(|(name, _)| name.clone());
        let mut point = Point::new(load.plan.clients, names);
        let result = self.run_all(load, share, &targets, &mut point.sides);
        (point, result)
    }

    fn run_all(
        &mut self,
        load: &Load,
        share: Range<f64>,
        targets: &[(String, TargetKind)],
        sides: &mut [Side],
    ) -> io::Result<()> {
        let rounds = self.options.rounds;
        let each = (share.end - share.start) / (rounds as usize * targets.len()) as f64;
        let mut done = share.start;
        for round in 1..=rounds {
            for ((name, kind), side) in targets.iter().zip(&mut *sides) {
                let clients = load.plan.clients;
                let title = format!("{clients} clients, round {round} of {rounds}, {name}");
                self.status_line.title(&title, done);
                self.run(kind, load, side)?;
                done += each;
            }
        }
        Ok(())
    }

    fn run(&mut self, kind: &TargetKind, load: &Load, side: &mut Side) -> io::Result<()> {
        let mut run = Run::start(kind, load, self.first_when, self.status_line)?;
        let scenario = self.options.scenario(self.name, &load.plan, kind);
        let measured = scenario::measure(scenario.as_ref(), &mut run);
        let outcome = run.outcome();
        self.first_when = run.next_when();
        match measured {
            Ok(measures) => side.add_round(measures, outcome?, run.load_share()),
            Err(error) => {
                // What has come until then is known, unless the load is what has failed.
                if let Ok(outcome) = outcome {
                    side.add_outcome(outcome);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
