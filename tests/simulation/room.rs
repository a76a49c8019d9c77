//! Room for newcomers, and what is given back when clients have left.

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::post::Answer;
use bugzfeed::server::Limits;
use bugzfeed::update::FeedId;

use crate::cases::{Actor, POST_REQUEST, Stage};
use crate::client::frame_of;
use crate::world::{LATE, POST};

/// How many the limit of [`Stage::limits`] lets in, and how many more are accepted.
const IN: usize = 10;
const BEYOND: usize = 32;

/// For how long one beyond the limit has its place for itself, in milliseconds.
const TURN: u32 = 250;

fn there(actors: &[Actor]) -> Vec<bool> {
    let is_there = |actor: &Actor| !actor.handle.wire().is_dropped;
    actors.iter().map(is_there).collect()
}

#[test]
fn beyond_the_limit_the_one_that_was_silent_for_longest_goes_for_a_newcomer_and_nobody_else() {
    let mut stage = Stage::new();
    let mut actors: Vec<Actor> = (0..IN).map(|_| stage.connect()).collect();
    assert_eq!(stage.server.until_room(stage.now), None);
    stage.pass(1);
    for _ in 0..BEYOND {
        assert!(stage.server.has_room() && stage.server.make_room(stage.now));
        actors.push(stage.connect());
    }
    assert!(!stage.server.has_room());
    assert!(!stage.server.make_room(stage.now));
    assert_eq!(stage.server.until_room(stage.now), Some(TURN));

    stage.pass(TURN - 1);
    stage.hear(&actors[IN], b"GET");
    assert_eq!(stage.server.until_room(stage.now), Some(1));
    assert!(!stage.server.make_room(stage.now), "each has its turn");
    stage.pass(1);
    assert!(stage.server.make_room(stage.now));
    stage.turn();
    let gone: Vec<usize> = (0..IN + BEYOND).filter(|&at| !there(&actors)[at]).collect();
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert!(gone[0] > IN, "who is within the limit, or was heard, stays");
}

#[test]
fn those_beyond_the_limit_go_in_the_order_in_which_they_came() {
    let mut stage = Stage::new();
    let _crowd: Vec<Actor> = (0..IN).map(|_| stage.connect()).collect();
    let beyond: Vec<Actor> = (0..3)
        .map(|_| {
            stage.pass(100);
            stage.connect()
        })
        .collect();
    stage.pass(10);
    assert_eq!(stage.server.until_room(stage.now), Some(TURN - 210));
    for gone in 1..=beyond.len() {
        stage.pass(TURN);
        stage.server.make_room(stage.now);
        let expected: Vec<bool> = (0..beyond.len()).map(|at| at >= gone).collect();
        assert_eq!(there(&beyond), expected);
    }
}

#[test]
fn who_says_that_its_post_is_the_last_is_not_kept() {
    let mut stage = Stage::new();
    let client = stage.connect();
    let request = POST_REQUEST.replacen("Host: a", "Host: a\r\nConnection: close", 1);
    stage.hear(&client, request.as_bytes());
    let post = stage.server.take_posts().remove(0).1.id;
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert!(client.takes().contains("\r\nConnection: close\r\n"));
    assert!(client.is_closed());
}

#[test]
fn who_posts_with_the_key_keeps_its_place_among_those_beyond_the_limit() {
    let mut stage = Stage::new();
    let _crowd: Vec<Actor> = (0..IN).map(|_| stage.connect()).collect();
    let posting: Vec<Actor> = (0..BEYOND).map(|_| stage.post()).collect();
    assert_eq!(stage.server.take_posts().len(), BEYOND);
    // Their places do not count, and nobody else's wish ends them.
    let passing: Vec<Actor> = (0..BEYOND).map(|_| stage.connect()).collect();
    assert!(!stage.server.has_room());
    stage.pass(TURN);
    assert!(stage.server.make_room(stage.now));
    stage.turn();
    assert!(there(&posting).iter().all(|&is_there| is_there));
    assert_eq!(there(&passing).iter().filter(|&&it| !it).count(), 1);
}

