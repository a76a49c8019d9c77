//! What the manager hears of a service.

use rustix::process::Signal;

use crate::manager::Manager;
use crate::support::client::Client;
use crate::support::server::Program;

const SERVE: [&str; 7] = [
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--history",
    "none",
    "--drain",
    "1s",
];

#[test]
fn a_service_says_when_it_is_ready_that_it_is_alive_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at_path(folder.path());
    let environment = [
        ("NOTIFY_SOCKET", manager.name.as_str()),
        ("WATCHDOG_USEC", "100000"),
    ];
    let program = Program::start_with(folder.path(), &SERVE, &environment);
    manager.wait_for("READY=1");
    program.wait_for_line(" listens on ");
    // Nobody is there, and still it wakes to say so.
    for _ in 0..5 {
        assert_eq!(manager.wait_for("WATCHDOG"), "WATCHDOG=1");
    }
    program.signal(Signal::TERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert_eq!(
        stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=14000000",
        "the drain, what the last clients need, and the threads"
    );
    assert_eq!(program.wait().0.code(), Some(0));
}

#[test]
fn the_status_says_how_many_are_connected() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at_abstract_name();
    let environment = [("NOTIFY_SOCKET", manager.name.as_str())];
    let program = Program::start_with(folder.path(), &SERVE, &environment);
    let line = program.wait_for_line(" listens on ws://");
    manager.wait_for("STATUS=0 connections");
    let at = line.split("ws://").nth(1).unwrap();
    let at = at.split('/').next().unwrap().parse().unwrap();
    let _clients = [Client::open(at, "/"), Client::open(at, "/")];
    manager.wait_for("STATUS=2 connections");
}

#[test]
fn a_reload_is_reported_from_its_begin_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at_path(folder.path());
    let environment = [("NOTIFY_SOCKET", manager.name.as_str())];
    let program = Program::start_with(folder.path(), &SERVE, &environment);
    manager.wait_for("READY=1");
    program.signal(Signal::HUP);
    let begin = manager.wait_for("RELOADING=1");
    let microseconds = begin.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let said = microseconds.parse::<i64>().unwrap() / 1_000_000;
    assert!((0..=since_boot.tv_sec).contains(&said), "{begin}");
    assert_eq!(manager.wait_for("READY"), "READY=1");
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at_path(folder.path());
    let environment = [
        ("NOTIFY_SOCKET", manager.name.as_str()),
        ("WATCHDOG_USEC", "1000"),
        ("WATCHDOG_PID", "1"),
    ];
    let program = Program::start_with(folder.path(), &SERVE, &environment);
    manager.wait_for("READY=1");
    assert_eq!(manager.wait_for(""), "STATUS=0 connections");
    program.signal(Signal::TERM);
    assert!(manager.wait_for("").starts_with("STOPPING=1"));
}

#[test]
fn a_relay_says_when_it_is_ready_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at_path(folder.path());
    let environment = [("NOTIFY_SOCKET", manager.name.as_str())];
    let arguments = ["relay", "--from", "sqlite:b.db", "--to", "jsonl:out"];
    let program = Program::start_with(folder.path(), &arguments, &environment);
    manager.wait_for("READY=1");
    program.wait_for_line(" relays from ");
    program.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(program.wait().0.code(), Some(0));
}

#[test]
fn an_address_that_is_none_is_named_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("NOTIFY_SOCKET", "vsock:2:1")];
    let program = Program::start_with(folder.path(), &SERVE, &environment);
    program.wait_for_line("cannot tell systemd anything at vsock:2:1 ($NOTIFY_SOCKET)");
    program.wait_for_line(" listens on ");
}
