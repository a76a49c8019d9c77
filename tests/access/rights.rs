//! `--access bugzilla`: nobody learns of a bug that Bugzilla does not show them, whatever they try;
//! and Bugzilla is asked seldom.

use bugzfeed::access::Kept;

use crate::world::{Reader, World};

const HOUR: u32 = 3_600_000;
const MINUTE: u32 = 60_000;

#[test]
fn each_reader_gets_what_bugzilla_shows_to_them_and_hears_of_nothing_else() {
    let mut world = World::new(false);
    let readers = ["", "alice", "bob"].map(|key| world.open(key));
    let denied = r#"{"command":"subscribe","result":"ok","bugs":[5],"denied":[10,99]}"#;
    let alices = r#"{"command":"subscribe","result":"ok","bugs":[5,10],"denied":[99]}"#;
    for (reader, reply) in readers.iter().zip([denied, alices, denied]) {
        assert_eq!(world.subscribe(reader, "[5,10,99]"), reply);
    }
    for bug in [10, 5, 99] {
        world.change(bug);
    }
    world.pass(10_000);
    let [nobody, alice, bob] = readers.each_ref().map(|reader| reader.updates());
    assert_eq!(alice, ["10", "5"]);
    assert_eq!((nobody, bob), (vec!["5".to_owned()], vec!["5".to_owned()]));
}

#[test]
fn a_bug_that_is_not_there_and_one_that_may_not_be_seen_are_the_same_at_each_moment() {
    let mut world = World::new(false);
    let bob = world.open("bob");
    world.questions();
    // In one question, so that they are answered at the same time.
    let reply = world.subscribe(&bob, "[10,99]");
    assert_eq!(
        reply,
        r#"{"command":"subscribe","result":"ok","bugs":[],"denied":[10,99]}"#
    );
    let asked = world.bugzilla.asked.iter();
    assert!(asked.clone().all(|(_, bugs)| bugs.len() == 2), "{asked:?}");
    world.questions();
    // And remembered for the same time.
    for bug in ["10", "99"] {
        world.subscribe(&bob, bug);
    }
    assert_eq!(world.questions(), 0);
}

#[test]
fn an_update_is_shown_by_an_answer_of_a_minute_and_a_subscription_made_by_one_of_an_hour() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "10");
    world.questions();
    world.change(10);
    assert_eq!(
        (alice.updates(), world.questions()),
        (vec!["10".to_owned()], 0)
    );
    world.pass(HOUR - MINUTE);
    world.subscribe(&alice, "10");
    assert_eq!(world.questions(), 0);
    world.change(10);
    assert_eq!(alice.updates().len(), 0, "the answer is too old");
    world.pass(5_000);
    assert_eq!(alice.updates(), ["10"]);
    assert!(world.questions() > 0);
}

