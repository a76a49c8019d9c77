//! A sink for ten updates, and what comes out of it.

mod answers;
mod keeping;

use std::cell::Cell;
use std::time::Duration;

use mio::{Poll, Token};

use super::*;
use crate::inbox::{self, Inbox, Notice};
use crate::promise::Promise;
use crate::update::{BugId, When};

thread_local! {
    /// The time in these tests, which stands still once somebody has looked at it.
    static NOW: Cell<Option<Now>> = const { Cell::new(None) };
}

fn clock() -> Now {
    NOW.get().unwrap_or_else(Now::read)
}

/// Bugzilla's time in these tests: like ours, so that its times are credible.
fn now() -> i64 {
    let now = clock();
    NOW.set(Some(now));
    now.unix
}

fn pass(seconds: u32) {
    let now = clock();
    NOW.set(Some(Now {
        instant: now.instant + Duration::from_secs(seconds.into()),
        unix: now.unix + i64::from(seconds),
    }));
}

fn update(bug: u32, seconds: i64) -> Update {
    Update {
        bug: BugId::new(bug).unwrap(),
        when: When::from_unix_seconds(seconds),
    }
}

fn found(now: i64, updates: &[(u32, i64)]) -> Found {
    Found {
        updates: updates
            .iter()
            .map(|&(bug, seconds)| update(bug, seconds))
            .collect(),
        now,
        is_whole: true,
    }
}

/// A sink for ten updates, and what comes out of it.
pub(in crate::source) struct Test {
    pub sink: Sink,
    pub inbox: Inbox,
    _poll: Poll,
}

impl Test {
    pub(in crate::source) fn new(catch_up: Option<Sees>, kept: &Kept) -> Self {
        Self::keeping(catch_up, None, kept)
    }

    pub(in crate::source) fn keeping(
        catch_up: Option<Sees>,
        file: Option<HistoryFile>,
        kept: &Kept,
    ) -> Self {
        let poll = Poll::new().unwrap();
        let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
        let feed = Feed {
            id: FeedId(0),
            source: "test".to_owned(),
            updates_max: 10,
            catch_up,
        };
        Self {
            sink: Sink::with_clock(feed, file, kept, sender, clock),
            inbox,
            _poll: poll,
        }
    }

    /// What the loop got since the last call: bugs, `+` for those from before, promises, `gap`,
    /// answers and keys.
    pub(in crate::source) fn sent(&self) -> String {
        let mut words = Vec::new();
        while let Some(event) = self.inbox.take() {
            match event {
                Notice::Updates { updates, .. } => {
                    words.extend(updates.iter().map(|update| update.bug.to_string()));
                }
                Notice::Earlier { updates, .. } => {
                    words.extend(updates.iter().map(|(_, update)| format!("+{}", update.bug)));
                }
                Notice::Promise { promise, .. } => words.push(match promise {
                    Promise::InDoubt => "doubt".to_owned(),
                    Promise::Nothing => "nothing".to_owned(),
                    Promise::After(i64::MIN) => "all".to_owned(),
                    Promise::After(floor) => format!("after {floor}"),
                }),
                Notice::Gap { .. } => words.push("gap".to_owned()),
                Notice::Clock { .. }
                | Notice::Access(_)
                | Notice::Source { .. }
                | Notice::Keeping { .. } => {}
                Notice::Refused { why } => words.push(format!("refused: {why}")),
                Notice::Answer { post, answer } => words.push(format!("{answer:?} {}", post.0)),
                Notice::Key { key, .. } => words.push(format!("key {key}")),
                Notice::Reloaded(_) => panic!("a source reads no settings"),
            }
        }
        words.join(", ")
    }

    /// Bugzilla answers the question that is due.
    fn answer(&self, found: Found) -> Since {
        let (question, since) = self.sink.shared.question();
        self.sink.shared.made_good(question, since, found).unwrap();
        since
    }
}

/// A history that is whole after time 100 and was caught up `ago` seconds ago.
fn kept(ago: i64, updates: &[(u32, i64)]) -> Kept {
    Kept {
        floor: Some(100),
        updates: updates
            .iter()
            .map(|&(bug, seconds)| (seconds, update(bug, seconds)))
            .collect(),
        notes: [(state::ASKED_UNTIL.to_owned(), (now() - ago).to_string())].into(),
    }
}

