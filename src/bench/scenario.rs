//! The scenarios: what is done with a server and its clients, and what of it is measured. Each one
//! is a function that reads as the sentence that describes it. Knows no output.

use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::bench::interrupt::pause;
use crate::bench::load::plan::Choice;
use crate::bench::load::worker::{Order, Progress};
use crate::bench::report::measure::{Measures, Series};
use crate::bench::run::{Pace, Run};

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
    /// Some clients stop reading, while the others must not notice
    Slow,
    /// Updates, and clients that come and go, for long
    Soak,
    /// Clients until the server says 503: those who are in must stay, and as many must fit again
    Fill,
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
    /// Each so-many-th client stops reading.
    pub slow_every: u32,
    /// How many clients per second lose their connection in a soak.
    pub roaming: u32,
    /// How long clients are idle, and how long a soak lasts.
    pub duration: Duration,
    /// How long to wait for what must come.
    pub patience: Duration,
    /// Whether clients that come back ask for what they missed.
    pub has_history: bool,
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
        Scenario::Slow => slow(amount, run, &mut measures)?,
        Scenario::Soak => soak(amount, run, &mut measures)?,
        Scenario::Fill => fill(amount, run, &mut measures)?,
    }
    // What comes once too often comes late.
    pause(REST)?;
    if run.late() > LATE {
        let milliseconds = run.late().as_millis();
        measures.notes.push(format!(
            "updates were published up to {milliseconds} ms late: latencies have that in them, too"
        ));
    }
    if !run.knows_processes() {
        measures.leave_out_processes();
    }
    Ok(measures)
}

/// A few clients come and go, so that what a server needs once is there before anything is
/// measured.
const WARM_UP_CYCLES: u64 = 64;

/// How long the kernel and the server have to come to rest.
const REST: Duration = Duration::from_millis(300);

/// How late the bench may publish before it says so.
const LATE: Duration = Duration::from_millis(10);

/// Each burst as soon as all have got the one before.
fn at_once(amount: &Amount) -> Pace {
    Pace {
        rate: 0.0,
        ..amount.pace
    }
}

fn idle(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.churn(WARM_UP_CYCLES, "warming up")?;
    pause(REST)?;
    let before = run.sample()?;
    run.connect_all()?;
    pause(REST)?;
    let full = run.sample()?;
    measures.add_memory(
        "rss",
        "RSS per client",
        full.rss,
        before.rss,
        amount.clients,
    );
    measures.add_memory(
        "pss",
        "PSS per client",
        full.pss,
        before.pss,
        amount.clients,
    );
    measures.add_memory(
        "kernel",
        "kernel memory per client, both ends: slab",
        full.slab,
        before.slab,
        amount.clients,
    );
    measures.add_memory(
        "kernel_buffers",
        "kernel memory per client, both ends: buffers",
        full.buffers,
        before.buffers,
        amount.clients,
    );
    measures.add(
        "files",
        "open files of the server",
        "files",
        full.files as f64,
    );
    measures.add(
        "rss_base",
        "RSS before the first client",
        "bytes",
        before.rss as f64,
    );
    let ((), cost) = run.measure(|_| pause(amount.duration))?;
    measures.add(
        "cpu_idle",
        "CPU per second while idle",
        "µs",
        cost.cpu as f64 / 1e3 / amount.duration.as_secs_f64().max(1e-9),
    );
    run.tell(&Order::Cut)?;
    pause(REST * 5)?;
    measures.add_memory(
        "rss_kept",
        "RSS kept after all left, per client",
        run.sample()?.rss,
        before.rss,
        amount.clients,
    );
    Ok(())
}

fn fanout(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.connect_all()?;
    run.publish(
        2 * amount.pace.burst,
        Choice::Wanted,
        at_once(amount),
        "warming up",
    )?;
    run.tell(&Order::Forget)?;
    let received = run.report()?.counts.received;
    let (_, cost) =
        run.measure(|run| run.publish(amount.updates, Choice::Wanted, amount.pace, "publishing"))?;
    let deliveries = run.report()?.counts.received - received;
    measures.add_cpu("delivery", "delivery", &cost, deliveries);
    measures.add(
        "delivery_time",
        "time per delivery",
        "µs",
        cost.wall as f64 / 1e3 / deliveries.max(1) as f64,
    );
    Ok(())
}

