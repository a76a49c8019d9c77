//! Scenario `scale`: as many clients as there may be, each with a bug of its own and one that all
//! have. Updates to some of them, one to all of them, and all leave.

use std::io;
use std::time::Instant;

use super::idle::add_memory;
use super::{REST, Scenario, WARM_UP_CYCLES, add_latency};
use crate::bench::interrupt::pause;
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

pub(crate) struct Scale {
    /// Updates of single clients' bugs.
    pub updates: u32,
    pub schedule: Schedule,
}

/// One update to all.
const ONCE: Schedule = Schedule {
    burst: 1,
    rate: 0.0,
};

impl Scenario for Scale {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        let clients = run.clients();
        run.churn(WARM_UP_CYCLES, false, "warming up")?;
        pause(REST)?;
        let empty = run.sample()?;
        let (status, cost) = run.measure(Run::connect_all)?;
        measures.add_time("connect", "time until all are subscribed", status.took);
        measures.add_cpu("connect_cpu", "client", &cost, clients.into());
        pause(REST)?;
        let full = run.sample()?;
        add_memory(measures, &empty, &full, clients);
        self.publish_to_some(run, measures)?;
        publish_to_all(run, measures)?;
        leave(run, measures)
    }
}

impl Scale {
    fn publish_to_some(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.forget()?;
        let (_, cost) = run.measure(|run| {
            let step = "publishing to single clients";
            run.publish(self.updates, Demand::Wanted, self.schedule, step)
        })?;
        let latency = run.outcome()?.latency;
        add_latency(measures, "one", "of an update for one client", &latency);
        let count = u64::from(self.updates);
        measures.add_cpu("one_cpu", "update for one client", &cost, count);
        run.forget()
    }
}

fn publish_to_all(run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    let step = "publishing to all clients";
    let received = run.outcome()?.counts.received;
    let (_, cost) = run.measure(|run| run.publish(1, Demand::Common, ONCE, step))?;
    measures.add_time("all", "time until all have an update", cost.wall);
    let deliveries = run.outcome()?.counts.received - received;
    measures.add_cpu("delivery", "delivery", &cost, deliveries);
    Ok(())
}

/// All leave at once. The servers have seen it when they have as many files less.
fn leave(run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    let (files, clients) = (run.sample()?.files, run.clients());
    let left = files.saturating_sub(clients.into());
    let begun = Instant::now();
    let ((), cost) = run.measure(|run| {
        run.cut()?;
        while run.sample()?.files > left && begun.elapsed() < run.patience() {
            pause(REST)?;
        }
        Ok(())
    })?;
    measures.add_time("leave", "time until all have left", cost.wall);
    measures.add_cpu("leave_cpu", "client that is cut off", &cost, clients.into());
    Ok(())
}
