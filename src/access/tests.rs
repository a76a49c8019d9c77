//! What Bugzilla is asked and when, and what becomes of its answers.

use super::rights::Changed;
use super::*;
use crate::moment::Moment;
use crate::subscriptions::ClientId;
use crate::update::BugId;

/// From one request to the next, in milliseconds.
const INTERVAL: u32 = 1_000;

const MINUTE: u32 = 60_000;
const HOUR: u32 = 60 * MINUTE;

const A: ClientId = ClientId(1);
const B: ClientId = ClientId(2);
const HERE: AddressId = AddressId(1);

fn key(text: &str) -> Shown {
    Shown::Bearer(Secret::from(text.as_bytes()))
}

fn bugs(numbers: &[u32]) -> Vec<BugId> {
    let bugs = numbers.iter().map(|&number| BugId::new(number).unwrap());
    bugs.collect()
}

fn sees(numbers: &[u32]) -> Option<Said> {
    Some(Said::Sees(bugs(numbers)))
}

/// The rights, and the time.
struct World {
    rights: Rights,
    now: Moment,
}

impl World {
    fn new() -> Self {
        Self {
            rights: Rights::new(b"a key", INTERVAL),
            now: Moment(100 * HOUR),
        }
    }

    fn wait(&mut self, milliseconds: u32) {
        self.now = self.now.plus(milliseconds);
        self.rights.tick(self.now);
    }

    fn present(&mut self, shown: &Shown, client: ClientId) -> Presented {
        self.rights.present(shown, HERE, client, self.now)
    }

    fn ask(&mut self, who: Who, bug: u32, client: ClientId) {
        let bug = BugId::new(bug).unwrap();
        assert!(self.rights.ask(who, bug, HERE, Rank::New, client));
    }

    fn look(&self, who: Who, bug: u32, purpose: Purpose) -> Result<bool, Who> {
        let bug = BugId::new(bug).unwrap();
        self.rights.look(who, bug, purpose, self.now)
    }

    fn last(&self, who: Who, bug: u32) -> bool {
        self.rights.last(who, BugId::new(bug).unwrap())
    }

    fn question(&mut self) -> Option<Question> {
        self.rights.next_question(self.now)
    }

    fn answer(&mut self, question: &Question, said: Option<Said>) -> Changed {
        let number = question.number;
        self.rights.take(Answer { number, said }, self.now)
    }

    /// Has the next question answered as soon as it may be asked.
    fn answered(&mut self, said: Option<Said>) -> (Question, Changed) {
        self.wait(INTERVAL);
        let question = self.question().expect("there is a question");
        let changed = self.answer(&question, said);
        (question, changed)
    }

