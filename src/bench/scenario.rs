//! The scenarios: what is done with a server and its clients, and what of it is measured. Each one is a function that reads as the
//! sentence that describes it. Knows no output.

use std::io;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::plan::Choice;
use super::run::{Cost, Pace, Run};
use super::worker::Order;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Memory of clients that do nothing
    Idle,
    /// Updates that many want
    Fanout,
    /// Updates that one client wants, or nobody
    Sparse,
    /// Clients that connect, subscribe and leave
    Churn,
    /// All clients connect again at once, and ask for what they missed
    Storm,
    /// Some clients stop reading
    Slow,
    /// Everything at once, for long
    Soak,
}

/// How much is done.
#[derive(Clone, Debug)]
pub struct Amount {
    /// Clients.
    pub clients: u32,
    /// Updates.
    pub updates: u32,
    /// When they are published.
    pub pace: Pace,
    /// Times that a client connects and leaves.
    pub cycles: u64,
    /// How many connect at the same time in a storm.
    pub storm_in_flight: u32,
    /// How long clients are idle, and how long a soak lasts.
    pub duration: Duration,
    /// Whether the server knows nothing but the system calls: it replays nothing and keeps nothing for the slow.
    pub is_floor: bool,
}

/// A number that came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// Its name, for machines.
    pub key: String,
    /// What it is, for people.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// How much it is; less is better.
    pub value: f64,
}

/// Measures of one run.
#[derive(Clone, Debug, Default)]
pub struct Measures(pub Vec<Measure>);

impl Measures {
    fn add(&mut self, key: &str, name: &str, unit: &str, value: f64) {
        self.0.push(Measure { key: key.to_owned(), name: name.to_owned(), unit: unit.to_owned(), value });
    }

    /// CPU time of the loop and of the whole process, for each of `count` units.
    fn add_cpu(&mut self, key: &str, per: &str, cost: &Cost, count: u64) {
        let each = |nanoseconds: u64| nanoseconds as f64 / 1_000.0 / count.max(1) as f64;
        self.add(key, &format!("CPU per {per}, its loop"), "µs", each(cost.cpu_first));
        self.add(&format!("{key}_all"), &format!("CPU per {per}, all threads"), "µs", each(cost.cpu));
    }
}

/// Runs a scenario.
///
/// # Errors
/// When the server or the load is gone.
pub fn run(scenario: Scenario, amount: &Amount, run: &mut Run<'_>) -> io::Result<Measures> {
    let mut measures = Measures::default();
    match scenario {
        Scenario::Idle => idle(amount, run, &mut measures)?,
        Scenario::Fanout => fanout(amount, run, &mut measures)?,
        Scenario::Sparse => sparse(amount, run, &mut measures)?,
        Scenario::Churn => churn(amount, run, &mut measures)?,
        Scenario::Storm => storm(amount, run, &mut measures)?,
        Scenario::Slow | Scenario::Soak => return Err(io::Error::other("not there yet")),
    }
    Ok(measures)
}

/// A few clients come and go, so that what a server needs once is there before anything is measured.
const WARM_UP_CYCLES: u64 = 64;

/// How long the kernel and the server have to come to rest.
const REST: Duration = Duration::from_millis(300);

fn idle(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.churn(WARM_UP_CYCLES, "warming up")?;
    thread::sleep(REST);
    let before = run.sample()?;
    run.connect_all()?;
    thread::sleep(REST);
    let full = run.sample()?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / f64::from(amount.clients);
    measures.add("rss", "RSS per client", "bytes", each(full.rss, before.rss));
    measures.add("pss", "PSS per client", "bytes", each(full.pss, before.pss));
    measures.add("kernel", "kernel memory per client, both ends", "bytes", each(full.slab + full.buffers, before.slab + before.buffers));
    measures.add("rss_base", "RSS before", "bytes", before.rss as f64);
    let ((), cost) = run.measure(|_| {
        thread::sleep(amount.duration);
        Ok(())
    })?;
    measures.add("cpu_idle", "CPU while idle, per second", "µs", cost.cpu as f64 / 1e3 / amount.duration.as_secs_f64().max(1e-9));
    run.tell(&Order::Cut)?;
    thread::sleep(REST * 3);
    let after = run.sample()?;
    measures.add("rss_kept", "RSS kept after all left, per client", "bytes", each(after.rss, before.rss));
    Ok(())
}

