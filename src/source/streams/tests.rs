//! What numbers prove, one rule at a time, and all of them against seeded losses.

use super::*;

/// One server and its queue, and the relay's announcements.
struct Test {
    streams: Streams,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        Self {
            streams: Streams::default(),
            now: Instant::now(),
        }
    }

    /// A stream that is known, announced, and read up to `last`.
    fn reading(last: u64) -> Self {
        let mut test = Self::new();
        test.streams.connected(test.now);
        test.message("a", last);
        test.announce("a", last);
        test
    }

    fn message(&mut self, stream: &str, number: u64) -> Option<Loss> {
        self.streams.arrived(&a_number(stream, number), self.now)
    }

    fn announce(&mut self, stream: &str, sent: u64) -> Option<Loss> {
        self.say(stream, sent, sent, false)
    }

    fn say(&mut self, stream: &str, sent: u64, given: u64, is_end: bool) -> Option<Loss> {
        let sent = a_number(stream, sent);
        let said = Announcement {
            sent,
            given,
            is_end,
        };
        self.streams.announced(&said, self.now)
    }

    fn wait(&mut self, seconds: u64) -> Option<Loss> {
        self.now += Duration::from_secs(seconds);
        self.streams.tick(self.now, Duration::from_secs(60))
    }

    /// A process ends, and another one begins where it has stopped.
    fn restart(&mut self) {
        self.streams = Streams::read(Some(&self.streams.note()));
        self.streams.connected(self.now);
    }

    fn is_in_doubt(&self) -> bool {
        self.streams.is_in_doubt(self.now)
    }

    fn has_proof(&self) -> bool {
        self.streams.have_proven(self.now)
    }
}

/// Message N carries the time N.
fn a_number(stream: &str, number: u64) -> Number {
    Number {
        stream: stream.to_owned(),
        number,
        newest: Some(number.cast_signed()),
    }
}

fn lost(reason: Reason, until: Option<i64>) -> Option<Loss> {
    Some(Loss { reason, until })
}

#[test]
fn a_stream_that_is_not_known_is_one_loss_and_one_that_goes_on_is_none() {
    let mut test = Test::new();
    assert_eq!(test.message("a", 7), lost(Reason::Unknown, None));
    assert_eq!(test.message("a", 8), None);
    test.restart();
    assert_eq!(test.message("a", 9), None);
    assert_eq!(test.announce("b", 0), lost(Reason::Unknown, None));
    assert_eq!(test.message("b", 1), None);
}

#[test]
fn a_jump_is_a_loss_up_to_the_time_that_it_carries_and_a_repeat_is_none() {
    let mut test = Test::reading(3);
    assert_eq!(test.message("a", 6), lost(Reason::Jump, Some(6)));
    assert_eq!(test.message("a", 5), None);
    assert_eq!(test.message("a", 6), None);
    assert_eq!(test.message("a", 7), None);
}

#[test]
fn what_is_announced_and_does_not_come_is_a_doubt_and_a_loss_after_a_minute_without_any() {
    let mut test = Test::reading(3);
    assert!(!test.is_in_doubt());
    test.announce("a", 9);
    assert!(test.is_in_doubt() && !test.has_proof());
    test.now += Duration::from_secs(59);
    assert_eq!(test.announce("a", 9), None);
    test.message("a", 4);
    assert_eq!(test.wait(59), None);
    test.announce("a", 9);
    assert_eq!(test.wait(1), lost(Reason::Late, Some(9)));
    assert!(!test.is_in_doubt());
    assert_eq!(test.message("a", 10), None);
}

#[test]
fn announcements_that_are_missed_are_a_doubt_unless_the_relay_has_ended() {
    let mut test = Test::reading(3);
    assert_eq!(test.wait(6), None);
    assert!(test.is_in_doubt());
    test.announce("a", 3);
    assert!(!test.is_in_doubt());
    test.say("a", 3, 3, true);
    assert_eq!(test.wait(3_600), None);
    assert!(!test.is_in_doubt());
    // The relay is back, and has not announced anything yet.
    test.message("a", 4);
    assert!(test.is_in_doubt());
    test.announce("a", 4);
    assert!(!test.is_in_doubt());
}

#[test]
fn a_relay_has_ended_as_soon_as_the_last_message_that_it_announced_is_here() {
    let mut test = Test::reading(3);
    test.say("a", 5, 5, true);
    test.message("a", 4);
    assert!(test.is_in_doubt());
    test.message("a", 5);
    assert_eq!(test.wait(3_600), None);
    assert!(!test.is_in_doubt());
}

#[test]
fn a_restart_of_the_server_is_a_doubt_until_the_next_announcement() {
    let mut test = Test::reading(3);
    test.restart();
    assert!(test.is_in_doubt() && !test.has_proof());
    test.announce("a", 3);
    assert!(!test.is_in_doubt() && test.has_proof());
}

#[test]
fn what_was_announced_over_another_connection_proves_nothing_and_is_no_loss() {
    let mut test = Test::reading(3);
    test.announce("a", 9);
    test.streams.connected(test.now);
    assert!(test.is_in_doubt() && !test.has_proof());
    assert_eq!(test.wait(59), None);
    test.announce("a", 3);
    assert!(!test.is_in_doubt() && test.has_proof());
    assert_eq!(test.wait(5), None);
}

#[test]
fn a_relay_that_never_announces_is_never_in_doubt_and_proves_nothing() {
    let mut test = Test::new();
    test.message("a", 3);
    test.wait(3_600);
    assert!(!test.is_in_doubt() && !test.streams.can_prove());
}

