//! `--access bugzilla`: ways to learn of a bug that Bugzilla does not show, besides being told of it: by
//! the time that a reply takes, by a connection that ends, by what another one has left behind. Each
//! begins with a secret bug that changes and one that is not there, and ends with no difference.

use bugzfeed::access::Kept;

use crate::support::client::text;
use crate::world::{Reader, World};

const HOUR: u32 = 3_600_000;
const MINUTE: u32 = 60_000;

const VERSION: &str = r#"{"command":"version"}"#;

fn subscribe(bugs: &str, since: Option<&str>) -> String {
    match since {
        None => format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#),
        Some(since) => format!(r#"{{"command":"subscribe","bugs":{bugs},"since":"{since}"}}"#),
    }
}

#[test]
fn what_was_denied_is_denied_at_once_whether_it_has_changed_since_or_not() {
    let mut world = World::new(false);
    let readers = ["", "bob"].map(|key| world.open(key));
    for reader in &readers {
        world.subscribe(reader, "[10,99]");
    }
    for age in [0, MINUTE, 10 * MINUTE] {
        world.pass(age);
        world.change(10);
        for reader in &readers {
            for since in [
                None,
                Some("2014-01-01T00:00:00"),
                Some("2023-11-14T22:13:20"),
            ] {
                let [secret, absent] = ["10", "99"].map(|bug| {
                    let told = world.ask_at_once(reader, &subscribe(bug, since)).join(" ");
                    assert!(
                        told.contains(&format!(r#""denied":[{bug}]"#)),
                        "{age} {told}"
                    );
                    told.replace(bug, "N")
                });
                assert_eq!(secret, absent);
            }
        }
    }
    assert_eq!(
        readers.each_ref().map(Reader::heard),
        [vec![], vec![]] as [Vec<String>; 2]
    );
}

#[test]
fn a_reply_takes_no_longer_when_a_bug_has_changed_that_was_public_once() {
    let mut world = World::new(false);
    let readers = ["", "bob"].map(|key| world.open(key));
    for reader in &readers {
        world.subscribe(reader, "[4,5]");
    }
    world.bugzilla.public.remove(&5);
    world.pass(2 * MINUTE);
    // The change that has made it secret.
    world.change(5);
    world.pass(5_000);
    world.bugzilla.latency = 5_000;
    for pause in [1_000, MINUTE, 2 * HOUR] {
        world.pass(pause);
        world.change(5);
        for reader in &readers {
            let heard = world.ask_at_once(reader, VERSION);
            assert!(
                heard.len() == 1 && heard[0].contains("version"),
                "{heard:?}"
            );
        }
        world.change(4);
        world.pass(20_000);
        for reader in &readers {
            assert_eq!(reader.updates(), ["4"]);
        }
    }
    // It is asked about at each change, so that who may see it again hears of it.
    world.bugzilla.public.insert(5);
    world.change(5);
    world.pass(20_000);
    for reader in &readers {
        assert_eq!(reader.updates(), ["5"]);
    }
}

#[test]
fn nobody_is_closed_for_a_bug_that_they_may_not_see_any_more() {
    let mut world = World::new(false);
    let readers = ["", "bob"].map(|key| world.open(key));
    for reader in &readers {
        world.subscribe(reader, "5");
    }
    world.bugzilla.public.remove(&5);
    world.pass(2 * MINUTE);
    world.change(5);
    world.pass(5_000);
    world.bugzilla.is_away = true;
    world.pass(HOUR);
    world.change(5);
    world.pass(5 * MINUTE);
    for reader in &readers {
        assert_eq!(reader.heard(), [] as [String; 0]);
        let heard = world.ask_at_once(reader, VERSION);
        assert!(heard[0].contains("version"), "{heard:?}");
    }
}

#[test]
fn an_update_that_nobody_waited_for_is_not_sent_after_its_bug_was_unsubscribed() {
    let mut world = World::new(false);
    let nobody = world.open("");
    world.subscribe(&nobody, "5");
    world.bugzilla.public.remove(&5);
    world.pass(2 * MINUTE);
    world.change(5);
    world.pass(5_000);
    world.bugzilla.public.insert(5);
    world.bugzilla.latency = 5_000;
    world.change(5);
    let reply = world.ask_at_once(&nobody, r#"{"command":"unsubscribe","bugs":5}"#);
    assert_eq!(reply.len(), 1);
    world.pass(MINUTE);
    assert_eq!(nobody.heard(), [] as [String; 0]);
}

#[test]
fn a_bug_is_denied_in_whatever_form_it_is_asked_for() {
    let mut world = World::new(false);
    let bob = world.open("bob");
    for bugs in [
        "10",
        "\"10\"",
        "\" +10 \"",
        "\"0010\"",
        "[10]",
        "[\"10\",10]",
        "[5,10,5]",
    ] {
        let told = world.subscribe(&bob, bugs);
        assert!(told.contains(r#""denied":[10]"#), "{bugs}: {told}");
        let told = world.subscribe(&bob, &bugs.replace("10", "99"));
        assert!(told.contains(r#""denied":[99]"#), "{bugs}: {told}");
    }
    for all in ["\"*\"", "[\"*\"]", "[5,\"*\"]"] {
        let told = world.subscribe(&bob, all);
        assert!(told.contains("invalid bug id"), "{all}: {told}");
    }
    world.change(10);
    world.pass(MINUTE);
    assert_eq!(bob.heard(), [] as [String; 0]);
}

#[test]
fn a_right_that_was_lost_is_in_no_list_of_subscriptions() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[5,10]");
    world.bugzilla.readers.get_mut("alice").unwrap().remove(&10);
    world.pass(2 * MINUTE);
    world.change(10);
    world.pass(5_000);
    for command in [
        r#"{"command":"subscriptions"}"#,
        r#"{"command":"unsubscribe","bugs":[7]}"#,
        r#"{"command":"subscribe","bugs":[5]}"#,
    ] {
        let told = world.ask(&alice, command).join(" ");
        assert!(told.contains(r#""bugs":[5]"#), "{told}");
    }
}

#[test]
fn the_place_of_one_who_has_gone_shows_nothing_to_the_next() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "10");
    world.pass(2 * MINUTE);
    // An update waits for her, and a reply behind it.
    world.bugzilla.is_away = true;
    world.change(10);
    world.say(&alice, VERSION);
    world.leave(&alice);
    world.pass(5_000);
    let nobody = world.connect("");
    assert_eq!(nobody.status(), "101");
    assert_eq!(nobody.place(), alice.place(), "the test needs the same");
    world.bugzilla.is_away = false;
    world.pass(MINUTE);
    world.change(10);
    world.pass(MINUTE);
    assert_eq!(nobody.heard(), [] as [String; 0]);
    let told = world.ask(&nobody, r#"{"command":"subscriptions"}"#);
    let told = told.join(" ");
    assert!(told.contains(r#""bugs":[]"#), "{told}");
}

#[test]
fn what_is_sent_with_a_handshake_is_answered_as_to_who_it_turns_out_to_be() {
    let mut world = World::new(false);
    world.bugzilla.latency = 1_000;
    let commands = text(subscribe("[5,10]", None));
    for (key, expected) in [
        ("alice", r#""bugs":[5,10]}"#),
        ("bob", r#""bugs":[5],"denied":[10]}"#),
    ] {
        let reader = world.connect(&format!("Authorization: Bearer {key}\r\n"));
        world.send_bytes(&reader, &commands);
        world.pass(20_000);
        assert_eq!(reader.status(), "101");
        let told = reader.heard().join(" ");
        assert!(told.contains(expected), "{told}");
    }
    let reader = world.connect("Authorization: Bearer carol\r\n");
    world.send_bytes(&reader, &commands);
    world.pass(20_000);
    assert_eq!(reader.status(), "401");
    assert!(!reader.rest().contains("subscribe"));
}

#[test]
fn what_was_asked_for_one_answers_nobody_else() {
    let mut world = World::with_kept(false, Kept::default());
    let alice = world.open("alice");
    world.subscribe(&alice, "[10,11]");
    for key in ["", "bob"] {
        let reader = world.open(key);
        let told = world.subscribe(&reader, "[10,11]");
        assert!(told.contains(r#""denied":[10,11]"#), "{key}: {told}");
    }
    // And a login of hers is another credential than her key.
    let login = "Cookie: Bugzilla_login=2; Bugzilla_logincookie=x\r\n";
    let login = world.connect(&format!("Origin: https://localhost\r\n{login}"));
    world.pass(5_000);
    assert_eq!(login.status(), "101", "as nobody");
    let told = world.subscribe(&login, "[10]");
    assert!(told.contains(r#""denied":[10]"#), "{told}");
}

#[test]
fn too_many_subscriptions_are_too_many_whichever_they_are() {
    let mut world = World::new(false);
    let bob = world.open("bob");
    let list = |from: u32| {
        let bugs: Vec<String> = (from..from + 20_001).map(|bug| bug.to_string()).collect();
        format!("[{}]", bugs.join(","))
    };
    for from in [1, 1_000_000] {
        let told = world.ask_at_once(&bob, &subscribe(&list(from), None));
        assert!(told[0].contains("too many subscriptions"), "{told:?}");
    }
}
