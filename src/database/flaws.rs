//! Rows that record nothing: what the log says of them. One kind of row can come by the thousand,
//! and hold a lot of text. Knows no database.

use log::warn;

use super::table::{Flaw, Row};

/// How much of a value is shown, in characters.
const SHOWN_MAX: usize = 40;

/// How many rows of each kind were dropped.
#[derive(Debug, Default)]
pub(super) struct Flaws {
    bugs: u64,
    times: u64,
}

impl Flaws {
    /// A row is dropped. The first of its kind is logged, and then the tenth, the hundredth …
    pub(super) fn dropped(&mut self, row: &Row, flaw: Flaw) {
        let (count, what, value) = match flaw {
            Flaw::Bug => (&mut self.bugs, "bug_id", row.bug_id.to_string()),
            Flaw::Time => (
                &mut self.times,
                "delta_ts",
                format!("{:?}", shortened(&row.delta_ts)),
            ),
        };
        *count += 1;
        if is_power_of_ten(*count) {
            warn!(
                "row {} of the table is no notification ({what} {value}); it is dropped, the number {count} of its kind",
                row.id
            );
        }
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn is_power_of_ten(count: u64) -> bool {
    count > 0 && 10_u64.pow(count.ilog10()) == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_shortened() {
        assert_eq!(shortened("2026"), "2026");
        assert_eq!(shortened(&"é".repeat(50)), format!("{}…", "é".repeat(40)));
    }

    #[test]
    fn the_first_is_logged_and_then_fewer_and_fewer() {
        let logged: Vec<u64> = (0..=1_000)
            .filter(|count| is_power_of_ten(*count))
            .collect();
        assert_eq!(logged, [1, 10, 100, 1_000]);
    }
}
