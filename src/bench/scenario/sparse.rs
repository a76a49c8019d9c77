//! Scenario `sparse`: what an update costs that one client wants, or nobody, and how long it takes
//! from its commit to the client.

use std::io;

use super::{Scenario, add_latency};
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

/// Updates before anything is measured.
const WARM_UP: u32 = 50;

/// Updates whose commit is waited for, at most, and how many of these a second.
const COMMITS: u32 = 200;
const COMMIT_RATE: f64 = 20.0;

pub(crate) struct Sparse {
    pub updates: u32,
    pub schedule: Schedule,
}

impl Scenario for Sparse {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.connect_all()?;
        run.publish(WARM_UP, Demand::Wanted, self.schedule, "warming up")?;
        run.forget()?;
        let mut measure = |demand, step| {
            run.measure(|run| run.publish(self.updates, demand, self.schedule, step))
        };
        let count = u64::from(self.updates);
        let (_, cost) = measure(Demand::Wanted, "publishing")?;
        measures.add_cpu("update", "update that some want", &cost, count);
        let (_, cost) = measure(Demand::Unwanted, "publishing what nobody wants")?;
        measures.add_cpu("unwanted", "update that nobody wants", &cost, count);
        let delays = run.publish_to_witness(self.updates.min(COMMITS), COMMIT_RATE)?;
        if let Some(delays) = delays {
            add_latency(measures, "commit", "from the commit to a client", &delays);
        }
        Ok(())
    }
}
