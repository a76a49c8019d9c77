//! Those who are in before a storm: a few clients with a bug of their own, in a process of their
//! own, that get updates while it lasts. What is measured is how late these are.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::publish::wait_until;
use super::{Load, Run};
use crate::bench::cores::{self, Role};
use crate::bench::load::fleet::Fleet;
use crate::bench::load::histogram::Histogram;
use crate::bench::load::now;
use crate::bench::load::order::{Order, Outcome};
use crate::bench::load::plan::{Demand, Pattern, Plan};
use crate::bench::load::segment::Segment;
use crate::bench::server::inlet::Inlet;
use crate::bench::server::target::Target;

/// How many updates they get per second.
const RATE: u64 = 10;

/// More than a storm has time for.
const UPDATES_MAX: i64 = 100_000;

/// How many connect at the same time.
const IN_FLIGHT: u32 = 50;

/// Those who are in.
#[derive(Debug)]
pub(super) struct Present {
    fleet: Fleet,
    plan: Plan,
    next_seq: u32,
}

impl Present {
    /// Starts their process, and lets them connect.
    pub(super) fn start(load: &Load, target: &Target) -> io::Result<Self> {
        let plan = Plan {
            pattern: Pattern::Shared,
            clients: load.present,
            bugs_per_client: 1,
            bugs_before: load.plan.bugs(),
            // Older than all others, so that nothing comes again to those who come back with
            // `since`: a server repeats what arrived after a newer time.
            first_when: load.plan.first_when - UPDATES_MAX,
        };
        let load = Load {
            plan: plan.clone(),
            processes: 1,
            ..load.clone()
        };
        let mut fleet = cores::on(Role::Load, || Fleet::start(&[load.setup(0, target)]))?;
        let connect = Order::Connect {
            with_since: false,
            resumes: false,
            in_flight: IN_FLIGHT,
            rate: 0,
        };
        fleet.order(&connect, &mut |_| ())?;
        Ok(Self {
            fleet,
            plan,
            next_seq: 0,
        })
    }

    /// Publishes updates of their bug until it is over, and waits until all have them.
    fn publish(
        &mut self,
        inlet: &mut Inlet,
        is_over: &AtomicBool,
        patience: Duration,
    ) -> io::Result<()> {
        let mut due = now();
        while !is_over.load(Ordering::Relaxed) {
            due += 1_000_000_000 / RATE;
            let seq = self.next_seq;
            self.next_seq += 1;
            let segment = Segment {
                first_seq: seq,
                count: 1,
                demand: Demand::Wanted,
                start: due,
                interval: 0,
                burst: 1,
            };
            self.fleet.order(&Order::Expect(segment), &mut |_| ())?;
            wait_until(due)?;
            inlet.publish(&[(self.plan.bug(seq, Demand::Wanted), self.plan.when(seq))])?;
        }
        self.fleet
            .order(&Order::Await { patience }, &mut |_| ())
            .map(drop)
    }

    pub(super) fn outcome(&mut self) -> io::Result<Outcome> {
        self.fleet.outcome()
    }
}

impl Run<'_> {
    /// Does something while those who are in get updates, if somebody is to be; returns how late
    /// these were, beside the result.
    pub(crate) fn beside_updates<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<(T, Option<Histogram>)> {
        let Some(mut present) = self.present.take() else {
            return act(self).map(|result| (result, None));
        };
        let Some(mut inlet) = self.targets[0].inlet.take() else {
            return Err(io::Error::other("nowhere to publish is known"));
        };
        present.fleet.order(&Order::Forget, &mut |_| ())?;
        let patience = self.patience();
        let is_over = AtomicBool::new(false);
        let (result, published) = thread::scope(|scope| {
            let publishing = scope.spawn(|| present.publish(&mut inlet, &is_over, patience));
            let result = act(self);
            is_over.store(true, Ordering::Relaxed);
            (result, publishing.join())
        });
        published.map_err(|_| io::Error::other("publishing has failed"))??;
        let latency = present.outcome()?.latency;
        self.targets[0].inlet = Some(inlet);
        self.present = Some(present);
        result.map(|result| (result, Some(latency)))
    }
}
