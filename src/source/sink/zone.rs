//! Whether a source's times are off by a time zone: then catch-up finds each edit once more, with
//! the right time. Knows no source and no log.

use std::collections::HashSet;
use std::hash::BuildHasher;

use crate::update::{BugId, Update};

/// All zones differ from UTC by a multiple of a quarter of an hour, and from each other by at most
/// 26 hours (from UTC-12 to UTC+14).
const STEP_SECONDS: i64 = 900;
const DIFFERENCE_SECONDS_MAX: i64 = 26 * 3_600;

/// How many edits must agree: two edits of one bug may lie an hour apart to the second by chance.
const EDITS_MIN: usize = 3;

/// The differences of a source's times from Bugzilla's.
#[derive(Debug, Default)]
pub(super) struct ZoneWatch {
    /// In seconds, of the last edits that were brought with another time.
    difference: i64,
    edits: usize,
    has_told: bool,
}

impl ZoneWatch {
    /// Looks at what a source has not brought, among what it has brought (bug and Unix seconds).
    /// Returns what the log is to say of a wrong zone, once.
    pub(super) fn look(
        &mut self,
        lacking: &[Update],
        seen: &HashSet<(BugId, i64), impl BuildHasher>,
    ) -> Option<String> {
        if self.has_told {
            return None;
        }
        for update in lacking {
            let seconds = update.when.unix_seconds();
            let is_seen = |difference: &i64| seen.contains(&(update.bug, seconds + difference));
            let steps = (STEP_SECONDS..=DIFFERENCE_SECONDS_MAX).step_by(STEP_SECONDS as usize);
            match steps.flat_map(|step| [step, -step]).find(is_seen) {
                Some(difference) if difference == self.difference => self.edits += 1,
                Some(difference) => (self.difference, self.edits) = (difference, 1),
                None => self.edits = 0,
            }
            if self.edits == EDITS_MIN {
                self.has_told = true;
                return Some(format!(
                    "its times differ from Bugzilla's by {}, so that each change comes a second time with the right one: one of the two is read in a wrong time zone (option tz= of the database, in --source, in --catch-up or in the relay's --from)",
                    offset(self.difference)
                ));
            }
        }
        None
    }
}

/// A difference as an offset, such as `+02:00`.
fn offset(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::When;

    /// Looks at edits of bug 1, 2, … that Bugzilla has at `now` and the source has brought with
    /// these differences, or not at all.
    fn look(watch: &mut ZoneWatch, now: i64, differences: &[Option<i64>]) -> Option<String> {
        let bug = |at: usize| BugId::new(at as u32 + 1).unwrap();
        let lacking: Vec<Update> = (0..differences.len())
            .map(|at| Update {
                bug: bug(at),
                when: When::from_unix_seconds(now),
            })
            .collect();
        let brought = differences.iter().enumerate();
        let seen: HashSet<_> = brought
            .filter_map(|(at, difference)| Some((bug(at), now + (*difference)?)))
            .collect();
        watch.look(&lacking, &seen)
    }

    #[test]
    fn edits_that_come_twice_with_one_difference_show_a_wrong_zone_once() {
        let mut watch = ZoneWatch::default();
        assert_eq!(look(&mut watch, 1_000_000, &[Some(-18_000); 2]), None);
        let told = look(&mut watch, 1_000_100, &[Some(-18_000)]).unwrap();
        assert!(told.contains("by -05:00") && told.contains("tz="), "{told}");
        assert_eq!(look(&mut watch, 1_000_200, &[None]), None);
        assert_eq!(look(&mut watch, 1_000_300, &[Some(-18_000); 9]), None);
        assert_eq!(offset(-19_800) + &offset(7_200), "-05:30+02:00");
    }

    #[test]
    fn a_difference_is_that_of_a_zone_up_to_26_hours_in_quarters_of_an_hour() {
        for (difference, told) in [
            (900, Some("+00:15")),
            (-900, Some("-00:15")),
            (20_700, Some("+05:45")),
            (93_600, Some("+26:00")),
            (-93_600, Some("-26:00")),
            (94_500, None),
            (-94_500, None),
            (450, None),
            (901, None),
        ] {
            let mut watch = ZoneWatch::default();
            let why = look(&mut watch, 1_000_000, &[Some(difference); 3]);
            let by = why.as_deref().and_then(|why| why.split(" by ").nth(1));
            let by = by.and_then(|by| by.split(',').next());
            assert_eq!(by, told, "{difference}");
        }
    }

    #[test]
    fn what_was_lost_and_edits_that_lie_apart_by_chance_show_none() {
        let mut watch = ZoneWatch::default();
        let hour = Some(3_600);
        for differences in [
            &[None; 9][..],
            &[hour, hour, None, hour, hour],
            &[None, hour, hour, Some(7_200), Some(17), hour],
        ] {
            assert_eq!(look(&mut watch, 1_000_000, differences), None);
        }
    }
}
