//! Results as JSON: what every round gave, and for those who want no more, a summary of each server.

use serde_json::{Map, Value, json};

use super::{Point, Results};
use crate::bench::load::histogram::QUANTILES;

/// All results. The `summary` of each server has medians, extremes, ratios to the floor, and
/// latencies in milliseconds.
pub(crate) fn text(results: &Results) -> serde_json::Result<String> {
    let mut json = serde_json::to_value(results)?;
    for (at, point) in results.points.iter().enumerate() {
        for side in 0..point.sides.len() {
            json["points"][at]["sides"][side]["summary"] = summary(point, side);
        }
    }
    serde_json::to_string(&json)
}

fn summary(point: &Point, at: usize) -> Value {
    let side = &point.sides[at];
    let mut summary = Map::new();
    for measure in point.measures() {
        let key = &measure.key;
        let values = side.values(key);
        let min = values.iter().copied().reduce(f64::min);
        let max = values.iter().copied().reduce(f64::max);
        if let Some(median) = side.median(key) {
            let ratio = point.ratio(at, key);
            let unit = &measure.unit;
            summary.insert(
                key.clone(),
                json!({"unit": unit, "median": median, "min": min, "max": max, "ratio": ratio}),
            );
        }
    }
    for (name, histogram) in [("latency_ms", &side.latency), ("connect_ms", &side.connect)] {
        if !histogram.is_empty() {
            let quantile = |(label, share): (&str, f64)| {
                (label.to_owned(), json!(histogram.milliseconds(share)))
            };
            let quantiles = QUANTILES.into_iter().map(quantile).collect();
            summary.insert(name.to_owned(), Value::Object(quantiles));
        }
    }
    Value::Object(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::FLOOR;
    use crate::bench::report::tests::side;

    #[test]
    fn the_json_has_what_the_table_shows() {
        let mut point = Point {
            clients: 1,
            sides: vec![
                side("serve", &[1.0, 10.0, 3.0]),
                side(FLOOR, &[1.0, 5.0, 2.0]),
            ],
        };
        point.sides[0].latency.record(2_000_000, 100);
        let results = Results {
            points: vec![point],
            ..Results::default()
        };
        let json: Value = serde_json::from_str(&text(&results).unwrap()).unwrap();
        let summary = &json["points"][0]["sides"][0]["summary"];
        assert_eq!(
            summary["a"],
            json!({"unit": "", "median": 3.0, "min": 1.0, "max": 10.0, "ratio": 1.5})
        );
        assert!(
            summary["latency_ms"]["p99"].as_f64().unwrap() >= 2.0
                && summary.get("connect_ms").is_none(),
            "{summary}"
        );
        // It can be read again.
        assert_eq!(
            serde_json::from_value::<Results>(json).unwrap().points[0].sides[0]
                .rounds
                .len(),
            3
        );
    }
}
