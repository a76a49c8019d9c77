//! How often what has happened in all runs: a simulation in which nothing happens proves nothing.

/// Counts.
#[derive(Debug, Default)]
pub struct Tally {
    pub updates: usize,
    pub replayed: usize,
    pub folded: usize,
    pub resumed: usize,
    pub refused: usize,
    pub pings: usize,
    pub full: usize,
    pub left: usize,
    pub held_up: usize,
    pub ended: usize,
    pub held: usize,
    pub gaps: usize,
    pub firehoses: usize,
    pub secure: usize,
    pub garbled: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.updates += other.updates;
        self.replayed += other.replayed;
        self.folded += other.folded;
        self.resumed += other.resumed;
        self.refused += other.refused;
        self.pings += other.pings;
        self.full += other.full;
        self.left += other.left;
        self.held_up += other.held_up;
        self.ended += other.ended;
        self.held += other.held;
        self.gaps += other.gaps;
        self.firehoses += other.firehoses;
        self.secure += other.secure;
        self.garbled += other.garbled;
    }

    pub fn check_that_all_has_happened(&self) {
        let Self {
            updates,
            replayed,
            folded,
            resumed,
            refused,
            pings,
            full,
            left,
            held_up,
            ended,
            held,
            gaps,
            firehoses,
            secure,
            garbled,
        } = *self;
        for (name, count) in [
            ("updates", updates),
            ("replayed updates", replayed),
            ("folded updates", folded),
            ("resumed connections", resumed),
            ("refused writes", refused),
            ("pings", pings),
            ("refused connections", full),
            ("inputs left for a later turn", left),
            ("turns that were held up", held_up),
            ("clients that end by themselves", ended),
            ("looks at a held answer", held),
            ("clients that are closed after a gap", gaps),
            (
                "updates that only a subscription to all bugs asks for",
                firehoses,
            ),
            ("clients with TLS", secure),
        ] {
            assert!(count > 100, "only {count} {name}");
        }
        assert!(garbled > 3, "only {garbled} clients that break TLS");
    }
}
