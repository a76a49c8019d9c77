//! Axes of a plot: where a value lies, which values are marked, and how they are written. Knows no
//! SVG.

/// How values are laid out on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Each decade has the same length.
    Logarithmic,
    /// Shares below 1: half, nine tenths, ninety-nine hundredths and so on have the same distance.
    Nines,
}

/// An axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub name: String,
    pub scale: Scale,
}

impl Axis {
    pub(super) fn new(name: &str, scale: Scale) -> Self {
        Self {
            name: name.to_owned(),
            scale,
        }
    }
}

/// The part of an axis that holds all values.
pub(super) struct Range {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Range {
    pub(super) fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let place = |value| {
            Self {
                scale,
                from: 0.0,
                to: 1.0,
            }
            .raw(value)
        };
        let (mut from, mut to) = values
            .map(place)
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(from, to), value| {
                (from.min(value), to.max(value))
            });
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        match scale {
            Scale::Linear => {
                from = from.min(0.0);
                to = if to <= from {
                    from + 1.0
                } else {
                    to + (to - from) * 0.05
                };
            }
            Scale::Logarithmic => {
                (from, to) = (
                    from.floor(),
                    if to.ceil() > from.floor() {
                        to.ceil()
                    } else {
                        from.floor() + 1.0
                    },
                )
            }
            Scale::Nines => (from, to) = (from.min(0.3), to.max(1.0)),
        }
        Self { scale, from, to }
    }

    fn raw(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1e-9).log10(),
            Scale::Nines => -(1.0 - value).max(1e-6).log10(),
        }
    }

    /// Where a value lies, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        ((self.raw(value) - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.to - self.from) / 5.0;
                let decade = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 2.5, 5.0, 10.0]
                    .into_iter()
                    .map(|factor| factor * decade)
                    .find(|&step| step >= rough)
                    .unwrap_or(rough);
                let first = (self.from / step).ceil() as i64;
                (first..)
                    .map(|at| at as f64 * step)
                    .take_while(|&tick| tick <= self.to * 1.000_001)
                    .collect()
            }
            Scale::Logarithmic => (self.from as i32..=self.to as i32)
                .map(|decade| 10f64.powi(decade))
                .collect(),
            Scale::Nines => [0.5, 0.9, 0.99, 0.999, 0.9999]
                .into_iter()
                .filter(|&tick| self.raw(tick) <= self.to + 0.01)
                .collect(),
        }
    }

    pub(super) fn label(&self, value: f64) -> String {
        match self.scale {
            Scale::Nines => format!("{} %", (value * 1e4).round() / 100.0),
            Scale::Linear | Scale::Logarithmic if value.abs() >= 1e6 => {
                format!("{}M", trim(value / 1e6))
            }
            Scale::Linear | Scale::Logarithmic if value.abs() >= 1e4 => {
                format!("{}k", trim(value / 1e3))
            }
            Scale::Linear | Scale::Logarithmic => trim(value),
        }
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let range = Range::of(Scale::Linear, [0.0, 15_000.0].into_iter());
        assert_eq!(range.ticks(), [0.0, 5_000.0, 10_000.0, 15_000.0]);
        let range = Range::of(Scale::Logarithmic, [30.0, 9_000.0].into_iter());
        assert_eq!(range.ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(
            Range::of(Scale::Nines, [0.5, 0.999].into_iter()).ticks(),
            [0.5, 0.9, 0.99, 0.999]
        );
    }
}
