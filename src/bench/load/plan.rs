//! Who subscribes to what, and which update is which: the same for everybody who knows the
//! settings, so that the processes of the bench need not send each other. Pure; knows no socket and
//! no clock.
//!
//! Each update has a time of its own: the n-th one changed n seconds after the first. So what a
//! client gets says which update it is, whatever the server is.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::update::When;

/// Which bugs the clients subscribe to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pattern {
    /// The same bugs for all
    #[default]
    Shared,
    /// Each its own bugs
    Own,
    /// Few bugs have many subscribers, many have few: the n-th has a share of 1/n
    Zipf,
    /// Each its own bugs, and one more that all have
    Both,
}

/// Which updates are published in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Demand {
    /// Of bugs that somebody wants, by the pattern.
    Wanted,
    /// Of the first bug, which all want where the pattern has such a one.
    Common,
    /// Of bugs that nobody wants.
    Unwanted,
}

/// How many bugs change that nobody wants.
const UNWANTED_BUGS: u32 = 100_000;

/// The subscriptions, and the meaning of each update.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Which bugs the clients subscribe to.
    pub pattern: Pattern,
    /// How many clients there are, in all processes.
    pub clients: u32,
    /// How many bugs each one subscribes to, the one included that all have.
    pub bugs_per_client: u32,
    /// How many bugs lie before the first of them.
    pub bugs_before: u32,
    /// The time of the first update, in Unix seconds.
    pub first_when: i64,
}

impl Plan {
    /// How many bugs somebody may want: those that follow `bugs_before`.
    pub(crate) fn bugs(&self) -> u32 {
        match self.pattern {
            Pattern::Shared => self.bugs_per_client,
            Pattern::Own | Pattern::Zipf => self.clients * self.bugs_per_client,
            Pattern::Both => 1 + self.clients * (self.bugs_per_client - 1),
        }
    }

    /// The bugs that a client subscribes to, ascending: always as many as
    /// [`Plan::bugs_per_client`].
    pub(crate) fn bugs_of(&self, client: u32) -> Vec<u32> {
        let (before, count) = (self.bugs_before, self.bugs_per_client);
        match self.pattern {
            Pattern::Shared => (before + 1..=before + count).collect(),
            Pattern::Own => {
                let first = before + client * count;
                (first + 1..=first + count).collect()
            }
            Pattern::Both => {
                let first = before + 1 + client * (count - 1);
                std::iter::once(before + 1)
                    .chain(first + 1..first + count)
                    .collect()
            }
            Pattern::Zipf => {
                let mut random = fastrand::Rng::with_seed(u64::from(client));
                let mut bugs = std::collections::BTreeSet::new();
                while bugs.len() < count as usize {
                    bugs.insert(before + zipf(self.bugs(), &mut random));
                }
                bugs.into_iter().collect()
            }
        }
    }

    /// The bug that changes with the update number `seq`.
    pub(crate) fn bug(&self, seq: u32, demand: Demand) -> u32 {
        let bugs = self.bugs();
        let bug = match (demand, self.pattern) {
            (Demand::Wanted, Pattern::Own) => scattered(seq, bugs),
            (Demand::Wanted, Pattern::Both) => 1 + scattered(seq, bugs - 1),
            (Demand::Common, _) => 1,
            (Demand::Wanted, Pattern::Shared) => seq % bugs + 1,
            (Demand::Wanted, Pattern::Zipf) => {
                zipf(bugs, &mut fastrand::Rng::with_seed(!u64::from(seq)))
            }
            (Demand::Unwanted, _) => bugs + 1 + seq % UNWANTED_BUGS,
        };
        self.bugs_before + bug
    }

    /// A bug that is none of those that change by the plan.
    pub(crate) fn bug_apart(&self) -> u32 {
        self.bugs_before + self.bugs() + UNWANTED_BUGS + 1
    }

    /// The time of the update number `seq`, as servers write it.
    pub(crate) fn when(&self, seq: u32) -> String {
        When::from_unix_seconds(self.first_when + i64::from(seq)).to_string()
    }

    /// The number of the update of this time, if it can be one.
    pub(crate) fn seq(&self, when: i64) -> Option<u32> {
        u32::try_from(when - self.first_when).ok()
    }
}

/// The bug that comes after so many others, from 1 to `bugs`, in steps of a prime: neighbours in
/// time are no neighbours in memory, and all come in turn, unless the prime divides their number.
fn scattered(seq: u32, bugs: u32) -> u32 {
    let step = if bugs.is_multiple_of(7_919) { 1 } else { 7_919 };
    (u64::from(seq) * step % u64::from(bugs)) as u32 + 1
}

/// A bug from 1 to `bugs`, the n-th with a chance in proportion to about 1/n.
fn zipf(bugs: u32, random: &mut fastrand::Rng) -> u32 {
    let bug = (f64::from(bugs) + 1.0).powf(random.f64());
    (bug as u32).clamp(1, bugs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pattern: Pattern) -> Plan {
        Plan {
            pattern,
            clients: 1_000,
            bugs_per_client: 3,
            bugs_before: 0,
            first_when: 1_700_000_000,
        }
    }

    #[test]
    fn each_client_has_its_bugs_ascending_and_each_once() {
        for pattern in [Pattern::Shared, Pattern::Own, Pattern::Zipf, Pattern::Both] {
            let plan = plan(pattern);
            for client in 0..1_000 {
                let bugs = plan.bugs_of(client);
                assert!(
                    bugs.len() == 3 && bugs.is_sorted_by(|a, b| a < b),
                    "{pattern:?} {bugs:?}"
                );
                assert!(bugs.iter().all(|bug| (1..=plan.bugs()).contains(bug)));
            }
        }
    }

    #[test]
    fn an_update_is_known_by_its_time() {
        let plan = plan(Pattern::Own);
        let when: When = plan.when(12_345).parse().unwrap();
        assert_eq!(plan.seq(when.unix_seconds()), Some(12_345));
        assert_eq!(plan.seq(0), None);
    }

    #[test]
    fn a_popular_bug_is_popular() {
        let plan = plan(Pattern::Zipf);
        let wanting_first = (0..1_000)
            .filter(|&client| plan.bugs_of(client)[0] == 1)
            .count();
        assert!((150..350).contains(&wanting_first), "{wanting_first}");
        let changing_first = (0..1_000)
            .filter(|&seq| plan.bug(seq, Demand::Wanted) == 1)
            .count();
        assert!((50..150).contains(&changing_first), "{changing_first}");
    }

    #[test]
    fn each_has_its_own_bugs_and_one_that_all_have() {
        let plan = plan(Pattern::Both);
        assert_eq!(plan.bugs_of(0), [1, 2, 3]);
        assert_eq!(plan.bugs_of(999), [1, 2_000, 2_001]);
        assert_eq!(plan.bugs(), 2_001);
        assert_eq!(plan.bug(7, Demand::Common), 1);
        let mut changed: Vec<u32> = (0..2_000)
            .map(|seq| plan.bug(seq, Demand::Wanted))
            .collect();
        changed.sort_unstable();
        assert!(changed.into_iter().eq(2..=2_001));
    }

    #[test]
    fn nobody_wants_what_is_unwanted() {
        let plan = plan(Pattern::Shared);
        let unwanted = plan.bugs() + 1..plan.bug_apart();
        assert!((0..200_000).all(|seq| unwanted.contains(&plan.bug(seq, Demand::Unwanted))));
        assert!(
            (0..10)
                .map(|seq| plan.bug(seq, Demand::Wanted))
                .eq([1, 2, 3, 1, 2, 3, 1, 2, 3, 1])
        );
    }
}
