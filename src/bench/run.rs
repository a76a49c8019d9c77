//! One server and its clients, and what a scenario does with them step by step. Owns the order of
//! things: updates are announced to the clients before they are published, and never in two places
//! at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use crate::bench::cores::{self, Role};
use crate::bench::interrupt;
use crate::bench::load::clients::Setup;
use crate::bench::load::fleet::Fleet;
use crate::bench::load::ledger::Segment;
use crate::bench::load::now;
use crate::bench::load::plan::{Choice, Plan};
use crate::bench::load::worker::{Order, Progress, Report};
use crate::bench::server::sample::Sample;
use crate::bench::server::target::{Target, TargetKind};
use crate::bench::status_line::Line;
use crate::source::unix_now;

/// How long a server may take to read an update that nobody waits for.
const UNSEEN: Duration = Duration::from_millis(600);

/// The same for each of many.
const UNSEEN_EACH: Duration = Duration::from_micros(200);

/// How long before the first update is due the load is told of it.
const AHEAD: Duration = Duration::from_millis(20);

/// How the clients connect.
#[derive(Clone, Debug)]
pub struct Load {
    /// Who subscribes to what.
    pub plan: Plan,
    /// How many servers share the clients; each has its own updates, which are the same.
    pub servers: u32,
    /// How many processes hold the clients: the same number for each server.
    pub processes: u32,
    /// The addresses that clients connect from.
    pub sources: Vec<Ipv4Addr>,
    /// How many connect at the same time.
    pub in_flight: u32,
    /// How many begin to connect per second; 0 for no limit.
    pub connect_rate: u32,
    /// Whether clients leave without a close frame.
    pub is_abrupt: bool,
    /// How long updates may take to arrive before they count as missing.
    pub patience: Duration,
    /// Whether the server may refuse clients by a 503.
    pub may_refuse: bool,
    /// Whether the kernel is to buffer little for a client, so that it does not take megabytes to
    /// make one slow.
    pub has_small_buffers: bool,
}

/// Servers with their clients; mostly one server.
#[derive(Debug)]
pub struct Run<'a> {
    targets: Vec<Target>,
    fleet: Fleet,
    load: Load,
    next_seq: u32,
    line: &'a Line,
    busy: Busy,
    late: u64,
}

/// What the load has used while something was measured, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Busy {
    busiest: u64,
    all: u64,
    wall: u64,
}

/// When updates are published.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many are due at the same time.
    pub burst: u32,
    /// How many bursts are due per second; 0: each as soon as all have the one before.
    pub rate: f64,
}

