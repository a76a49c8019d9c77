//! What a feed promises after each order of losses, answers and updates.

use super::*;

fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn a_feed_is_in_doubt_from_its_birth_until_its_source_reads() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(100), false);
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.reads(now);
    assert_eq!(feed.promise(), Promise::After(100));
    feed.stopped_reading();
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.reads(now);
    assert_eq!(feed.promise(), Promise::After(100));
    assert!(!feed.take_gap());
}

#[test]
fn a_gap_whose_end_is_known_in_the_databases_time_raises_the_floor() {
    let mut feed = Completeness::new(Some(100), false);
    feed.missed(Some(500), Instant::now());
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.reads(Instant::now());
    assert_eq!(feed.promise(), Promise::After(500));
    assert!(feed.take_gap());
    assert!(!feed.take_gap());
}

#[test]
fn what_arrives_before_those_who_are_connected_are_told_of_a_gap_counts_for_its_end() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(100), false);
    feed.stopped_reading();
    feed.missed(Some(500), now);
    feed.delivered(501, now);
    assert!(!feed.take_gap());
    feed.reads(now);
    assert!(feed.take_gap());
    assert_eq!(feed.promise(), Promise::After(501));
}

#[test]
fn a_gap_that_is_told_late_has_no_known_end_for_ten_minutes() {
    let start = Instant::now();
    let mut feed = Completeness::new(Some(100), false);
    feed.reads(start);
    feed.missed(Some(500), start);
    feed.missed(Some(510), at(start, 300));
    assert_eq!((feed.promise(), feed.floor()), (Promise::Nothing, None));
    // Somebody who is told later may have seen it.
    feed.delivered(900, at(start, 600));
    feed.delivered(950, at(start, 900));
    assert_eq!(feed.promise(), Promise::After(950));
    feed.missed(Some(400), at(start, 2_000));
    assert_eq!(feed.promise(), Promise::After(950));
}

#[test]
fn a_gap_is_told_late_for_eleven_minutes_and_after_one_that_was_told_late_for_twice_as_long() {
    let is_late = |times: &[u64]| {
        let start = Instant::now();
        let mut feed = Completeness::new(Some(100), false);
        feed.reads(start);
        for seconds in times {
            feed.missed(Some(500), at(start, *seconds));
        }
        feed.promise() == Promise::Nothing
    };
    assert!(!is_late(&[0]));
    assert!(is_late(&[0, 659]) && !is_late(&[0, 660]));
    assert!(is_late(&[0, 659, 1_978]) && !is_late(&[0, 659, 1_979]));
}

#[test]
fn what_an_answer_leaves_out_and_is_told_late_counts_up_to_when_it_is_told() {
    let start = Instant::now();
    let mut feed = Completeness::new(Some(0), true);
    feed.reads(start);
    feed.answered(feed.question(), Some(900), start);
    assert_eq!(feed.promise(), Promise::After(900));
    feed.answered(feed.question(), Some(950), at(start, 50));
    assert_eq!(feed.promise(), Promise::After(950 + 660));
}

#[test]
fn a_gap_ends_no_earlier_than_what_was_known_to_be_missing_before() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(900), false);
    feed.reads(now);
    feed.missed(Some(500), now);
    assert_eq!(feed.promise(), Promise::After(900));
    feed.begins(500);
    assert_eq!(feed.promise(), Promise::After(900));
    let mut feed = Completeness::new(Some(900), true);
    feed.reads(now);
    feed.answered(feed.question(), Some(500), now);
    assert_eq!(feed.promise(), Promise::After(900));
}

#[test]
fn a_second_loss_before_the_source_reads_ends_with_the_largest_time_since_the_first() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(100), false);
    feed.missed(None, now);
    feed.delivered(700, now);
    feed.delivered(600, now);
    feed.missed(Some(500), now);
    assert_eq!(feed.floor(), None);
    feed.reads(now);
    assert_eq!(feed.promise(), Promise::After(700));
}

#[test]
fn a_loss_with_a_known_end_ends_what_was_not_known_from_before() {
    let now = Instant::now();
    let mut feed = Completeness::new(None, false);
    feed.missed(None, now);
    feed.reads(now);
    assert_eq!((feed.promise(), feed.take_gap()), (Promise::Nothing, false));
    let mut feed = Completeness::new(None, false);
    feed.missed(Some(500), now);
    feed.reads(now);
    assert_eq!(
        (feed.promise(), feed.take_gap()),
        (Promise::After(500), true)
    );
}

