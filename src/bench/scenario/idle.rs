//! Scenario `idle`: the memory of clients that do nothing, and what is kept of it when they have
//! left.

use std::io;
use std::time::Duration;

use super::{LONG_REST, REST, Scenario, WARM_UP_CYCLES};
use crate::bench::interrupt::pause;
use crate::bench::report::measure::Measures;
use crate::bench::run::Run;
use crate::bench::server::sample::Sample;

pub(crate) struct Idle {
    /// For how long clients do nothing.
    pub duration: Duration,
}

impl Scenario for Idle {
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
        run.churn(WARM_UP_CYCLES, false, "warming up")?;
        pause(REST)?;
        let before = run.sample()?;
        run.connect_all()?;
        pause(REST)?;
        let full = run.sample()?;
        add_memory(measures, &before, &full, run.clients());
        let ((), cost) = run.measure(|_| pause(self.duration))?;
        let seconds = self.duration.as_secs_f64().max(1e-9);
        let cpu = cost.cpu as f64 / 1e3 / seconds;
        measures.add("cpu_idle", "CPU per second while idle", "µs", cpu);
        run.cut()?;
        pause(LONG_REST)?;
        measures.add_kept(run.sample()?.rss, before.rss, run.clients());
        Ok(())
    }
}

/// Adds what a client takes, of the servers and of the kernel.
pub(super) fn add_memory(measures: &mut Measures, before: &Sample, full: &Sample, clients: u32) {
    let mut add = |key: &str, name: &str, of: fn(&Sample) -> u64| {
        measures.add_memory(key, name, of(full), of(before), clients);
    };
    add("rss", "RSS per client", |sample| sample.rss);
    add("pss", "PSS per client", |sample| sample.pss);
    let kernel = "kernel memory per client, both ends: slab";
    add("kernel", kernel, |sample| sample.slab);
    let buffers = "kernel memory per client, both ends: buffers";
    add("kernel_buffers", buffers, |sample| sample.buffers);
    let (files, base) = (full.files as f64, before.rss as f64);
    measures.add("files", "open files of the server", "files", files);
    measures.add("rss_base", "RSS before the first client", "bytes", base);
}