#[test]
fn the_first_answer_fills_the_history_and_leaves_no_doubt() {
    let mut test = Test::new(Some(Sees::All), &Kept::default());
    test.sink.connected().unwrap();
    assert_eq!(test.sent(), "");
    let since = test.answer(found(now(), &[(7, 1_000), (8, 2_000)]));
    assert_eq!(since, Since::Newest(10));
    assert_eq!(test.sent(), "+7, +8, all");
}

#[test]
fn a_first_answer_that_is_cut_off_promises_what_it_holds() {
    let mut test = Test::new(Some(Sees::All), &Kept::default());
    test.sink.connected().unwrap();
    let mut cut_off = found(now(), &[(7, 1_000), (8, 2_000)]);
    cut_off.is_whole = false;
    test.answer(cut_off);
    assert_eq!(test.sent(), "+7, +8, after 1600");
}

#[test]
fn what_changed_while_nobody_looked_is_made_good_and_no_gap() {
    let known = now() - 50;
    let mut test = Test::new(Some(Sees::All), &kept(60, &[(1, known)]));
    test.sink.missed("the queue was deleted", None).unwrap();
    test.sink.connected().unwrap();
    let since = test.answer(found(now(), &[(1, known), (2, now() - 30), (3, now())]));
    assert!(matches!(since, Since::Time(time) if time < known));
    assert_eq!(test.sent(), "3, 2, after 100");
}

#[test]
fn what_the_source_loses_while_it_reads_is_made_good_unless_it_may_be_on_its_way() {
    let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
    test.sink.connected().unwrap();
    test.answer(found(now(), &[]));
    test.sink.deliver(vec![update(1, now() - 20)]).unwrap();
    assert_eq!(test.sent(), "after 100, 1");
    test.answer(found(
        now(),
        &[(1, now() - 20), (2, now() - 19), (3, now())],
    ));
    assert_eq!(test.sent(), "2");
}

#[test]
fn a_time_that_is_ahead_of_now_is_not_one_on_its_way() {
    let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
    test.sink.connected().unwrap();
    test.answer(found(now(), &[]));
    test.sent();
    test.answer(found(now(), &[(1, now() + 9 * 3_600)]));
    assert_eq!(test.sent(), "1");
}

#[test]
fn a_time_from_before_bugzillas_clock_was_put_back_makes_no_later_update_look_old() {
    let mut test = Test::new(Some(Sees::All), &Kept::default());
    test.sink.connected().unwrap();
    let time = now();
    test.sink.deliver(vec![update(1, time)]).unwrap();
    test.answer(found(time, &[(1, time), (2, time + 3_600)]));
    let notices = std::iter::from_fn(|| test.inbox.take());
    let credible = notices.filter_map(|notice| match notice {
        Notice::Updates { credible_until, .. } => Some(credible_until),
        _ => None,
    });
    // Who has seen it lacks bug 1, which arrived before it here.
    assert_eq!(credible.last(), Some(time + 60));
}

#[test]
fn the_newest_of_what_is_made_good_goes_first_so_that_no_client_has_seen_a_newer_time() {
    let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
    test.sink.connected().unwrap();
    let time = now();
    test.answer(found(
        time,
        &[(1, time - 40), (2, time - 30), (3, time - 20)],
    ));
    assert_eq!(test.sent(), "3, 1, 2, after 100");
}

#[test]
fn more_than_the_history_holds_is_a_gap_and_no_flood() {
    let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
    test.sink.connected().unwrap();
    let time = now();
    let many: Vec<_> = (1..=11).map(|bug| (bug, time - 100)).collect();
    test.answer(found(time, &many));
    assert_eq!(test.sent(), format!("after {time}, gap"));
    test.answer(found(time, &many));
    assert_eq!(test.sent(), "");
}

#[test]
fn one_who_sees_some_bugs_makes_them_good_and_proves_nothing() {
    let mut test = Test::new(Some(Sees::Some), &kept(60, &[]));
    test.sink.connected().unwrap();
    assert_eq!(test.sent(), "after 100");
    let time = now();
    test.sink.missed("a test", Some(time)).unwrap();
    assert_eq!(test.sent(), format!("after {time}, gap"));
    test.answer(found(time, &[(2, time - 20)]));
    assert_eq!(test.sent(), "2");
}

