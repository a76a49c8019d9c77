//! How many changes may wait for one destination, and how that is told long before the oldest are
//! dropped. Knows no reason why they wait.

use log::warn;

use super::backlog::{Backlog, Key};

/// From which parts of the bound on it is told, in percent.
const TOLD_PERCENT: [u64; 5] = [25, 50, 75, 90, 100];

/// The bound, and what was told of it.
#[derive(Debug)]
pub(super) struct Bound {
    /// How many changes wait for a destination at most.
    max: u64,
    destinations: Vec<Part>,
}

/// A destination's part of the backlog.
#[derive(Debug)]
struct Part {
    name: String,
    key: Key,
    /// How many of [`TOLD_PERCENT`] it is beyond.
    told: usize,
}

impl Bound {
    /// The bound for these destinations.
    pub(super) fn new(max: u64, destinations: impl IntoIterator<Item = (String, Key)>) -> Self {
        let part = |(name, key)| Part { name, key, told: 0 };
        Self {
            max,
            destinations: destinations.into_iter().map(part).collect(),
        }
    }

    /// Drops what is too much, and tells of destinations that come closer to the bound.
    ///
    /// # Errors
    /// When the backlog cannot be used.
    pub(super) fn keep(&mut self, backlog: &mut Backlog) -> rusqlite::Result<()> {
        for part in &mut self.destinations {
            let fill = backlog.trim(part.key, self.max)?;
            if let Some(words) = part.tell(fill.waiting, self.max) {
                warn!("{words}");
            }
        }
        Ok(())
    }
}

impl Part {
    /// What is to be told now that so many wait, if it has come closer to the bound.
    fn tell(&mut self, waiting: u64, max: u64) -> Option<String> {
        let is_beyond = |percent: &&u64| waiting >= max * **percent / 100;
        let beyond = TOLD_PERCENT.iter().take_while(is_beyond).count();
        let before = std::mem::replace(&mut self.told, beyond);
        if beyond <= before {
            return None;
        }
        let name = &self.name;
        Some(if waiting >= max {
            format!(
                "{name}: {max} changes wait, as many as may (setting --backlog-size); for each new one the oldest is dropped"
            )
        } else {
            format!(
                "{name}: {waiting} changes wait; beyond {max} (setting --backlog-size) the oldest are dropped. If it is gone for ever, end the relay and run 'bugzfeed relay --forget {name}'"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::backlog::Commit;
    use crate::update::{BugId, Update, When};

    fn update(bug: u32) -> Update {
        Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(0),
        }
    }

    #[test]
    fn a_number_that_was_skipped_counts_as_one_that_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Fast).unwrap();
        let names = ["there".to_owned()];
        let keys = backlog.enroll(&names).unwrap();
        backlog.append(&[update(1)], &keys, 0, None).unwrap();
        backlog.skip_numbers(&keys, 0).unwrap();
        backlog.append(&[update(3)], &keys, 0, None).unwrap();
        for (max, waiting, dropped) in [(3, 2, 0), (1, 1, 1)] {
            let mut bound = Bound::new(max, names.clone().into_iter().zip(keys.clone()));
            bound.keep(&mut backlog).unwrap();
            let status = backlog.status().unwrap().remove(0);
            assert_eq!((status.depth, status.dropped), (waiting, dropped));
        }
        assert_eq!(backlog.first(keys[0], 0, 1).unwrap()[0].update, update(3));
    }

    #[test]
    fn what_is_beyond_the_bound_is_dropped_from_the_oldest_on_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog");
        let mut backlog = Backlog::open(&file, Commit::Fast).unwrap();
        let names = ["gone".to_owned(), "there".to_owned()];
        let keys = backlog.enroll(&names).unwrap();
        let mut bound = Bound::new(100, names.into_iter().zip(keys.clone()));
        for bug in 1..=120 {
            backlog.append(&[update(bug)], &keys, 0, None).unwrap();
            let arrived = backlog.first(keys[1], 0, 1).unwrap()[0].id;
            backlog.delete(keys[1], arrived).unwrap();
            bound.keep(&mut backlog).unwrap();
        }
        let told: Vec<usize> = bound.destinations.iter().map(|part| part.told).collect();
        assert_eq!(told, [TOLD_PERCENT.len(), 0]);
        let left = backlog.first(keys[0], 0, 200).unwrap();
        assert_eq!((left.len(), left[0].update.bug.get()), (100, 21));
        // The numbers tell receivers of the gap.
        assert_eq!(left[0].number.number, 21);
        let status = backlog.status().unwrap();
        assert_eq!((status[0].dropped, status[1].dropped), (20, 0));
    }

    #[test]
    fn each_part_of_the_bound_is_told_of_once_and_again_after_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::open(&folder.path().join("backlog"), Commit::Fast).unwrap();
        let key = backlog.enroll(&["gone".to_owned()]).unwrap()[0];
        let mut bound = Bound::new(100, [("gone".to_owned(), key)]);
        let part = &mut bound.destinations[0];
        let told = (1..=120).filter(|&waiting| part.tell(waiting, 100).is_some());
        assert_eq!(told.collect::<Vec<_>>(), [25, 50, 75, 90, 100]);
        assert_eq!(part.tell(89, 100), None);
        let words = part.tell(99, 100).unwrap();
        assert!(
            words.starts_with("gone: 99 changes wait; beyond 100 "),
            "{words}"
        );
        let words = part.tell(100, 100).unwrap();
        assert!(
            words.starts_with("gone: 100 changes wait, as many as may"),
            "{words}"
        );
    }
}
