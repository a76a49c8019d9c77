//! Scenario `fanout`: what a delivery costs of updates that many want.

use std::io;

use super::Scenario;
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

pub(crate) struct Fanout {
    pub updates: u32,
    pub schedule: Schedule,
}

impl Scenario for Fanout {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.connect_all()?;
        run.warm_up(self.schedule)?;
        let received = run.outcome()?.counts.received;
        let (_, cost) = run.measure(|run| {
            run.publish(self.updates, Demand::Wanted, self.schedule, "publishing")
        })?;
        let deliveries = run.outcome()?.counts.received - received;
        measures.add_cpu("delivery", "delivery", &cost, deliveries);
        let each = cost.wall as f64 / 1e3 / deliveries.max(1) as f64;
        measures.add("delivery_time", "time per delivery", "µs", each);
        Ok(())
    }
}
