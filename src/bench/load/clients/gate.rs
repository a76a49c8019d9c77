//! Which client connects next, and when: so many at the same time, so many per second. Knows no
//! socket and no clock.

use std::collections::VecDeque;

/// Those who are to connect, and those who are at it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    waiting: VecDeque<u32>,
    /// How many are connecting or leaving right now.
    in_flight: u32,
    in_flight_max: u32,
    /// How many begin to connect per second; 0 for all at once.
    rate: u32,
    /// Since when the rate counts, in nanoseconds, and how many have begun since.
    opened: u64,
    begun: u64,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Client(u32),
    /// Nobody before this time, in nanoseconds.
    At(u64),
    /// Nobody until one has come or gone.
    Nobody,
}

impl Gate {
    /// Sets the limits; the rate counts from now on.
    pub(super) fn open(&mut self, in_flight_max: u32, rate: u32, now: u64) {
        (self.in_flight_max, self.rate) = (in_flight_max, rate);
        (self.opened, self.begun) = (now, 0);
    }

    /// Lets these wait and nobody else.
    pub(super) fn fill(&mut self, clients: impl Iterator<Item = u32>) {
        self.waiting = clients.collect();
    }

    pub(super) fn push(&mut self, client: u32) {
        self.waiting.push_back(client);
    }

    /// Takes the client that may begin to connect now; it is in flight from here.
    pub(super) fn next(&mut self, now: u64) -> Next {
        if self.in_flight >= self.in_flight_max || self.waiting.is_empty() {
            return Next::Nobody;
        }
        let due = (self.begun * 1_000_000_000)
            .checked_div(u64::from(self.rate))
            .map_or(0, |after| self.opened + after);
        if due > now {
            return Next::At(due);
        }
        let Some(client) = self.waiting.pop_front() else {
            return Next::Nobody;
        };
        self.begun += 1;
        self.in_flight += 1;
        Next::Client(client)
    }

    /// A client begins to leave.
    pub(super) fn enter(&mut self) {
        self.in_flight += 1;
    }

    /// A client is subscribed, or gone.
    pub(super) fn exit(&mut self) {
        self.in_flight -= 1;
    }

    /// Whether nobody is connecting or leaving, or about to.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_connect_at_the_same_time() {
        let mut gate = Gate::default();
        gate.open(2, 0, 0);
        gate.fill(0..3);
        assert_eq!(gate.next(0), Next::Client(0));
        assert_eq!(gate.next(0), Next::Client(1));
        assert_eq!(gate.next(0), Next::Nobody);
        gate.exit();
        assert_eq!(gate.next(0), Next::Client(2));
        assert!(!gate.is_settled());
        gate.exit();
        gate.exit();
        assert!(gate.is_settled());
    }

    #[test]
    fn no_more_than_so_many_connect_per_second() {
        let mut gate = Gate::default();
        gate.open(10, 2, 1_000);
        gate.fill(0..2);
        assert_eq!(gate.next(1_000), Next::Client(0));
        assert_eq!(gate.next(1_001), Next::At(500_001_000));
        assert_eq!(gate.next(500_001_000), Next::Client(1));
        assert_eq!(gate.next(500_001_000), Next::Nobody);
    }
}
