//! The relay's end.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::{Place, terminate};

/// Nothing that hangs is waited for longer than a second; a slow machine gets some more.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_signal_ends_the_relay_at_once_while_its_destinations_hang() {
    let place = Place::new();
    place.table().record([1]);
    // They accept connections and never answer.
    let silent = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [amqp, http, https] = silent.each_ref().map(|silent| silent.local_addr().unwrap());
    for signal in [Signal::TERM, Signal::INT] {
        let to = [
            format!("amqp://u:p@{amqp}/"),
            format!("http://{http}/"),
            format!("https://{https}/"),
        ];
        let relay = place.relay(&to.each_ref().map(String::as_str));
        let _connections = silent.each_ref().map(|silent| silent.accept().unwrap());
        let asked = Instant::now();
        relay.signal(signal);
        let (status, log) = relay.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
    }
    assert_eq!(place.status().matches("waiting:       1\n").count(), 3);
}

#[test]
fn an_idle_relay_and_one_that_pauses_end_at_once() {
    let place = Place::new();
    let relay = place.relay(&["jsonl:out"]);
    relay.wait_for_line("taking changes from");
    let asked = Instant::now();
    terminate(relay);
    std::fs::create_dir(place.file("down")).unwrap();
    place.table().record([1]);
    let relay = place.relay_with(&["--retry", "1h"], &["jsonl:down"]);
    relay.wait_for_line("trying again until it works");
    terminate(relay);
    assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
}
