use std::collections::VecDeque;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use super::*;
use crate::relay::backlog::{Commit, Status};
use crate::update::{BugId, When};

const DEADLINE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_hours(1);

/// What a destination was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Connect,
    Send(Vec<u32>),
    /// The number that was sent last, and whether it is the last announcement.
    Announce(u64, bool),
    Close,
}

/// A destination that takes everything, once it has given the answers that it is to give.
struct Fake {
    asked: Sender<Asked>,
    answers: VecDeque<(usize, SendError)>,
    /// To the first attempts to connect.
    refusals: VecDeque<SendError>,
    /// The relay is stopped during each attempt.
    is_stopped_meanwhile: bool,
    waits_for: Option<&'static str>,
    is_announced_to: bool,
}

impl Fake {
    fn ask(&self, asked: Asked) {
        // A test that has seen enough listens no more.
        let _ = self.asked.send(asked);
    }
}

impl Destination for Fake {
    fn batch_max(&self) -> usize {
        3
    }

    fn connect(&mut self, stop: &Stop) -> Result<(), SendError> {
        self.ask(Asked::Connect);
        if self.is_stopped_meanwhile {
            stop.request();
        }
        self.refusals.pop_front().map_or(Ok(()), Err)
    }

    fn send(
        &mut self,
        changes: &[Entry],
        stop: &Stop,
        waiting: &mut dyn FnMut(&str),
    ) -> (usize, Result<(), SendError>) {
        self.waits_for.into_iter().for_each(waiting);
        let bugs = changes.iter().map(|entry| entry.update.bug.get());
        self.ask(Asked::Send(bugs.collect()));
        if self.is_stopped_meanwhile {
            stop.request();
        }
        match self.answers.pop_front() {
            Some((_, SendError::Failed(why))) if why == "panic" => panic!("a fault"),
            Some((count, why)) => (count, Err(why)),
            None => (changes.len(), Ok(())),
        }
    }

    fn is_announced_to(&self) -> bool {
        self.is_announced_to
    }

    fn announce(&mut self, announcement: &Announcement) {
        let (sent, is_end) = (announcement.sent.number, announcement.is_end);
        self.ask(Asked::Announce(sent, is_end));
    }

    fn close(&mut self) {
        self.ask(Asked::Close);
    }
}

/// An outlet at work.
struct Stage {
    backlog: Backlog,
    key: Key,
    ring: SyncSender<()>,
    stop: Stop,
    is_claimed: Arc<AtomicBool>,
    counts: Arc<OutletCounts>,
    asked: Receiver<Asked>,
    ends: Receiver<End>,
    thread: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Changes of the bugs 1 to `bugs` wait.
    fn new(bugs: u32, prepare: impl FnOnce(&mut Fake, &mut Outlet)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backlog");
        let mut backlog = Backlog::open(&file, Commit::Fast).unwrap();
        let key = backlog.enroll(&["it".to_owned()]).unwrap()[0];
        let ((ask, asked), (ring, bell)) = (mpsc::channel(), mpsc::sync_channel(1));
        let (end, ends) = mpsc::channel();
        let fake = || Fake {
            asked: ask.clone(),
            answers: VecDeque::new(),
            refusals: VecDeque::new(),
            is_stopped_meanwhile: false,
            waits_for: None,
            is_announced_to: false,
        };
        let mut outlet = Outlet {
            name: "it".to_owned(),
            destination: Box::new(fake()),
            backlog: Backlog::open(&file, Commit::Fast).unwrap(),
            key,
            bell,
            stop: Stop::default(),
            ends: end,
            backoff: Backoff::new(LONG, LONG),
            pauses: Pauses::default(),
            is_claimed: Arc::new(AtomicBool::new(true)),
            state: OutletState::default(),
            counts: Arc::default(),
        };
        let mut prepared = fake();
        prepare(&mut prepared, &mut outlet);
        outlet.destination = Box::new(prepared);
        let mut stage = Self {
            backlog,
            key,
            ring,
            stop: outlet.stop.clone(),
            is_claimed: Arc::clone(&outlet.is_claimed),
            counts: Arc::clone(&outlet.counts),
            asked,
            ends,
            thread: thread::spawn(|| {}),
            folder,
        };
        stage.append(1..=bugs);
        stage.thread = thread::spawn(move || outlet.run());
        stage
    }

