//! Whose turn it is.

use super::*;

const ALICE: Who = Who::Reader(ReaderId(1));
const BOB: Who = Who::Reader(ReaderId(2));

fn bug(number: u32) -> Option<BugId> {
    BugId::new(number)
}

fn add(queue: &mut Queue, who: Who, number: u32, address: u64, rank: Rank) {
    let client = Some(ClientId(number));
    let item = Item {
        who,
        bug: bug(number),
    };
    assert!(queue.add(item, AddressId(address), rank, client));
}

/// Who is asked for next, and which bugs.
fn take(queue: &mut Queue, items_max: usize) -> Option<(Who, Vec<u32>)> {
    let batch = queue.take(items_max)?;
    queue.end(&batch);
    let numbers = batch.items.iter().filter_map(|(_, bug)| *bug);
    Some((batch.who, numbers.map(BugId::get).collect()))
}

#[test]
fn one_request_asks_for_one_and_takes_from_each_address_in_turn() {
    let mut queue = Queue::default();
    for number in 1..=4 {
        add(&mut queue, Who::Nobody, number, 1, Rank::New);
    }
    add(&mut queue, Who::Nobody, 5, 2, Rank::New);
    add(&mut queue, ALICE, 6, 2, Rank::New);
    add(&mut queue, Who::Nobody, 7, 3, Rank::New);
    assert_eq!(take(&mut queue, 4), Some((Who::Nobody, vec![1, 5, 7, 2])));
    assert_eq!(take(&mut queue, 4), Some((ALICE, vec![6])));
    assert_eq!(take(&mut queue, 4), Some((Who::Nobody, vec![3, 4])));
    assert_eq!(take(&mut queue, 4), None);
    assert!(queue.is_empty() && queue.new.desks.is_empty());
}

#[test]
fn an_address_with_a_thousand_newcomers_delays_no_other() {
    let mut queue = Queue::default();
    for reader in 10..1_000 {
        add(&mut queue, Who::Reader(ReaderId(reader)), 1, 1, Rank::New);
    }
    add(&mut queue, ALICE, 1, 2, Rank::New);
    let turns: Vec<_> = (0..3).filter_map(|_| take(&mut queue, 100)).collect();
    assert!(turns.contains(&(ALICE, vec![1])), "{turns:?}");
}

#[test]
fn those_who_are_known_come_before_newcomers_who_come_first_once_in_four() {
    let mut queue = Queue::default();
    for reader in 10..20 {
        add(&mut queue, Who::Reader(ReaderId(reader)), 1, 1, Rank::New);
        let known = Who::Reader(ReaderId(reader + 100));
        add(&mut queue, known, 1, 1, Rank::Known);
    }
    let is_known: Vec<bool> = (0..8)
        .filter_map(|_| take(&mut queue, 100))
        .map(|(who, _)| matches!(who, Who::Reader(ReaderId(100..))))
        .collect();
    assert_eq!(is_known, [true, true, true, false].repeat(2));
}

#[test]
fn what_several_want_is_asked_once_and_as_soon_as_the_first_of_them_may_have_it() {
    let mut queue = Queue::default();
    add(&mut queue, BOB, 1, 1, Rank::New);
    let item = Item {
        who: ALICE,
        bug: bug(1),
    };
    for (client, rank) in [(1, Rank::New), (2, Rank::New), (3, Rank::Known)] {
        assert!(queue.add(item, AddressId(1), rank, Some(ClientId(client))));
    }
    let batch = queue.take(100).unwrap();
    assert_eq!((batch.who, batch.items.len()), (ALICE, 1));
    // Whoever comes while it is asked waits for the same answer.
    assert!(queue.add(item, AddressId(9), Rank::Known, Some(ClientId(4))));
    assert_eq!(queue.end(&batch), [1, 2, 3, 4].map(ClientId));
    assert_eq!(take(&mut queue, 100), Some((BOB, vec![1])));
    assert_eq!(take(&mut queue, 100), None);
}

#[test]
fn what_somebody_who_is_known_wants_as_well_is_asked_once_whichever_line_comes_first() {
    for taken in 0..4 {
        let mut queue = Queue::default();
        assert!((0..taken).all(|_| queue.take(100).is_none()));
        add(&mut queue, ALICE, 1, 1, Rank::New);
        add(&mut queue, ALICE, 1, 2, Rank::Known);
        assert_eq!(take(&mut queue, 100), Some((ALICE, vec![1])), "{taken}");
        assert_eq!(take(&mut queue, 100), None, "{taken}");
    }
}

#[test]
fn what_was_not_answered_is_asked_again() {
    let mut queue = Queue::default();
    add(&mut queue, ALICE, 1, 1, Rank::Known);
    let batch = queue.take(100).unwrap();
    assert!(queue.take(100).is_none());
    queue.put_back(batch);
    assert_eq!(take(&mut queue, 100), Some((ALICE, vec![1])));
}

