//! A report as text: for a terminal, and compared with an earlier one. Knows no server.

use std::fmt::Write as _;

use crate::bench::load::histogram::{Histogram, QUANTILES};
use crate::bench::report::{Report, Side};

/// The width of the names.
const NAME: usize = 66;

/// The results as a table for each number of clients.
pub fn table(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", report.title, report.machine);
    for point in &report.points {
        let _ = write!(text, "\n{:NAME$}", format!("{} clients", point.clients));
        point
            .sides
            .iter()
            .for_each(|side| _ = write!(text, "{:>12.12}", side.name));
        text.push_str(if point.floor().is_some() {
            "       ratio\n"
        } else {
            "\n"
        });
        for measure in point.measures() {
            let name = format!("{}, {} [{}]", measure.name, measure.unit, measure.key);
            let values = point
                .sides
                .iter()
                .map(|side| side.median(&measure.key))
                .collect::<Vec<_>>();
            row(&mut text, &name, &values);
            if point.floor().is_some() {
                let _ = write!(
                    text,
                    "{:>12}",
                    point
                        .ratio(0, &measure.key)
                        .map_or(NOTHING.to_owned(), |ratio| format!("{ratio:.3}"))
                );
            }
            text.push('\n');
        }
        histograms(
            &mut text,
            "latency",
            point.sides.iter().map(|side| &side.latency).collect(),
        );
        histograms(
            &mut text,
            "connect",
            point.sides.iter().map(|side| &side.connect).collect(),
        );
        text.push('\n');
        point.sides.iter().for_each(|side| verdict(&mut text, side));
    }
    if let Some(why) = &report.ended_early {
        let _ = writeln!(text, "\nended early: {why}");
    }
    text
}

/// What stands where there is no number.
const NOTHING: &str = "–";

fn row(text: &mut String, name: &str, values: &[Option<f64>]) {
    let _ = write!(text, "{name:NAME$}");
    values
        .iter()
        .for_each(|value| _ = write!(text, "{:>12}", value.map_or(NOTHING.to_owned(), number)));
}

fn histograms(text: &mut String, name: &str, histograms: Vec<&Histogram>) {
    if histograms.iter().all(|histogram| histogram.is_empty()) {
        return;
    }
    for (label, share) in QUANTILES {
        let milliseconds = |histogram: &&Histogram| {
            (!histogram.is_empty()).then(|| histogram.quantile(share) as f64 / 1e6)
        };
        row(
            text,
            &format!("{name}, {label}, ms"),
            &histograms.iter().map(milliseconds).collect::<Vec<_>>(),
        );
        text.push('\n');
    }
}

fn verdict(text: &mut String, side: &Side) {
    let verdict = if side.is_reconciled() {
        "all there, each once, in order"
    } else {
        "NOT as it should be"
    };
    let _ = writeln!(
        text,
        "{}: {} deliveries, {} missing: {verdict}",
        side.name, side.received, side.missing
    );
    side.faults
        .iter()
        .for_each(|(fault, times)| _ = writeln!(text, "  {times} × {fault}"));
    side.notes
        .iter()
        .for_each(|note| _ = writeln!(text, "  {note}"));
    if side.load_share > 0.95 {
        let _ = writeln!(
            text,
            "  the load was busy for {:.0} % of the time: times on the wall are its own, not the server's; CPU times are the server's",
            side.load_share * 100.0
        );
    }
}

/// How the medians of the first server differ from those of an earlier report.
pub fn compare(report: &Report, old: &Report) -> String {
    let mut text = format!(
        "\nagainst: {}\n{:NAME$}{:>12}{:>12}{:>12}\n",
        old.command, "", "then", "now", "change"
    );
    if report.subject() != old.subject() {
        let _ = writeln!(
            text,
            "NOT the same: then {}; now {}",
            old.subject(),
            report.subject()
        );
    }
    if !report
        .points
        .iter()
        .any(|point| old.points.iter().any(|old| old.clients == point.clients))
    {
        text.push_str("no number of clients is in both\n");
    }
    for point in &report.points {
        let Some(old) = old.points.iter().find(|old| old.clients == point.clients) else {
            continue;
        };
        let (Some(new_side), Some(old_side)) = (point.sides.first(), old.sides.first()) else {
            continue;
        };
        let mut line = |name: &str, then: Option<f64>, now: Option<f64>| {
            let (Some(then), Some(now)) = (then, now) else {
                return;
            };
            row(
                &mut text,
                &format!("{} clients: {name}", point.clients),
                &[Some(then), Some(now)],
            );
            let change = if then == 0.0 {
                NOTHING.to_owned()
            } else {
                format!("{:+.1} %", (now / then - 1.0) * 100.0)
            };
            let _ = writeln!(text, "{change:>12}");
        };
        for measure in point.measures() {
            line(
                &measure.key,
                old_side.median(&measure.key),
                new_side.median(&measure.key),
            );
            line(
                &format!("{} as a multiple of the floor", measure.key),
                old.ratio(0, &measure.key),
                point.ratio(0, &measure.key),
            );
        }
        let p99 = |side: &Side| {
            (!side.latency.is_empty()).then(|| side.latency.quantile(0.99) as f64 / 1e6)
        };
        line("latency, p99, ms", p99(old_side), p99(new_side));
    }
    text
}

/// A number with as many digits as mean something.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 1e7 => format!("{:.1}M", value / 1e6),
        large if large >= 1e5 => format!("{:.0}k", value / 1e3),
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        medium if medium >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
