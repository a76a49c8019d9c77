//! The text that Prometheus reads, version 0.0.4 of its exposition format. Knows no metric.

use std::fmt::{Display, Write as _};

use super::Histogram;

/// The media type of a [`Page`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of metric it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// It only ever grows; its name ends with `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A page of metrics, to which one is added after the other.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// Adds a metric with all its values, each with its labels.
    pub(crate) fn add<'a, V: Display>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], V)>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.begin(name, kind, help);
        for (labels, value) in values {
            self.write(name, labels, None, &value);
        }
    }

    /// Adds a metric with one value and no label.
    pub(crate) fn add_one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.add(name, kind, help, [(&[][..], value)]);
    }

    /// Adds a histogram.
    pub(crate) fn add_histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (bound, observed) in histogram.buckets() {
            count += observed;
            let bound = bound.map_or("+Inf".to_owned(), |bound| bound.to_string());
            self.write(&bucket, &[], Some(&bound), &count);
        }
        self.write(&format!("{name}_sum"), &[], None, &histogram.sum());
        self.write(&format!("{name}_count"), &[], None, &count);
    }

    /// The page.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        self.append(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn write(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: &dyn Display,
    ) {
        self.text.push_str(name);
        let bound = bound.map(|bound| ("le", bound));
        let mut separator = '{';
        for (label, value) in labels.iter().copied().chain(bound) {
            let value = escape(value);
            self.append(format_args!("{separator}{label}=\"{value}\""));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        self.append(format_args!("{end} {value}\n"));
    }

    fn append(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a string takes all that is written to it");
    }
}

/// A label's value, with what would end it escaped.
fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_its_help_its_type_and_a_line_for_each_value() {
        let mut page = Page::default();
        page.add(
            "a_total",
            Kind::Counter,
            "How many.",
            [
                (&[("of", "x\"\\\n")][..], 1),
                (&[("of", "y"), ("by", "z")], 2),
            ],
        );
        page.add_one("b", Kind::Gauge, "How much.", 0.5);
        assert_eq!(
            page.into_text(),
            "# HELP a_total How many.\n# TYPE a_total counter\n\
             a_total{of=\"x\\\"\\\\\\n\"} 1\na_total{of=\"y\",by=\"z\"} 2\n\
             # HELP b How much.\n# TYPE b gauge\nb 0.5\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for seconds in [0.05, 0.1, 0.5, 3.0] {
            histogram.observe(seconds);
        }
        let mut page = Page::default();
        page.add_histogram("h_seconds", "How long.", &histogram);
        assert_eq!(
            page.into_text(),
            "# HELP h_seconds How long.\n# TYPE h_seconds histogram\n\
             h_seconds_bucket{le=\"0.1\"} 2\nh_seconds_bucket{le=\"1\"} 3\n\
             h_seconds_bucket{le=\"+Inf\"} 4\nh_seconds_sum 3.65\nh_seconds_count 4\n"
        );
    }
}