impl<'a> Run<'a> {
    /// Starts or finds the server, and the processes of the load. No update is of a time before
    /// `first_when`, in Unix seconds: a server that remembers those of an earlier run must not take
    /// the new ones for old.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(
        kind: &TargetKind,
        load: &Load,
        first_when: i64,
        line: &'a Line,
    ) -> io::Result<Self> {
        let start = || {
            (0..load.servers)
                .map(|_| Target::start(kind))
                .collect::<io::Result<Vec<_>>>()
        };
        // Several servers are there to use several cores.
        let targets = if load.servers > 1 {
            start()?
        } else {
            cores::on(Role::Server, start)?
        };
        for pid in targets.iter().flat_map(|target| &target.pids) {
            Sample::take(&[*pid]).map_err(|error| {
                io::Error::other(format!(
                    "cannot read what the server's process {pid} uses: {error}"
                ))
            })?;
        }
        let mut load = load.clone();
        // Later than the server's start, before which its history cannot reach.
        load.plan.first_when = first_when.max(unix_now() + 2);
        let share = load.plan.clients.div_ceil(load.processes);
        let setup = |at: u32| {
            let target = &targets[(at % load.servers) as usize];
            Setup {
                address: target.address,
                host: target.host.clone(),
                path: target.path.clone(),
                plan: load.plan.clone(),
                clients: (at * share).min(load.plan.clients)
                    ..((at + 1) * share).min(load.plan.clients),
                sources: match target.address {
                    SocketAddr::V4(_) => load.sources.clone(),
                    SocketAddr::V6(_) => Vec::new(),
                },
                is_abrupt: load.is_abrupt,
                may_refuse: load.may_refuse,
                has_small_buffers: load.has_small_buffers,
            }
        };
        let setups: Vec<Setup> = (0..load.processes).map(setup).collect();
        let fleet = cores::on(Role::Load, || Fleet::start(&setups))?;
        Ok(Self {
            targets,
            fleet,
            load,
            next_seq: 0,
            line,
            busy: Busy::default(),
            late: 0,
        })
    }

    /// What the servers have used so far, as far as their processes are known.
    ///
    /// # Errors
    /// When one is gone.
    pub fn sample(&self) -> io::Result<Sample> {
        let pids: Vec<u32> = self
            .targets
            .iter()
            .flat_map(|target| &target.pids)
            .copied()
            .collect();
        Sample::take(&pids)
    }

    /// Gives the load an order, and shows how far it is.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn order(
        &mut self,
        order: &Order,
        what: &str,
        total: u64,
        left: impl Fn(&Progress) -> u64,
    ) -> io::Result<Progress> {
        let line = self.line;
        line.begin(what, total);
        let progress = self.fleet.order(order, &mut |progress| {
            line.show(total.saturating_sub(left(progress)))
        })?;
        Ok(progress)
    }

    /// All clients connect and subscribe, `in_flight` at the same time.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn connect(&mut self, with_since: bool, in_flight: u32) -> io::Result<Progress> {
        let clients = u64::from(self.load.plan.clients);
        let order = Order::Connect {
            with_since,
            in_flight: in_flight.div_ceil(self.load.processes),
            rate: self.load.connect_rate.div_ceil(self.load.processes),
        };
        self.order(&order, "connecting", clients, |progress| {
            clients.saturating_sub(u64::from(progress.open))
        })
    }

    /// All clients connect and subscribe, as the settings say.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn connect_all(&mut self) -> io::Result<Progress> {
        self.connect(false, self.load.in_flight)
    }

    /// Clients connect, subscribe and leave, so many times.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn churn(&mut self, cycles: u64, what: &str) -> io::Result<Progress> {
        let processes = self.load.processes;
        let order = Order::Churn {
            cycles: cycles.div_ceil(u64::from(processes)),
            in_flight: self.load.in_flight.div_ceil(processes),
        };
        self.order(&order, what, cycles, |progress| {
            cycles.saturating_sub(progress.closed)
        })
    }

    /// Gives the load an order that takes no time.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn tell(&mut self, order: &Order) -> io::Result<Progress> {
        if matches!(order, Order::Forget) {
            self.late = 0;
        }
        self.fleet.order(order, &mut |_| ())
    }

    /// Publishes updates and waits until all have them. Returns the number of deliveries that were
    /// still to come when patience ended.
    ///
    /// # Errors
    /// When the server takes no updates, or a process of the load is gone.
    pub fn publish(
        &mut self,
        updates: u32,
        choice: Choice,
        pace: Pace,
        what: &str,
    ) -> io::Result<u64> {
        if pace.rate > 0.0 {
            self.publish_without_waiting(updates, choice, pace, Some(what))?;
            return self.await_all();
        }
        self.line.begin(what, u64::from(updates));
        let mut done = 0;
        let mut missing = 0;
        while done < updates && missing == 0 {
            let count = pace.burst.min(updates - done);
            let segment = self.announce(count, choice, pace.burst, 0)?;
            self.send(segment.seqs(), choice)?;
            missing = self.await_all()?;
            done += count;
            self.line.show(u64::from(done));
        }
        if choice == Choice::Unwanted {
            interrupt::pause(UNSEEN)?;
        }
        Ok(missing)
    }

    /// Publishes updates when they are due, whatever has become of those before; shows them as a
    /// step where it has a name.
    ///
    /// # Errors
    /// When the server takes no updates, or a process of the load is gone.
    pub fn publish_without_waiting(
        &mut self,
        updates: u32,
        choice: Choice,
        pace: Pace,
        step: Option<&str>,
    ) -> io::Result<()> {
        if let Some(step) = step {
            self.line.begin(step, u64::from(updates));
        }
        let interval = (1e9 / pace.rate.max(1e-3)) as u64;
        let segment = self.announce(updates, choice, pace.burst, interval)?;
        let end = segment.seqs().end;
        let mut seq = segment.first_seq;
        while seq < end {
            let due = segment.due(seq);
            wait_until(due)?;
            // All that is due by now: when this is late, it is not late for ever.
            let overdue = now().saturating_sub(due) / interval.max(1);
            let next = end.min(
                seq.saturating_add(
                    pace.burst
                        .saturating_mul(u32::try_from(overdue + 1).unwrap_or(u32::MAX)),
                ),
            );
            self.send(seq..next, choice)?;
            if choice == Choice::Wanted {
                self.late = self.late.max(now().saturating_sub(segment.due(next - 1)));
            }
            seq = next;
            if step.is_some() {
                self.line.show(u64::from(seq - segment.first_seq));
            }
        }
        // The last one has its interval too, so that a rate holds over several calls.
        wait_until(segment.due(end - 1) + interval)?;
        if choice == Choice::Unwanted {
            interrupt::pause(UNSEEN)?;
        }
        Ok(())
    }

    /// Lets so many clients per second lose their connection and come back, from now on; 0 ends it.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn roam(&mut self, per_second: u32) -> io::Result<()> {
        let processes = self.load.processes;
        self.tell(&Order::Roam {
            per_second: per_second.div_ceil(processes),
            in_flight: self.load.in_flight,
        })
        .map(drop)
    }

    /// Publishes updates while nobody is connected, and gives the server the time to learn of them.
    ///
    /// # Errors
    /// When the server takes no updates, or a process of the load is gone.
    pub fn publish_unseen(&mut self, updates: u32) -> io::Result<()> {
        let segment = self.announce(updates, Choice::Wanted, updates, 0)?;
        self.send(segment.seqs(), Choice::Wanted)?;
        interrupt::pause(UNSEEN + updates * UNSEEN_EACH)
    }

    /// Tells the load of updates before they are published: the first one is due in a moment, or as
    /// soon as the load knows.
    fn announce(
        &mut self,
        count: u32,
        choice: Choice,
        burst: u32,
        interval: u64,
    ) -> io::Result<Segment> {
        let ahead = if interval > 0 { AHEAD } else { Duration::ZERO };
        let start = now() + ahead.as_nanos() as u64;
        let segment = Segment {
            first_seq: self.next_seq,
            count,
            choice,
            start,
            interval,
            burst,
        };
        self.next_seq += count;
        self.tell(&Order::Expect(segment.clone()))?;
        Ok(segment)
    }

    fn send(&mut self, seqs: std::ops::Range<u32>, choice: Choice) -> io::Result<()> {
        let plan = &self.load.plan;
        let changes: Vec<_> = seqs
            .map(|seq| (plan.bug(seq, choice), plan.when(seq)))
            .collect();
        for target in &mut self.targets {
            let inlet = target.inlet.as_mut().ok_or_else(|| {
                io::Error::other("nowhere to publish is known; --publish says where")
            })?;
            inlet.publish(&changes)?;
        }
        Ok(())
    }

    /// Waits until all have what they should get; returns how much is missing.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn await_all(&mut self) -> io::Result<u64> {
        Ok(self
            .tell(&Order::Await {
                patience: self.load.patience,
            })?
            .outstanding)
    }

    /// Does something and returns what it cost the server, and how long it took in nanoseconds.
    ///
    /// # Errors
    /// Those of what is done, and when the server is gone.
    pub fn measure<T>(
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
        let switches =
            (after.switches.0 - before.switches.0) + (after.switches.1 - before.switches.1);
        Ok((
            result,
            Cost {
                cpu: after.cpu - before.cpu,
                cpu_first: after.cpu_first - before.cpu_first,
                switches,
                wall,
            },
        ))
    }

    /// How busy the load was while something was measured, from 0 to 1: its busiest process, or its
    /// cores if that is more.
    pub fn load_share(&self) -> f64 {
        let Busy { busiest, all, wall } = self.busy;
        let cores = cores::of_load() as u64;
        busiest.max(all / cores) as f64 / wall.max(1) as f64
    }

    /// The first time that no update has had, in Unix seconds.
    pub fn next_when(&self) -> i64 {
        self.load.plan.first_when + i64::from(self.next_seq)
    }

    /// How late updates were published at most: the bench's own fault, or that of what it publishes
    /// to.
    pub fn late(&self) -> Duration {
        Duration::from_nanos(self.late)
    }

    /// Begins a step of so many units that consists of others.
    pub fn begin(&self, step: &str, total: u64) {
        self.line.begin(step, total);
    }

    /// Shows how many units of the step are done.
    pub fn show(&self, done: u64) {
        self.line.show(done);
    }

    /// Whether it is known which processes the servers are.
    pub fn knows_processes(&self) -> bool {
        self.targets.iter().all(|target| !target.pids.is_empty())
    }

    /// All that the load knows.
    ///
    /// # Errors
    /// When a process of the load is gone.
    pub fn report(&mut self) -> io::Result<Report> {
        self.fleet.report()
    }
}

/// Waits for a time of the clock. The last stretch is one sleep, so that it ends when it should.
fn wait_until(due: u64) -> io::Result<()> {
    let left = Duration::from_nanos(due.saturating_sub(now()));
    if left > LONG {
        interrupt::pause(left - LONG)?;
    }
    thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
    interrupt::check()
}

/// A wait that somebody may want to interrupt.
const LONG: Duration = Duration::from_millis(200);

/// What something has cost a server. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time of all threads.
    pub cpu: u64,
    /// CPU time of the first thread.
    pub cpu_first: u64,
    /// Context switches of the first thread.
    pub switches: u64,
    /// Time on the wall.
    pub wall: u64,
}
