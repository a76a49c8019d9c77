//! Scenario `slow`: some clients stop reading, while the others must not notice.

use std::io;

use super::{REST, Scenario};
use crate::bench::interrupt::pause;
use crate::bench::load::order::Order;
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

pub(crate) struct Slow {
    pub updates: u32,
    pub schedule: Schedule,
    /// Each so-many-th client stops reading.
    pub every: u32,
}

impl Scenario for Slow {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.connect_all()?;
        run.warm_up(self.schedule)?;
        let before = run.sample()?;
        run.order(&Order::StopReading { every: self.every })?;
        let ((), cost) = run.measure(|run| {
            run.publish_on_time(
                self.updates,
                Demand::Wanted,
                self.schedule,
                Some("publishing"),
            )
        })?;
        // The others have got all; the slow ones what the kernel took for them.
        pause(REST)?;
        let full = run.sample()?;
        let slow = run.clients().div_ceil(self.every);
        let name = format!("RSS for each of the {slow} slow clients");
        measures.add_memory("slow_rss", &name, full.rss, before.rss, slow);
        measures.add_cpu("slow_cpu", "update", &cost, u64::from(self.updates));
        catch_up(run, measures)
    }
}

fn catch_up(run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.order(&Order::ResumeReading)?;
    let patience = run.patience();
    let took = run.order(&Order::AwaitNewest { patience })?.took;
    let name = "time until the slow have the newest of each bug";
    measures.add_time("catch_up", name, took);
    let left_out = run.outcome()?.counts.coalesced;
    measures.notes.push(match left_out {
        0 => "the kernel took everything for the slow clients: more --updates would show what the server does".to_owned(),
        _ => format!("{left_out} deliveries to slow clients were left out, since newer ones of the same bug stood for them"),
    });
    Ok(())
}
