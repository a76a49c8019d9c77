//! The commands of docs/pulse.md work as they stand there, but for the port.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::rabbitmq::Broker;

/// The block of commands behind the comment that names this file.
fn block() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pulse.md");
    let page = fs::read_to_string(page).unwrap();
    let start = page.split("<!-- tests/pulse/docs.rs runs this -->\n```sh\n");
    let block = start.into_iter().nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn the_way_from_a_bare_broker_to_a_pulse_works_as_it_stands() {
    let broker = Broker::start_managed();
    let folder = tempfile::tempdir().unwrap();
    let port = broker.management_port.to_string();
    let script = block().replace("15672", &port);
    let programs = Path::new(env!("CARGO_BIN_EXE_bugzfeed")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("BUGZFEED_MANAGEMENT", format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    assert!(said.contains("is a Pulse."), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("alice ")),
        "{said}"
    );
}
