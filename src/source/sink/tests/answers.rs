//! What becomes of Bugzilla's answers: what is new by them, what may be on its way, what is asked
//! next, and what they say of Bugzilla's clock.

use super::*;

/// A source that reads, in whose history nothing is missing, and that was caught up just now.
fn reading() -> Test {
    let mut test = Test::new(Some(Sees::All), &kept(0, &[]));
    test.sink.connected().unwrap();
    test.answer(found(now(), &[]));
    assert_eq!(test.sent(), "after 100");
    test
}

#[test]
fn what_is_younger_than_five_seconds_may_be_on_its_way_and_what_is_ahead_is_not() {
    let test = reading();
    let time = now();
    let times = [-5, -4, 0, 5, 6].map(|ago| time + ago);
    let bugs: Vec<_> = (1..).zip(times).collect();
    test.answer(found(time, &bugs));
    assert_eq!(test.sent(), "5, 1");
}

#[test]
fn in_a_doubt_nothing_is_taken_for_being_on_its_way() {
    let mut test = reading();
    test.sink.doubt().unwrap();
    test.sink.connected().unwrap();
    assert_eq!(test.sent(), "doubt");
    test.answer(found(now(), &[(1, now())]));
    assert_eq!(test.sent(), "1, after 100");
}

#[test]
fn each_question_goes_back_by_an_hour_and_ten_minutes_from_the_answer_before() {
    let test = reading();
    let time = now();
    pass(50);
    assert_eq!(test.answer(found(now(), &[])), Since::Time(time - 4_200));
    assert_eq!(test.answer(found(now(), &[])), Since::Time(now() - 4_200));
    let note = test.sink.note(state::ASKED_UNTIL);
    assert_eq!(note, Some(now().to_string()));
}

#[test]
fn what_was_brought_is_known_for_as_long_as_it_can_be_found() {
    let test = reading();
    let time = now();
    let brought = [(1, time - 8_400), (2, time - 8_401)];
    let updates = brought.map(|(bug, at)| update(bug, at));
    test.sink.deliver(updates.to_vec()).unwrap();
    assert_eq!(test.sent(), "1, 2");
    test.answer(found(time, &brought));
    assert_eq!(test.sent(), "");
    test.answer(found(time, &brought));
    assert_eq!(test.sent(), "2");
}

#[test]
fn what_was_kept_before_is_known_at_once() {
    let known = [(1, now() - 30), (2, now() - 20)];
    let mut test = Test::new(Some(Sees::All), &kept(60, &known));
    test.sink.connected().unwrap();
    test.answer(found(now(), &known));
    assert_eq!(test.sent(), "after 100");
}

#[test]
fn as_much_as_the_history_holds_is_made_good_and_an_answer_that_is_cut_off_is_a_gap() {
    let test = reading();
    let time = now();
    let all: Vec<_> = (1..=10).map(|bug| (bug, time - 100)).collect();
    test.answer(found(time, &all));
    assert_eq!(test.sent(), "10, 1, 2, 3, 4, 5, 6, 7, 8, 9");
    pass(50);
    let mut cut_off = found(now(), &[(11, time - 100)]);
    cut_off.is_whole = false;
    test.answer(cut_off);
    assert_eq!(test.sent(), format!("after {}, gap", now()));
    let (_, since) = test.sink.shared.question();
    assert_eq!(since, Since::Time(now() - 4_200));
}

#[test]
fn a_gap_ends_with_the_newest_change_in_it_that_can_be_believed() {
    for (ahead, end) in [(7_200, 7_200), (86_400, 86_400), (86_401, 0)] {
        let test = reading();
        let time = now();
        let mut many: Vec<_> = (1..=10).map(|bug| (bug, time - 100)).collect();
        many.push((11, time + ahead));
        test.answer(found(time, &many));
        assert_eq!(test.sent(), format!("after {}, gap", time + end));
    }
}

#[test]
fn the_first_answer_is_of_before_except_what_has_changed_since_the_server_looks() {
    for (brought, sent) in [(9, "+1, +2, 4, 3, all"), (3, "+1, +2, 4, all")] {
        let time = now();
        let mut test = Test::new(Some(Sees::All), &Kept::default());
        test.sink.connected().unwrap();
        test.sink.deliver(vec![update(brought, time)]).unwrap();
        test.sent();
        pass(20);
        let bugs = [(1, time - 700), (2, time - 1), (3, time), (4, time + 20)];
        test.answer(found(now(), &bugs));
        assert_eq!(test.sent(), sent);
        test.answer(found(now() + 10, &bugs));
        assert_eq!(test.sent(), "");
    }
}