fn sparse(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.connect_all()?;
    run.publish(50, Choice::Wanted, amount.pace, "warming up")?;
    run.tell(&Order::Forget)?;
    let (_, cost) =
        run.measure(|run| run.publish(amount.updates, Choice::Wanted, amount.pace, "publishing"))?;
    measures.add_cpu(
        "update",
        "update that some want",
        &cost,
        u64::from(amount.updates),
    );
    let (_, cost) = run.measure(|run| {
        run.publish(
            amount.updates,
            Choice::Unwanted,
            amount.pace,
            "publishing what nobody wants",
        )
    })?;
    measures.add_cpu(
        "unwanted",
        "update that nobody wants",
        &cost,
        u64::from(amount.updates),
    );
    Ok(())
}

fn churn(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.churn(amount.cycles / 10, "warming up")?;
    run.tell(&Order::Forget)?;
    let ((), cost) =
        run.measure(|run| run.churn(amount.cycles, "connecting and leaving").map(drop))?;
    measures.add_cpu(
        "cycle",
        "connect, subscribe and close",
        &cost,
        amount.cycles,
    );
    measures.add(
        "cycle_time",
        "time per cycle",
        "µs",
        cost.wall as f64 / 1e3 / amount.cycles.max(1) as f64,
    );
    Ok(())
}

fn storm(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    let clients = u64::from(amount.clients);
    run.churn(WARM_UP_CYCLES, "warming up")?;
    pause(REST)?;
    let empty = run.sample()?;
    let (progress, cost) = run.measure(|run| run.connect(false, amount.storm_in_flight))?;
    measures.add(
        "storm",
        "time until all are subscribed",
        "s",
        progress.took as f64 / 1e9,
    );
    measures.add_cpu("storm_cpu", "client", &cost, clients);
    run.publish(
        2,
        Choice::Wanted,
        Pace {
            burst: 1,
            rate: 0.0,
        },
        "publishing",
    )?;
    let ((), cost) = run.measure(|run| {
        run.tell(&Order::Cut)?;
        pause(REST)
    })?;
    measures.add_cpu("leave_cpu", "client that is cut off", &cost, clients);
    if amount.has_history {
        let missed = amount.updates;
        run.publish_unseen(missed)?;
        let ((progress, _), cost) =
            run.measure(|run| Ok((run.connect(true, amount.storm_in_flight)?, run.await_all()?)))?;
        measures.add(
            "resume",
            &format!("time until all are back, with since and {missed} missed updates"),
            "s",
            progress.took as f64 / 1e9,
        );
        measures.add_cpu("resume_cpu", "client that comes back", &cost, clients);
        run.tell(&Order::Cut)?;
    }
    pause(REST * 5)?;
    measures.add_memory(
        "rss_kept",
        "RSS kept after all left, per client",
        run.sample()?.rss,
        empty.rss,
        amount.clients,
    );
    Ok(())
}

fn slow(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.connect_all()?;
    run.publish(
        2 * amount.pace.burst,
        Choice::Wanted,
        at_once(amount),
        "warming up",
    )?;
    run.tell(&Order::Forget)?;
    let before = run.sample()?;
    let slow = amount.clients.div_ceil(amount.slow_every);
    run.tell(&Order::StopReading {
        every: amount.slow_every,
    })?;
    let ((), cost) = run.measure(|run| {
        run.publish_without_waiting(
            amount.updates,
            Choice::Wanted,
            amount.pace,
            Some("publishing"),
        )
    })?;
    // The others have got all; the slow ones what the kernel took for them.
    pause(REST)?;
    let full = run.sample()?;
    measures.add_memory(
        "slow_rss",
        &format!("RSS for each of the {slow} slow clients"),
        full.rss,
        before.rss,
        slow,
    );
    measures.add_cpu("slow_cpu", "update", &cost, u64::from(amount.updates));
    run.tell(&Order::ResumeReading)?;
    let progress = run.tell(&Order::AwaitNewest {
        patience: amount.patience,
    })?;
    measures.add(
        "catch_up",
        "time until the slow have the newest of each bug",
        "s",
        progress.took as f64 / 1e9,
    );
    let left_out = run.report()?.counts.coalesced;
    measures.notes.push(match left_out {
        0 => "the kernel took everything for the slow clients: more --updates would show what the server does".to_owned(),
        _ => format!("{left_out} deliveries to slow clients were left out, since newer ones of the same bug stood for them"),
    });
    Ok(())
}

