//! Destinations that are gone for ever: how much may wait for one, and how it is forgotten.

use std::fs;
use std::process::Command;

use crate::program::{Place, terminate};
use crate::receiver::{Posts, status};
use crate::support::server::wait_until;

/// What `bugzfeed relay --forget` says of a destination that it does not forget.
fn refusal(place: &Place, destination: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    let output = command
        .args(["relay", "--forget", destination])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_destination_that_is_gone_is_forgotten_with_what_waits_for_it() {
    let place = Place::new();
    fs::create_dir(place.file("gone")).unwrap();
    let relay = place.relay(&["jsonl:gone", "jsonl:there"]);
    place.table().record(1..=2_000);
    place.expect_lines("there", &(1..=2_000).collect::<Vec<_>>());
    let said = refusal(&place, "jsonl:gone");
    assert!(
        said.contains("--forget: the relay that is running sends to jsonl:gone; end it first."),
        "{said}"
    );
    terminate(relay);
    let said = refusal(&place, "jsonl:gnoe");
    assert!(said.contains("there is no destination jsonl:gnoe in bugzfeed-relay.db; known are: jsonl:gone, jsonl:there."), "{said}");
    // A relay that sends elsewhere does not mind.
    let relay = place.relay(&["jsonl:there"]);
    relay.wait_for_line("2000 changes wait for jsonl:gone, which is no destination (setting --to) of this relay; 'bugzfeed relay --forget jsonl:gone' deletes them");
    let size = || fs::metadata(place.file("bugzfeed-relay.db")).unwrap().len();
    let before = size();
    assert_eq!(
        place.print(&["--forget", "jsonl:gone"]),
        "jsonl:gone is forgotten, and 2000 changes that waited for it.\n"
    );
    wait_until("the file is smaller", || {
        (size() < before / 2).then_some(())
    });
    let status = place.status();
    assert!(
        !status.contains("jsonl:gone") && status.contains("jsonl:there"),
        "{status}"
    );
    place.table().record([7]);
    wait_until("the relay goes on", || {
        (place.lines("there").last() == Some(&7)).then_some(())
    });
    terminate(relay);
}

#[test]
fn a_webhook_is_forgotten_by_its_address_or_by_the_name_that_is_shown() {
    let posts = Posts::open(|_, _| status("500 Oh"));
    let place = Place::new();
    let to = format!("http://{}/hook/secret", posts.address);
    for by_name in [false, true] {
        let relay = place.relay(&[&to]);
        place.table().record([1]);
        posts.next();
        terminate(relay);
        let status = place.status();
        let name = status
            .lines()
            .find(|line| line.starts_with("http"))
            .unwrap();
        assert!(
            name.starts_with(&format!("http://{}/...", posts.address)),
            "{name}"
        );
        let said = place.print(&["--forget", if by_name { name } else { &to }]);
        assert_eq!(
            said,
            format!("{name} is forgotten, and 1 changes that waited for it.\n")
        );
    }
}

#[test]
fn an_address_that_an_older_relay_has_noted_whole_is_masked_and_keeps_what_waits() {
    let posts = Posts::open(|_, _| status("200 OK"));
    let place = Place::new();
    let to = format!("http://{}/hook/secret", posts.address);
    fs::create_dir(place.file("down")).unwrap();
    let relay = place.relay(&["jsonl:down"]);
    place.table().record([1]);
    relay.wait_for_line("Is a directory");
    terminate(relay);
    let backlog = rusqlite::Connection::open(place.file("bugzfeed-relay.db")).unwrap();
    let rename = "UPDATE push_destination SET name = ?1";
    assert_eq!(backlog.execute(rename, [&to]).unwrap(), 1);
    drop(backlog);
    let relay = place.relay(&[&to]);
    assert_eq!(posts.bugs(1), [1]);
    place.drained();
    let status = place.status();
    assert!(
        !status.contains("secret") && !terminate(relay).contains("secret"),
        "{status}"
    );
}

#[test]
fn too_much_for_one_destination_is_told_long_before_its_oldest_changes_are_dropped() {
    let place = Place::new();
    fs::create_dir(place.file("gone")).unwrap();
    let relay = place.relay_with(&["--backlog-size", "100"], &["jsonl:gone", "jsonl:there"]);
    place.table().record(1..=30);
    relay.wait_for_line("jsonl:gone: 30 changes wait; beyond 100 (setting --backlog-size) the oldest are dropped. If it is gone for ever, end the relay and run 'bugzfeed relay --forget jsonl:gone'");
    place.table().record(31..=130);
    relay.wait_for_line("jsonl:gone: 100 changes wait, as many as may (setting --backlog-size); for each new one the oldest is dropped");
    place.expect_lines("there", &(1..=130).collect::<Vec<_>>());
    let status = place.status();
    assert!(status.contains("  waiting:       100\n"), "{status}");
    assert!(
        status.contains("  dropped:       30, since too many waited (setting --backlog-size)\n"),
        "{status}"
    );
    fs::remove_dir(place.file("gone")).unwrap();
    place.expect_lines("gone", &(31..=130).collect::<Vec<_>>());
    place.drained();
    terminate(relay);
}
