//! From options to what is measured: the load, the servers, the scenario; and what of it cannot
//! work.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::options::Options;
use crate::bench::load::plan::{Pattern, Plan};
use crate::bench::load::tls::Trust;
use crate::bench::report::FLOOR;
use crate::bench::run::{Load, Schedule};
use crate::bench::scenario::{
    Churn, Fanout, Fill, Idle, Name, Scale, Scenario, Slow, Soak, Sparse, Storm, Trouble,
};
use crate::bench::server::floor::Audience;
use crate::bench::server::inlet::InletAddress;
use crate::bench::server::inlet::is_loopback;
use crate::bench::server::machine::{self, Need};
use crate::bench::server::target::{Certificate, TargetKind};
use crate::failure::Failure;

impl Options {
    pub(super) fn audience(&self) -> Audience {
        self.audience.parse().map_or(Audience::Owner, Audience::All)
    }

    /// The numbers of clients to measure with.
    pub(super) fn numbers(&self) -> Vec<u32> {
        match &self.connections[..] {
            [] => vec![15_000.min(machine::clients_max_of_server())],
            given => given.to_vec(),
        }
    }

    /// Whether the server is on this machine.
    pub(super) fn is_near(&self) -> bool {
        self.url.as_ref().is_none_or(|url| is_loopback(url.host()))
    }

    /// Finds out before anything is started what cannot work.
    pub(super) fn check(&self, name: Name, load: &Load) -> Result<(), Failure> {
        let need = Need {
            clients: load.plan.clients,
            processes: load.processes,
            sources: load.sources.clone(),
            servers: if self.url.is_some() { 0 } else { self.servers },
            // To fill a server is to ask more of it than it can have.
            pids: match name {
                Name::Fill => Vec::new(),
                _ => self.pid.clone(),
            },
        };
        need.check()
            .and_then(|()| self.check_options(name, &load.plan))
            .map_err(|why| Failure::Usage(format!("{why}.")))
    }

    fn check_options(&self, name: Name, plan: &Plan) -> Result<(), String> {
        let refuse = |why: &str| Err(why.to_owned());
        if name.publishes() && self.url.is_some() && self.publish.is_none() {
            return refuse(
                "updates must come from somewhere; --publish says how the server learns of them",
            );
        }
        if let Some(inlet) = &self.publish
            && !(self.invent || self.is_near() && inlet.is_private())
        {
            return refuse(
                "--publish invents updates, and real users may get them: the server is on another machine, or the database is Bugzilla's; --invent says that this is meant",
            );
        }
        if self.trouble && name != Name::Soak {
            return refuse("--trouble is something that happens in a soak; accepted is bench soak");
        }
        if name.needs_rate() && self.rate == Some(0.0) {
            return refuse(
                "the scenarios slow and soak wait for nobody, so they need a --rate above 0",
            );
        }
        if self.raw && !name.has_floor(plan) {
            return refuse(
                "the floor that --raw measures knows one bug of each client, or the same bugs of all, and remembers nothing; accepted are --pattern own without --bugs, and --pattern shared, in all scenarios but slow, soak, fill and scale",
            );
        }
        if self.url.as_ref().is_some_and(|url| !url.is_encrypted())
            && (self.cacert.is_some() || self.insecure || self.tls_version.is_some())
        {
            return refuse(
                "the URL is one without TLS, and --cacert, --insecure and --tls-version are about TLS; accepted is wss://HOST[:PORT]/PATH",
            );
        }
        if self.url.is_none() && self.tls_version.is_some() && !self.tls {
            return refuse(
                "--tls-version says how TLS is spoken; --tls, or a URL with wss://, that it is",
            );
        }
        let bugs = u64::from(plan.clients) * u64::from(plan.bugs_per_client);
        if plan.pattern != Pattern::Shared && bugs > 1_000_000_000 {
            return refuse("so many clients with so many --bugs need more numbers than bugs have");
        }
        Ok(())
    }

    /// The servers to measure, by their names.
    pub(super) fn targets(&self, name: Name, plan: &Plan) -> Vec<(String, TargetKind)> {
        if let Some(url) = &self.url {
            let called = self.name.clone();
            let kind = TargetKind::Running {
                url: url.clone(),
                pids: self.pid.clone(),
                inlet: self.publish.clone().map(Box::new),
                metrics: self.metrics.clone(),
            };
            return vec![(called.unwrap_or_else(|| url.authority().to_owned()), kind)];
        }
        let audience = (plan.pattern == Pattern::Shared).then_some(plan.bugs() + 1);
        let floor = (FLOOR.to_owned(), TargetKind::Floor(audience));
        let serve = |called: &str, tls| {
            let arguments = self.serve_args(name);
            (called.to_owned(), TargetKind::Serve { tls, arguments })
        };
        let mut targets = match (self.raw, self.tls) {
            (true, _) => Vec::new(),
            (false, true) => vec![serve("wss", Some(self.certificate())), serve("ws", None)],
            (false, false) => vec![serve("serve", None)],
        };
        // The floor does not tell one bug from another.
        if self.raw || (name.has_floor(plan) && self.present == 0) {
            targets.push(floor);
        }
        targets
    }

    fn certificate(&self) -> Certificate {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Certificate::Files {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            _ => Certificate::ThrownAway,
        }
    }

