//! Which numbered messages a queue has brought, and what that proves: the relay numbers the changes
//! that it publishes, and announces every two seconds how far it is (`amqp::Number`). Pure: the time
//! is passed in, and what comes out is a loss or a doubt. Knows no broker and no history.
//!
//! A stream that is not known is a loss, since what it sent before is not known either; so is a
//! number that jumps. What lies at the end of a stream shows by the announcements: a number ahead
//! of ours is a doubt, and a loss when the messages do not come. What is forgotten here is a loss
//! when it comes again, so that it may be forgotten at any time, if that counts as a loss itself.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::amqp::{Announcement, Number};

/// How long announcements may be missing: three of them.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// How long a relay may be silent before another publisher counts as its successor.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// How many streams are known at most. One is the rule; who may publish can make any number.
const STREAMS_MAX: usize = 16;

/// What is known of all streams of an exchange. It goes through JSON to be noted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Streams {
    known: Vec<Stream>,
    /// Whether messages without a number have come since the last stream began.
    has_others: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    id: String,
    /// The largest number that has arrived or was reported as lost.
    last: u64,
    /// Whether a message has come, and not only announcements.
    is_read: bool,
    /// Whether its relay announces at all.
    is_announced: bool,
    /// The number at which it has ended as it should.
    ended_at: Option<u64>,
    /// When the last announcement came over this connection.
    #[serde(skip)]
    heard: Option<Instant>,
    /// When this connection began.
    #[serde(skip)]
    connected: Option<Instant>,
    /// `last` when it came.
    #[serde(skip)]
    last_when_heard: u64,
    #[serde(skip)]
    ahead: Option<Ahead>,
}

/// Messages that were announced, and have not arrived.
#[derive(Debug)]
struct Ahead {
    number: u64,
    newest: Option<i64>,
    /// When the last message of the stream came.
    since: Instant,
}

/// Messages that are lost, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why that is known.
    pub reason: Reason,
    /// The database's time (Unix seconds) after which nothing is missing, where it is known.
    pub until: Option<i64>,
}

/// How a loss is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known of what the stream carried before.
    Unknown,
    /// Numbers are missing.
    Jump,
    /// Numbers that were announced do not come.
    Late,
    /// The stream has fewer numbers than have arrived.
    Back,
    /// Others publish, and this one says nothing any more.
    Silent,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Unknown => "the relay's backlog is new, or was not read before",
            Reason::Jump => "messages of the relay are missing, by their numbers",
            Reason::Late => "messages that the relay has sent do not arrive",
            Reason::Back => "the relay's backlog is an older one than before",
            Reason::Silent => "another relay or publisher has taken over",
        })
    }
}

impl Streams {
    /// Reads what was noted; what cannot be read is as good as nothing.
    pub fn read(note: Option<&str>) -> Self {
        note.and_then(|note| serde_json::from_str(note).ok())
            .unwrap_or_default()
    }

    /// What is to be noted together with the updates of the messages.
    pub fn note(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are always JSON")
    }

    /// A connection begins: what was announced over another one proves nothing now.
    pub fn connected(&mut self, now: Instant) {
        for stream in &mut self.known {
            (stream.heard, stream.ahead) = (None, None);
            stream.connected = Some(now);
        }
    }

    /// A message with a number has arrived.
    pub fn arrived(&mut self, number: &Number, now: Instant) -> Option<Loss> {
        let Some(stream) = self.known.iter_mut().find(|s| s.id == number.stream) else {
            self.add(&number.stream, number.number).is_read = true;
            self.has_others = false;
            return Some(Loss {
                reason: Reason::Unknown,
                until: None,
            });
        };
        if !std::mem::replace(&mut stream.is_read, true) {
            self.has_others = false;
        }
        if number.number <= stream.last {
            return None;
        }
        let is_next = number.number == stream.last + 1;
        stream.progress(number.number, now);
        (!is_next).then_some(Loss {
            reason: Reason::Jump,
            until: number.newest,
        })
    }

    /// A message without a number has arrived.
    pub fn arrived_without_number(&mut self, now: Instant) -> Option<Loss> {
        self.has_others = true;
        self.forget(|stream| stream.has_gone(now) && !stream.has_ended())
    }

    /// A relay has announced how far it is.
    pub fn announced(&mut self, said: &Announcement, now: Instant) -> Option<Loss> {
        let Some(stream) = self.known.iter_mut().find(|s| s.id == said.sent.stream) else {
            let stream = self.add(&said.sent.stream, said.sent.number);
            stream.hear(said, now);
            return Some(Loss {
                reason: Reason::Unknown,
                until: None,
            });
        };
        // A message that was sent after the announcement may overtake it, but not the next one.
        let is_back = stream.heard.is_some() && said.given < stream.last_when_heard;
        if is_back {
            stream.last = said.given;
        }
        stream.hear(said, now);
        is_back.then_some(Loss {
            reason: Reason::Back,
            until: None,
        })
    }

