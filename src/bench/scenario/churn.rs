//! Scenario `churn`: what a client costs that connects, subscribes and leaves.

use std::io;

use super::Scenario;
use crate::bench::report::measure::Measures;
use crate::bench::run::Run;

pub(crate) struct Churn {
    /// Times that a client connects and leaves.
    pub cycles: u64,
}

impl Scenario for Churn {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        let cycles = self.cycles;
        run.churn(cycles / 10, false, "warming up")?;
        run.forget()?;
        let (_, cost) = run.measure(|run| run.churn(cycles, false, "connecting and leaving"))?;
        measures.add_cpu("cycle", "connect, subscribe and close", &cost, cycles);
        let each = cost.wall as f64 / 1e3 / cycles.max(1) as f64;
        measures.add("cycle_time", "time per cycle", "µs", each);
        if run.has_tls() {
            let step = "the same, resuming";
            let (_, cost) = run.measure(|run| run.churn(cycles, true, step))?;
            measures.add_cpu("resumed_cycle", "cycle that resumes its TLS", &cost, cycles);
        }
        Ok(())
    }
}
