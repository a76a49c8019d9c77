//! Which plots a report gives. Knows nothing of how a plot is drawn.

use crate::bench::report::svg::{self, Axis, Line, Scale};
use crate::bench::report::{Point, Report, Side};

/// A plot: its name, fit for a file, and its SVG.
pub type Plot = (String, String);

/// The shares of all deliveries that the plot of latencies has.
const SHARES: [f64; 8] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999];

/// All plots of a report: each measure over the number of clients where there are several, else
/// beside each other where there are several servers; how late deliveries were; and what changed
/// over time.
pub fn plots(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    let Some(last) = report.points.last() else {
        return plots;
    };
    for measure in last.measures() {
        let title = format!("{}, {}", measure.name, measure.unit);
        if report.points.len() > 1 {
            let scale = scale(report, &measure.key);
            let x = Axis {
                name: "clients".to_owned(),
                scale: Scale::Linear,
            };
            let y = Axis {
                name: measure.unit.clone(),
                scale,
            };
            let mut lines = over_clients(report, &measure.key);
            if scale == Scale::Logarithmic {
                // Nothing has no logarithm.
                lines
                    .iter_mut()
                    .for_each(|(_, points)| points.retain(|point| point.1 > 0.0));
            }
            plots.push((measure.key.clone(), svg::lines(&title, &x, &y, &lines)));
        } else {
            let bars: Vec<_> = last
                .sides
                .iter()
                .filter_map(|side| Some((side.name.clone(), side.median(&measure.key)?)))
                .collect();
            plots.push((measure.key.clone(), svg::bars(&title, &measure.unit, &bars)));
        }
    }
    plots.extend(latency(last));
    for side in &last.sides {
        for series in &side.series {
            let name: String = series
                .name
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let x = Axis {
                name: "seconds".to_owned(),
                scale: Scale::Linear,
            };
            let y = Axis {
                name: series.name.clone(),
                scale: Scale::Linear,
            };
            let title = format!("{} over time", series.name);
            plots.push((
                name.to_ascii_lowercase(),
                svg::lines(
                    &title,
                    &x,
                    &y,
                    &[(side.name.clone(), series.points.clone())],
                ),
            ));
        }
    }
    plots
}

fn over_clients(report: &Report, key: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for point in &report.points {
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
fn scale(report: &Report, key: &str) -> Scale {
    let values = || {
        report
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
        let at = |&share: &f64| (share, side.latency.quantile(share) as f64 / 1e6);
        (
            side.name.clone(),
            SHARES
                .iter()
                .filter(|&&share| side.latency.len() as f64 * (1.0 - share) >= 1.0)
                .map(at)
                .collect::<Vec<_>>(),
        )
    };
    let lines: Vec<Line> = point
        .sides
        .iter()
        .filter(|side| !side.latency.is_empty())
        .map(line)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let x = Axis {
        name: "share of deliveries".to_owned(),
        scale: Scale::Nines,
    };
    let y = Axis {
        name: "ms, logarithmic".to_owned(),
        scale: Scale::Logarithmic,
    };
    Some((
        "latency".to_owned(),
        svg::lines(
            &format!("Latency of deliveries, {} clients", point.clients),
            &x,
            &y,
            &lines,
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::measure::Measure;

    fn report(numbers: &[u32]) -> Report {
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
        Report {
            title: "a <b>".to_owned(),
            points: numbers.iter().map(point).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn several_numbers_of_clients_give_lines_and_one_gives_bars() {
        let names = |numbers: &[u32]| {
            plots(&report(numbers))
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[1, 2]), ["rss", "latency"]);
        assert_eq!(names(&[1]), ["rss", "latency"]);
        assert!(plots(&report(&[1]))[0].1.contains("<rect x="));
        assert!(names(&[]).is_empty());
    }
}
