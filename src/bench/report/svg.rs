//! Plots as SVG: lines over two axes, and bars. Each one stands for itself, in light and dark.
//! Knows nothing of what is plotted.

use std::fmt::Write as _;

use super::axis::{Axis, Range, Scale};
use super::{FLOOR, text::number};

/// The size of a plot, and of what surrounds its area, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 52.0;

/// How wide a letter is on average.
const LETTER: f64 = 7.6;

/// A line of more points is drawn without a dot at each.
const DOTS_MAX: usize = 40;

/// Colours that people tell apart who see fewer of them (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f",
];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.title{font-size:16px;font-weight:600}.grid{stroke:#ddd}\
    .back{fill:#fff}.axis{stroke:#888}@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#161b22}.grid{stroke:#333}}";

/// A line with a name.
pub(super) type Polyline = (String, Vec<(f64, f64)>);

pub(super) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Polyline]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let area = Area {
        across: Range::of(x.scale, points().map(|point| point.0)),
        up: Range::of(y.scale, points().map(|point| point.1)),
    };
    let mut svg = begin(title, HEIGHT);
    area.draw_axes(&mut svg, x, y);
    let coloured = || (0..).zip(lines).map(|(at, line)| (colour(at), line));
    // The first one, which is the one in question, on top of those that it is as good as.
    for (colour, (_, points)) in coloured().collect::<Vec<_>>().into_iter().rev() {
        area.draw_line(&mut svg, colour, points);
    }
    let mut left = 12.0;
    for (colour, (name, _)) in coloured() {
        let _ = write!(
            svg,
            r#"<rect x="{left}" y="34" width="14" height="10" rx="2" fill="{colour}"/>"#
        );
        text(&mut svg, left + 19.0, 44.0, "start", name);
        left += 40.0 + LETTER * name.chars().count() as f64;
    }
    svg + "</svg>\n"
}

/// Where lines are drawn: below the title and the legend, between the axes.
struct Area {
    across: Range,
    up: Range,
}

impl Area {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.across.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.up.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_axes(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.up.ticks() {
            let at = self.y(tick);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {at:.1}H{right:.1}"/>"#
            );
            text(svg, LEFT - 8.0, at + 4.0, "end", &self.up.label(tick));
        }
        for tick in self.across.ticks() {
            let label = self.across.label(tick);
            text(svg, self.x(tick), bottom + 20.0, "middle", &label);
        }
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {bottom:.1}H{right:.1}"/>"#
        );
        let middle = (LEFT + right) / 2.0;
        text(svg, middle, HEIGHT - 10.0, "middle", &x.name);
        text(svg, 12.0, TOP - 14.0, "start", &y.name);
    }

    fn draw_line(&self, svg: &mut String, colour: &str, points: &[(f64, f64)]) {
        let places: Vec<_> = points
            .iter()
            .map(|&(x, y)| (self.x(x), self.y(y)))
            .collect();
        let path: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1} {y:.1}"))
            .collect();
        let _ = write!(
            svg,
            r#"<path fill="none" stroke="{colour}" stroke-width="2" d="M{}"/>"#,
            path.join("L")
        );
        if points.len() > DOTS_MAX {
            return;
        }
        for (x, y) in places {
            let _ = write!(
                svg,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
            );
        }
    }
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

/// Bars with their values, the longest last; logarithmic where they differ by more than a
/// hundredfold.
pub(super) fn bars(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
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
        + LETTER
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
        let colour = COLOURS[if name == FLOOR {
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
            &number(*value),
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
    fn a_plot_is_drawn_even_of_nothing() {
        let axis = |scale| Axis::new("a<b", scale);
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
