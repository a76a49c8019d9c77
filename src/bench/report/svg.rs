//! Plots as SVG: lines over two axes, and bars. Each one stands for itself, in light and dark.
//! Knows nothing of what is plotted.

use std::fmt::Write as _;

/// The size of a plot, and of what surrounds its area, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 52.0;

/// Colours that people tell apart who see fewer of them (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f",
];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.title{font-size:16px;font-weight:600}.grid{stroke:#ddd}\
    .back{fill:#fff}.axis{stroke:#888}@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#161b22}.grid{stroke:#333}}";

/// How values are laid out on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0.
    Linear,
    /// Each decade has the same length.
    Logarithmic,
    /// Shares below 1: half, nine tenths, ninety-nine hundredths and so on have the same distance.
    Nines,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub name: String,
    /// How.
    pub scale: Scale,
}

/// A line with a name.
pub type Line = (String, Vec<(f64, f64)>);

struct Range {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Range {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
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
    fn place(&self, value: f64) -> f64 {
        ((self.raw(value) - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
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

    fn label(&self, value: f64) -> String {
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

/// Lines over two axes.
pub fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let across = Range::of(x.scale, points().map(|point| point.0));
    let up = Range::of(y.scale, points().map(|point| point.1));
    let place_x = |value: f64| LEFT + across.place(value) * (WIDTH - LEFT - RIGHT);
    let place_y = |value: f64| HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = begin(title, HEIGHT);
    for tick in up.ticks() {
        let at = place_y(tick);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {at:.1}H{:.1}"/>"#,
            WIDTH - RIGHT
        );
        text(&mut svg, LEFT - 8.0, at + 4.0, "end", &up.label(tick));
    }
    for tick in across.ticks() {
        text(
            &mut svg,
            place_x(tick),
            HEIGHT - BOTTOM + 20.0,
            "middle",
            &across.label(tick),
        );
    }
    let _ = write!(
        svg,
        r#"<path class="axis" d="M{LEFT} {:.1}H{:.1}"/>"#,
        HEIGHT - BOTTOM,
        WIDTH - RIGHT
    );
    text(
        &mut svg,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0,
        "middle",
        &x.name,
    );
    text(&mut svg, 12.0, TOP - 14.0, "start", &y.name);
    // The first one, which is the one in question, on top of those that it is as good as.
    for (at, (_, points)) in lines.iter().enumerate().rev() {
        let colour = COLOURS[at % COLOURS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|&(x, y)| format!("{:.1} {:.1}", place_x(x), place_y(y)))
            .collect();
        let _ = write!(
            svg,
            r#"<path fill="none" stroke="{colour}" stroke-width="2" d="M{}"/>"#,
            path.join("L")
        );
        if points.len() <= 40 {
            points.iter().for_each(|&(x, y)| {
                _ = write!(
                    svg,
                    r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#,
                    place_x(x),
                    place_y(y)
                )
            });
        }
    }
    let mut legend = 12.0;
    for (at, (name, _)) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let _ = write!(
            svg,
            r#"<rect x="{legend}" y="34" width="14" height="10" rx="2" fill="{colour}"/>"#
        );
        text(&mut svg, legend + 19.0, 44.0, "start", name);
        legend += 40.0 + 7.6 * name.chars().count() as f64;
    }
    svg + "</svg>\n"
}

/// Bars with their values, the longest last; logarithmic where they differ by more than a
/// hundredfold.
pub fn bars(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
    const BAR: f64 = 30.0;
    let values = || bars.iter().map(|bar| bar.1).filter(|&value| value > 0.0);
    let is_wide = values().fold(0.0, f64::max) > 100.0 * values().fold(f64::MAX, f64::min);
    let scale = if is_wide {
        Scale::Logarithmic
    } else {
        Scale::Linear
    };
    let range = Range::of(scale, values());
    let left = 24.0
        + 7.6
            * bars
                .iter()
                .map(|bar| bar.0.chars().count())
                .max()
                .unwrap_or_default() as f64;
    let mut svg = begin(title, TOP + BAR * bars.len() as f64);
    text(
        &mut svg,
        12.0,
        46.0,
        "start",
        &if is_wide {
            format!("{unit}, logarithmic")
        } else {
            unit.to_owned()
        },
    );
    for (at, (name, value)) in bars.iter().enumerate() {
        let y = TOP - 16.0 + at as f64 * BAR;
        let width = range.place(*value) * (WIDTH - left - 90.0);
        let colour = COLOURS[if name == crate::bench::report::FLOOR {
            7
        } else {
            usize::from(at > 0)
        }];
        text(&mut svg, left - 8.0, y + 16.0, "end", name);
        let _ = write!(
            svg,
            r#"<rect x="{left:.1}" y="{y:.1}" width="{width:.1}" height="22" rx="3" fill="{colour}"/>"#
        );
        text(
            &mut svg,
            left + width + 8.0,
            y + 16.0,
            "start",
            &crate::bench::report::text::number(*value),
        );
    }
    svg + "</svg>\n"
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"><style>{STYLE}</style><rect class="back" width="100%" height="100%"/>"#
    );
    let _ = write!(
        svg,
        r#"<text class="title" x="12" y="22">{}</text>"#,
        escape(title)
    );
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
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

    #[test]
    fn a_plot_is_drawn_even_of_nothing() {
        let axis = |scale| Axis {
            name: "a<b".to_owned(),
            scale,
        };
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
            for points in [vec![], vec![(0.0, 0.0)], vec![(1.0, f64::NAN), (2.0, 5.0)]] {
                let svg = lines(
                    "t & u",
                    &axis(Scale::Linear),
                    &axis(scale),
                    &[("x".to_owned(), points)],
                );
                assert!(
                    svg.contains("a&lt;b") && svg.ends_with("</svg>\n") && !svg.contains("inf"),
                    "{svg}"
                );
            }
        }
        assert!(bars("t", "bytes", &[]).ends_with("</svg>\n"));
        assert!(
            bars(
                "t",
                "bytes",
                &[("a".to_owned(), 1.0), ("b".to_owned(), 1_000.0)]
            )
            .contains("logarithmic")
        );
    }
}
