//! The receiver of docs/scaling.md, which checks who has sent a post.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::program::{Place, terminate};

/// The receiver, on a free port.
fn receiver(port: u16) -> String {
    let docs = include_str!("../../docs/scaling.md");
    let (_, code) = docs
        .split_once("<!-- tests/relay/signature.rs runs this -->\n```python\n")
        .unwrap();
    code.split_once("```")
        .unwrap()
        .0
        .replace("8850", &port.to_string())
}

#[test]
fn the_receiver_of_the_docs_takes_what_is_signed_and_refuses_what_is_not() {
    let place = Place::new();
    // A line break at the end does not count.
    fs::write(place.file("secret"), "Tell nobody\n").unwrap();
    fs::write(place.file("wrong"), "Tell everybody\n").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut python = Command::new("python3")
        .args(["-c", &receiver(port)])
        .current_dir(place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
    let to =
        |path: &str, secret: &str| format!("http://127.0.0.1:{port}/{path}#secret_file={secret}");
    let relay = place.relay(&[&to("right", "secret"), &to("wrong", "wrong")]);
    place.table().record([1234]);
    let line = lines.next().unwrap().unwrap();
    let (id, body) = line.split_once(' ').unwrap();
    assert!(id.ends_with("/1"), "{line}");
    assert!(body.contains(r#""bug":{"id":1234}"#), "{line}");
    relay.wait_for_line("the server answered 403 Forbidden");
    terminate(relay);
    python.kill().unwrap();
    python.wait().unwrap();
    assert!(lines.next().is_none());
}
