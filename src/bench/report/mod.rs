//! The results of all rounds: medians, ratios to the floor, faults. Owns the numbers; each way to
//! show them has its own file.

pub(crate) mod assertion;
mod axis;
pub(crate) mod comparison;
pub(crate) mod json;
pub(crate) mod measure;
pub(crate) mod plots;
mod svg;
pub(crate) mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::measure::{Measure, Measures, Series};
use crate::bench::load::histogram::Histogram;
use crate::bench::load::order::Outcome;

/// All results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The scenario, and how much of it.
    pub title: String,
    pub command: String,
    /// When it was begun, in UTC.
    #[serde(default)]
    pub begun: String,
    /// Why it has ended before all was measured, if it has.
    #[serde(default)]
    pub ended_early: Option<String>,
    pub machine: String,
    /// One for each number of clients.
    pub points: Vec<Point>,
}

/// The results with one number of clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Point {
    /// How many clients there were.
    pub clients: u32,
    /// The servers, the one in question first, the floor last.
    pub sides: Vec<Side>,
}

/// One server's results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Side {
    pub name: String,
    /// The measures of each round.
    pub rounds: Vec<Vec<Measure>>,
    /// What changed over time, in the last round.
    pub series: Vec<Series>,
    /// What else there is to say of the last round.
    pub notes: Vec<String>,
    /// How late deliveries were, in nanoseconds.
    pub latency: Histogram,
    /// How long it took to be subscribed, in nanoseconds.
    pub connect: Histogram,
    /// Deliveries that were expected and came.
    pub received: u64,
    /// Deliveries that never came.
    pub missing: u64,
    /// Handshakes of TLS that were full, and those that resumed an earlier one.
    #[serde(default)]
    pub full_handshakes: u64,
    #[serde(default)]
    pub resumed_handshakes: u64,
    /// What was wrong, and how often.
    pub faults: BTreeMap<String, u64>,
    /// How busy the load was at most, from 0 to 1.
    pub load_share: f64,
}

impl Side {
    /// Adds what came out of a round.
    pub(crate) fn add_round(&mut self, measures: Measures, outcome: Outcome, load_share: f64) {
        self.rounds.push(measures.values);
        self.series = measures.series;
        self.notes = measures.notes;
        self.load_share = self.load_share.max(load_share);
        self.add_outcome(outcome);
    }

    /// Adds what the load has counted in a round, also in one that ended early.
    pub(crate) fn add_outcome(&mut self, outcome: Outcome) {
        self.latency.merge(&outcome.latency);
        self.connect.merge(&outcome.tally.connect);
        self.received += outcome.counts.received;
        self.missing += outcome.outstanding + outcome.counts.skipped;
        self.full_handshakes += outcome.tally.full;
        self.resumed_handshakes += outcome.tally.resumed;
        let mut fault = |what: String, times: u64| {
            if times > 0 {
                *self.faults.entry(what).or_default() += times;
            }
        };
        outcome
            .tally
            .failed
            .into_iter()
            .for_each(|(why, times)| fault(format!("could not connect: {why}"), times));
        outcome
            .tally
            .dropped
            .into_iter()
            .for_each(|(why, times)| fault(format!("dropped by the server: {why}"), times));
        fault(
            "delivered again or out of order".to_owned(),
            outcome.counts.repeated,
        );
        fault(
            "delivered what was not subscribed to or not published".to_owned(),
            outcome.counts.foreign,
        );
        fault(
            "replies that history does not reach back".to_owned(),
            outcome.tally.incomplete,
        );
    }

    fn add_side(&mut self, other: &Side) {
        self.rounds.extend(other.rounds.iter().cloned());
        self.latency.merge(&other.latency);
        self.connect.merge(&other.connect);
        self.received += other.received;
        self.missing += other.missing;
        self.full_handshakes += other.full_handshakes;
        self.resumed_handshakes += other.resumed_handshakes;
        self.load_share = self.load_share.max(other.load_share);
        other
            .faults
            .iter()
            .for_each(|(fault, times)| *self.faults.entry(fault.clone()).or_default() += times);
    }

    /// The median of a measure over all rounds.
    pub(crate) fn median(&self, key: &str) -> Option<f64> {
        median(self.values(key))
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.rounds
            .iter()
            .filter_map(|round| value(round, key))
            .collect()
    }

    /// Whether it delivered what it should, and nothing else.
    pub(crate) fn is_reconciled(&self) -> bool {
        self.missing == 0 && self.faults.is_empty()
    }
}

fn value(round: &[Measure], key: &str) -> Option<f64> {
    round
        .iter()
        .find(|measure| measure.key == key)
        .map(|measure| measure.value)
}

/// The median; `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

impl Point {
    /// Servers of which nothing is known yet.
    pub(crate) fn new(clients: u32, names: impl Iterator<Item = String>) -> Self {
        let side = |name| Side {
            name,
            ..Side::default()
        };
        Self {
            clients,
            sides: names.map(side).collect(),
        }
    }