    fn serve_args(&self, name: Name) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: &str| {
            arguments.extend([option.to_owned(), value.to_owned()]);
        };
        if name != Name::Soak {
            // Pings would count as costs of what is measured; the floor sends none.
            add("--ping", "1h");
        }
        if self.bugs > 1_000 {
            add("--subscriptions", &self.bugs.to_string());
        }
        if let (Name::Storm, Some(updates @ 9_001..)) = (name, self.updates) {
            // Room for what is missed, and for what was published before.
            add("--history-size", &(updates + 1_000).to_string());
        }
        arguments.extend(self.serve_arg.iter().cloned());
        arguments
    }

    /// The clients, and how they connect.
    pub(super) fn load(&self, name: Name, clients: u32) -> Load {
        let sources = match &self.source_ip[..] {
            [] if self.is_near() => (1..=16)
                .map(|last| Ipv4Addr::new(127, 1, 0, last))
                .collect(),
            given => given.to_vec(),
        };
        let processes = self
            .processes
            .unwrap_or(clients.div_ceil(machine::clients_max()));
        let pattern = self.pattern.unwrap_or(name.pattern());
        Load {
            plan: Plan {
                pattern,
                clients,
                bugs_per_client: self.bugs + u32::from(pattern == Pattern::Both),
                bugs_before: 0,
                first_when: 0,
            },
            present: if name == Name::Storm { self.present } else { 0 },
            servers: self.servers,
            processes: processes.next_multiple_of(self.servers),
            sources,
            trust: match &self.cacert {
                Some(file) => Trust::File(file.clone()),
                None if self.url.is_some() && !self.insecure => Trust::Machine,
                None => Trust::Anybody,
            },
            tls_version: self.tls_version,
            in_flight: self.in_flight.unwrap_or(200),
            connect_rate: self.connect_rate,
            is_abrupt: self.abrupt,
            patience: self.patience,
            may_refuse: name == Name::Fill,
            may_doubt: self.disturb.is_some(),
            has_small_buffers: name == Name::Slow || self.trouble,
            may_combine: self.publish.as_ref().is_some_and(InletAddress::may_combine),
        }
    }

    /// What is done with one of the servers.
    pub(super) fn scenario(&self, name: Name, plan: &Plan, kind: &TargetKind) -> Box<dyn Scenario> {
        let burst = self
            .burst
            .unwrap_or(if name == Name::Slow { 20 } else { 1 });
        let schedule = Schedule {
            burst,
            rate: self.rate.unwrap_or_else(|| match self.trouble {
                true => TROUBLED_RATE,
                false => rate(name, plan.clients),
            }),
        };
        let updates = self.updates.unwrap_or(updates(name, plan.pattern, burst));
        let duration = |seconds| self.duration.unwrap_or(Duration::from_secs(seconds));
        match name {
            Name::Idle => Box::new(Idle {
                duration: duration(1),
            }),
            Name::Fanout => Box::new(Fanout { updates, schedule }),
            Name::Sparse => Box::new(Sparse { updates, schedule }),
            Name::Churn => Box::new(Churn {
                cycles: self.cycles,
            }),
            Name::Storm => Box::new(Storm {
                in_flight: self.in_flight.unwrap_or(1_000),
                missed: self.has_history(kind).then_some(updates),
            }),
            Name::Slow => Box::new(Slow {
                updates,
                schedule,
                every: self.slow_every,
            }),
            Name::Soak => Box::new(Soak {
                schedule,
                duration: duration(60),
                roaming: self.roaming,
                troubles: self.troubles(),
            }),
            Name::Fill => Box::new(Fill { updates, schedule }),
            Name::Scale => Box::new(Scale { updates, schedule }),
        }
    }

    fn troubles(&self) -> Vec<Trouble> {
        if !self.trouble {
            return Vec::new();
        }
        match self.disturb.clone().map(Trouble::Command) {
            None => vec![Trouble::Storm, Trouble::Slow, Trouble::Reload],
            Some(command) => vec![
                Trouble::Storm,
                command.clone(),
                Trouble::Slow,
                command,
                Trouble::Reload,
            ],
        }
    }

    /// Whether clients that come back may ask for what they missed.
    fn has_history(&self, kind: &TargetKind) -> bool {
        !self.without_history && !matches!(kind, TargetKind::Floor(_))
    }
}

/// The same in a soak with trouble. Each update has a second of its own, and what lies more than a
/// day ahead is believed by no server: so this is good for an hour.
const TROUBLED_RATE: f64 = 20.0;

/// Bursts per second by default.
fn rate(name: Name, clients: u32) -> f64 {
    match name {
        // Seldom enough that all servers are idle in between, whatever way they learn of an update:
        // one that gets the next as soon as all have the last never cools down.
        Name::Fanout => (50_000.0 / f64::from(clients)).clamp(0.2, 10.0),
        Name::Sparse | Name::Soak => 100.0,
        Name::Slow => 20.0,
        Name::Scale => 50.0,
        Name::Idle | Name::Churn | Name::Storm | Name::Fill => 0.0,
    }
}

/// How many updates are published by default, in bursts of so many.
fn updates(name: Name, pattern: Pattern, burst: u32) -> u32 {
    match (name, pattern) {
        (Name::Sparse, _) => 500,
        (Name::Scale, _) => 1_000,
        (Name::Fill, Pattern::Shared) => 4 * burst,
        (Name::Slow | Name::Fill, _) => 200 * burst,
        _ => 20 * burst,
    }
}