#[test]
fn a_connection_within_the_limit_is_kept_after_a_post_and_no_more_than_its_places_go_to_posts() {
    let mut stage = Stage::new();
    let _crowd: Vec<Actor> = (1..IN).map(|_| stage.connect()).collect();
    let last = stage.post();
    let post = stage.server.take_posts().remove(0).1.id;
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert!(!last.is_closed());
    // Beyond the limit there are as many places for posts as for others.
    let _posting: Vec<Actor> = (0..=BEYOND).map(|_| stage.post()).collect();
    let _passing: Vec<Actor> = (1..BEYOND).map(|_| stage.connect()).collect();
    assert!(!stage.server.has_room());
}

#[test]
fn who_is_kept_after_a_post_has_an_ordinary_place_and_none_for_posts() {
    let mut stage = Stage::new();
    let crowd: Vec<Actor> = (0..IN).map(|_| stage.connect()).collect();
    let kept = stage.post();
    let post = stage.server.take_posts().remove(0).1.id;
    crowd[0].handle.wire_mut().is_reset = true;
    stage.server.readable(crowd[0].id, true, stage.now);
    stage.turn();
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert!(!kept.is_closed());
    let _passing: Vec<Actor> = (0..BEYOND).map(|_| stage.connect()).collect();
    assert!(!stage.server.has_room());
}

#[test]
fn each_post_gets_its_own_answer_in_whatever_order_they_come() {
    let mut stage = Stage::new();
    let clients = [stage.post(), stage.post(), stage.post()];
    let posts = stage.server.take_posts();
    for (at, answer, status) in [
        (1, Answer::Unreadable, "400"),
        (2, Answer::NotKept, "503"),
        (0, Answer::Kept, "200"),
    ] {
        stage.server.answer(posts[at].1.id, answer, stage.now);
        stage.turn();
        let got = clients.each_ref().map(Actor::takes);
        assert_eq!(got[at].get(9..12), Some(status));
        assert_eq!(got.iter().filter(|it| !it.is_empty()).count(), 1);
    }
}

#[test]
fn a_key_that_has_changed_is_asked_for_from_then_on_and_only_of_its_own_feed() {
    let mut stage = Stage::new();
    stage.server.set_webhook_key(FeedId(0), "others");
    stage.post();
    assert_eq!(stage.server.take_posts().len(), 1);
    stage.server.set_webhook_key(FeedId(1), "sesame");
    let refused = stage.post();
    assert!(refused.takes().starts_with("HTTP/1.1 401 "));
    let client = stage.connect();
    stage.hear(&client, POST_REQUEST.replace("open", "sesame").as_bytes());
    assert_eq!(stage.server.take_posts().len(), 1);
}

#[test]
fn who_has_come_in_beyond_the_limit_goes_for_no_newcomer_not_even_in_its_last_moment() {
    let mut stage = Stage::new();
    let _crowd: Vec<Actor> = (0..IN).map(|_| stage.connect()).collect();
    let client = stage.open();
    stage.hear(&client, &frame_of(0x81, b"\xff"));
    assert!(client.takes().contains("invalid UTF-8"));
    stage.pass(TURN);
    assert!(stage.server.make_room(stage.now));
    assert_eq!(stage.server.until_room(stage.now), None);
    assert!(!client.handle.wire().is_dropped);
}

