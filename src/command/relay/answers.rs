//! What those are told who run a relay: the paths of its admin listener. Knows no destination.

use crate::failure::Failure;
use crate::http::Reply;
use crate::metrics::CONTENT_TYPE;
use crate::protocol::VERSION;
use crate::reactor::{Address, Listener, answer_apart};
use crate::relay::Monitor;
use crate::work::unix_now;

/// Answers at a listener until the program ends; returns its address.
///
/// # Errors
/// When the kernel has no file or thread left for it.
pub(super) fn give(listener: Listener, monitor: Monitor) -> Result<Address, Failure> {
    let address = listener.address();
    let answering = answer_apart(listener, move |path, _| answer(path, &monitor));
    address
        .and_then(|address| answering.map(|()| address))
        .map_err(|error| {
            Failure::Unavailable(format!("cannot set up the admin listener: {error}."))
        })
}

fn answer(path: &str, monitor: &Monitor) -> Option<Reply> {
    let ok = |text| Reply::text("200 OK", String::new(), text);
    Some(match path {
        "/livez" => ok("alive\n".to_owned()),
        "/readyz" => readyz(&monitor.complaints()),
        "/metrics" => Reply {
            content_type: CONTENT_TYPE,
            ..ok(monitor.metrics(VERSION, unix_now()))
        },
        "/status" => Reply::json(&monitor.status_json(VERSION, unix_now())),
        _ => return None,
    })
}

/// Whether changes are taken, and sent to all destinations, in the form of a server's answer.
fn readyz(complaints: &[String]) -> Reply {
    let state = |word| format!("Bugzfeed-State: {word}\r\n");
    if complaints.is_empty() {
        return Reply::text("200 OK", state("ready"), "ready\n".to_owned());
    }
    let lines = complaints.iter().map(|why| format!("broken: {why}\n"));
    Reply::text("503 Service Unavailable", state("broken"), lines.collect())
}
