//! Scenario `sparse`: what an update costs that one client wants, or nobody.

use std::io;

use super::Scenario;
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

/// Updates before anything is measured.
const WARM_UP: u32 = 50;

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
        Ok(())
    }
}
