//! What came out of all rounds: medians, ratios to the floor, faults. Owns the numbers; how they are drawn is another's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::scenario::{Measure, Measures};
use super::worker;

/// One server's results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// The measures of each round.
    pub rounds: Vec<Vec<Measure>>,
    /// How late deliveries were, in nanoseconds.
    pub latency: Histogram,
    /// How long it took to be subscribed, in nanoseconds.
    pub connect: Histogram,
    /// Deliveries that were expected and came.
    pub received: u64,
    /// Deliveries that never came.
    pub missing: u64,
    /// What was wrong, and how often.
    pub faults: BTreeMap<String, u64>,
    /// How busy the load was at most, from 0 to 1.
    pub load_share: f64,
}

/// All results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The scenario, and how much of it.
    pub title: String,
    /// The command line.
    pub command: String,
    /// The machine.
    pub machine: String,
    /// The servers, the one in question first.
    pub sides: Vec<Side>,
}

impl Side {
    /// Adds what came out of a round.
    pub fn add_round(&mut self, measures: Measures, told: worker::Report, load_share: f64) {
        self.rounds.push(measures.0);
        self.latency.merge(&told.latency);
        self.connect.merge(&told.tally.connect);
        self.received += told.counts.received;
        self.missing += told.outstanding + told.counts.skipped;
        self.load_share = self.load_share.max(load_share);
        let mut fault = |what: String, times: u64| {
            if times > 0 {
                *self.faults.entry(what).or_default() += times;
            }
        };
        told.tally.failed.into_iter().for_each(|(why, times)| fault(format!("could not connect: {why}"), times));
        told.tally.dropped.into_iter().for_each(|(why, times)| fault(format!("dropped by the server: {why}"), times));
        fault("delivered again or out of order".to_owned(), told.counts.repeated);
        fault("delivered what was not subscribed to or not published".to_owned(), told.counts.foreign);
        fault("told that history does not reach back".to_owned(), told.tally.incomplete);
    }

    /// The median of a measure over all rounds.
    pub fn median(&self, key: &str) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| value(round, key)).collect())
    }
}

fn value(round: &[Measure], key: &str) -> Option<f64> {
    round.iter().find(|measure| measure.key == key).map(|measure| measure.value)
}

/// The median; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

impl Report {
    /// A measure of a side as a multiple of the last side's: the median of the rounds' ratios, since both sides of a round had the same
    /// machine.
    pub fn ratio(&self, side: usize, key: &str) -> Option<f64> {
        let floor = self.sides.last()?;
        let ratios = self.sides[side].rounds.iter().zip(&floor.rounds).filter_map(|(ours, floors)| {
            let floor = value(floors, key)?;
            (floor > 0.0).then(|| value(ours, key).map(|ours| ours / floor))?
        });
        median(ratios.collect())
    }

    /// All measures that any side has, in order.
    pub fn measures(&self) -> Vec<&Measure> {
        let mut measures: Vec<&Measure> = Vec::new();
        for measure in self.sides.iter().filter_map(|side| side.rounds.first()).flatten() {
            if !measures.iter().any(|known| known.key == measure.key) {
                measures.push(measure);
            }
        }
        measures
    }

    /// Whether every side got what it should, and nothing else.
    pub fn is_reconciled(&self) -> bool {
        self.sides.iter().all(|side| side.missing == 0 && side.faults.is_empty())
    }

    /// The results for people.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n\n{:50}", self.title, "");
        for side in &self.sides {
            let _ = write!(text, "{:>14}", side.name);
        }
        text.push_str(if self.sides.len() > 1 { "     ratio\n" } else { "\n" });
        for measure in self.measures() {
            let _ = write!(text, "{:50}", format!("{}, {}", measure.name, measure.unit));
            for side in &self.sides {
                let _ = write!(text, "{:>14}", side.median(&measure.key).map_or("–".to_owned(), number));
            }
            if self.sides.len() > 1 {
                let _ = write!(text, "{:>10}", self.ratio(0, &measure.key).map_or("–".to_owned(), |ratio| format!("{ratio:.3}")));
            }
            text.push('\n');
        }
        self.table_histograms(&mut text);
        self.table_faults(&mut text);
        text
    }

    fn table_histograms(&self, text: &mut String) {
        let latency: Vec<&Histogram> = self.sides.iter().map(|side| &side.latency).collect();
        let connect: Vec<&Histogram> = self.sides.iter().map(|side| &side.connect).collect();
        for (name, histograms) in [("latency", latency), ("connect", connect)] {
            if histograms.iter().all(|histogram| histogram.is_empty()) {
                continue;
            }
            for (label, share) in [("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
                let _ = write!(text, "{:50}", format!("{name} {label}, ms"));
                for histogram in &histograms {
                    let _ = write!(text, "{:>14}", number(histogram.quantile(share) as f64 / 1e6));
                }
                text.push('\n');
            }
        }
    }

    fn table_faults(&self, text: &mut String) {
        text.push('\n');
        for side in &self.sides {
            let verdict = if side.missing == 0 && side.faults.is_empty() { "all there, each once, in order" } else { "NOT RECONCILED" };
            let _ = writeln!(text, "{}: {} deliveries, {} missing: {verdict}", side.name, side.received, side.missing);
            for (fault, times) in &side.faults {
                let _ = writeln!(text, "  {times} × {fault}");
            }
            if side.load_share > 0.95 {
                let _ = writeln!(
                    text,
                    "  the load was busy {:.0} % of the time: times on the wall are its own, not the server's",
                    side.load_share * 100.0
                );
            }
        }
    }
}

/// A number with as many digits as mean something.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 1e7 => format!("{:.1}M", value / 1e6),
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        medium if medium >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