#[test]
fn messages_without_numbers_take_the_proof_away_until_a_stream_begins() {
    let mut test = Test::reading(3);
    assert!(test.has_proof());
    test.streams.arrived_without_number(test.now);
    assert!(!test.streams.can_prove() && !test.is_in_doubt() && !test.has_proof());
    test.announce("b", 0);
    assert!(!test.streams.can_prove());
    test.message("b", 1);
    assert!(test.has_proof());
    test.streams.arrived_without_number(test.now);
    test.message("c", 1);
    test.announce("c", 1);
    assert!(test.has_proof());
}

#[test]
fn a_relay_of_an_earlier_version_takes_over_with_a_loss() {
    let mut test = Test::reading(3);
    test.wait(59);
    assert_eq!(test.streams.arrived_without_number(test.now), None);
    test.wait(1);
    let silent = lost(Reason::Silent, None);
    assert_eq!(test.streams.arrived_without_number(test.now), silent);
    assert!(!test.is_in_doubt());
    assert_eq!(test.message("a", 4), lost(Reason::Unknown, None));
}

#[test]
fn a_stream_that_another_one_replaces_is_forgotten_with_a_loss_or_after_a_clean_end_without() {
    let mut test = Test::reading(3);
    test.wait(58);
    test.announce("b", 0);
    assert_eq!(test.wait(2), lost(Reason::Silent, None));
    test.message("b", 1);
    assert!(test.has_proof());
    test.say("b", 1, 1, true);
    test.wait(58);
    test.announce("c", 0);
    assert_eq!(test.wait(2), None);
    test.message("c", 1);
    assert!(test.has_proof());
}

#[test]
fn a_backlog_from_a_copy_is_a_loss() {
    let mut test = Test::reading(100);
    assert_eq!(test.say("a", 60, 100, false), None);
    test.message("a", 101);
    // Overtaken by a message that was numbered after it.
    assert_eq!(test.say("a", 60, 100, false), None);
    assert_eq!(test.say("a", 60, 60, false), lost(Reason::Back, None));
    assert_eq!(test.message("a", 61), None);
    assert_eq!(test.message("a", 63), lost(Reason::Jump, Some(63)));
}

#[test]
fn anybody_who_may_publish_makes_no_more_streams_known_than_some() {
    let mut test = Test::new();
    for at in 0..1_000 {
        test.message(&format!("s{at}"), at);
    }
    assert_eq!(test.streams.known.len(), STREAMS_MAX);
    // Those that came last are known.
    assert_eq!(test.message("s984", 985), None);
    assert_eq!(test.message("s0", 1), lost(Reason::Unknown, None));
    assert!(test.streams.note().len() < 4_096);
    assert_eq!(Streams::read(Some("{}?")).known.len(), 0);
}

/// What a relay has published, and what of it is in the queue of one server.
struct World {
    test: Test,
    random: fastrand::Rng,
    stream: u32,
    sent: u64,
    queue: std::collections::VecDeque<(u32, u64)>,
    /// What has not arrived, by stream and number.
    missing: std::collections::BTreeSet<(u32, u64)>,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            test: Test::new(),
            random: fastrand::Rng::with_seed(seed),
            stream: 0,
            sent: 0,
            queue: std::collections::VecDeque::new(),
            missing: std::collections::BTreeSet::new(),
            seed,
        }
    }

    fn step(&mut self) {
        match self.random.u32(..100) {
            0..30 => {
                self.sent += 1;
                let sent = (self.stream, self.sent);
                self.missing.insert(sent);
                self.queue.push_back(sent);
                if self.random.u32(..10) == 0 {
                    self.queue.push_back(sent);
                }
            }
            30..60 => self.read(),
            60..62 => self.queue.clear(),
            62..65 => {
                let at = self.random.usize(..=self.queue.len());
                self.queue.remove(at);
            }
            65..68 if self.queue.len() > 1 => {
                let (a, b) = (self.random.usize(..self.queue.len()), 0);
                self.queue.swap(a, b);
            }
            68..70 => self.test.restart(),
            70..71 => (self.stream, self.sent) = (self.stream + 1, 0),
            71..85 => {
                self.wait();
                self.announce();
            }
            _ => self.wait(),
        }
    }

    fn read(&mut self) {
        if let Some((stream, number)) = self.queue.pop_front() {
            let loss = self.test.message(&stream.to_string(), number);
            self.missing.remove(&(stream, number));
            self.reported(loss);
        }
    }

    fn wait(&mut self) {
        let seconds = self.random.u64(..20);
        let loss = self.test.wait(seconds);
        self.reported(loss);
    }

    fn announce(&mut self) {
        let (stream, sent) = (self.stream.to_string(), self.sent);
        let loss = self.test.announce(&stream, sent);
        self.reported(loss);
        if !self.test.is_in_doubt() {
            let missing = self.missing.first();
            assert_eq!(missing, None, "seed {}: complete, and lost", self.seed);
        }
    }

    /// What was published up to now, or up to a time of the stream, is reported as missing.
    fn reported(&mut self, loss: Option<Loss>) {
        let Some(loss) = loss else { return };
        let stream = self.stream;
        self.missing.retain(|(of, number)| {
            *of == stream && loss.until.is_some_and(|until| number.cast_signed() > until)
        });
    }

    /// The last fault is over: everything that was sent arrives or is reported.
    fn come_to_rest(&mut self) {
        while !self.queue.is_empty() {
            self.read();
        }
        for _ in 0..70 {
            let loss = self.test.wait(1);
            self.reported(loss);
            self.announce();
        }
        assert!(!self.test.is_in_doubt(), "seed {}", self.seed);
    }
}

#[test]
fn whatever_is_lost_doubled_reordered_purged_or_replaced_is_never_called_complete() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.come_to_rest();
    }
}
