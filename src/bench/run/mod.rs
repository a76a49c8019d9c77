//! One server and its clients, and what a scenario does with them step by step. Owns the order of
//! things: updates are announced to the clients before they are published, and never in two places
//! at once.

mod commit;
mod cost;
mod present;
mod publish;
mod trouble;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(crate) use self::cost::Cost;
pub(crate) use self::publish::Schedule;

use self::cost::Busy;
use self::present::Present;
use super::cores::{self, Role};
use super::load::clients::Setup;
use super::load::fleet::Fleet;
use super::load::order::{Order, Outcome, Status};
use super::load::plan::Plan;
use super::load::tls::{TlsSetup, Trust, Version};
use super::server::sample::Sample;
use super::server::target::{Target, TargetKind};
use super::status_line::StatusLine;
use crate::work::unix_now;

/// How the clients connect.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Who subscribes to what.
    pub plan: Plan,
    /// How many more are in before all others, and get updates meanwhile.
    pub present: u32,
    /// How many servers share the clients; each has its own updates, which are the same.
    pub servers: u32,
    /// How many processes hold the clients: the same number for each server.
    pub processes: u32,
    /// The addresses that clients connect from.
    pub sources: Vec<Ipv4Addr>,
    /// Whom clients believe, where they speak TLS, and which version of it is the only one.
    pub trust: Trust,
    pub tls_version: Option<Version>,
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
    /// Whether the server may say that it does not know what clients have missed, since what it reads
    /// from is not always there.
    pub may_doubt: bool,
    /// Whether the kernel is to buffer little for a client, so that it does not take megabytes to
    /// make one slow.
    pub has_small_buffers: bool,
    /// Whether the server reads from where several updates of a bug may come as one.
    pub may_combine: bool,
}

impl Load {
    /// How clients speak TLS to this server, if they do.
    fn tls(&self, target: &Target) -> Option<TlsSetup> {
        target.is_encrypted.then(|| TlsSetup {
            name: target.name.clone(),
            trust: self.trust.clone(),
            version: self.tls_version,
        })
    }

    /// What the process number `at` is to hold, and where it connects to.
    fn setup(&self, at: u32, target: &Target) -> Setup {
        let share = self.plan.clients.div_ceil(self.processes);
        let end = |at: u32| (at * share).min(self.plan.clients);
        Setup {
            address: target.address,
            host: target.host.clone(),
            path: target.path.clone(),
            plan: self.plan.clone(),
            clients: end(at)..end(at + 1),
            sources: match target.address {
                SocketAddr::V4(_) => self.sources.clone(),
                SocketAddr::V6(_) => Vec::new(),
            },
            tls: self.tls(target),
            is_abrupt: self.is_abrupt,
            may_refuse: self.may_refuse,
            has_small_buffers: self.has_small_buffers,
            may_combine: self.may_combine,
        }
    }
}

/// Servers with their clients; mostly one server.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    targets: Vec<Target>,
    fleet: Fleet,
    present: Option<Present>,
    load: Load,
    next_seq: u32,
    status_line: &'a StatusLine,
    busy: Busy,
    late: u64,
    /// Updates that did not come to the client that waits for commits.
    unseen: u64,
}

