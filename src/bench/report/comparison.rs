//! Results beside those of an earlier run: how the medians of the first server have changed.

use std::fmt::Write as _;

use super::text::{NAME, NOTHING, row};
use super::{Point, Results};

/// The changes as a table, for all numbers of clients that both have.
pub(crate) fn table(results: &Results, old: &Results) -> String {
    let mut text = format!(
        "\nagainst: {}\n{:NAME$}{:>12}{:>12}{:>12}\n",
        old.command, "", "then", "now", "change"
    );
    let (then, now) = (old.subject(), results.subject());
    if then != now {
        let _ = writeln!(text, "NOT the same: then {then}; now {now}");
    }
    let same = |point: &Point| old.points.iter().find(|old| old.clients == point.clients);
    let pairs: Vec<_> = results
        .points
        .iter()
        .filter_map(|point| Some((same(point)?, point)))
        .collect();
    if pairs.is_empty() {
        text.push_str("no number of clients is in both\n");
    }
    pairs
        .iter()
        .for_each(|(old, new)| compare(&mut text, old, new));
    text
}

/// Whether both are results of the same, for a number of clients at least.
pub(crate) fn is_possible(results: &Results, old: &Results) -> bool {
    let is_in_old = |point: &Point| old.points.iter().any(|old| old.clients == point.clients);
    results.subject() == old.subject() && results.points.iter().any(is_in_old)
}

fn compare(text: &mut String, old: &Point, new: &Point) {
    let (Some(new_side), Some(old_side)) = (new.sides.first(), old.sides.first()) else {
        return;
    };
    let mut line = |name: &str, then: Option<f64>, now: Option<f64>| {
        if let (Some(then), Some(now)) = (then, now) {
            row(
                text,
                &format!("{} clients: {name}", new.clients),
                [Some(then), Some(now)],
            );
            let _ = writeln!(text, "{:>12}", change(then, now));
        }
    };
    for measure in new.measures() {
        let key = &measure.key;
        line(key, old_side.median(key), new_side.median(key));
        let name = format!("{key} as a multiple of the floor");
        line(&name, old.ratio(0, key), new.ratio(0, key));
    }
    line(
        "latency, p99, ms",
        old_side.latency.milliseconds(0.99),
        new_side.latency.milliseconds(0.99),
    );
}

fn change(then: f64, now: f64) -> String {
    if then == 0.0 {
        NOTHING.to_owned()
    } else {
        format!("{:+.1} %", (now / then - 1.0) * 100.0)
    }
}
