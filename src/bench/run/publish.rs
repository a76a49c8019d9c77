//! How updates are published: announced to the load first, then sent to the servers, each burst
//! when it is due or as soon as all clients have the one before.

use std::io;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use super::Run;
use crate::bench::interrupt;
use crate::bench::load::now;
use crate::bench::load::order::Order;
use crate::bench::load::plan::Demand;
use crate::bench::load::segment::Segment;

/// How long a server may take to read an update that nobody waits for.
const UNSEEN: Duration = Duration::from_millis(600);

/// The same for each of many.
const UNSEEN_EACH: Duration = Duration::from_micros(200);

/// How long before the first update is due the load knows of it.
const AHEAD: Duration = Duration::from_millis(20);

/// A wait that somebody may want to interrupt.
const LONG: Duration = Duration::from_millis(200);

/// When updates are published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// How many are due at the same time.
    pub burst: u32,
    /// How many bursts are due per second; 0: each as soon as all have the one before.
    pub rate: f64,
}

impl Schedule {
    /// The same bursts, each as soon as all have got the one before.
    pub(crate) fn without_rate(self) -> Self {
        Self { rate: 0.0, ..self }
    }
}

impl Run<'_> {
    /// Publishes updates and waits until all have them. Returns the number of deliveries that were
    /// still to come when patience ended.
    pub(crate) fn publish(
        &mut self,
        updates: u32,
        demand: Demand,
        schedule: Schedule,
        step: &str,
    ) -> io::Result<u64> {
        if schedule.rate > 0.0 {
            self.publish_on_time(updates, demand, schedule, Some(step))?;
            return self.await_all();
        }
        self.status_line.begin(step, u64::from(updates));
        let mut done = 0;
        let mut missing = 0;
        while done < updates && missing == 0 {
            let count = schedule.burst.min(updates - done);
            let segment = self.announce(count, demand, schedule.burst, 0)?;
            self.send(segment.seqs(), demand)?;
            missing = self.await_all()?;
            done += count;
            self.status_line.show(u64::from(done));
        }
        if demand == Demand::Unwanted {
            interrupt::pause(UNSEEN)?;
        }
        Ok(missing)
    }

    /// Two bursts that do not count, so that what a server needs once is there.
    pub(crate) fn warm_up(&mut self, schedule: Schedule) -> io::Result<()> {
        let (updates, schedule) = (2 * schedule.burst, schedule.without_rate());
        self.publish(updates, Demand::Wanted, schedule, "warming up")?;
        self.forget()
    }

    /// Publishes updates when they are due, whatever has become of those before; shows them as a
    /// step where it has a name.
    pub(crate) fn publish_on_time(
        &mut self,
        updates: u32,
        demand: Demand,
        schedule: Schedule,
        step: Option<&str>,
    ) -> io::Result<()> {
        if let Some(step) = step {
            self.status_line.begin(step, u64::from(updates));
        }
        let interval = (1e9 / schedule.rate.max(1e-3)) as u64;
        let segment = self.announce(updates, demand, schedule.burst, interval)?;
        let end = segment.seqs().end;
        let mut seq = segment.first_seq;
        while seq < end {
            wait_until(segment.due(seq))?;
            let next = end.min(segment.first_after(seq, now()));
            self.send(seq..next, demand)?;
            if demand != Demand::Unwanted {
                self.late = self.late.max(now().saturating_sub(segment.due(next - 1)));
            }
            seq = next;
            if step.is_some() {
                self.status_line.show(u64::from(seq - segment.first_seq));
            }
        }
        // The last one has its interval too, so that a rate holds over several calls.
        wait_until(segment.due(end - 1) + interval)?;
        if demand == Demand::Unwanted {
            interrupt::pause(UNSEEN)?;
        }
        Ok(())
    }

    /// Publishes updates while nobody is connected, and gives the server the time to learn of them.
    pub(crate) fn publish_unseen(&mut self, updates: u32) -> io::Result<()> {
        let segment = self.announce(updates, Demand::Wanted, updates, 0)?;
        self.send(segment.seqs(), Demand::Wanted)?;
        interrupt::pause(UNSEEN + updates * UNSEEN_EACH)
    }

    /// Announces updates to the load before they are published: the first one is due in a moment,
    /// or as soon as the load knows.
    fn announce(
        &mut self,
        count: u32,
        demand: Demand,
        burst: u32,
        interval: u64,
    ) -> io::Result<Segment> {
        let ahead = if interval > 0 { AHEAD } else { Duration::ZERO };
        let segment = Segment {
            first_seq: self.next_seq,
            count,
            demand,
            start: now() + ahead.as_nanos() as u64,
            interval,
            burst,
        };
        self.next_seq += count;
        self.order(&Order::Expect(segment.clone()))?;
        Ok(segment)
    }

    fn send(&mut self, seqs: Range<u32>, demand: Demand) -> io::Result<()> {
        let plan = &self.load.plan;
        let changes: Vec<_> = seqs
            .map(|seq| (plan.bug(seq, demand), plan.when(seq)))
            .collect();
        for target in &mut self.targets {
            let inlet = target.inlet.as_mut().ok_or_else(|| {
                io::Error::other("nowhere to publish is known; --publish says where")
            })?;
            inlet.publish(&changes)?;
        }
        Ok(())
    }
}

/// Waits for a time of the clock. The last stretch is one sleep, so that it ends when it should.
pub(super) fn wait_until(due: u64) -> io::Result<()> {
    let left = Duration::from_nanos(due.saturating_sub(now()));
    if left > LONG {
        interrupt::pause(left - LONG)?;
    }
    thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
    interrupt::check()
}