fn soak(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    run.connect_all()?;
    run.publish(50, Choice::Wanted, amount.pace, "warming up")?;
    run.roam(amount.roaming)?;
    let seconds = amount.duration.as_secs().max(2);
    let updates = (amount.pace.rate * f64::from(amount.pace.burst)).max(1.0) as u32;
    let (mut memory, mut cpu, mut kernel, mut files) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let ((), cost) = run.measure(|run| {
        let mut last = run.sample()?;
        run.begin("publishing, seconds", seconds);
        for second in 1..=seconds {
            run.publish_without_waiting(updates, Choice::Wanted, amount.pace, None)?;
            run.show(second);
            let sample = run.sample()?;
            memory.push((second as f64, sample.rss as f64 / 1e6));
            cpu.push((second as f64, (sample.cpu - last.cpu) as f64 / 1e7));
            kernel.push((second as f64, (sample.slab + sample.buffers) as f64 / 1e6));
            files.push((second as f64, sample.files as f64));
            last = sample;
        }
        Ok(())
    })?;
    run.roam(0)?;
    run.await_all()?;
    // What grows for ever is seen in the second half; the first one has what a server needs to get
    // going.
    let half = memory.len() / 2;
    let growth = (memory[memory.len() - 1].1 - memory[half].1) * 1e6
        / (memory.len() - half).max(1) as f64
        * 60.0;
    measures.add(
        "soak_cpu",
        "CPU per second",
        "ms",
        cost.cpu as f64 / 1e6 / seconds as f64,
    );
    measures.add(
        "soak_growth",
        "growth of RSS per minute, second half",
        "bytes",
        growth,
    );
    measures.series.push(Series {
        name: "RSS, MB".to_owned(),
        points: memory,
    });
    measures.series.push(Series {
        name: "CPU, percent of a core".to_owned(),
        points: cpu,
    });
    measures.series.push(Series {
        name: "kernel memory of sockets, MB".to_owned(),
        points: kernel,
    });
    measures.series.push(Series {
        name: "files".to_owned(),
        points: files,
    });
    Ok(())
}

fn fill(amount: &Amount, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()> {
    let first = run.connect_all()?;
    run.tell(&Order::Enroll)?;
    run.publish(
        amount.updates,
        Choice::Wanted,
        at_once(amount),
        "publishing to those who are in",
    )?;
    measures.add("held", "held", "clients", f64::from(first.open));
    measures.add(
        "refused",
        "refused by a 503",
        "clients",
        run.report()?.tally.refused as f64,
    );
    measures.add(
        "fill",
        "time until it was full",
        "s",
        first.took as f64 / 1e9,
    );
    run.tell(&Order::Cut)?;
    // It takes the server, and the kernel, a while to see that they have gone.
    let begun = Instant::now();
    let mut second = Progress::default();
    while second.open < first.open && begun.elapsed() < amount.patience {
        pause(REST * 5)?;
        second = run.connect_all()?;
    }
    run.tell(&Order::Enroll)?;
    run.publish(
        amount.updates,
        Choice::Wanted,
        at_once(amount),
        "publishing to those who came again",
    )?;
    measures.add(
        "held_again",
        "held again after all have left",
        "clients",
        f64::from(second.open),
    );
    measures.add(
        "fill_again",
        "time until as many were in again",
        "s",
        begun.elapsed().as_secs_f64(),
    );
    Ok(())
}