#[test]
fn a_post_has_its_time_from_its_last_byte_on() {
    let mut stage = Stage::new();
    let client = stage.connect();
    let (first, rest) = POST_REQUEST.split_at(50);
    stage.hear(&client, first.as_bytes());
    stage.pass(POST - LATE);
    stage.hear(&client, rest.as_bytes());
    // What is due for another one is no reason to give it up early.
    let other = stage.connect();
    stage.hear(&other, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    stage.pass(POST - LATE);
    assert_eq!(client.takes(), "");
    stage.pass(2 * LATE);
    assert!(client.takes().starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_connection_that_is_kept_after_a_post_has_its_time_from_the_answer_on() {
    let mut stage = Stage::new();
    let client = stage.post();
    let post = stage.server.take_posts().remove(0).1.id;
    stage.pass(5_000);
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    assert!(client.takes().starts_with("HTTP/1.1 200 "));
    stage.pass(60_000 - LATE);
    assert!(!client.is_closed(), "closed before its time");
    stage.pass(2 * LATE);
    assert!(client.is_closed());
}

#[test]
fn the_next_request_on_a_kept_connection_has_its_time_from_its_first_byte_on() {
    let mut stage = Stage::new();
    let client = stage.post();
    let post = stage.server.take_posts().remove(0).1.id;
    stage.server.answer(post, Answer::Kept, stage.now);
    stage.turn();
    client.takes();
    stage.server.resume(stage.now);
    stage.pass(50_000);
    let (first, rest) = POST_REQUEST.split_at(50);
    stage.hear(&client, first.as_bytes());
    stage.pass(50_000);
    stage.hear(&client, rest.as_bytes());
    assert_eq!(stage.server.take_posts().len(), 1);
}

#[test]
fn a_request_that_comes_byte_by_byte_on_a_kept_connection_has_no_more_time_for_it() {
    let limits = Limits {
        handshake: 2_000,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let (slow, idle) = (stage.post(), stage.post());
    stage.pass(5_000);
    for (_, post) in stage.server.take_posts() {
        stage.server.answer(post.id, Answer::Kept, stage.now);
    }
    stage.turn();
    slow.takes();
    stage.server.resume(stage.now);
    for byte in [b"P", b"O", b"S"] {
        stage.hear(&slow, byte);
        stage.pass(1_000);
    }
    stage.pass(LATE);
    assert!(slow.takes().starts_with("HTTP/1.1 408 "));
    assert!(idle.is_closed());
}

#[test]
fn slots_are_given_back_when_less_than_a_quarter_of_many_clients_is_left() {
    const FEW: usize = 1_024;
    const MANY: usize = 4_096;
    let mut stage = crowd_that_shrinks(FEW, 1);
    assert!(!stage.server.has_too_much_memory(), "so few are kept");
    stage = crowd_that_shrinks(MANY, MANY / 4);
    assert!(!stage.server.has_too_much_memory(), "a quarter is there");
    stage = crowd_that_shrinks(MANY, MANY / 4 - 1);
    assert!(stage.server.has_too_much_memory());
    stage.pass(Stage::limits().ping);
    assert!(!stage.server.has_too_much_memory());
    assert_eq!(stage.server.len(), MANY / 4 - 1, "who has stayed is there");
}

/// A server of whose `clients` all but the first `left` have just left.
fn crowd_that_shrinks(clients: usize, left: usize) -> Stage {
    let limits = Limits {
        connections_max: clients,
        ping: 600_000,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let actors: Vec<Actor> = (0..clients).map(|_| stage.connect()).collect();
    for actor in &actors[left..] {
        actor.handle.wire_mut().is_reset = true;
        stage.server.readable(actor.id, true, stage.now);
        stage.server.reap(stage.now);
    }
    stage
}

#[test]
fn a_client_that_takes_bytes_again_gets_what_waits_even_if_nobody_says_so() {
    let mut stage = Stage::new();
    let client = stage.open();
    stage.hear(
        &client,
        &frame_of(0x81, br#"{"command":"subscribe","bugs":[1,2]}"#),
    );
    client.takes();
    client.handle.wire_mut().room = 0;
    stage.change(1..=2);
    assert_eq!(client.takes(), "");
    client.handle.wire_mut().room = 1;
    stage.pass(2_000 + LATE);
    assert_eq!(client.handle.wire().room, 0, "nobody looked");
    client.handle.wire_mut().room = usize::MAX;
    stage.pass(2_000 + LATE);
    let got = client.takes();
    assert!(
        got.contains(r#""bug":1"#) && got.contains(r#""bug":2"#),
        "{got}"
    );
}
