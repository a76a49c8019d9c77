//! Scenario `fill`: clients until the server says 503. Those who are in must stay, and as many must
//! fit again when they have left.

use std::io;
use std::time::Instant;

use super::{LONG_REST, Scenario};
use crate::bench::interrupt::pause;
use crate::bench::load::order::{Order, Status};
use crate::bench::load::plan::Demand;
use crate::bench::report::measure::Measures;
use crate::bench::run::{Run, Schedule};

pub(crate) struct Fill {
    pub updates: u32,
    pub schedule: Schedule,
}

impl Scenario for Fill {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        let first = run.connect_all()?;
        self.publish(run, "publishing to those who are in")?;
        let refused = run.outcome()?.tally.refused as f64;
        measures.add("held", "held", "clients", f64::from(first.open));
        measures.add("refused", "refused by a 503", "clients", refused);
        measures.add_time("fill", "time until it was full", first.took);
        run.cut()?;
        let begun = Instant::now();
        let second = fill_again(first.open, run)?;
        let took = begun.elapsed().as_nanos() as u64;
        self.publish(run, "publishing to those who came again")?;
        let held_again = "held again after all have left";
        measures.add("held_again", held_again, "clients", f64::from(second.open));
        let name = "time until as many were in again";
        measures.add_time("fill_again", name, took);
        Ok(())
    }
}

impl Fill {
    fn publish(&self, run: &mut Run<'_>, step: &str) -> io::Result<()> {
        run.order(&Order::Enroll)?;
        let schedule = self.schedule.without_rate();
        run.publish(self.updates, Demand::Wanted, schedule, step)
            .map(drop)
    }
}

/// Lets clients connect until as many are in as before. It takes the server, and the kernel, a
/// while to see that the others have gone.
fn fill_again(held: u32, run: &mut Run<'_>) -> io::Result<Status> {
    let begun = Instant::now();
    let mut status = Status::default();
    while status.open < held && begun.elapsed() < run.patience() {
        pause(LONG_REST)?;
        status = run.connect_all()?;
    }
    Ok(status)
}