#[test]
fn the_watermark_of_what_was_before_allows_for_a_late_commit_and_not_for_the_future() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.db");
    let open = || HistoryFile::open(&path, "/", "test", 10).unwrap();
    let (file, kept) = open();
    let test = Test::keeping(Some(Sees::All), Some(file), &kept);
    let time = now();
    test.answer(found(time, &[(1, time - 1_000), (2, time - 10)]));
    let expected = [
        (time - 400, update(1, time - 1_000)),
        (time, update(2, time - 10)),
    ];
    let earlier = std::iter::from_fn(|| test.inbox.take()).find_map(|notice| match notice {
        Notice::Earlier { updates, .. } => Some(updates),
        _ => None,
    });
    assert_eq!(earlier.as_deref(), Some(&expected[..]));
    drop(test);
    assert_eq!(open().1.updates, expected);
}

/// What the loop is told about how far Bugzilla's clock is ahead.
fn clocks(test: &Test) -> Vec<i64> {
    let notices = std::iter::from_fn(|| test.inbox.take());
    let ahead = notices.filter_map(|notice| match notice {
        Notice::Clock { ahead, .. } => Some(ahead),
        _ => None,
    });
    ahead.collect()
}

#[test]
fn that_bugzillas_clock_is_elsewhere_is_told_once_and_not_for_two_seconds() {
    let test = Test::new(Some(Sees::All), &kept(0, &[]));
    let told = [0, 2, -2, 3, 1, 0, -3_600].map(|ahead| {
        test.answer(found(now() + ahead, &[]));
        clocks(&test)
    });
    assert_eq!(told.concat(), [0, 3, 0, -3_600]);
}

#[test]
fn a_time_of_the_source_is_believed_up_to_a_day_ahead_of_bugzillas_clock() {
    let test = Test::new(Some(Sees::All), &kept(0, &[]));
    let credible = || {
        test.sink.deliver(vec![update(1, now())]).unwrap();
        let notices = std::iter::from_fn(|| test.inbox.take());
        let credible = notices.filter_map(|notice| match notice {
            Notice::Updates { credible_until, .. } => Some(credible_until),
            _ => None,
        });
        credible.last().unwrap() - now()
    };
    assert_eq!(credible(), 86_400);
    test.answer(found(now() - 500, &[]));
    assert_eq!(credible(), 86_400 - 500);
}

#[test]
fn where_nobody_could_be_asked_for_a_while_what_came_meanwhile_is_not_lacking() {
    let mut test = reading();
    test.sink.shared.cannot_ask().unwrap();
    test.sink.deliver(vec![update(1, now())]).unwrap();
    let time = now();
    pass(100);
    test.sink.shared.can_ask(Sees::All);
    test.sink.doubt().unwrap();
    test.sink.connected().unwrap();
    assert_eq!(test.sent(), "1, doubt");
    let since = test.answer(found(now(), &[(1, time), (2, time + 99), (3, time + 100)]));
    assert_eq!(since, Since::Newest(10));
    assert_eq!(test.sent(), "+1, +2, 3, all");
    let time = now();
    test.sink.deliver(vec![update(4, time)]).unwrap();
    pass(10);
    test.answer(found(now(), &[(4, time)]));
    assert_eq!(test.sent(), "4");
}

#[test]
fn one_who_can_be_asked_after_all_about_some_bugs_brings_no_doubt_and_about_all_one() {
    for (sees, sent) in [(Sees::Some, ""), (Sees::All, "doubt")] {
        let mut test = Test::new(Some(Sees::All), &kept(0, &[]));
        test.sink.connected().unwrap();
        test.sink.shared.cannot_ask().unwrap();
        assert_eq!(test.sent(), "after 100");
        test.sink.shared.can_ask(sees);
        test.sink.connected().unwrap();
        assert_eq!(test.sent(), sent, "{sees:?}");
    }
}

#[test]
fn more_than_a_million_changes_without_an_answer_make_the_question_begin_anew() {
    let test = reading();
    pass(100);
    let many = |bugs: std::ops::Range<u32>| {
        let updates = bugs.map(|bug| update(bug, now())).collect();
        test.sink.deliver(updates).unwrap();
        test.sink.shared.question().1
    };
    assert!(matches!(many(1..1_000_001), Since::Time(_)));
    assert_eq!(many(1_000_001..1_000_002), Since::Newest(10));
    pass(10);
    test.sent();
    test.answer(found(now(), &[(1, now() - 10), (2, now() - 11)]));
    assert_eq!(test.sent(), "+2, 1, all");
}

#[test]
fn the_catch_up_is_woken_when_the_source_begins_to_read_and_when_it_has_lost_something() {
    let mut test = Test::new(Some(Sees::All), &kept(0, &[]));
    let (_ring, bell) = test.sink.shared.bell();
    let rings = || bell.try_iter().count();
    test.sink.connected().unwrap();
    assert_eq!(rings(), 1);
    test.sink.connected().unwrap();
    test.sink.deliver(vec![update(1, now())]).unwrap();
    assert_eq!(rings(), 0);
    test.sink.missed("a test", None).unwrap();
    test.sink.missed("a test", None).unwrap();
    assert_eq!(rings(), 1);
    test.sink.doubt().unwrap();
    assert_eq!(rings(), 0);
    test.sink.connected().unwrap();
    assert_eq!(rings(), 1);
}