    fn append(&mut self, bugs: impl Iterator<Item = u32>) {
        let update = |bug| Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(1_000),
        };
        let updates: Vec<Update> = bugs.map(update).collect();
        let keys = [self.key];
        self.backlog.append(&updates, &keys, 2_000, None).unwrap();
    }

    /// From now on, nothing is taken out of the backlog, as on a disk that is full.
    fn fill_disk(&self) {
        let file = rusqlite::Connection::open(self.folder.path().join("backlog")).unwrap();
        let refuse = "CREATE TRIGGER full BEFORE DELETE ON push_backlog
            BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
        file.execute_batch(refuse).unwrap();
    }

    fn is_asked(&self, expected: Asked) {
        assert_eq!(self.asked.recv_timeout(DEADLINE).unwrap(), expected);
    }

    /// Its state, once that is as it should be.
    fn status(&self, is_right: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.backlog.status().unwrap().remove(0);
            if is_right(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            thread::yield_now();
        }
    }

    /// What it was asked for when it was to stop.
    fn end(self) -> Vec<Asked> {
        self.stop.request();
        let _ = self.ring.try_send(());
        self.thread.join().unwrap();
        self.asked.try_iter().collect()
    }
}

fn send(bugs: &[u32]) -> Asked {
    Asked::Send(bugs.to_vec())
}

#[test]
fn changes_go_out_in_order_and_are_forgotten_when_they_have_arrived() {
    let mut stage = Stage::new(4, |_, _| {});
    stage.is_asked(send(&[1, 2, 3]));
    stage.is_asked(send(&[4]));
    stage.is_asked(Asked::Connect);
    stage.status(|status| status.depth == 0);
    stage.append(5..=5);
    stage.ring.send(()).unwrap();
    stage.is_asked(send(&[5]));
    stage.is_asked(Asked::Connect);
    stage.status(|status| status.depth == 0);
    assert_eq!(stage.counts.arrived.load(Ordering::Relaxed), 5);
    assert_eq!(stage.end(), [Asked::Close], "nobody hears how far it is");
}

#[test]
fn nothing_goes_out_before_the_relay_has_the_claim() {
    let stage = Stage::new(1, |_, outlet| outlet.is_claimed = Arc::default());
    // The third can ring only when the first two have been heard.
    (0..3).for_each(|_| stage.ring.send(()).unwrap());
    assert!(stage.asked.try_recv().is_err());
    stage.is_claimed.store(true, Ordering::Relaxed);
    let _ = stage.ring.try_send(());
    stage.is_asked(send(&[1]));
    let stage = Stage::new(1, |_, outlet| outlet.is_claimed = Arc::default());
    assert_eq!(stage.end(), [Asked::Close]);
}