#[test]
fn a_right_that_was_lost_counts_for_a_minute_live_and_in_a_replay() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[5,10]");
    world.bugzilla.readers.get_mut("alice").unwrap().remove(&10);
    world.pass(MINUTE + 1_000);
    world.change(10);
    world.pass(5_000);
    assert_eq!(alice.updates().len(), 0);
    let listed = world.ask(&alice, r#"{"command":"subscriptions"}"#);
    assert_eq!(
        listed,
        [r#"{"command":"subscriptions","result":"ok","bugs":[5]}"#]
    );
    let again = world.open("alice");
    let since = r#"{"command":"subscribe","bugs":[10],"since":"2014-01-01T00:00:00"}"#;
    let replayed = world.ask(&again, since);
    assert_eq!(replayed.len(), 1, "{replayed:?}");
    assert!(replayed[0].contains(r#""denied":[10]"#), "{replayed:?}");
    // A right that comes back is noticed at the bug's next change.
    world.bugzilla.readers.get_mut("alice").unwrap().insert(10);
    world.change(10);
    world.pass(5_000);
    assert_eq!(alice.updates(), ["10"]);
}

#[test]
fn a_replay_shows_nothing_by_an_old_answer() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "10");
    world.change(10);
    world.leave(&alice);
    world.bugzilla.readers.get_mut("alice").unwrap().remove(&10);
    world.pass(MINUTE + 1_000);
    let alice = world.open("alice");
    // An hour is enough for the subscription alone.
    assert!(world.subscribe(&alice, "10").contains(r#""bugs":[10]"#));
    let since = r#"{"command":"subscribe","bugs":[10],"since":"2014-01-01T00:00:00"}"#;
    let replayed = world.ask(&alice, since);
    assert_eq!(replayed.len(), 1, "{replayed:?}");
    assert!(replayed[0].contains(r#""denied":[10]"#), "{replayed:?}");
}

#[test]
fn a_public_bug_that_is_made_secret_is_secret_within_a_minute_for_all() {
    let mut world = World::new(false);
    let readers = ["", "bob"].map(|key| world.open(key));
    for reader in &readers {
        world.subscribe(reader, "5");
    }
    world.bugzilla.public.remove(&5);
    world.pass(MINUTE + 1_000);
    world.change(5);
    world.pass(10_000);
    for reader in &readers {
        assert_eq!(reader.updates().len(), 0);
    }
    world.bugzilla.public.insert(5);
    world.change(5);
    world.pass(10_000);
    for reader in &readers {
        assert_eq!(reader.updates(), ["5"]);
    }
}

#[test]
fn who_waits_for_a_bug_that_is_born_secret_hears_nothing() {
    let mut world = World::new(false);
    let bob = world.open("bob");
    assert!(world.subscribe(&bob, "[50]").contains(r#""denied":[50]"#));
    world.bugzilla.readers.get_mut("alice").unwrap().insert(50);
    world.change(50);
    world.pass(5_000);
    assert!(world.subscribe(&bob, "[50]").contains(r#""denied":[50]"#));
    // One that is born public is seen as soon as it has changed.
    world.bugzilla.public.insert(51);
    assert!(world.subscribe(&bob, "[51]").contains(r#""bugs":[51]"#));
}

#[test]
fn what_is_behind_an_update_that_waits_waits_too_so_that_nobody_can_resume_behind_it() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[5,10]");
    world.pass(2 * MINUTE);
    // Of 10 it is not known, of 5 it is.
    let nobody = world.open("");
    world.subscribe(&nobody, "5");
    world.bugzilla.is_away = true;
    world.change(10);
    world.change(5);
    world.say(&alice, r#"{"command":"version"}"#);
    world.pass(2_000);
    assert_eq!(alice.heard().len(), 0);
    world.bugzilla.is_away = false;
    world.pass(10_000);
    let heard = alice.updates();
    assert_eq!(heard[..2], ["10", "5"]);
    assert!(heard[2].contains("version"), "{heard:?}");
}

#[test]
fn a_login_that_has_ended_ends_its_connections_when_it_is_next_asked_for() {
    let mut world = World::new(false);
    let (one, two, bob) = (world.open("alice"), world.open("alice"), world.open("bob"));
    for reader in [&one, &two] {
        world.subscribe(reader, "10");
    }
    world.bugzilla.readers.remove("alice");
    world.pass(MINUTE + 1_000);
    world.change(10);
    world.pass(5_000);
    assert_eq!(
        (one.updates(), two.updates()),
        (vec!["1008".to_owned()], vec!["1008".to_owned()])
    );
    assert!(world.subscribe(&bob, "5").contains(r#""bugs":[5]"#));
    let again = world.connect("Authorization: Bearer alice\r\n");
    assert_eq!(again.status(), "401");
}

#[test]
fn bugzilla_away_shows_nothing_new_and_ends_those_who_wait_for_it() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[5,10]");
    world.bugzilla.is_away = true;
    world.change(10);
    assert_eq!(alice.updates(), ["10"], "it was answered a moment ago");
    world.pass(2 * MINUTE);
    world.change(10);
    world.pass(MINUTE - 5_000);
    assert_eq!(alice.updates().len(), 0);
    world.pass(10_000);
    assert_eq!(alice.updates(), ["1013"]);
    // Who is known comes in, and subscribes to what is known; newcomers do not.
    let alice = world.open("alice");
    assert!(
        world
            .subscribe(&alice, "[5,10]")
            .contains(r#""bugs":[5,10]"#)
    );
    let newcomer = world.connect("Authorization: Bearer carol\r\n");
    world.pass(15_000);
    assert_eq!(newcomer.status(), "503");
    let next = world.connect("Authorization: Bearer dave\r\n");
    assert_eq!(next.status(), "503", "one who waits is enough");
    // A subscription to what is not known is no doubt in favour of showing.
    world.say(&alice, r#"{"command":"subscribe","bugs":[11]}"#);
    world.pass(2 * MINUTE);
    assert_eq!(alice.updates(), ["1013"]);
    assert!(world.questions() < 60, "the pauses grow");
}

#[test]
fn a_storm_of_readers_who_are_known_costs_bugzilla_nothing() {
    let mut world = World::new(false);
    let alice = world.open("alice");
    world.subscribe(&alice, "[5,10,99]");
    world.pass(30 * MINUTE);
    world.questions();
    for _ in 0..500 {
        let reader = world.connect("Authorization: Bearer alice\r\n");
        assert_eq!(reader.status(), "101");
        world.say(&reader, r#"{"command":"subscribe","bugs":[5,10,99]}"#);
        let heard = reader.heard();
        assert!(
            heard[0].contains(r#""bugs":[5,10],"denied":[99]"#),
            "{heard:?}"
        );
    }
    assert_eq!(world.questions(), 0);
}

#[test]
fn a_public_bug_is_asked_for_once_however_many_want_it() {
    let mut world = World::new(false);
    let readers: Vec<_> = (0..50).map(|_| world.connect("")).collect();
    for reader in &readers {
        assert_eq!(reader.status(), "101");
        world.say(reader, r#"{"command":"subscribe","bugs":[1,2,3]}"#);
    }
    world.pass(5_000);
    assert_eq!(world.questions(), 1);
    world.pass(2 * MINUTE);
    world.change(1);
    world.pass(5_000);
    assert_eq!(world.questions(), 1);
    for reader in &readers {
        assert_eq!(reader.updates().last().unwrap(), "1");
    }
}

#[test]
fn a_request_asks_for_a_hundred_bugs_and_the_next_one_is_a_second_later() {
    let mut world = World::new(false);
    let reader = world.open("");
    world.pass(2_000);
    let bugs: Vec<String> = (1..=1_000).map(|bug: u32| bug.to_string()).collect();
    let message = format!(r#"{{"command":"subscribe","bugs":[{}]}}"#, bugs.join(","));
    world.say(&reader, &message);
    world.pass(4_000);
    assert!(
        world.bugzilla.asked.len() <= 5,
        "{}",
        world.bugzilla.asked.len()
    );
    world.pass(10_000);
    let asked = &world.bugzilla.asked;
    assert!(asked.iter().all(|(_, bugs)| bugs.len() <= 100));
    assert_eq!(asked.len(), 10);
    assert!(reader.heard()[0].contains(r#""bugs":[1,2,3,4,5,6,7,8,9],"denied":[10,"#));
}

#[test]
fn nobody_comes_in_where_a_login_is_needed() {
    let mut world = World::new(true);
    assert_eq!(world.connect("").status(), "401");
    let unknown = world.connect("Authorization: Bearer carol\r\n");
    world.pass(3_000);
    assert_eq!(unknown.status(), "401");
    world.open("alice");
}

#[test]
fn cookies_count_from_pages_of_bugzilla_and_of_this_server_alone() {
    let mut world = World::new(true);
    let cookies = "Bugzilla_login=2; Bugzilla_logincookie=abc";
    world
        .bugzilla
        .readers
        .insert(cookies.to_owned(), [10].into());
    let mut status = |fields: &str| {
        let reader = world.connect(fields);
        world.pass(3_000);
        reader.status()
    };
    let line = format!("Cookie: a=b; {cookies}; c=d\r\n");
    for (origin, expected) in [
        ("Origin: https://bugzilla.example\r\n", "101"),
        ("Origin: https://localhost\r\n", "101"),
        ("Origin: http://localhost\r\n", "101"),
        ("", "401"),
        ("Origin: null\r\n", "401"),
        ("Origin: https://evil.example\r\n", "401"),
        ("Origin: http://bugzilla.example\r\n", "401"),
        ("Origin: https://bugzilla.example.evil.example\r\n", "401"),
        ("Origin: https://localhost:8443\r\n", "401"),
        (
            "Origin: https://localhost\r\nOrigin: https://evil.example\r\n",
            "401",
        ),
    ] {
        assert_eq!(status(&format!("{origin}{line}")), expected, "{origin}");
    }
    let own = "Origin: https://localhost\r\n";
    for cookie in [
        "Cookie: Bugzilla_login=2\r\n",
        "Cookie: Bugzilla_login=2; Bugzilla_logincookie=wrong\r\n",
        "Cookie: Bugzilla_login=2; Bugzilla_logincookie=a\"b\r\n",
        "Cookie: xBugzilla_login=2; Bugzilla_logincookie=abc\r\n",
    ] {
        assert_eq!(status(&format!("{own}{cookie}")), "401", "{cookie}");
    }
    let asked = world.bugzilla.asked.iter();
    assert!(
        asked.clone().all(|(key, _)| !key.contains("a=b")),
        "{asked:?}"
    );
}

#[test]
fn a_pages_own_request_has_no_origin_and_its_cookies_count_all_the_same() {
    let mut world = World::new(true);
    let cookies = "Bugzilla_login=2; Bugzilla_logincookie=abc";
    let own = [10].into();
    world.bugzilla.readers.insert(cookies.to_owned(), own);
    let mut ask = |site: &str| {
        let fields = format!("{site}Cookie: {cookies}\r\n");
        let reader = world.ask_for_access(&fields);
        world.pass(3_000);
        reader.status()
    };
    for (site, expected) in [
        ("Sec-Fetch-Site: same-origin\r\n", "204"),
        ("Origin: https://localhost\r\n", "204"),
        ("", "401"),
        ("Sec-Fetch-Site: same-site\r\n", "401"),
        ("Sec-Fetch-Site: cross-site\r\n", "401"),
        ("Sec-Fetch-Site: none\r\n", "401"),
        (
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
            "401",
        ),
        (
            "Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
            "401",
        ),
    ] {
        assert_eq!(ask(site), expected, "{site}");
    }
    world.bugzilla.is_away = true;
    let newcomer = world.ask_for_access("Authorization: Bearer carol\r\n");
    world.pass(15_000);
    assert_eq!(newcomer.status(), "503");
}

#[test]
fn what_was_said_before_a_restart_serves_who_shows_the_same_and_nobody_else() {
    let bob = |bugs| Kept {
        readers: vec![([7; 32], true, 0)],
        verdicts: bugs,
    };
    let ten = bugzfeed::update::BugId::new(10).unwrap();
    let mut world = World::with_kept(true, bob(vec![([7; 32], ten, true, 0)]));
    let stranger = world.connect("Authorization: Bearer carol\r\n");
    world.pass(3_000);
    assert_eq!(stranger.status(), "401");
    let mut world = World::with_kept(
        false,
        Kept {
            readers: Vec::new(),
            verdicts: vec![([0; 32], ten, true, MINUTE * 2)],
        },
    );
    let nobody = world.open("");
    assert!(world.subscribe(&nobody, "10").contains(r#""bugs":[10]"#));
    world.change(10);
    world.pass(5_000);
    assert_eq!(nobody.updates().len(), 0, "an old answer shows nothing");
}

#[test]
fn where_the_feed_stands_is_told_to_nobody_who_sees_some_bugs_only() {
    let mut world = World::new(false);
    for key in ["", "bob", "alice"] {
        let reader = world.open(key);
        let ask = |world: &mut World| {
            let subscribe = r#"{"command":"subscribe","bugs":[1],"watermark":true}"#;
            let ahead = r#"{"command":"subscribe","bugs":[1],"since":"2023-11-14T22:15:00"}"#;
            let status = r#"{"command":"status"}"#;
            [subscribe, status, ahead].map(|it| world.ask(&reader, it).join(" "))
        };
        let before = ask(&mut world);
        assert!(before[0].ends_with(r#","watermark":null}"#), "{before:?}");
        assert!(before[1].contains(r#","watermark":null,"#), "{before:?}");
        // A second each, by a clock ahead of the server's.
        (0..70).for_each(|_| world.change(20));
        assert_eq!(ask(&mut world), before, "{key}: a secret bug has changed");
        world.leave(&reader);
    }
}

#[test]
fn who_waits_for_bugzilla_when_the_server_departs_is_let_in_and_told_to_come_back() {
    let mut world = World::new(false);
    let bob = world.open("bob");
    world.crowd(2_000);
    // The next question is a second later.
    world.say(&bob, r#"{"command":"subscribe","bugs":[1]}"#);
    // They are closed in no order.
    let alices = [(); 30].map(|()| world.connect("Authorization: Bearer alice\r\n"));
    world.depart(2_000);
    world.pass(500);
    let statuses = || alices.each_ref().map(Reader::status);
    assert_eq!(statuses(), [""; 30], "Bugzilla has not said who it is");
    world.pass(2_000);
    assert_eq!(statuses(), ["101"; 30]);
    assert!(alices.iter().all(|alice| alice.heard() == ["1001"]));
}

#[test]
fn events_are_of_those_bugs_alone_that_bugzilla_shows_to_their_reader() {
    let mut world = World::new(false);
    let alice = world.listen("1,10,20", "Authorization: Bearer alice\r\n");
    let nobody = world.listen("1,10", "");
    let cookies = "Bugzilla_login=2; Bugzilla_logincookie=abc";
    let known = world.bugzilla.readers.get("alice").unwrap().clone();
    world.bugzilla.readers.insert(cookies.to_owned(), known);
    // A browser names the origin of a page elsewhere, and says of one of this host that it is one.
    let fields = format!("Cookie: {cookies}\r\nSec-Fetch-Site: same-origin\r\n");
    let login = world.listen("1,10", &fields);
    let stranger = world.listen("1,10", &fields.replace("same-origin", "cross-site"));
    let readers = [&alice, &login, &nobody, &stranger];
    for (reader, bugs) in readers
        .iter()
        .zip(["[1,10],\"denied\":[20]", "[1,10]", "[1]", "[1]"])
    {
        assert_eq!(reader.status(), "200");
        let text = reader.rest();
        assert!(text.contains(&format!("\"bugs\":{bugs}")), "{bugs}: {text}");
        assert!(text.contains("\nid: 1970-01-01T00:00:00\n"), "{text}");
    }
    [10, 20, 1].into_iter().for_each(|bug| world.change(bug));
    world.pass(5_000);
    for (reader, bugs) in readers
        .iter()
        .zip([&["10", "1"][..], &["10", "1"], &["1"], &["1"]])
    {
        let text = reader.rest();
        let updates = text.split(r#""update","bug":"#).skip(1);
        let got: Vec<&str> = updates.filter_map(|rest| rest.split(',').next()).collect();
        assert_eq!(&got, bugs);
    }
    let unknown = world.listen("1", "Authorization: Bearer carol\r\n");
    assert_eq!(unknown.status(), "401");
}

#[test]
fn bugzilla_is_asked_at_once_however_long_ago_it_was_asked_last() {
    for days in [1, 24, 25, 40, 50] {
        let mut world = World::new(true);
        world.open("alice");
        for _ in 0..days * 24 {
            // As the loop does, which writes a line into the log each hour.
            world.now = world.now.plus(HOUR);
            world.turn();
        }
        world.questions();
        let bob = world.open("bob");
        assert_eq!(
            world.subscribe(&bob, "[5]").matches("[5]").count(),
            1,
            "{days} days"
        );
    }
}
