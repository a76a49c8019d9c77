//! Scenario `soak`: updates, and clients that come and go, for long; what grows is seen over time.
//! With `--trouble`, hostile clients, storms, slow clients and reloads besides, and in the end the
//! server must be as it was in the beginning.

mod balance;
mod trouble;

use std::io;
use std::time::Duration;

use self::balance::{Balance, unaccounted};
pub(crate) use self::trouble::Trouble;
use super::{Scenario, WARM_UP_CYCLES};
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::{Measures, Series};
use crate::bench::run::{Run, Schedule};
use crate::bench::server::sample::Sample;

/// Updates before anything is measured.
const WARM_UP: u32 = 50;

pub(crate) struct Soak {
    pub schedule: Schedule,
    pub duration: Duration,
    /// How many clients per second lose their connection and come back.
    pub roaming: u32,
    /// What happens now and then, each in turn; nothing where there is no `--trouble`.
    pub troubles: Vec<Trouble>,
}

impl Scenario for Soak {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        match self.troubles.is_empty() {
            true => self.soak(run, measures),
            false => self.soak_in_trouble(run, measures),
        }
    }
}

impl Soak {
    fn soak(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.connect_all()?;
        run.publish(WARM_UP, Demand::Wanted, self.schedule, "warming up")?;
        run.roam(self.roaming)?;
        let seconds = self.duration.as_secs().max(2);
        let (samples, cost) = run.measure(|run| self.sample_each_second(seconds, run))?;
        run.roam(0)?;
        run.await_all()?;
        let cpu = cost.cpu as f64 / 1e6 / seconds as f64;
        measures.add("soak_cpu", "CPU per second", "ms", cpu);
        let growth = growth(&samples);
        let name = "growth of RSS per minute, second half";
        measures.add("soak_growth", name, "bytes", growth);
        measures.series = series(&samples);
        Ok(())
    }

    fn soak_in_trouble(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.churn(WARM_UP_CYCLES, false, "warming up")?;
        let before = Balance::take(run)?;
        let hostile = run.start_hostile()?;
        self.soak(run, measures)?;
        let hostile = hostile.end()?;
        run.cut()?;
        before.compare(&Balance::take(run)?, measures);
        if let Some(metrics) = run.metrics()? {
            let name = "connections that are neither there nor have ended";
            measures.add("soak_unaccounted", name, "times", unaccounted(&metrics));
        }
        measures
            .notes
            .push(format!("{hostile} hostile clients came by"));
        Ok(())
    }

    /// Publishes for so many seconds; returns a sample of the begin and of the end of each second.
    fn sample_each_second(&self, seconds: u64, run: &mut Run<'_>) -> io::Result<Vec<Sample>> {
        let status_line = run.status_line();
        status_line.begin("publishing, seconds", seconds);
        let mut troubles = self.troubles.iter().cycle();
        let mut samples = vec![run.sample()?];
        for second in 1..=seconds {
            let updates = self.updates_per_second();
            run.publish_on_time(updates, Demand::Wanted, self.schedule, None)?;
            if second.is_multiple_of(trouble::EVERY_SECONDS)
                && let Some(trouble) = troubles.next()
            {
                self.happen(trouble, run)?;
            }
            status_line.show(second);
            samples.push(run.sample()?);
        }
        Ok(samples)
    }

    fn updates_per_second(&self) -> u32 {
        let Schedule { burst, rate } = self.schedule;
        (rate * f64::from(burst)).max(1.0) as u32
    }
}

/// How much RSS grows per minute, in bytes. What grows for ever is seen in the second half; the
/// first one has what a server needs to get going.
fn growth(samples: &[Sample]) -> f64 {
    let each = &samples[1..];
    let half = each.len() / 2;
    let grown = each[each.len() - 1].rss as f64 - each[half].rss as f64;
    grown / (each.len() - half) as f64 * 60.0
}

fn series(samples: &[Sample]) -> Vec<Series> {
    let series = |name: &str, of: fn(&Sample, &Sample) -> f64| Series {
        name: name.to_owned(),
        points: (1..)
            .zip(samples.windows(2))
            .map(|(second, pair)| (f64::from(second), of(&pair[0], &pair[1])))
            .collect(),
    };
    vec![
        series("RSS, MB", |_, now| now.rss as f64 / 1e6),
        series("CPU, percent of a core", |before, now| {
            (now.cpu - before.cpu) as f64 / 1e7
        }),
        series("kernel memory of sockets, MB", |_, now| {
            (now.slab + now.buffers) as f64 / 1e6
        }),
        series("files", |_, now| now.files as f64),
    ]
}
