//! Several updates in one turn, and those that wait for Bugzilla: everybody gets what they see, in their own
//! form, and nothing that another one gets beside them.

use crate::support::client::{FIN, TEXT, frame};
use crate::world::{Reader, World};

#[test]
fn of_the_updates_of_one_turn_each_reader_gets_those_that_they_see() {
    let mut world = World::new(false);
    let (alice, bob) = (world.open("alice"), world.open("bob"));
    for reader in [&alice, &bob] {
        world.subscribe(reader, "[5,6,7,10,11]");
    }
    for _ in 0..2 {
        // What was for somebody at a place in the last turn is not for them in this one.
        for bugs in [[5, 10, 6], [10, 5, 11], [10, 11, 7]] {
            world.change_at_once(&bugs);
            let own = |from: &[u32]| from.iter().map(u32::to_string).collect::<Vec<_>>();
            let public: Vec<u32> = bugs.into_iter().filter(|bug| *bug < 10).collect();
            assert_eq!(alice.updates(), own(&bugs));
            assert_eq!(bob.updates(), own(&public));
        }
    }
}

#[test]
fn an_event_that_has_waited_for_bugzilla_is_as_whole_as_one_that_has_not() {
    let mut world = World::new(false);
    let alice = world.listen("10,11", "Authorization: Bearer alice\r\n");
    alice.rest();
    // What was said of them is too old, so that it is asked again.
    world.pass(120_000);
    alice.rest();
    world.change(10);
    assert_eq!(alice.rest(), "");
    world.pass(5_000);
    let got = alice.rest();
    assert!(
        got.contains("\ndata: {\"command\":\"update\",\"bug\":10,"),
        "{got}"
    );
    assert!(got.ends_with("}\n\n"), "{got}");
}

#[test]
fn an_event_of_a_bug_that_is_shown_again_comes_when_that_is_known() {
    let mut world = World::new(false);
    let alice = world.listen("10,11", "Authorization: Bearer alice\r\n");
    world.bugzilla.readers.get_mut("alice").unwrap().remove(&10);
    world.pass(3_600_000);
    world.change(10);
    world.pass(120_000);
    assert!(!alice.rest().contains("update"));
    world.bugzilla.readers.get_mut("alice").unwrap().insert(10);
    world.change(10);
    world.pass(5_000);
    let got = alice.rest();
    assert_eq!(
        got.matches("data: {\"command\":\"update\",\"bug\":10,")
            .count(),
        1,
        "{got}"
    );
}

#[test]
fn what_is_shown_again_stands_behind_what_waits_already() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[10,11]");
    world.bugzilla.readers.get_mut("alice").unwrap().remove(&10);
    world.pass(3_600_000);
    world.change(10);
    world.pass(120_000);
    assert!(alice.updates().is_empty());
    world.bugzilla.readers.get_mut("alice").unwrap().insert(10);
    world.bugzilla.latency = 5_000;
    // Bugzilla is asked whether all see it, and then whether alice does: meanwhile the other changes.
    world.change(10);
    world.pass(12_000);
    world.change(11);
    world.pass(6_000);
    assert!(alice.updates().is_empty(), "it has overtaken what waits");
    world.pass(30_000);
    assert_eq!(alice.updates(), ["11", "10"]);
}

#[test]
fn an_update_of_a_bug_that_was_hidden_once_and_is_seen_again_waits_in_its_place() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "10");
    world.bugzilla.readers.get_mut("alice").unwrap().remove(&10);
    world.pass(3_600_000);
    world.change(10);
    world.pass(120_000);
    world.bugzilla.readers.get_mut("alice").unwrap().insert(10);
    world.pass(3_700_000);
    assert!(world.subscribe(&alice, "10").contains(r#""bugs":[10]"#));
    world.pass(120_000);
    alice.updates();
    world.bugzilla.latency = 1_000;
    world.change(10);
    // What is said behind it must not be answered before it.
    assert!(
        world
            .ask_at_once(&alice, r#"{"command":"version"}"#)
            .is_empty()
    );
    world.pass(5_000);
    let heard = alice.heard();
    assert!(heard[0].contains(r#""update","bug":10"#), "{heard:?}");
    assert!(heard[1].contains("version"), "{heard:?}");
}

#[test]
fn who_is_to_be_closed_or_is_being_closed_gets_no_newer_update() {
    let mut world = World::new(false);
    let readers = ["alice", "bob"].map(|key| world.open(key));
    for reader in &readers {
        world.subscribe(reader, "5");
    }
    // No text begins with this byte.
    world.send_bytes(&readers[1], &frame(FIN | TEXT, b"\xff"));
    world.gap();
    world.change(5);
    world.pass(1_000);
    assert_eq!(readers.each_ref().map(Reader::heard), [["1001"], ["1007"]]);
}

#[test]
fn events_of_all_bugs_are_for_nobody_where_bugzilla_decides() {
    let mut world = World::new(false);
    let all = world.listen("*", "Authorization: Bearer alice\r\n");
    assert_eq!(all.status(), "400");
}

#[test]
fn what_is_known_to_be_shown_waits_behind_what_is_not() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[5,10]");
    world.pass(120_000);
    world.change(5);
    world.pass(5_000);
    assert_eq!(alice.updates(), ["5"]);
    world.bugzilla.latency = 5_000;
    world.change_at_once(&[10, 5]);
    assert!(alice.updates().is_empty());
    world.pass(20_000);
    assert_eq!(alice.updates(), ["10", "5"]);
}
