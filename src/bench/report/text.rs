//! Results as a table for a terminal. Knows no server.

use std::fmt::Write as _;

use super::{Point, Results, Side};
use crate::bench::load::histogram::{Histogram, QUANTILES};

/// The width of the names.
pub(super) const NAME: usize = 66;

/// What stands where there is no number.
pub(super) const NOTHING: &str = "–";

/// A load that is busier than this share of the time measures itself.
const LOAD_SHARE_MAX: f64 = 0.95;

/// The results as a table for each number of clients.
pub(crate) fn table(results: &Results) -> String {
    let mut text = format!("{}\n{}\n", results.title, results.machine);
    for point in &results.points {
        head(&mut text, point);
        measures(&mut text, point);
        histograms(&mut text, "latency", point, |side| &side.latency);
        histograms(&mut text, "connect", point, |side| &side.connect);
        text.push('\n');
        point.sides.iter().for_each(|side| verdict(&mut text, side));
    }
    if let Some(why) = &results.ended_early {
        let _ = writeln!(text, "\nended early: {why}");
    }
    text
}

fn head(text: &mut String, point: &Point) {
    let _ = write!(text, "\n{:NAME$}", format!("{} clients", point.clients));
    point
        .sides
        .iter()
        .for_each(|side| _ = write!(text, "{:>12.12}", side.name));
    text.push_str(if point.floor().is_some() {
        " [..._ratio]\n"
    } else {
        "\n"
    });
}

fn measures(text: &mut String, point: &Point) {
    for measure in point.measures() {
        let name = format!("{}, {} [{}]", measure.name, measure.unit, measure.key);
        row(
            text,
            &name,
            point.sides.iter().map(|side| side.median(&measure.key)),
        );
        if point.floor().is_some() {
            let ratio = point.ratio(0, &measure.key);
            let ratio = ratio.map_or(NOTHING.to_owned(), |ratio| format!("{ratio:.3}"));
            let _ = write!(text, "{ratio:>12}");
        }
        text.push('\n');
    }
}

fn histograms(text: &mut String, name: &str, point: &Point, of: fn(&Side) -> &Histogram) {
    if point.sides.iter().all(|side| of(side).is_empty()) {
        return;
    }
    for (label, share) in QUANTILES {
        let values = point.sides.iter().map(|side| of(side).milliseconds(share));
        // As --assert names it, where it does.
        let key = match (name, label) {
            ("latency", "median") => " [p50]",
            ("latency", "p99") => " [p99]",
            ("latency", "p99.9") => " [p999]",
            ("latency", "max") => " [max]",
            ("connect", "p99") => " [connect_p99]",
            _ => "",
        };
        row(text, &format!("{name}, {label}, ms{key}"), values);
        text.push('\n');
    }
}

/// A name and a number for each server, without the end of the line.
pub(super) fn row(text: &mut String, name: &str, values: impl IntoIterator<Item = Option<f64>>) {
    let _ = write!(text, "{name:NAME$}");
    for value in values {
        let _ = write!(text, "{:>12}", value.map_or(NOTHING.to_owned(), number));
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
    let (full, resumed) = (side.full_handshakes, side.resumed_handshakes);
    if full + resumed > 0 {
        let _ = writeln!(text, "  handshakes of TLS: {full} full, {resumed} resumed");
    }
    for (fault, times) in &side.faults {
        let _ = writeln!(text, "  {times} × {fault}");
    }
    for note in &side.notes {
        let _ = writeln!(text, "  {note}");
    }
    if side.load_share > LOAD_SHARE_MAX {
        let _ = writeln!(
            text,
            "  the load was busy for {:.0} % of the time: times on the wall are its own, not the server's; CPU times are the server's",
            side.load_share * 100.0
        );
    }
}

/// A number with as many digits as mean something.
pub(crate) fn number(value: f64) -> String {
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