#[test]
fn a_change_that_is_refused_is_kept_apart_and_the_others_go_on() {
    let stage = Stage::new(4, |fake, _| {
        let why = SendError::Refused("no such bug".to_owned());
        fake.answers.push_back((1, why));
    });
    stage.is_asked(send(&[1, 2, 3]));
    stage.is_asked(send(&[3, 4]));
    stage.is_asked(Asked::Connect);
    let status = stage.status(|status| status.depth == 0);
    assert_eq!(status.refused, 1);
    assert!(status.error.unwrap().0.ends_with("refused: no such bug"));
    let refused = stage.backlog.refused().unwrap();
    assert_eq!((refused.len(), refused[0].bug), (1, 2));
    assert_eq!(stage.counts.arrived.load(Ordering::Relaxed), 3);
    assert_eq!(stage.counts.refused.load(Ordering::Relaxed), 1);
    assert_eq!(stage.counts.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_destination_that_fails_is_left_alone_as_long_as_it_asks_for_and_a_stop_waits_for_nothing() {
    let stage = Stage::new(2, |fake, _| {
        fake.is_announced_to = true;
        let why = "it is full".to_owned();
        fake.answers.push_back((1, SendError::PutOffFor(why, LONG)));
    });
    stage.is_asked(send(&[1, 2]));
    stage.is_asked(Asked::Announce(1, false));
    let status = stage.status(|status| status.next_attempt.is_some());
    let (why, at) = status.error.unwrap();
    assert_eq!((why.as_str(), status.depth), ("it is full", 1));
    assert_eq!(status.next_attempt, Some(at + LONG.as_secs() as i64));
    assert_eq!(stage.counts.failed.load(Ordering::Relaxed), 1);
    // Meanwhile others hear how far it is.
    stage.is_asked(Asked::Announce(1, false));
    assert_eq!(stage.end(), [Asked::Announce(1, true), Asked::Close]);
}

#[test]
fn pauses_grow_until_something_arrives() {
    const FAILURES: usize = 8;
    let stage = Stage::new(2, |fake, outlet| {
        outlet.backoff = Backoff::new(Duration::from_millis(1), LONG);
        outlet.pauses = "0s,1h".parse().unwrap();
        let failed = || (0, SendError::Failed("it is gone".to_owned()));
        let put_off = || SendError::PutOff("not now".to_owned());
        fake.answers.extend((0..FAILURES).map(|_| failed()));
        fake.answers.extend([(0, put_off()), (1, put_off())]);
        // Without a new beginning, the next of them would be minutes away.
        fake.answers.extend((0..FAILURES).map(|_| failed()));
    });
    (0..FAILURES + 2).for_each(|_| stage.is_asked(send(&[1, 2])));
    (0..=FAILURES).for_each(|_| stage.is_asked(send(&[2])));
    stage.is_asked(Asked::Connect);
    let status = stage.status(|status| status.depth == 0);
    assert_eq!(status.next_attempt, None, "it works again");
}

#[test]
fn a_panic_is_a_failure_and_ends_nothing() {
    let stage = Stage::new(1, |fake, outlet| {
        outlet.backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        let panic = SendError::Failed("panic".to_owned());
        fake.answers.push_back((0, panic));
    });
    (0..2).for_each(|_| stage.is_asked(send(&[1])));
    stage.is_asked(Asked::Connect);
    stage.status(|status| status.depth == 0);
    assert_eq!(stage.counts.failed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_change_is_worth_an_attempt_while_an_idle_destination_is_left_alone() {
    let mut stage = Stage::new(0, |fake, _| {
        fake.refusals
            .push_back(SendError::PutOff("it starts".to_owned()));
    });
    stage.is_asked(Asked::Connect);
    stage.status(|status| status.next_attempt.is_some());
    stage.append(1..=1);
    stage.ring.send(()).unwrap();
    stage.is_asked(send(&[1]));
}

#[test]
fn a_relay_whose_output_nobody_reads_is_told_to_end() {
    let stage = Stage::new(1, |fake, _| {
        fake.answers.push_back((0, SendError::NobodyReads));
    });
    let end = stage.ends.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(end, End::NobodyReads));
    stage.thread.join().unwrap();
}

#[test]
fn what_a_destination_waits_for_is_known_meanwhile() {
    let stage = Stage::new(1, |fake, _| fake.waits_for = Some("it is slow"));
    stage.is_asked(send(&[1]));
    let status = stage.status(|status| status.error.is_some());
    assert_eq!(status.error.unwrap().0, "it is slow");
}

#[test]
fn those_behind_a_destination_hear_now_and_then_how_far_it_is_while_it_is_idle() {
    let stage = Stage::new(1, |fake, _| fake.is_announced_to = true);
    stage.is_asked(send(&[1]));
    stage.is_asked(Asked::Announce(1, false));
    stage.is_asked(Asked::Connect);
    stage.is_asked(Asked::Connect);
    stage.is_asked(Asked::Announce(1, false));
}

#[test]
fn an_attempt_that_a_stop_has_ended_is_no_failure() {
    for bugs in [0, 1] {
        let stage = Stage::new(bugs, |fake, _| {
            fake.is_stopped_meanwhile = true;
            let why = || SendError::Failed("it was stopped".to_owned());
            fake.answers.push_back((0, why()));
            fake.refusals.push_back(why());
        });
        stage.is_asked(if bugs == 0 {
            Asked::Connect
        } else {
            send(&[1])
        });
        stage.is_asked(Asked::Close);
        assert_eq!(stage.status(|_| true).error, None);
        assert_eq!(stage.counts.failed.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn what_was_answered_goes_out_once_though_it_cannot_be_forgotten() {
    let refused = SendError::Refused("no such bug".to_owned());
    for answer in [None, Some((0, refused))] {
        let mut stage = Stage::new(0, |fake, _| fake.answers.extend(answer));
        stage.is_asked(Asked::Connect);
        stage.append(1..=1);
        stage.fill_disk();
        stage.ring.send(()).unwrap();
        stage.is_asked(send(&[1]));
        stage.is_asked(Asked::Connect);
        assert_eq!(stage.status(|_| true).depth, 1);
    }
}

#[test]
fn a_refusal_for_good_is_an_answer_too_and_pauses_begin_anew() {
    let stage = Stage::new(2, |fake, outlet| {
        outlet.pauses = "0s,1h".parse().unwrap();
        let put_off = || (0, SendError::PutOff("not now".to_owned()));
        let refused = (0, SendError::Refused("no such bug".to_owned()));
        fake.answers.extend([put_off(), refused, put_off()]);
    });
    (0..2).for_each(|_| stage.is_asked(send(&[1, 2])));
    (0..2).for_each(|_| stage.is_asked(send(&[2])));
    stage.is_asked(Asked::Connect);
}

#[test]
fn a_change_begins_the_pauses_of_an_idle_destination_anew() {
    const FAILURES: usize = 8;
    let mut stage = Stage::new(0, |fake, outlet| {
        outlet.backoff = Backoff::new(Duration::from_millis(1), LONG);
        let failed = || SendError::Failed("it is gone".to_owned());
        fake.refusals.extend((0..FAILURES).map(|_| failed()));
        fake.answers.extend((0..FAILURES).map(|_| (0, failed())));
        // Nobody gets further before a change has come.
        fake.refusals
            .push_back(SendError::PutOff("not now".to_owned()));
    });
    (0..FAILURES).for_each(|_| stage.is_asked(Asked::Connect));
    stage.append(1..=1);
    stage.ring.send(()).unwrap();
    (0..=FAILURES).for_each(|_| stage.is_asked(send(&[1])));
}