#[test]
fn where_nobody_can_be_asked_a_loss_is_a_gap() {
    let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
    test.sink.missed("a test", Some(500)).unwrap();
    test.sink.connected().unwrap();
    assert_eq!(test.sent(), "");
    test.sink.shared.cannot_ask().unwrap();
    assert_eq!(test.sent(), "after 500, gap");
}

#[test]
fn an_answer_that_was_under_way_when_the_source_failed_ends_no_doubt() {
    let mut test = Test::new(Some(Sees::All), &kept(60, &[]));
    test.sink.connected().unwrap();
    let (question, since) = test.sink.shared.question();
    test.sink.doubt().unwrap();
    let late = found(now(), &[(2, now() - 20)]);
    test.sink.shared.made_good(question, since, late).unwrap();
    assert_eq!(test.sent(), "2");
    assert_eq!(test.sent(), "");
}

#[test]
fn while_the_source_does_not_read_bugzillas_answers_go_out_and_prove_nothing() {
    let mut test = Test::new(Some(Sees::All), &Kept::default());
    test.answer(found(now(), &[(7, 1_000)]));
    assert_eq!(test.sent(), "+7");
    test.answer(found(now(), &[(8, now())]));
    assert_eq!(test.sent(), "8");
    test.sink.connected().unwrap();
    test.answer(found(now(), &[(8, now())]));
    assert_eq!(test.sent(), "all");
}

#[test]
fn notes_are_there_as_soon_as_they_are_made() {
    let test = Test::new(None, &Kept::default());
    let note = [("bookmark", "7".to_owned())];
    test.sink.deliver_with_notes(Vec::new(), &note).unwrap();
    assert_eq!(test.sink.note("bookmark").as_deref(), Some("7"));
    assert_eq!(test.sink.note("another"), None);
}

#[test]
fn a_source_that_may_not_read_ends_the_loop_by_its_name() {
    let test = Test::new(None, &Kept::default());
    test.sink.refused(&"it has another reader".into()).unwrap();
    assert_eq!(test.sent(), "refused: test: it has another reader");
}

#[test]
fn updates_are_kept_before_they_are_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let open = || HistoryFile::open(&folder.path().join("h.db"), "/", "test", 10).unwrap();
    let poll = Poll::new().unwrap();
    let (sender, inbox) = inbox::open(poll.registry(), Token(0)).unwrap();
    let feed = Feed {
        id: FeedId(0),
        source: "test".to_owned(),
        updates_max: 10,
        catch_up: None,
    };
    let (file, kept) = open();
    let sink = Sink::new(feed, Some(file), &kept, sender);
    // The loop is gone, as after a crash between the two.
    drop(inbox);
    assert_eq!(sink.deliver(vec![update(7, 1_000)]), Err(Closed));
    drop(sink);
    assert_eq!(open().1.updates, [(1_000, update(7, 1_000))]);
}

#[test]
fn a_source_that_is_still_read_wakes_nobody() {
    let mut test = Test::new(None, &Kept::default());
    let mut told = |act: fn(&mut Sink)| {
        act(&mut test.sink);
        let mut states = Vec::new();
        while let Some(notice) = test.inbox.take() {
            if let Notice::Source { state, .. } = notice {
                states.push(state);
            }
        }
        states
    };
    fn complaint(sink: &mut Sink) -> Option<String> {
        sink.health().view().complaint()
    }
    let reads = |sink: &mut Sink| {
        sink.connected().unwrap();
        assert_eq!(complaint(sink), None);
    };
    let fails = |sink: &mut Sink| {
        sink.down("gone");
        assert_eq!(complaint(sink).as_deref(), Some("gone"));
    };
    let failing = || SourceState::Failing("gone".to_owned());
    assert_eq!(told(reads), [SourceState::Reading]);
    assert_eq!(told(reads), []);
    // Each failure is counted.
    assert_eq!(told(fails), [failing()]);
    assert_eq!(told(fails), [failing()]);
    assert_eq!(told(reads), [SourceState::Reading]);
}
