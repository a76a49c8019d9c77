//! Which plots the results give. Knows nothing of how a plot is drawn.

use super::axis::{Axis, Scale};
use super::measure::{Measure, Series};
use super::svg::{self, Polyline};
use super::{Point, Results, Side};

/// A plot: its name, fit for a file, and its SVG.
pub(crate) type Plot = (String, String);

/// The shares of all deliveries that the plot of latencies has.
const SHARES: [f64; 8] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999];

/// All plots: each measure over the number of clients where there are several, else beside each
/// other where there are several servers; how late deliveries were; and what changed over time.
pub(crate) fn plots(results: &Results) -> Vec<Plot> {
    let Some(last) = results.points.last() else {
        return Vec::new();
    };
    let measure = |measure: &&Measure| match results.points.len() {
        1 => (measure.key.clone(), beside(last, measure)),
        _ => (measure.key.clone(), over_clients(results, measure)),
    };
    let mut plots: Vec<Plot> = last.measures().iter().map(measure).collect();
    plots.extend(latency(last));
    for side in &last.sides {
        plots.extend(side.series.iter().map(|series| over_time(side, series)));
    }
    plots
}

fn beside(point: &Point, measure: &Measure) -> String {
    let bar = |side: &Side| Some((side.name.clone(), side.median(&measure.key)?));
    let bars: Vec<_> = point.sides.iter().filter_map(bar).collect();
    svg::bars(&title(measure), &measure.unit, &bars)
}

fn over_clients(results: &Results, measure: &Measure) -> String {
    let scale = scale(results, &measure.key);
    let mut lines = medians(results, &measure.key);
    if scale == Scale::Logarithmic {
        // Nothing has no logarithm.
        lines
            .iter_mut()
            .for_each(|(_, points)| points.retain(|point| point.1 > 0.0));
    }
    let x = Axis::new("clients", Scale::Linear);
    let y = Axis::new(&measure.unit, scale);
    svg::lines(&title(measure), &x, &y, &lines)
}

fn title(measure: &Measure) -> String {
    format!("{}, {}", measure.name, measure.unit)
}

fn over_time(side: &Side, series: &Series) -> Plot {
    let word: String = series
        .name
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let x = Axis::new("seconds", Scale::Linear);
    let y = Axis::new(&series.name, Scale::Linear);
    let title = format!("{} over time", series.name);
    let line = (side.name.clone(), series.points.clone());
    (
        word.to_ascii_lowercase(),
        svg::lines(&title, &x, &y, &[line]),
    )
}

/// A line for each server: the medians of a measure over the number of clients.
fn medians(results: &Results, key: &str) -> Vec<Polyline> {
    let mut lines: Vec<Polyline> = Vec::new();
    for point in &results.points {
        for side in &point.sides {
            let Some(value) = side.median(key) else {
                continue;
            };
            let at = (f64::from(point.clients), value);
            match lines.iter_mut().find(|(name, _)| *name == side.name) {
                Some((_, points)) => points.push(at),
                None => lines.push((side.name.clone(), vec![at])),
            }
        }
    }
    lines
}

/// Logarithmic where the servers differ by more than a hundredfold.
fn scale(results: &Results, key: &str) -> Scale {
    let values = || {
        results
            .points
            .iter()
            .flat_map(|point| &point.sides)
            .filter_map(|side| side.median(key))
    };
    let (least, most) = values()
        .filter(|&value| value > 0.0)
        .fold((f64::MAX, 0f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
    if most > 100.0 * least {
        Scale::Logarithmic
    } else {
        Scale::Linear
    }
}

fn latency(point: &Point) -> Option<Plot> {
    let line = |side: &Side| {
        // A share that fewer deliveries exceed than one says nothing.
        let is_known = |share: f64| side.latency.len() as f64 * (1.0 - share) >= 1.0;
        let at = |&share: &f64| Some((share, side.latency.milliseconds(share)?));
        let shares = SHARES.iter().filter(|&&share| is_known(share));
        (side.name.clone(), shares.filter_map(at).collect())
    };
    let lines: Vec<Polyline> = point
        .sides
        .iter()
        .filter(|side| !side.latency.is_empty())
        .map(line)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let x = Axis::new("share of deliveries", Scale::Nines);
    let y = Axis::new("ms, logarithmic", Scale::Logarithmic);
    let title = format!("Latency of deliveries, {} clients", point.clients);
    Some(("latency".to_owned(), svg::lines(&title, &x, &y, &lines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(numbers: &[u32]) -> Results {
        let side = |name: &str, value: f64| {
            let measure = Measure {
                key: "rss".to_owned(),
                name: "RSS".to_owned(),
                unit: "bytes".to_owned(),
                value,
            };
            let mut side = Side {
                name: name.to_owned(),
                rounds: vec![vec![measure]],
                ..Side::default()
            };
            side.latency.record(1_000_000, 1_000);
            side
        };
        let point = |&clients: &u32| Point {
            clients,
            sides: vec![side("serve", 150.0), side("floor", 70.0)],
        };
        Results {
            title: "a <b>".to_owned(),
            points: numbers.iter().map(point).collect(),
            ..Results::default()
        }
    }

    #[test]
    fn several_numbers_of_clients_give_lines_and_one_gives_bars() {
        let names = |numbers: &[u32]| {
            plots(&results(numbers))
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[1, 2]), ["rss", "latency"]);
        assert_eq!(names(&[1]), ["rss", "latency"]);
        assert!(plots(&results(&[1]))[0].1.contains("<rect x="));
        assert!(names(&[]).is_empty());
    }
}
