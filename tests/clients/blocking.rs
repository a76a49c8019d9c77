//! The generator in Python, for programs without asyncio.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::promises::{Place, at};

const SCRIPT: &str = r#"
import sys
sys.path.insert(0, sys.argv[1])
import bugzfeed

print("starting", flush=True)
for count, update in enumerate(bugzfeed.updates(sys.argv[2], [1], since=sys.argv[3], retry_max=0.2)):
    print(update.bug, update.when, flush=True)
    if count == 2:
        break
print("left", flush=True)
"#;

#[test]
#[ignore = "needs Python's websockets: run tests/run"]
fn a_loop_gets_each_update_over_a_crash_of_the_server_and_can_be_left() {
    let mut place = Place::new();
    let times: Vec<String> = (0..3).map(|second| at(10 + second)).collect();
    let mut process = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/docs/clients/python/src"
        ))
        .args([&format!("ws://{}/", place.proxy.address), &times[0]])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut line = || lines.next().expect("a line").unwrap();
    assert_eq!(line(), "starting");
    place.record(&[(1, &times[0])]);
    assert_eq!(line(), format!("1 {}", times[0]));
    place.wait_until_table_is_read();
    place.kill();
    place.record_without_server(&[(1, &times[1])]);
    place.restart();
    assert_eq!(line(), format!("1 {}", times[1]));
    place.record(&[(1, &times[2])]);
    assert_eq!(line(), format!("1 {}", times[2]));
    assert_eq!(line(), "left");
    assert!(process.wait().unwrap().success());
}