fn fanout(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.connect_all()?;
    run.publish(2 * amount.pace.burst, Choice::Wanted, Pace { rate: 0.0, ..amount.pace }, "warming up")?;
    run.tell(&Order::Forget)?;
    let received = run.report()?.counts.received;
    let (_, cost) = run.measure(|run| run.publish(amount.updates, Choice::Wanted, amount.pace, "publishing"))?;
    let deliveries = run.report()?.counts.received - received;
    measures.add_cpu("delivery", "delivery", &cost, deliveries);
    measures.add("deliveries_time", "time per delivery", "µs", cost.wall as f64 / 1e3 / deliveries.max(1) as f64);
    Ok(())
}

fn sparse(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.connect_all()?;
    run.publish(50, Choice::Wanted, amount.pace, "warming up")?;
    run.tell(&Order::Forget)?;
    let (_, cost) = run.measure(|run| run.publish(amount.updates, Choice::Wanted, amount.pace, "publishing"))?;
    measures.add_cpu("update", "update that one client wants", &cost, u64::from(amount.updates));
    let (_, cost) = run.measure(|run| run.publish(amount.updates, Choice::Unwanted, amount.pace, "publishing what nobody wants"))?;
    measures.add_cpu("unwanted", "update that nobody wants", &cost, u64::from(amount.updates));
    Ok(())
}

fn churn(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.churn(amount.cycles / 10, "warming up")?;
    run.tell(&Order::Forget)?;
    let ((), cost) = run.measure(|run| run.churn(amount.cycles, "connecting and leaving").map(drop))?;
    measures.add_cpu("cycle", "connect, subscribe and close", &cost, amount.cycles);
    measures.add("cycle_time", "time per cycle", "µs", cost.wall as f64 / 1e3 / amount.cycles as f64);
    Ok(())
}

fn storm(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.churn(WARM_UP_CYCLES, "warming up")?;
    thread::sleep(REST);
    let empty = run.sample()?;
    let (progress, cost) = run.measure(|run| run.connect(false, amount.storm_in_flight))?;
    measures.add("storm", "time until all are subscribed", "s", progress.took as f64 / 1e9);
    measures.add_cpu("storm_cpu", "client", &cost, u64::from(amount.clients));
    run.publish(2, Choice::Wanted, Pace { burst: 1, rate: 0.0 }, "publishing")?;
    let ((), cost) = run.measure(|run| {
        run.tell(&Order::Cut)?;
        thread::sleep(REST);
        Ok(())
    })?;
    measures.add_cpu("leave_cpu", "client that is cut off", &cost, u64::from(amount.clients));
    if !amount.is_floor {
        run.publish_unseen(amount.updates.min(100))?;
        let (progress, cost) = run.measure(|run| run.connect(true, amount.storm_in_flight))?;
        run.await_all()?;
        // They were late since nobody was there.
        run.tell(&Order::Forget)?;
        measures.add("resume", "time until all are subscribed again, with since", "s", progress.took as f64 / 1e9);
        measures.add_cpu("resume_cpu", "client that comes back", &cost, u64::from(amount.clients));
        run.tell(&Order::Cut)?;
    }
    thread::sleep(REST * 3);
    measures.add(
        "rss_kept",
        "RSS kept after all left, per client",
        "bytes",
        (run.sample()?.rss as f64 - empty.rss as f64) / f64::from(amount.clients),
    );
    Ok(())
}
