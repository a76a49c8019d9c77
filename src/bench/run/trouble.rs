//! What a soak does to a server besides: hostile clients, reloads, and what it asks the server in
//! the end.

use std::io;

use rustix::process::{Pid, Signal, kill_process};

use super::Run;
use crate::bench::load::hostile::{Hostile, Site};

impl Run<'_> {
    /// Lets hostile clients come and go from now on.
    pub(crate) fn start_hostile(&self) -> io::Result<Hostile> {
        let target = &self.targets[0];
        Hostile::start(Site {
            address: target.address,
            host: target.host.clone(),
            path: target.path.clone(),
            is_encrypted: target.is_encrypted,
        })
    }

    /// Has the servers read their settings anew, as far as their processes are known.
    pub(crate) fn reload(&self) -> io::Result<()> {
        for &pid in self.targets.iter().flat_map(|target| &target.pids) {
            let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
            kill_process(pid, Signal::HUP)?;
        }
        Ok(())
    }

    /// Connects anew to where updates are published: what is there was started again.
    pub(crate) fn reopen_inlets(&mut self) -> io::Result<()> {
        self.targets
            .iter_mut()
            .try_for_each(|target| target.reopen_inlet())
    }

    /// What the first server's admin listener says in its metrics, where one is known.
    pub(crate) fn metrics(&self) -> io::Result<Option<String>> {
        let Some(url) = &self.targets[0].metrics else {
            return Ok(None);
        };
        let mut response = ureq::get(url).call().map_err(io::Error::other)?;
        let text = response.body_mut().read_to_string();
        text.map(Some).map_err(io::Error::other)
    }
}