    /// A reader whom Bugzilla knows.
    fn reader(&mut self, shown: &Shown) -> ReaderId {
        assert_eq!(self.present(shown, A), Presented::Waits);
        self.answered(sees(&[]));
        match self.present(shown, A) {
            Presented::Somebody(reader) => reader,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_shows_a_credential_waits_until_bugzilla_knows_it_or_not() {
    let mut world = World::new();
    assert_eq!(world.present(&key("a"), A), Presented::Waits);
    assert_eq!(world.present(&key("a"), B), Presented::Waits);
    let (question, changed) = world.answered(sees(&[]));
    assert_eq!((question.shown, question.bugs), (key("a"), bugs(&[])));
    assert_eq!((changed.waiting, changed.ended), (vec![A, B], None));
    assert!(matches!(
        world.present(&key("a"), A),
        Presented::Somebody(_)
    ));

    assert_eq!(world.present(&key("b"), A), Presented::Waits);
    let (_, changed) = world.answered(Some(Said::Stranger));
    assert_eq!(changed.waiting, [A]);
    assert!(changed.ended.is_some());
    assert_eq!(world.present(&key("b"), A), Presented::Stranger);
    assert_eq!(world.present(&Shown::Nothing, A), Presented::Busy);
}

#[test]
fn the_same_text_as_a_key_and_as_cookies_is_two_readers() {
    let mut world = World::new();
    let cookies = Shown::Cookies(Secret::from(&b"a"[..]));
    assert_ne!(world.reader(&key("a")), world.reader(&cookies));
    assert_eq!(world.rights.counts().readers, 2);
}

#[test]
fn that_a_reader_is_known_counts_for_an_hour_and_that_it_is_not_for_ten_minutes() {
    for (said, counts) in [(sees(&[]), HOUR), (Some(Said::Stranger), 10 * MINUTE)] {
        let mut world = World::new();
        assert_eq!(world.present(&key("a"), A), Presented::Waits);
        world.answered(said);
        world.wait(counts);
        assert_ne!(world.present(&key("a"), A), Presented::Waits);
        world.wait(1);
        assert_eq!(world.present(&key("a"), A), Presented::Waits);
    }
}

#[test]
fn one_question_is_asked_at_a_time_and_no_sooner_than_the_interval_says() {
    let mut world = World::new();
    assert_eq!(world.rights.until_due(world.now), None);
    world.ask(Who::Nobody, 1, A);
    assert_eq!(world.rights.until_due(world.now), Some(0));
    let first = world.question().unwrap();
    let reader = world.present(&key("a"), B);
    assert_eq!(reader, Presented::Waits);
    world.wait(10);
    assert!(world.question().is_none());
    assert_eq!(world.rights.until_due(world.now), Some(29_990));
    world.answer(&first, sees(&[]));
    assert!(world.question().is_none());
    assert_eq!(world.rights.until_due(world.now), Some(INTERVAL - 10));
    world.wait(INTERVAL - 11);
    assert!(world.question().is_none());
    world.wait(1);
    let second = world.question().unwrap();
    assert_ne!(first.number, second.number);
}

#[test]
fn a_question_asks_for_a_hundred_bugs() {
    let mut world = World::new();
    for bug in 1..=101 {
        world.ask(Who::Nobody, bug, ClientId(bug));
    }
    let (question, changed) = world.answered(sees(&[]));
    assert_eq!((question.bugs.len(), changed.waiting.len()), (100, 100));
    assert_eq!(world.rights.counts().waiting, 1);
    let (question, changed) = world.answered(sees(&[]));
    assert_eq!(
        (question.bugs, changed.waiting),
        (bugs(&[101]), vec![ClientId(101)])
    );
    assert_eq!(question.shown, Shown::Nothing);
    assert_eq!(question.digest, ReaderDigest::default());
    let counts = world.rights.counts();
    assert_eq!((counts.answered, counts.failed, counts.waiting), (2, 0, 0));
}

#[test]
fn what_failed_is_asked_again_after_a_pause_that_doubles_up_to_half_a_minute() {
    let mut world = World::new();
    world.ask(Who::Nobody, 1, A);
    world.wait(INTERVAL);
    for pause in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        let question = world.question().unwrap();
        assert!(world.answer(&question, None).waiting.is_empty());
        assert_eq!(world.rights.until_due(world.now), Some(pause));
        world.wait(pause - 1);
        assert!(world.question().is_none());
        world.wait(1);
    }
    assert_eq!(world.rights.counts().failed, 6);
    let question = world.question().unwrap();
    assert_eq!(world.answer(&question, sees(&[1])).waiting, [A]);
    world.ask(Who::Nobody, 2, A);
    world.answered(None);
    assert_eq!(world.rights.until_due(world.now), Some(2_000), "the first");
}

#[test]
fn a_pause_is_half_a_second_doubled_at_least() {
    let mut world = World::new();
    world.rights = Rights::new(b"a key", 0);
    world.ask(Who::Nobody, 1, A);
    let question = world.question().unwrap();
    world.answer(&question, None);
    assert_eq!(world.rights.until_due(world.now), Some(1_000));
}

#[test]
fn while_questions_fail_newcomers_do_not_wait_but_for_the_first() {
    let mut world = World::new();
    assert_eq!(world.present(&key("a"), A), Presented::Waits);
    world.answered(None);
    assert_eq!(world.present(&key("b"), B), Presented::Busy);
    world.wait(2_000);
    let question = world.question().unwrap();
    world.answer(&question, sees(&[]));
    assert_eq!(world.present(&key("b"), B), Presented::Waits);
}

#[test]
fn a_question_is_given_up_after_half_a_minute_and_a_later_answer_changes_nothing() {
    let mut world = World::new();
    world.ask(Who::Nobody, 1, A);
    let question = world.question().unwrap();
    world.wait(29_999);
    assert_eq!(world.rights.counts().failed, 0);
    world.wait(1);
    assert_eq!(world.rights.counts().failed, 1);
    assert!(world.answer(&question, sees(&[1])).waiting.is_empty());
    assert_eq!(
        world.look(Who::Nobody, 1, Purpose::Update),
        Err(Who::Nobody)
    );
    world.wait(2_000);
    let again = world.question().unwrap();
    assert_eq!(again.bugs, bugs(&[1]));
    assert!(world.answer(&question, sees(&[1])).waiting.is_empty());
    assert_eq!(world.answer(&again, sees(&[1])).waiting, [A]);
}

#[test]
fn bugzilla_is_silent_since_the_first_question_that_it_has_not_answered() {
    let mut world = World::new();
    world.wait(HOUR);
    world.ask(Who::Nobody, 1, A);
    let question = world.question().unwrap();
    assert_eq!(world.rights.silent(world.now), 0);
    world.wait(10);
    world.answer(&question, None);
    world.wait(2_000);
    let question = world.question().unwrap();
    assert_eq!(world.rights.silent(world.now), 2_010);
    world.answer(&question, sees(&[]));
    assert_eq!(world.rights.silent(world.now), 0);
}

#[test]
fn what_everybody_sees_is_asked_first_and_then_what_a_reader_does() {
    let mut world = World::new();
    let reader = Who::Reader(world.reader(&key("a")));
    let look = |world: &World, bug| {
        let look = |who| world.look(who, bug, Purpose::Update);
        (look(Who::Nobody), look(reader))
    };
    assert_eq!(look(&world, 1), (Err(Who::Nobody), Err(Who::Nobody)));
    for bug in [1, 2, 3] {
        world.ask(Who::Nobody, bug, A);
    }
    world.answered(sees(&[1]));
    assert_eq!(look(&world, 1), (Ok(true), Ok(true)));
    assert_eq!(look(&world, 2), (Ok(false), Err(reader)));
    for bug in [2, 3] {
        world.ask(reader, bug, A);
    }
    let (question, _) = world.answered(sees(&[2]));
    assert_eq!((question.shown, question.bugs), (key("a"), bugs(&[2, 3])));
    assert_eq!(look(&world, 2), (Ok(false), Ok(true)));
    assert_eq!(look(&world, 3), (Ok(false), Ok(false)));
    for (bug, nobody, own) in [(1, true, true), (2, false, true), (3, false, false)] {
        let last = (world.last(Who::Nobody, bug), world.last(reader, bug));
        assert_eq!(last, (nobody, own), "{bug}");
    }
    assert!(!world.last(reader, 4), "it was never said");
}

#[test]
fn an_answer_counts_from_when_it_was_asked_for() {
    let mut world = World::new();
    world.ask(Who::Nobody, 1, A);
    let question = world.question().unwrap();
    world.wait(20_000);
    world.answer(&question, sees(&[1]));
    world.wait(MINUTE - 20_000);
    assert_eq!(world.look(Who::Nobody, 1, Purpose::Update), Ok(true));
    world.wait(1);
    assert_eq!(
        world.look(Who::Nobody, 1, Purpose::Update),
        Err(Who::Nobody)
    );
}

#[test]
fn a_bug_that_has_changed_may_be_seen_by_who_has_not_seen_it() {
    let mut world = World::new();
    world.ask(Who::Nobody, 1, A);
    world.answered(sees(&[]));
    world.wait(1);
    assert_eq!(world.look(Who::Nobody, 1, Purpose::Update), Ok(false));
    world.rights.note_change(bugs(&[1])[0], world.now);
    assert_eq!(
        world.look(Who::Nobody, 1, Purpose::Update),
        Err(Who::Nobody)
    );
}

#[test]
fn a_bugzilla_that_shows_nobody_anything_is_asked_for_readers_only_for_an_hour() {
    let mut world = World::new();
    let reader = Who::Reader(world.reader(&key("a")));
    world.ask(Who::Nobody, 1, A);
    world.answered(sees(&[1]));
    world.ask(Who::Nobody, 2, A);
    let (_, changed) = world.answered(Some(Said::Stranger));
    assert_eq!((changed.waiting, changed.ended), (vec![A], None));
    for bug in [1, 2, 3] {
        assert_eq!(world.look(Who::Nobody, bug, Purpose::Update), Ok(false));
        assert_eq!(world.look(reader, bug, Purpose::Update), Err(reader));
        assert!(!world.last(Who::Nobody, bug));
    }
    world.wait(HOUR);
    assert_eq!(world.look(reader, 3, Purpose::Update), Err(reader));
    world.wait(1);
    assert_eq!(world.look(reader, 3, Purpose::Update), Err(Who::Nobody));

    world.ask(Who::Nobody, 4, A);
    world.answered(Some(Said::Stranger));
    world.ask(Who::Nobody, 4, A);
    world.answered(sees(&[4]));
    assert_eq!(
        world.look(Who::Nobody, 5, Purpose::Update),
        Err(Who::Nobody),
        "it shows something again"
    );
}

#[test]
fn a_reader_who_is_not_known_any_more_has_seen_nothing_and_is_asked_for_nothing() {
    let mut world = World::new();
    let id = world.reader(&key("a"));
    let (reader, other) = (Who::Reader(id), Who::Reader(world.reader(&key("b"))));
    assert_eq!(world.rights.rank(reader), Rank::Known);
    world.ask(reader, 1, A);
    world.answered(sees(&[1]));
    assert!(world.last(reader, 1));
    world.ask(reader, 2, A);
    world.ask(other, 2, ClientId(9));
    world.wait(INTERVAL);
    let question = world.question().unwrap();
    world.ask(reader, 3, B);
    let changed = world.answer(&question, Some(Said::Stranger));
    assert_eq!((changed.waiting, changed.ended), (vec![A, B], Some(id)));
    assert!(!world.last(reader, 1));
    assert_eq!(world.rights.rank(reader), Rank::New);
    assert_eq!(world.rights.rank(Who::Nobody), Rank::New);
    let (question, _) = world.answered(sees(&[]));
    assert_eq!(question.shown, key("b"));
    assert_eq!(world.rights.counts().waiting, 0);
}

#[test]
fn a_reader_is_asked_for_while_a_client_is_here_and_forgotten_an_hour_after() {
    let mut world = World::new();
    let id = world.reader(&key("a"));
    world.rights.enter(id);
    world.rights.enter(id);
    world.rights.leave(id);
    world.wait(2 * HOUR);
    world.ask(Who::Reader(id), 1, A);
    let (question, _) = world.answered(sees(&[1]));
    assert_eq!(question.shown, key("a"));
    world.rights.leave(id);
    world.wait(10 * MINUTE);
    world.ask(Who::Reader(id), 2, A);
    assert!(world.question().is_none(), "nobody is here who can show it");
    assert_eq!(world.rights.counts().waiting, 0);
    assert!(world.last(Who::Reader(id), 1));
    world.wait(HOUR);
    assert_eq!(world.rights.counts().readers, 0);
    assert_eq!(world.rights.until_due(world.now), None);
}

#[test]
fn a_credential_that_bugzilla_never_answers_about_is_forgotten_after_ten_minutes() {
    let mut world = World::new();
    assert_eq!(world.present(&key("a"), A), Presented::Waits);
    world.wait(10 * MINUTE);
    assert_eq!(world.rights.counts().readers, 1);
    world.wait(5 * MINUTE);
    let counts = world.rights.counts();
    assert_eq!((counts.readers, counts.waiting), (0, 0));
}

#[test]
fn what_was_said_before_the_start_counts_for_as_long_as_it_would_have() {
    let mut world = World::new();
    let digest_of = |world: &mut World, shown: &Shown| {
        assert_eq!(world.present(shown, A), Presented::Waits);
        world.answered(sees(&[])).0.digest
    };
    let known = digest_of(&mut world, &key("known"));
    let stranger = digest_of(&mut world, &key("stranger"));
    let kept = || Kept {
        readers: vec![(known, true, 10 * MINUTE), (stranger, false, MINUTE)],
        verdicts: vec![
            (ReaderDigest::default(), bugs(&[1])[0], true, MINUTE / 2),
            (ReaderDigest::default(), bugs(&[2])[0], false, MINUTE / 2),
            (known, bugs(&[2])[0], true, MINUTE / 2),
            (stranger, bugs(&[2])[0], true, MINUTE / 2),
        ],
    };
    let mut world = World::new();
    world.wait(5_000);
    world.rights.remember(kept(), world.now);
    let Presented::Somebody(reader) = world.present(&key("known"), A) else {
        panic!("the reader is known");
    };
    assert_eq!(world.present(&key("stranger"), A), Presented::Stranger);
    let reader = Who::Reader(reader);
    world.wait(MINUTE / 2);
    assert_eq!(world.look(Who::Nobody, 1, Purpose::Update), Ok(true));
    assert_eq!(world.look(reader, 2, Purpose::Update), Ok(true));
    world.wait(1);
    assert_eq!(world.look(reader, 2, Purpose::Update), Err(reader));
    world.wait(9 * MINUTE - MINUTE / 2);
    assert_eq!(world.present(&key("stranger"), A), Presented::Waits);
    world.wait(HOUR);
    assert_eq!(world.present(&key("known"), A), Presented::Waits);
}

#[test]
fn what_was_said_too_long_before_the_start_is_forgotten_at_once() {
    let mut world = World::new();
    world.rights.remember(
        Kept {
            readers: vec![([1; 32], true, 2 * HOUR)],
            verdicts: vec![([1; 32], bugs(&[1])[0], true, 2 * HOUR)],
        },
        world.now,
    );
    world.wait(0);
    assert_eq!(world.rights.counts().readers, 0);
    assert_eq!(world.rights.until_due(world.now), None);
}

#[test]
fn nothing_is_remembered_for_more_than_an_hour() {
    let happen: [fn(&mut World); 3] = [
        |world| world.rights.note_change(bugs(&[1])[0], world.now),
        |world| {
            world.ask(Who::Nobody, 1, A);
            let question = world.question().unwrap();
            world.answer(&question, sees(&[1]));
        },
        |world| {
            world.ask(Who::Nobody, 1, A);
            let question = world.question().unwrap();
            world.answer(&question, Some(Said::Stranger));
        },
    ];
    for happen in happen {
        let mut world = World::new();
        happen(&mut world);
        assert_eq!(world.rights.until_due(world.now), Some(5 * MINUTE));
        world.wait(HOUR);
        assert_eq!(world.rights.until_due(world.now), Some(5 * MINUTE));
        world.wait(5 * MINUTE);
        assert_eq!(world.rights.until_due(world.now), None);
    }
}

#[test]
fn questions_are_asked_after_months_of_silence() {
    let mut world = World::new();
    world.ask(Who::Nobody, 1, A);
    world.answered(sees(&[1]));
    for _ in 0..8 {
        world.wait(5 * 24 * HOUR);
    }
    world.ask(Who::Nobody, 2, A);
    assert!(world.question().is_some());
}
