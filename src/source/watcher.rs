//! `mode=bugs`: finds out what changed by looking at Bugzilla's own tables, without a trigger or
//! the right to write. Owns what is remembered between two looks. Knows no database.
//!
//! `bugs.delta_ts` has a resolution of one second, and a long transaction commits with an old one.
//! So each look goes back by a window, and what it finds is compared with what was found before. A
//! second edit within one second leaves no trace in `bugs`, but mostly one in `bugs_activity` or
//! `longdescs`, whose largest ids are compared, too.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Sink, Source};
use crate::database::bugs::{Look, LookFrom, OpenBugs};
use crate::update::{BugId, Update, When};
use crate::work::{Error, Stop};

/// How much longer than the window a bug that was found is remembered: when the database's clock
/// goes back by up to that much, as local time does in autumn, old edits must not look new.
const SLACK: Duration = Duration::from_secs(2 * 3600);

/// What is remembered between two looks.
#[derive(Debug, Default)]
struct Memory {
    from: LookFrom,
    window: Duration,
    /// `delta_ts` of each bug found lately, in seconds of the database's local time.
    seen: HashMap<BugId, i64>,
}

impl Memory {
    fn new(window: Duration) -> Self {
        Self {
            from: LookFrom {
                newest: None,
                window: window + SLACK,
                largest: None,
            },
            window,
            seen: HashMap::new(),
        }
    }

    /// What has changed since the look before; after the first look, nothing.
    fn learn(&mut self, look: Look) -> Vec<Update> {
        let is_first = self.from.newest.is_none();
        let mut updates = Vec::new();
        let mut newest = self.from.newest.take().as_deref().and_then(seconds);
        let found = look
            .in_window
            .iter()
            .map(|row| (row, false))
            .chain(look.touched.iter().map(|row| (row, true)));
        let mut reported = HashSet::new();
        for (row, was_touched) in found {
            let (Some(update), Some(local)) = (row.update(), seconds(&row.delta_ts)) else {
                continue;
            };
            let is_new = self.seen.insert(update.bug, local) != Some(local);
            if (is_new || was_touched) && reported.insert(update.bug) {
                updates.push(update);
            }
            newest = newest.max(Some(local));
        }
        // One time far ahead must not move the window away from all others.
        let now = seconds(&look.now);
        let newest = match (newest, now) {
            (Some(newest), Some(now)) => newest.min(now),
            (newest, now) => newest.or(now).unwrap_or_default(),
        };
        let oldest = newest - (self.window + SLACK).as_secs().cast_signed();
        self.seen.retain(|_, local| *local >= oldest);
        self.from = LookFrom {
            newest: Some(
                When::from_unix_seconds(newest)
                    .to_string()
                    .replace('T', " "),
            ),
            window: self.window,
            largest: look.largest.or(self.from.largest),
        };
        if is_first { Vec::new() } else { updates }
    }
}

/// Seconds since 1970 in local time.
fn seconds(local: &str) -> Option<i64> {
    local.parse::<When>().ok().map(|when| when.unix_seconds())
}

/// The source that hands over what changed in Bugzilla's tables.
pub(super) struct Watcher {
    open: OpenBugs,
    poll: Duration,
    memory: Memory,
}

impl Watcher {
    /// A source that looks after each `poll` at what changed up to `window` before the newest edit.
    pub(super) fn new(open: OpenBugs, poll: Duration, window: Duration) -> Self {
        Self {
            open,
            poll,
            memory: Memory::new(window),
        }
    }
}

