//! Many are closed, at the server's end or after a gap: spread over some time, in an order that is nobody's.

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::server::Limits;
use bugzfeed::update::FeedId;

use crate::cases::{Actor, Stage};
use crate::client::frame_of;

const CROWD: usize = 200;

/// Steps in which they are closed, in milliseconds.
const STEP: u32 = 10;

/// A crowd that has subscriptions.
fn crowd() -> (Stage, Vec<Actor>) {
    let limits = Limits {
        connections_max: CROWD,
        ping: 600_000,
        ..Stage::limits()
    };
    let mut stage = Stage::with_limits(limits, || Hub::new(History::new(10, 0), 10));
    let subscribe = frame_of(0x81, br#"{"command":"subscribe","bugs":1}"#);
    let crowd: Vec<Actor> = (0..CROWD).map(|_| stage.open()).collect();
    for actor in &crowd {
        stage.hear(actor, &subscribe);
        actor.takes();
    }
    (stage, crowd)
}

/// Who has been closed so far, by place.
fn closed(crowd: &[Actor]) -> Vec<usize> {
    let places = 0..crowd.len();
    places.filter(|at| crowd[*at].is_closed()).collect()
}

#[test]
fn the_server_closes_its_clients_evenly_and_in_random_order() {
    const DURATION: u32 = 100;
    let (mut stage, crowd) = crowd();
    stage.server.drain(DURATION, stage.now);
    stage.turn();
    assert!(closed(&crowd).is_empty());
    assert_eq!(stage.server.until_tick(stage.now), Some(STEP));
    stage.pass(DURATION / 2);
    let half = closed(&crowd);
    assert_eq!(half.len(), CROWD / 2);
    assert!(
        half[0] < CROWD / 2 && half[CROWD / 2 - 1] > CROWD / 2,
        "in their order"
    );
    stage.pass(DURATION / 2 - 1);
    assert!(closed(&crowd).len() < CROWD);
    assert_eq!(stage.server.until_tick(stage.now), Some(1));
    stage.pass(1);
    assert_eq!(closed(&crowd).len(), CROWD);
}

#[test]
fn a_departure_that_may_take_long_takes_a_millisecond_for_each_client() {
    let (mut stage, crowd) = crowd();
    stage.server.drain(60_000, stage.now);
    stage.pass(CROWD as u32 - STEP);
    assert!(closed(&crowd).len() < CROWD);
    stage.pass(STEP);
    assert_eq!(closed(&crowd).len(), CROWD);
}

#[test]
fn a_departure_at_once_needs_no_other_turn() {
    let (mut stage, crowd) = crowd();
    stage.server.drain(0, stage.now);
    stage.server.flush(usize::MAX, stage.now);
    assert_eq!(closed(&crowd).len(), CROWD);
}

#[test]
fn after_a_gap_clients_are_closed_a_thousand_in_a_second_and_newcomers_stay() {
    let (mut stage, crowd) = crowd();
    stage.server.gap(FeedId(0), stage.now);
    stage.pass(CROWD as u32 / 2);
    assert_eq!(closed(&crowd).len(), CROWD / 2);
    let newcomer = stage.open();
    stage.pass(CROWD as u32 / 2);
    assert_eq!(closed(&crowd).len(), CROWD);
    stage.pass(10_000);
    assert!(!newcomer.is_closed());
    let wait = stage.server.until_tick(stage.now).unwrap();
    assert!(wait > STEP, "nobody is left to be closed: {wait} ms");
}
