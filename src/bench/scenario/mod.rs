//! The scenarios: what is done with a server and its clients, and what of it is measured. Each one
//! is a type with what it needs, and reads as the sentence that describes it. Knows no output.

mod churn;
mod fanout;
mod fill;
mod idle;
mod scale;
mod slow;
mod soak;
mod sparse;
mod storm;

use std::io;
use std::time::Duration;

use clap::ValueEnum;

pub(crate) use self::churn::Churn;
pub(crate) use self::fanout::Fanout;
pub(crate) use self::fill::Fill;
pub(crate) use self::idle::Idle;
pub(crate) use self::scale::Scale;
pub(crate) use self::slow::Slow;
pub(crate) use self::soak::{Soak, Trouble};
pub(crate) use self::sparse::Sparse;
pub(crate) use self::storm::Storm;

use super::interrupt::pause;
use super::load::histogram::Histogram;
use super::load::plan::{Pattern, Plan};
use super::report::measure::Measures;
use super::run::Run;

/// A few clients come and go, so that what a server needs once is there before anything is
/// measured.
const WARM_UP_CYCLES: u64 = 64;

/// How long the kernel and the server have to come to rest.
const REST: Duration = Duration::from_millis(300);

/// The same after all clients have left at once.
const LONG_REST: Duration = Duration::from_millis(1_500);

/// How late the bench may publish before it says so.
const LATE: Duration = Duration::from_millis(10);

/// What is done, and measured.
pub(crate) trait Scenario {
    /// Does it.
    ///
    /// # Errors
    /// When the server or the load is gone.
    fn run(&self, run: &mut Run<'_>, measures: &mut Measures) -> io::Result<()>;
}

/// Runs a scenario to its end, when also what comes once too often has come.
///
/// # Errors
/// When the server or the load is gone.
pub(crate) fn measure(scenario: &dyn Scenario, run: &mut Run<'_>) -> io::Result<Measures> {
    let mut measures = Measures::default();
    scenario.run(run, &mut measures)?;
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

/// Adds how late updates were.
fn add_latency(measures: &mut Measures, key: &str, of: &str, latency: &Histogram) {
    for (label, suffix, share) in [
        ("median", "p50", 0.5),
        ("p99", "p99", 0.99),
        ("max", "max", 1.0),
    ] {
        let milliseconds = latency.milliseconds(share).unwrap_or_default();
        let name = format!("latency {of}, {label}");
        measures.add(&format!("{key}_{suffix}"), &name, "ms", milliseconds);
    }
}

/// The scenarios by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
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
    /// As many clients as there may be, in many servers: memory, updates for one, an update for all
    Scale,
}

impl Name {
    /// Which bugs the clients subscribe to by default.
    pub(crate) fn pattern(self) -> Pattern {
        match self {
            Self::Idle | Self::Sparse | Self::Churn | Self::Fill => Pattern::Own,
            Self::Fanout | Self::Storm | Self::Slow => Pattern::Shared,
            Self::Soak => Pattern::Zipf,
            Self::Scale => Pattern::Both,
        }
    }

    /// Whether updates are published, so that it must be known how.
    pub(crate) fn publishes(self) -> bool {
        !matches!(self, Self::Idle | Self::Churn)
    }

    /// Whether updates are due whatever has become of those before.
    pub(crate) fn needs_rate(self) -> bool {
        matches!(self, Self::Slow | Self::Soak)
    }

    /// Whether the floor can do the same: it knows one bug of each client, or sends all to all, and
    /// remembers nothing.
    pub(crate) fn has_floor(self, plan: &Plan) -> bool {
        let knows_bugs = plan.pattern == Pattern::Shared
            || (plan.pattern == Pattern::Own && plan.bugs_per_client == 1);
        knows_bugs && !matches!(self, Self::Slow | Self::Soak | Self::Fill | Self::Scale)
    }
}
