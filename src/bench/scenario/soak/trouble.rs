//! What happens to a server now and then in a soak with `--trouble`, each kind in turn, while hostile
//! clients come and go all the time. Whoever has subscribed must miss nothing by it.

use std::io;
use std::process::Command;

use super::Soak;
use crate::bench::interrupt::pause;
use crate::bench::load::order::Order;
use crate::bench::load::plan::Demand;
use crate::bench::run::Run;
use crate::bench::scenario::REST;

/// So many seconds lie between two of them.
pub(super) const EVERY_SECONDS: u64 = 10;

/// Each so-many-th client is slow for a while.
const SLOW_EVERY: u32 = 10;

/// Updates that all miss in a storm.
const MISSED: u32 = 20;

/// How many connect at the same time in a storm.
const IN_FLIGHT: u32 = 1_000;

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// All lose their connection, miss something, and come back at once.
    Storm,
    /// Some do not read for a while.
    Slow,
    /// The server reads its settings anew.
    Reload,
    /// A command of the user's, such as one that kills the broker and starts it again.
    Command(String),
}

impl Soak {
    /// Lets the next thing happen. Afterwards all clients have what they should.
    pub(super) fn happen(&self, trouble: &Trouble, run: &mut Run<'_>) -> io::Result<()> {
        run.roam(0)?;
        run.await_all()?;
        match trouble {
            Trouble::Storm => storm(run)?,
            Trouble::Slow => self.be_slow(run)?,
            Trouble::Reload => run.reload()?,
            Trouble::Command(command) => self.disturb(command, run)?,
        }
        run.await_all()?;
        run.roam(self.roaming)
    }

    fn be_slow(&self, run: &mut Run<'_>) -> io::Result<()> {
        run.order(&Order::StopReading { every: SLOW_EVERY })?;
        run.publish_on_time(
            self.updates_per_second(),
            Demand::Wanted,
            self.schedule,
            None,
        )?;
        run.order(&Order::ResumeReading)?;
        let patience = run.patience();
        run.order(&Order::AwaitNewest { patience }).map(drop)
    }

    /// Runs the command, and goes on when an update comes through again.
    fn disturb(&self, command: &str, run: &mut Run<'_>) -> io::Result<()> {
        let status = Command::new("sh").args(["-c", command]).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("--disturb: {command}: {status}")));
        }
        run.reopen_inlets()?;
        run.publish_on_time(1, Demand::Wanted, self.schedule, None)
    }
}

fn storm(run: &mut Run<'_>) -> io::Result<()> {
    run.cut()?;
    pause(REST)?;
    run.publish_unseen(MISSED)?;
    run.connect(true, IN_FLIGHT).map(drop)
}