impl Source for Watcher {
    fn run(&mut self, sink: &mut Sink, stop: &Stop) -> Result<(), Error> {
        sink.doubt()?;
        let mut bugs = (self.open)()?;
        loop {
            let is_first = self.memory.from.newest.is_none();
            let look = bugs.look(&self.memory.from)?;
            let utc_now = look.utc_now;
            sink.deliver(self.memory.learn(look))?;
            if is_first {
                // What changed while this program did not run is not known.
                let reason = "what changed before bugzfeed started is not known";
                sink.missed(reason, Some(utc_now))?;
            }
            sink.connected()?;
            if stop.wait(self.poll) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::database::Row;
    use crate::database::bugs::{Bugs, Largest};
    use crate::source::Kept;
    use crate::source::sink::Test;

    /// A database in which each look finds this, and that is gone when there are no more; the last
    /// look requests the stop.
    struct Looks {
        looks: VecDeque<Look>,
        windows: std::sync::mpsc::Sender<Duration>,
        stop: Stop,
    }

    impl Bugs for Looks {
        fn look(&mut self, from: &LookFrom) -> Result<Look, Error> {
            self.windows.send(from.window)?;
            let look = self.looks.pop_front().ok_or("gone")?;
            if self.looks.is_empty() {
                self.stop.request();
            }
            Ok(look)
        }
    }

    #[test]
    fn the_first_look_is_a_gap_up_to_its_time_and_what_the_next_ones_find_is_handed_over() {
        let (stop, mut test) = (Stop::default(), Test::new(None, &Kept::default()));
        let (windows, asked) = std::sync::mpsc::channel();
        let mut first = look(&[(1, "12:00:05")], &[]);
        first.utc_now = 5_000;
        let mut looks = Some(Looks {
            looks: [
                first,
                look(&[(2, "12:00:06")], &[]),
                look(&[(3, "12:00:07")], &[]),
            ]
            .into(),
            windows,
            stop: stop.clone(),
        });
        let open: OpenBugs = Box::new(move || Ok(Box::new(looks.take().ok_or("gone")?)));
        let window = Duration::from_secs(60);
        let mut watcher = Watcher::new(open, Duration::ZERO, window);
        watcher.run(&mut test.sink, &stop).unwrap();
        assert_eq!(test.sent(), "after 5000, gap, 2, 3");
        let asked: Vec<_> = asked.try_iter().collect();
        assert_eq!(asked, [window + SLACK, window, window]);
    }

    #[test]
    fn what_changed_while_the_database_was_gone_is_handed_over_and_no_gap() {
        let (stop, mut test) = (Stop::default(), Test::new(None, &Kept::default()));
        let (windows, asked) = std::sync::mpsc::channel();
        let gone = Stop::default();
        let mut connections = [
            (vec![look(&[(1, "12:00:05")], &[])], gone),
            (
                vec![look(&[(1, "12:00:05"), (2, "12:00:06")], &[])],
                stop.clone(),
            ),
        ]
        .into_iter();
        let open: OpenBugs = Box::new(move || {
            let (looks, stop) = connections.next().ok_or("gone")?;
            let (looks, windows) = (looks.into(), windows.clone());
            Ok(Box::new(Looks {
                looks,
                windows,
                stop,
            }))
        });
        let mut watcher = Watcher::new(open, Duration::ZERO, Duration::from_secs(60));
        watcher.run(&mut test.sink, &stop).unwrap_err();
        assert_eq!(test.sent(), "after 0, gap");
        watcher.run(&mut test.sink, &stop).unwrap();
        assert_eq!(test.sent(), "doubt, 2, after 0");
        assert_eq!(asked.try_iter().count(), 3);
    }

    #[test]
    fn each_look_begins_where_the_one_before_has_ended() {
        let mut memory = Memory::new(Duration::from_secs(60));
        let with = |largest, touched: &[(i64, &str)]| {
            let mut look = look(&[], touched);
            look.largest = largest;
            look
        };
        let largest = |id| {
            Some(Largest {
                activity: id,
                comment: id,
            })
        };
        memory.learn(with(largest(7), &[(1, "12:00:08")]));
        assert_eq!(memory.from.largest, largest(7));
        // A look that cannot tell goes back to what was known.
        memory.learn(with(None, &[(1, "12:00:09")]));
        assert_eq!(memory.from.largest, largest(7));
        assert_eq!(memory.from.newest.as_deref(), Some("2026-11-20 12:00:09"));
        memory.learn(with(largest(9), &[]));
        assert_eq!(memory.from.largest, largest(9));
    }

    #[test]
    fn a_bug_is_remembered_for_two_hours_and_the_window() {
        let mut memory = Memory::new(Duration::from_secs(60));
        learned(&mut memory, &[(1, "10:00:00"), (2, "10:00:01")], &[]);
        let later = look_at("12:01:01", &[(3, "12:01:01")], &[]);
        assert_eq!(memory.learn(later).len(), 1);
        let mut seen: Vec<u32> = memory.seen.keys().map(|bug| bug.get()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [2, 3]);
    }

    #[test]
    fn a_row_that_records_nothing_hides_no_other_and_a_bug_that_is_found_twice_is_reported_once() {
        let mut memory = Memory::new(Duration::from_secs(60));
        learned(&mut memory, &[(2, "12:00:05")], &[]);
        let rows = [(0, "12:00:05"), (1, "when?"), (2, "12:00:06")];
        let touched = [
            (-1, "12:00:07"),
            (2, "12:00:06"),
            (3, "12:00:04"),
            (3, "12:00:04"),
        ];
        assert_eq!(learned(&mut memory, &rows, &touched), [2, 3]);
        assert_eq!(memory.from.newest.as_deref(), Some("2026-11-20 12:00:06"));
    }

    #[test]
    fn a_database_without_an_edit_is_looked_at_from_its_own_time_on() {
        let mut memory = Memory::new(Duration::from_secs(60));
        learned(&mut memory, &[], &[]);
        assert_eq!(memory.from.newest.as_deref(), Some("2026-11-20 12:00:10"));
    }

    fn row(bug_id: i64, time: &str) -> Row {
        let delta_ts = format!("2026-11-20 {time}");
        Row {
            id: 0,
            bug_id,
            utc: Some(delta_ts.clone()),
            delta_ts,
        }
    }

    fn look(in_window: &[(i64, &str)], touched: &[(i64, &str)]) -> Look {
        look_at("12:00:10", in_window, touched)
    }

    fn look_at(now: &str, in_window: &[(i64, &str)], touched: &[(i64, &str)]) -> Look {
        let rows = |rows: &[(i64, &str)]| rows.iter().map(|(bug, time)| row(*bug, time)).collect();
        Look {
            now: format!("2026-11-20 {now}"),
            utc_now: 0,
            in_window: rows(in_window),
            touched: rows(touched),
            largest: None,
        }
    }

    fn learned(
        memory: &mut Memory,
        in_window: &[(i64, &str)],
        touched: &[(i64, &str)],
    ) -> Vec<u32> {
        memory
            .learn(look(in_window, touched))
            .iter()
            .map(|update| update.bug.get())
            .collect()
    }

    #[test]
    fn a_bug_is_reported_when_its_time_differs_from_the_one_seen_before() {
        let mut memory = Memory::new(Duration::from_secs(60));
        assert_eq!(learned(&mut memory, &[(1, "11:59:00")], &[]), [0; 0]);
        assert_eq!(learned(&mut memory, &[(1, "11:59:00")], &[]), [0; 0]);
        assert_eq!(
            learned(&mut memory, &[(1, "12:00:05"), (2, "12:00:07")], &[]),
            [1, 2]
        );
        assert_eq!(memory.from.newest.as_deref(), Some("2026-11-20 12:00:07"));
        // Bug 3 was committed late.
        assert_eq!(
            learned(
                &mut memory,
                &[(3, "12:00:01"), (1, "12:00:05"), (2, "12:00:07")],
                &[]
            ),
            [3]
        );
        assert_eq!(memory.from.newest.as_deref(), Some("2026-11-20 12:00:07"));
    }

    #[test]
    fn a_second_edit_within_a_second_is_reported_once_when_it_left_a_trace_elsewhere() {
        let mut memory = Memory::new(Duration::from_secs(60));
        learned(&mut memory, &[], &[]);
        assert_eq!(
            learned(&mut memory, &[(1, "12:00:05")], &[(1, "12:00:05")]),
            [1]
        );
        assert_eq!(
            learned(&mut memory, &[(1, "12:00:05")], &[(1, "12:00:05")]),
            [1]
        );
        assert_eq!(learned(&mut memory, &[(1, "12:00:05")], &[]), [0; 0]);
    }

    #[test]
    fn a_clock_that_goes_back_by_an_hour_makes_nothing_new_and_what_is_old_is_forgotten() {
        let mut memory = Memory::new(Duration::from_secs(60));
        assert_eq!(
            learned(&mut memory, &[(1, "10:30:00"), (2, "11:00:00")], &[]),
            [0; 0]
        );
        assert_eq!(
            learned(&mut memory, &[(2, "11:00:00"), (3, "11:00:05")], &[]),
            [3]
        );
        assert_eq!(memory.seen.len(), 3);
        let later = look_at("12:32:10", &[(4, "12:32:00")], &[]);
        assert_eq!(memory.learn(later).len(), 1);
        assert_eq!(memory.seen.len(), 3);
    }

    #[test]
    fn a_time_far_ahead_is_reported_once_and_moves_the_window_for_nobody() {
        let mut memory = Memory::new(Duration::from_secs(60));
        learned(&mut memory, &[(1, "12:00:05")], &[]);
        let ahead = [(1, "12:00:05"), (2, "23:00:00")];
        assert_eq!(learned(&mut memory, &ahead, &[]), [2]);
        assert_eq!(learned(&mut memory, &ahead, &[]), [0; 0]);
        assert_eq!(memory.from.newest.as_deref(), Some("2026-11-20 12:00:10"));
        let corrected = [(1, "12:00:05"), (2, "12:00:06")];
        assert_eq!(learned(&mut memory, &corrected, &[]), [2]);
        assert_eq!(learned(&mut memory, &corrected, &[]), [0; 0]);
    }
}
