//! What something has cost: the servers, by samples before and after, and the load beside them.

use std::io;

use super::Run;
use crate::bench::cores;
use crate::bench::load::now;
use crate::bench::server::sample::Sample;

/// What something has cost the servers. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of all threads.
    pub cpu: u64,
    /// CPU time of the first thread.
    pub cpu_first: u64,
    /// Context switches of the first thread.
    pub switches: u64,
    /// Time on the wall.
    pub wall: u64,
}

impl Cost {
    fn between(before: &Sample, after: &Sample, wall: u64) -> Self {
        Self {
            cpu: after.cpu - before.cpu,
            cpu_first: after.cpu_first - before.cpu_first,
            switches: after.switches - before.switches,
            wall,
        }
    }
}

/// What the load has used while something was measured, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Busy {
    /// CPU time of the process that used most.
    busiest: u64,
    /// CPU time of all processes.
    all: u64,
    wall: u64,
}

impl Run<'_> {
    /// Does something; returns what it cost the servers beside its own result.
    pub(crate) fn measure<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<(T, Cost)> {
        let ((busiest, all), begun, before) = (self.fleet.cpu(), now(), self.sample()?);
        let result = act(self)?;
        let (after, wall) = (self.sample()?, now() - begun);
        let load = self.fleet.cpu();
        self.busy.busiest += load.0 - busiest;
        self.busy.all += load.1 - all;
        self.busy.wall += wall;
        Ok((result, Cost::between(&before, &after, wall)))
    }

    /// How busy the load was while something was measured, from 0 to 1: its busiest process, or its
    /// cores if that is more.
    pub(crate) fn load_share(&self) -> f64 {
        let Busy { busiest, all, wall } = self.busy;
        let cores = cores::of_load() as u64;
        busiest.max(all / cores) as f64 / wall.max(1) as f64
    }
}
