//! Scenario `storm`: all clients connect at once, are cut off at once, and come back for what they
//! missed.

use std::io;

use super::{LONG_REST, REST, Scenario, WARM_UP_CYCLES, add_latency};
use crate::bench::interrupt::pause;
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

pub(crate) struct Storm {
    /// How many connect at the same time.
    pub in_flight: u32,
    /// Updates that all miss, where the server remembers them.
    pub missed: Option<u32>,
}

/// Two updates that show that all are there.
const ROLL_CALL: (u32, Schedule) = (
    2,
    Schedule {
        burst: 1,
        rate: 0.0,
    },
);

impl Scenario for Storm {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        let clients = run.clients();
        run.churn(WARM_UP_CYCLES, false, "warming up")?;
        pause(REST)?;
        let empty = run.sample()?;
        let ((status, latency), cost) =
            run.measure(|run| run.beside_updates(|run| run.connect(false, self.in_flight)))?;
        measures.add_time("storm", "time until all are subscribed", status.took);
        if let Some(latency) = latency {
            add_latency(measures, "beside", "beside the storm", &latency);
        }
        measures.add_cpu("storm_cpu", "client", &cost, clients.into());
        run.publish(ROLL_CALL.0, Demand::Wanted, ROLL_CALL.1, "publishing")?;
        let ((), cost) = run.measure(|run| run.cut().and_then(|()| pause(REST)))?;
        let name = "client that is cut off";
        measures.add_cpu("leave_cpu", name, &cost, clients.into());
        if let Some(missed) = self.missed {
            self.come_back(missed, run, measures)?;
        }
        pause(LONG_REST)?;
        measures.add_kept(run.sample()?.rss, empty.rss, clients);
        Ok(())
    }
}

impl Storm {
    fn come_back(&self, missed: u32, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.publish_unseen(missed)?;
        let ((status, latency), cost) = run.measure(|run| {
            run.beside_updates(|run| {
                let status = run.connect(true, self.in_flight)?;
                run.await_all().map(|_| status)
            })
        })?;
        let name = format!("time until all are back, with since and {missed} missed updates");
        measures.add_time("resume", &name, status.took);
        let clients = u64::from(run.clients());
        measures.add_cpu("resume_cpu", "client that comes back", &cost, clients);
        if let Some(latency) = latency {
            let of = "beside those who come back";
            add_latency(measures, "beside_resume", of, &latency);
        }
        run.cut()
    }
}