#[test]
fn what_nobody_may_have_any_more_is_not_asked() {
    let mut queue = Queue::default();
    add(&mut queue, ALICE, 1, 1, Rank::Known);
    add(&mut queue, BOB, 2, 1, Rank::Known);
    assert_eq!(queue.retain(|who| who != ALICE), [ClientId(1)]);
    assert_eq!(take(&mut queue, 100), Some((BOB, vec![2])));
    assert!(queue.is_empty());
}

#[test]
fn one_address_can_fill_its_own_part_only() {
    let mut queue = Queue::default();
    let mut wish = |number: usize, address| {
        let item = Item {
            who: Who::Nobody,
            bug: bug(number as u32),
        };
        queue.add(item, AddressId(address), Rank::New, None)
    };
    assert!((1..=ADDRESS_ITEMS_MAX).all(|number| wish(number, 1)));
    assert!(!wish(ADDRESS_ITEMS_MAX + 1, 1));
    assert!(wish(ADDRESS_ITEMS_MAX + 1, 2));
}

#[test]
fn one_address_can_have_so_many_newcomers_only_and_all_together_so_much() {
    let mut queue = Queue::default();
    let mut wish = |reader: usize, bug, address| {
        let who = Who::Reader(ReaderId(reader as u64));
        let item = Item { who, bug };
        queue.add(item, AddressId(address), Rank::New, None)
    };
    assert!((0..ADDRESS_NEWCOMERS_MAX).all(|reader| wish(reader, None, 0)));
    assert!(!wish(ADDRESS_NEWCOMERS_MAX, None, 0));
    assert!(wish(0, None, 0), "it waits already");
    let rest = ADDRESS_NEWCOMERS_MAX..ITEMS_MAX;
    assert!(rest.clone().all(|at| wish(at, bug(1), at as u64)));
    assert!(!wish(ITEMS_MAX, bug(1), 0));
}

#[test]
fn an_address_is_that_of_a_client_or_the_half_of_it_that_is_its_own() {
    let id = |text: &str| AddressId::from(Some(text.parse::<IpAddr>().unwrap()));
    assert_ne!(id("192.0.2.1"), id("192.0.2.2"));
    assert_eq!(id("2001:db8::1"), id("2001:db8::ffff:0:0:2"));
    assert_ne!(id("2001:db8::1"), id("2001:db8:0:1::1"));
    assert_ne!(id("192.0.2.1"), AddressId::from(None));
}

#[test]
fn a_request_asks_for_no_more_than_it_may_and_the_rest_follows() {
    let mut queue = Queue::default();
    for (number, address) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        add(&mut queue, Who::Nobody, number, address, Rank::New);
    }
    assert_eq!(take(&mut queue, 2), Some((Who::Nobody, vec![1, 3])));
    assert_eq!(take(&mut queue, 2), Some((Who::Nobody, vec![4, 2])));
}

#[test]
fn an_address_that_was_served_with_another_gets_no_second_turn_for_that() {
    let mut queue = Queue::default();
    add(&mut queue, Who::Nobody, 1, 1, Rank::New);
    add(&mut queue, Who::Nobody, 2, 2, Rank::New);
    assert_eq!(take(&mut queue, 9), Some((Who::Nobody, vec![1, 2])));
    let carol = Who::Reader(ReaderId(3));
    for (who, address) in [(ALICE, 2), (carol, 2), (BOB, 1)] {
        add(&mut queue, who, 1, address, Rank::New);
    }
    let turns = [ALICE, BOB, carol].map(|who| Some((who, vec![1])));
    assert_eq!([(); 3].map(|()| take(&mut queue, 9)), turns);
}

#[test]
fn newcomers_do_not_become_known_by_being_many() {
    let mut queue = Queue::default();
    add(&mut queue, ALICE, 1, 1, Rank::New);
    add(&mut queue, ALICE, 1, 2, Rank::New);
    add(&mut queue, BOB, 1, 1, Rank::Known);
    assert_eq!(take(&mut queue, 9), Some((BOB, vec![1])));
    assert_eq!(take(&mut queue, 9), Some((ALICE, vec![1])));
}

#[test]
fn who_waits_for_several_answers_is_named_once_and_all_are_ascending() {
    let mut queue = Queue::default();
    let fill = |queue: &mut Queue| {
        for (number, client) in [(1, 9), (2, 3), (3, 9)] {
            let who = ALICE;
            let item = Item {
                who,
                bug: bug(number),
            };
            let client = Some(ClientId(client));
            assert!(queue.add(item, AddressId(1), Rank::New, client));
        }
    };
    fill(&mut queue);
    let batch = queue.take(9).unwrap();
    assert_eq!(queue.end(&batch), [3, 9].map(ClientId));
    fill(&mut queue);
    assert_eq!(queue.retain(|_| false), [3, 9].map(ClientId));
}