impl<'a> Run<'a> {
    /// Starts or finds the server, and the processes of the load. No update is of a time before
    /// `first_when`, in Unix seconds: a server that remembers those of an earlier run must not take
    /// the new ones for old.
    pub(crate) fn start(
        kind: &TargetKind,
        load: &Load,
        first_when: i64,
        status_line: &'a StatusLine,
    ) -> io::Result<Self> {
        let targets = start_targets(kind, load.servers)?;
        for target in &targets {
            if let Some(tls) = load.tls(target) {
                tls.probe(target.address)?;
            }
        }
        let mut load = load.clone();
        // Later than the server's start, before which its history cannot reach.
        load.plan.first_when = first_when.max(unix_now() + 2);
        let setups: Vec<Setup> = (0..load.processes)
            .map(|at| load.setup(at, &targets[(at % load.servers) as usize]))
            .collect();
        let fleet = cores::on(Role::Load, || Fleet::start(&setups))?;
        let present = (load.present > 0)
            .then(|| Present::start(&load, &targets[0]))
            .transpose()?;
        Ok(Self {
            targets,
            fleet,
            present,
            load,
            next_seq: 0,
            status_line,
            busy: Busy::default(),
            late: 0,
            unseen: 0,
        })
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> u32 {
        self.load.plan.clients
    }

    /// How long updates may take to arrive before they count as missing.
    pub(crate) fn patience(&self) -> Duration {
        self.load.patience
    }

    /// What the servers have used so far, as far as their processes are known.
    pub(crate) fn sample(&self) -> io::Result<Sample> {
        let pids: Vec<u32> = self
            .targets
            .iter()
            .flat_map(|target| &target.pids)
            .copied()
            .collect();
        Sample::take(&pids)
    }

    /// All clients connect and subscribe, `in_flight` at the same time. Those who come back name
    /// what they had, by `since`, and resume their TLS.
    pub(crate) fn connect(&mut self, comes_back: bool, in_flight: u32) -> io::Result<Status> {
        let clients = u64::from(self.clients());
        let order = Order::Connect {
            with_since: comes_back,
            resumes: comes_back,
            in_flight: in_flight.div_ceil(self.load.processes),
            rate: self.load.connect_rate.div_ceil(self.load.processes),
        };
        self.order_shown(&order, "connecting", clients, |status| {
            u64::from(status.open)
        })
    }

    /// All clients connect and subscribe, as the settings say.
    pub(crate) fn connect_all(&mut self) -> io::Result<Status> {
        self.connect(false, self.load.in_flight)
    }

    /// Clients connect, subscribe and leave, so many times; with TLS, by handshakes that resume, or
    /// by full ones.
    pub(crate) fn churn(&mut self, cycles: u64, resumes: bool, step: &str) -> io::Result<Status> {
        let processes = self.load.processes;
        let order = Order::Churn {
            cycles: cycles.div_ceil(u64::from(processes)),
            in_flight: self.load.in_flight.div_ceil(processes),
            resumes,
        };
        self.order_shown(&order, step, cycles, |status| status.closed)
    }

    /// Lets so many clients per second lose their connection and come back, from now on; 0 ends it.
    pub(crate) fn roam(&mut self, per_second: u32) -> io::Result<()> {
        self.order(&Order::Roam {
            per_second: per_second.div_ceil(self.load.processes),
            in_flight: self.load.in_flight,
        })
        .map(drop)
    }

    /// All connections end without a close frame.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        self.order(&Order::Cut).map(drop)
    }

    /// What was measured so far was a warm-up: latencies count from here.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        self.late = 0;
        self.order(&Order::Forget).map(drop)
    }

    /// Waits until all have what they should get; returns how much is missing.
    pub(crate) fn await_all(&mut self) -> io::Result<u64> {
        let patience = self.patience();
        Ok(self.order(&Order::Await { patience })?.outstanding)
    }

    /// Gives the load an order and waits until it is done.
    pub(crate) fn order(&mut self, order: &Order) -> io::Result<Status> {
        self.fleet.order(order, &mut |_| ())
    }

    /// The same, for an order that takes long enough to be shown as a step of so many units.
    fn order_shown(
        &mut self,
        order: &Order,
        step: &str,
        total: u64,
        done: impl Fn(&Status) -> u64,
    ) -> io::Result<Status> {
        let status_line = self.status_line;
        status_line.begin(step, total);
        let mut show = |status: &Status| status_line.show(done(status).min(total));
        self.fleet.order(order, &mut show)
    }

    /// The first time that no update has had, in Unix seconds.
    pub(crate) fn next_when(&self) -> i64 {
        self.load.plan.first_when + i64::from(self.next_seq)
    }

    /// How late updates were published at most: the bench's own fault, or that of what it publishes
    /// to.
    pub(crate) fn late(&self) -> Duration {
        Duration::from_nanos(self.late)
    }

    /// Where a step is shown that consists of others.
    pub(crate) fn status_line(&self) -> &'a StatusLine {
        self.status_line
    }

    /// Whether the clients speak TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.targets.iter().any(|target| target.is_encrypted)
    }

    /// Whether it is known which processes the servers are.
    pub(crate) fn knows_processes(&self) -> bool {
        self.targets.iter().all(|target| !target.pids.is_empty())
    }

    /// All that the load has counted.
    pub(crate) fn outcome(&mut self) -> io::Result<Outcome> {
        let mut outcome = self.fleet.outcome()?;
        outcome.outstanding += self.unseen;
        if self.load.may_doubt {
            outcome.tally.incomplete = 0;
        }
        if let Some(present) = &mut self.present {
            outcome.add_faults(&present.outcome()?);
        }
        Ok(outcome)
    }
}

fn start_targets(kind: &TargetKind, servers: u32) -> io::Result<Vec<Target>> {
    let start =
        || -> io::Result<Vec<Target>> { (0..servers).map(|_| Target::start(kind)).collect() };
    // Several servers are there to use several cores.
    let targets = if servers > 1 {
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
    Ok(targets)
}