    /// The floor, if there is one beside others: it is the last side then.
    pub(crate) fn floor(&self) -> Option<&Side> {
        self.sides
            .last()
            .filter(|last| last.name == FLOOR && self.sides.len() > 1)
    }

    /// A measure of a side as a multiple of the floor's: the median of the rounds' ratios, since
    /// both sides of a round had the same machine.
    pub(crate) fn ratio(&self, side: usize, key: &str) -> Option<f64> {
        let floor = self.floor()?;
        let ratios = self.sides[side]
            .rounds
            .iter()
            .zip(&floor.rounds)
            .filter_map(|(ours, floors)| {
                let floor = value(floors, key).filter(|&floor| floor > 0.0)?;
                value(ours, key).map(|ours| ours / floor)
            });
        median(ratios.collect())
    }

    /// All measures that any side has, in order.
    pub(crate) fn measures(&self) -> Vec<&Measure> {
        let mut measures: Vec<&Measure> = Vec::new();
        for measure in self
            .sides
            .iter()
            .filter_map(|side| side.rounds.first())
            .flatten()
        {
            if !measures.iter().any(|known| known.key == measure.key) {
                measures.push(measure);
            }
        }
        measures
    }
}

impl Results {
    /// Notes why not all was measured, and leaves out the servers of which nothing is known.
    pub(crate) fn end_early(&mut self, why: String) {
        self.ended_early = Some(why);
        let is_known =
            |side: &Side| !side.rounds.is_empty() || side.received > 0 || !side.is_reconciled();
        self.points
            .iter_mut()
            .for_each(|point| point.sides.retain(is_known));
        self.points.retain(|point| !point.sides.is_empty());
    }

    /// What was measured: the title without the number of rounds, which makes no two results
    /// unlike.
    pub(crate) fn subject(&self) -> &str {
        self.title
            .rsplit_once(", ")
            .map_or(&self.title, |(subject, _)| subject)
    }

    /// Whether the servers in question got everything right. The floor counts too: where it fails,
    /// the machine did.
    pub(crate) fn is_reconciled(&self) -> bool {
        self.points
            .iter()
            .flat_map(|point| &point.sides)
            .all(Side::is_reconciled)
    }

    /// Adds the servers of other results: their rounds to those of the same name and number of
    /// clients; new ones before the floor.
    pub(crate) fn add_sides(&mut self, other: &Results) {
        self.ended_early = self
            .ended_early
            .take()
            .or_else(|| other.ended_early.clone());
        for theirs in &other.points {
            let Some(point) = self
                .points
                .iter_mut()
                .find(|point| point.clients == theirs.clients)
            else {
                self.points.push(theirs.clone());
                continue;
            };
            for side in &theirs.sides {
                if let Some(known) = point.sides.iter_mut().find(|known| known.name == side.name) {
                    known.add_side(side);
                } else {
                    let before_floor = point
                        .sides
                        .iter()
                        .position(|known| known.name == FLOOR)
                        .unwrap_or(point.sides.len());
                    point.sides.insert(before_floor, side.clone());
                }
            }
        }
        self.points.sort_by_key(|point| point.clients);
    }
}

/// What the floor is called.
pub(crate) const FLOOR: &str = "floor";

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose rounds gave these values of the measure `a`.
    pub(crate) fn side(name: &str, values: &[f64]) -> Side {
        let round = |&value: &f64| {
            vec![Measure {
                key: "a".to_owned(),
                name: String::new(),
                unit: String::new(),
                value,
            }]
        };
        Side {
            name: name.to_owned(),
            rounds: values.iter().map(round).collect(),
            ..Side::default()
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let point = Point {
            clients: 1,
            sides: vec![
                side("serve", &[1.0, 10.0, 3.0]),
                side(FLOOR, &[1.0, 5.0, 2.0]),
            ],
        };
        assert_eq!(
            (
                point.sides[0].median("a"),
                point.ratio(0, "a"),
                point.ratio(0, "b")
            ),
            (Some(3.0), Some(1.5), None)
        );
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
    }

    #[test]
    fn servers_of_other_results_stand_before_the_floor() {
        let results = |sides: Vec<Side>| Results {
            points: vec![Point { clients: 1, sides }],
            ..Results::default()
        };
        let mut ours = results(vec![side("serve", &[1.0]), side(FLOOR, &[1.0])]);
        ours.add_sides(&results(vec![side("ws", &[1.0]), side(FLOOR, &[9.0])]));
        ours.add_sides(&results(vec![side("ws", &[3.0])]));
        assert_eq!(ours.points[0].sides[1].median("a"), Some(2.0));
        let names: Vec<&str> = ours.points[0]
            .sides
            .iter()
            .map(|side| side.name.as_str())
            .collect();
        assert_eq!(names, ["serve", "ws", FLOOR]);
    }
}
