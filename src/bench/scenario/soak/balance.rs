//! What a server has when nobody is there, before a soak and after it; and whether its counters add
//! up.

use std::io;
use std::time::Duration;

use crate::bench::interrupt::pause;
use crate::bench::report::measure::Measures;
use crate::bench::run::Run;
use crate::bench::scenario::LONG_REST;

/// How long it is looked what the server does while it has nothing to do.
const LOOK: Duration = Duration::from_secs(2);

/// What a server has and does when nobody is there.
pub(super) struct Balance {
    rss: u64,
    files: u64,
    threads: u64,
    /// CPU time in nanoseconds.
    cpu: u64,
}

impl Balance {
    pub(super) fn take(run: &mut Run<'_>) -> io::Result<Self> {
        pause(LONG_REST)?;
        let ((), cost) = run.measure(|_| pause(LOOK))?;
        let sample = run.sample()?;
        Ok(Self {
            rss: sample.rss,
            files: sample.files,
            threads: sample.threads,
            cpu: cost.cpu,
        })
    }

    /// Adds how much more there is now than there was then.
    pub(super) fn compare(&self, now: &Self, measures: &mut Measures) {
        let more = |now: u64, then: u64| now as f64 - then as f64;
        let mut add = |key: &str, name: &str, unit: &str, value| {
            measures.add(key, &format!("{name} more than before"), unit, value);
        };
        add("soak_rss_kept", "RSS", "bytes", more(now.rss, self.rss));
        add(
            "soak_files_kept",
            "open files",
            "files",
            more(now.files, self.files),
        );
        add(
            "soak_threads_kept",
            "threads",
            "threads",
            more(now.threads, self.threads),
        );
        let cpu = more(now.cpu, self.cpu) / 1e6 / LOOK.as_secs_f64();
        add(
            "soak_cpu_kept",
            "CPU per second without clients, ms",
            "ms",
            cpu,
        );
    }
}

/// How many connections a server has accepted that are neither there nor counted among those that
/// have ended, by what its admin listener says.
pub(super) fn unaccounted(metrics: &str) -> f64 {
    let sum = |name: &str| -> f64 {
        let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let values = lines.filter(|(series, _)| series.split('{').next() == Some(name));
        values
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    };
    let ended = sum("bugzfeed_connections_closed_total");
    (sum("bugzfeed_connections_total") - sum("bugzfeed_connections") - ended).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_neither_there_nor_has_ended_is_unaccounted_for() {
        let page = |closed| {
            format!(
                "# HELP bugzfeed_connections_total Connections that were accepted.\n\
                 bugzfeed_connections_total 12\n\
                 bugzfeed_connections{{state=\"open\"}} 3\n\
                 bugzfeed_connections{{state=\"closing\"}} 1\n\
                 bugzfeed_connections_max 9\n\
                 bugzfeed_connections_closed_total{{reason=\"gone\"}} {closed}\n\
                 bugzfeed_connections_closed_total{{reason=\"too_big\"}} 2\n"
            )
        };
        assert_eq!((unaccounted(&page(6)), unaccounted(&page(5))), (0.0, 1.0));
    }
}