#[test]
fn a_first_answer_lowers_the_floor_of_a_feed_without_a_gap_and_sets_that_of_another() {
    let now = Instant::now();
    for (floor, is_missed, answered, promised) in [
        (Some(100), false, 50, 50),
        (Some(100), false, 200, 100),
        (None, false, 200, 200),
        (Some(100), true, 200, 200),
    ] {
        let mut feed = Completeness::new(floor, true);
        feed.reads(now);
        if is_missed {
            feed.missed(None, now);
        }
        feed.filled(feed.question(), answered, now);
        assert_eq!(feed.promise(), Promise::After(promised), "{floor:?}");
    }
}

#[test]
fn nobody_to_ask_makes_each_doubt_a_gap_and_somebody_after_all_makes_the_next_one_good() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(100), true);
    feed.reads(now);
    feed.missed(Some(500), now);
    assert!(!feed.take_gap());
    feed.cannot_ask(now);
    assert_eq!(feed.promise(), Promise::After(500));
    assert!(feed.take_gap());
    feed.can_ask(true);
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.answered(feed.question(), None, now);
    assert_eq!(feed.promise(), Promise::After(500));
    feed.missed(Some(600), now);
    feed.answered(feed.question(), None, now);
    assert_eq!(feed.promise(), Promise::After(500));
}

#[test]
fn an_answer_about_some_bugs_ends_no_gap() {
    let now = Instant::now();
    let mut feed = Completeness::new(None, true);
    feed.can_ask(false);
    feed.reads(now);
    feed.answered(feed.question(), None, now);
    assert_eq!(feed.promise(), Promise::Nothing);
}

#[test]
fn a_feed_that_begins_with_its_source_has_no_gap() {
    let mut feed = Completeness::new(None, false);
    feed.begins(500);
    feed.reads(Instant::now());
    assert_eq!(feed.promise(), Promise::After(500));
    assert!(!feed.take_gap());
}

#[test]
fn a_gap_without_a_known_end_ends_with_the_largest_time_of_the_ten_minutes_after_it() {
    let start = Instant::now();
    let mut feed = Completeness::new(None, false);
    feed.reads(start);
    assert_eq!(feed.promise(), Promise::Nothing);
    assert!(!feed.take_gap());
    feed.missed(None, start);
    assert!(feed.take_gap());
    feed.delivered(700, at(start, 599));
    assert_eq!((feed.promise(), feed.floor()), (Promise::Nothing, None));
    feed.delivered(650, at(start, 600));
    assert_eq!(feed.promise(), Promise::After(700));
    feed.delivered(800, at(start, 601));
    assert_eq!(feed.promise(), Promise::After(700));
}

#[test]
fn a_feed_that_can_ask_is_in_doubt_until_it_has_been_answered_and_has_no_gap_then() {
    let now = Instant::now();
    let mut feed = Completeness::new(None, true);
    feed.answered(feed.question(), None, Instant::now());
    assert_eq!(feed.promise(), Promise::InDoubt);
    assert!(feed.reads(now));
    assert!(!feed.reads(now));
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.answered(feed.question(), None, Instant::now());
    assert_eq!(feed.promise(), Promise::After(i64::MIN));
    feed.missed(None, now);
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.answered(feed.question(), None, Instant::now());
    assert_eq!(feed.promise(), Promise::After(i64::MIN));
    assert!(!feed.take_gap());
}

#[test]
fn an_answer_to_a_question_from_before_a_loss_proves_nothing() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(0), true);
    feed.reads(now);
    let early = feed.question();
    feed.stopped_reading();
    let in_between = feed.question();
    feed.reads(now);
    feed.answered(early, None, Instant::now());
    feed.answered(in_between, None, Instant::now());
    assert_eq!(feed.promise(), Promise::InDoubt);
}

#[test]
fn a_loss_while_the_source_reads_on_takes_a_new_question() {
    let now = Instant::now();
    let mut feed = Completeness::new(Some(0), true);
    feed.reads(now);
    let early = feed.question();
    feed.missed(None, now);
    feed.answered(early, None, now);
    assert_eq!(feed.promise(), Promise::InDoubt);
    feed.answered(feed.question(), None, now);
    assert_eq!(feed.promise(), Promise::After(0));
}

#[test]
fn what_an_answer_leaves_out_while_the_source_does_not_read_is_a_gap_when_it_does() {
    let mut feed = Completeness::new(Some(0), true);
    feed.answered(feed.question(), Some(900), Instant::now());
    assert!(!feed.take_gap());
    feed.reads(Instant::now());
    assert!(feed.take_gap());
    feed.answered(feed.question(), None, Instant::now());
    assert_eq!(feed.promise(), Promise::After(900));
}

#[test]
fn what_even_an_answer_leaves_out_is_a_gap() {
    let mut feed = Completeness::new(Some(0), true);
    feed.reads(Instant::now());
    feed.answered(feed.question(), Some(900), Instant::now());
    assert_eq!(feed.promise(), Promise::After(900));
    assert!(feed.take_gap());
}