    /// Time has passed. Messages that were announced are lost when none of them arrives for
    /// `patience`.
    pub fn tick(&mut self, now: Instant, patience: Duration) -> Option<Loss> {
        for stream in &mut self.known {
            let is_late = |ahead: &mut Ahead| now.duration_since(ahead.since) >= patience;
            if let Some(ahead) = stream.ahead.take_if(is_late) {
                stream.last = ahead.number;
                return Some(Loss {
                    reason: Reason::Late,
                    until: ahead.newest,
                });
            }
        }
        if self.known.iter().any(|stream| stream.speaks(now)) {
            return self.forget(|stream| stream.has_gone(now));
        }
        None
    }

    /// Whether something may be lost that will be known soon.
    pub fn is_in_doubt(&self, now: Instant) -> bool {
        self.known
            .iter()
            .any(|stream| stream.ahead.is_some() || stream.has_fallen_silent(now))
    }

    /// Whether announcements can prove that nothing was lost at all.
    pub fn can_prove(&self) -> bool {
        !self.has_others
            && !self.known.is_empty()
            && self.known.iter().all(|stream| stream.is_announced)
    }

    /// Whether announcements of this connection have proven that nothing was lost at all.
    pub fn have_proven(&self, now: Instant) -> bool {
        self.can_prove()
            && self.known.iter().all(|stream| stream.heard.is_some())
            && !self.is_in_doubt(now)
    }

    /// Makes a stream known, in the place of the first one where there are too many.
    fn add(&mut self, id: &str, last: u64) -> &mut Stream {
        if self.known.len() == STREAMS_MAX {
            self.known.remove(0);
        }
        self.known.push(Stream {
            id: id.to_owned(),
            last,
            is_read: false,
            is_announced: false,
            ended_at: None,
            heard: None,
            connected: None,
            last_when_heard: 0,
            ahead: None,
        });
        self.known.last_mut().expect("it was just put there")
    }

    /// What is forgotten is lost, except where the end of the stream was announced and is here.
    fn forget(&mut self, is_gone: impl Fn(&Stream) -> bool) -> Option<Loss> {
        let gone = self.known.extract_if(.., |stream| is_gone(stream));
        let is_loss = gone.filter(|stream| !stream.has_ended()).count() > 0;
        is_loss.then_some(Loss {
            reason: Reason::Silent,
            until: None,
        })
    }
}

impl Stream {
    fn progress(&mut self, number: u64, now: Instant) {
        self.last = number;
        self.ended_at = self.ended_at.filter(|end| number <= *end);
        if let Some(ahead) = &mut self.ahead {
            ahead.since = now;
        }
        self.ahead.take_if(|ahead| ahead.number <= number);
    }

    fn hear(&mut self, said: &Announcement, now: Instant) {
        self.is_announced = true;
        self.ended_at = said.is_end.then_some(said.sent.number);
        self.heard = Some(now);
        self.last_when_heard = self.last;
        if said.sent.number > self.last {
            let since = self.ahead.take().map_or(now, |ahead| ahead.since);
            self.ahead = Some(Ahead {
                number: said.sent.number,
                newest: said.sent.newest,
                since,
            });
        }
    }

    fn speaks(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|heard| now.duration_since(heard) < SILENCE_MAX)
    }

    fn has_fallen_silent(&self, now: Instant) -> bool {
        self.is_announced && self.ended_at.is_none() && !self.speaks(now)
    }

    /// Whether its relay has ended as it should, and everything that it sent is here.
    fn has_ended(&self) -> bool {
        self.ended_at.is_some() && self.ahead.is_none()
    }

    /// Whether it has been silent for so long that it may have been replaced.
    fn has_gone(&self, now: Instant) -> bool {
        let is_long_ago = |since| now.duration_since(since) >= AWAY_MAX;
        self.is_announced && self.heard.or(self.connected).is_some_and(is_long_ago)
    }
}

#[cfg(test)]
mod tests {
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
        assert!(test.is_in_doubt());
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
    fn a_restart_of_the_server_is_a_doubt_until_the_next_announcement() {
        let mut test = Test::reading(3);
        test.restart();
        assert!(test.is_in_doubt() && !test.has_proof());
        test.announce("a", 3);
        assert!(!test.is_in_doubt() && test.has_proof());
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
        assert!(!test.streams.can_prove() && !test.is_in_doubt());
        test.announce("b", 0);
        assert!(!test.streams.can_prove());
        test.message("b", 1);
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
    }

    #[test]
    fn anybody_who_may_publish_makes_no_more_streams_known_than_some() {
        let mut test = Test::new();
        for at in 0..1_000 {
            test.message(&format!("s{at}"), at);
        }
        assert_eq!(test.streams.known.len(), STREAMS_MAX);
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
}
