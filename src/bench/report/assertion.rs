//! `--assert`: what must hold of the results, such as `missing=0,p99<50ms,delivery_ratio<=1.03`.

use super::measure::KEYS;
use super::{Point, Results};

/// Names beside those of measures, and of measures with `_ratio` behind.
const OTHERS: [&str; 8] = [
    "missing",
    "faults",
    "received",
    "p50",
    "p99",
    "p999",
    "max",
    "connect_p99",
];

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assertion {
    text: String,
    name: String,
    comparison: Comparison,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl std::str::FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let operators = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        let found = operators.iter().find_map(|(operator, comparison)| {
            text.split_once(operator).map(|parts| (parts, *comparison))
        });
        let Some(((name, value), comparison)) = found else {
            return Err(format!(
                "'{text}' is no condition; accepted are such as missing=0, p99<50ms or rss<=160"
            ));
        };
        let (name, value) = (name.trim(), value.trim());
        let measure = name.strip_suffix("_ratio").unwrap_or(name);
        if !KEYS.contains(&measure) && !OTHERS.contains(&name) {
            return Err(format!(
                "'{name}' is not measured; known are {}, {}, and each measure with _ratio behind it",
                KEYS.join(", "),
                OTHERS.join(", ")
            ));
        }
        // Latencies are in milliseconds; of the units of a measure, none is needed.
        let (number, factor) = [("ms", 1.0), ("µs", 1e-3), ("us", 1e-3), ("s", 1e3)]
            .iter()
            .find_map(|(unit, factor)| value.strip_suffix(unit).map(|number| (number, *factor)))
            .unwrap_or((value, 1.0));
        let factor = if name.starts_with('p') || name == "max" || name == "connect_p99" {
            factor
        } else {
            1.0
        };
        let value = number
            .trim()
            .parse::<f64>()
            .map_err(|_| format!("'{value}' is no number"))?;
        Ok(Self {
            text: text.to_owned(),
            name: name.to_owned(),
            comparison,
            value: value * factor,
        })
    }
}

impl Assertion {
    /// Checks the first server's results, at every number of clients.
    ///
    /// # Errors
    /// A sentence on what does not hold.
    pub(crate) fn check(&self, results: &Results) -> Result<(), String> {
        for point in &results.points {
            let Some(found) = self.find(point) else {
                return Err(format!("{}: {} was not measured", self.text, self.name));
            };
            let holds = match self.comparison {
                Comparison::Less => found < self.value,
                Comparison::LessOrEqual => found <= self.value,
                Comparison::Equal => found == self.value,
                Comparison::GreaterOrEqual => found >= self.value,
                Comparison::Greater => found > self.value,
            };
            if !holds {
                return Err(format!(
                    "{} does not hold at {} clients: it is {found:.3}",
                    self.text, point.clients
                ));
            }
        }
        Ok(())
    }

    fn find(&self, point: &Point) -> Option<f64> {
        let side = point.sides.first()?;
        match self.name.as_str() {
            "missing" => Some(side.missing as f64),
            "faults" => Some(side.faults.values().sum::<u64>() as f64),
            "received" => Some(side.received as f64),
            "p50" => side.latency.milliseconds(0.5),
            "p99" => side.latency.milliseconds(0.99),
            "p999" => side.latency.milliseconds(0.999),
            "max" => side.latency.milliseconds(1.0),
            "connect_p99" => side.connect.milliseconds(0.99),
            name => match name.strip_suffix("_ratio") {
                Some(measure) => point.ratio(0, measure),
                None => side.median(name),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::measure::Measure;
    use crate::bench::report::{FLOOR, Side};

    fn results() -> Results {
        let side = |name: &str, value: f64| {
            let measure = Measure {
                key: "rss".to_owned(),
                name: String::new(),
                unit: String::new(),
                value,
            };
            let mut side = Side {
                name: name.to_owned(),
                rounds: vec![vec![measure]],
                ..Side::default()
            };
            side.latency.record(40_000_000, 100);
            side
        };
        Results {
            points: vec![Point {
                clients: 10,
                sides: vec![side("serve", 120.0), side(FLOOR, 60.0)],
            }],
            ..Results::default()
        }
    }

    #[test]
    fn conditions_hold_or_say_why_not() {
        for (text, holds) in [
            ("missing=0", true),
            ("p99<50ms", true),
            ("p99<0.05s", true),
            ("p99 > 50000us", false),
            ("rss<=120", true),
            ("rss<120", false),
            ("rss_ratio<=2", true),
            ("rss_ratio<1.9", false),
            ("received>=1", false),
            ("churn=1", false),
        ] {
            let result = text
                .parse::<Assertion>()
                .and_then(|assertion| assertion.check(&results()));
            assert_eq!(result.is_ok(), holds, "{text}: {result:?}");
        }
        assert!(
            "connect_p99<1s"
                .parse::<Assertion>()
                .unwrap()
                .check(&results())
                .unwrap_err()
                .contains("was not measured")
        );
        assert!(
            "cycle<1"
                .parse::<Assertion>()
                .unwrap()
                .check(&results())
                .unwrap_err()
                .contains("was not measured")
        );
        assert!(
            "nonsense<1"
                .parse::<Assertion>()
                .unwrap_err()
                .contains("known are")
        );
        assert!("missing".parse::<Assertion>().is_err());
    }
}
