//! `bugzfeed check`: this server keeps its contract, and a server that is broken on purpose is found
//! out, whatever of it is broken: each single thing that any check waits for can go wrong.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bugzfeed::check::{self, Check, Group, Target, Verdict};
use bugzfeed::client::Connector;
use serde_json::Value;

use support::client::{CLOSE, FIN, Frame, PING, PONG, TEXT, take_frame, unmasked};
use support::server::Server;

/// What is broken about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The thing that it sends with this number: the head of its response, a frame or an event.
    Thing(usize),
    /// Its answer to the key of a handshake.
    Accept,
    /// It agrees to an extension that nobody has offered.
    Extension,
    /// It does not end a connection.
    StaysOpen,
}

/// Puts a fault between a client and a server; returns where the client is to connect.
fn break_down(server: SocketAddr, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let Ok((mut client, _)) = listener.accept() else {
            return;
        };
        let mut upstream = TcpStream::connect(server).unwrap();
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let mut things = Things::new(fault);
        let mut buffer = [0; 16 * 1024];
        while let Ok(bytes @ 1..) = upstream.read(&mut buffer) {
            let sent = things.pass(&buffer[..bytes]);
            if client.write_all(&sent).is_err() {
                return;
            }
        }
        if fault != Fault::StaysOpen {
            // The other thread holds the connection, until the client ends it.
            let _ = client.shutdown(Shutdown::Write);
        }
    });
    address
}

/// What a server sends, thing by thing.
struct Things {
    fault: Fault,
    received: Vec<u8>,
    /// How many have gone by.
    count: usize,
    kind: Kind,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Frames,
    Events,
    Body,
}

impl Things {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            received: Vec::new(),
            count: 0,
            kind: Kind::Head,
        }
    }

    /// What a client gets instead of these bytes.
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.received.extend(bytes);
        let mut sent = Vec::new();
        while let Some(thing) = self.next() {
            sent.extend(thing);
        }
        sent
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        match self.kind {
            Kind::Head => {
                let head = self.until(b"\r\n\r\n")?;
                self.kind = match &head {
                    head if head.starts_with("HTTP/1.1 101 ") => Kind::Frames,
                    head if head.contains("text/event-stream") => Kind::Events,
                    _ => Kind::Body,
                };
                Some(self.head(&head).into_bytes())
            }
            Kind::Frames => {
                let frame = take_frame(&mut self.received)?;
                let is_awaited = frame.first != FIN | PING;
                let payload = match is_awaited && self.is_broken() {
                    true => broken(&frame),
                    false => frame.payload,
                };
                Some(unmasked(frame.first, &payload))
            }
            Kind::Events => {
                let event = self.until(b"\n\n")?;
                let is_broken = event.contains("data: ") && self.is_broken();
                Some(match is_broken {
                    true => event.replace("}\n\n", ",\"x\":1}\n\n").into_bytes(),
                    false => event.into_bytes(),
                })
            }
            Kind::Body if self.received.is_empty() => None,
            Kind::Body => Some(std::mem::take(&mut self.received)),
        }
    }

    /// Counts a thing; returns whether it is the one that is broken.
    fn is_broken(&mut self) -> bool {
        self.count += 1;
        self.fault == Fault::Thing(self.count - 1)
    }

    fn head(&mut self, head: &str) -> String {
        let is_broken = self.is_broken();
        match self.fault {
            _ if is_broken && self.kind == Kind::Frames => head.replacen(" 101 ", " 200 ", 1),
            _ if is_broken => {
                let status = head.split(' ').nth(1).unwrap();
                head.replacen(status, "101", 1)
            }
            Fault::Accept => head.replacen("Accept: ", "Accept: x", 1),
            Fault::Extension => head.replacen("\r\n", "\r\nSec-WebSocket-Extensions: x\r\n", 1),
            Fault::Thing(_) | Fault::StaysOpen => head.to_owned(),
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<String> {
        let at = self.received.windows(end.len()).position(|it| it == end)?;
        let thing = self.received.drain(..at + end.len()).collect();
        Some(String::from_utf8(thing).unwrap())
    }
}

/// Another payload than a frame has.
fn broken(frame: &Frame) -> Vec<u8> {
    match frame.first & 0xf {
        TEXT => {
            let text = std::str::from_utf8(&frame.payload).unwrap();
            format!("{},\"x\":1}}", text.strip_suffix('}').unwrap()).into_bytes()
        }
        PONG => [&frame.payload[..], b"x"].concat(),
        CLOSE => 4_000_u16.to_be_bytes().into(),
        _ => panic!("{frame:?}"),
    }
}

/// How long a broken server may take: what is right is never waited for in vain.
const PATIENCE: Duration = Duration::from_millis(400);

fn verdict(check: &Check, server: &Server, address: SocketAddr, patience: Duration) -> Verdict {
    let url = format!("ws://{address}/").parse().unwrap();
    let connector = Connector::new(url, None, patience).unwrap();
    let table = format!("sqlite:{}", server.folder().join("bugzfeed.db").display());
    let target = Target::new(connector, patience).publishing_to(&table);
    target.unwrap().try_out(check)
}

/// The check with this number: the same one each time, with other bugs.
fn check_number(number: usize) -> Check {
    check::all().swap_remove(number)
}

#[test]
fn this_server_passes_every_check() {
    let server = Server::start(&[]);
    server.table();
    let checks = check::all();
    let of = |group| checks.iter().filter(|check| check.group == group).count();
    assert_eq!(of(Group::Original), 68);
    assert!(of(Group::Promise) > 35 && of(Group::Rfc6455) > 60);
    let mut names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), checks.len(), "two have the same name");
    for check in &checks {
        let verdict = verdict(check, &server, server.address, support::server::PATIENCE);
        assert_eq!(verdict, Verdict::Passed, "{}", check.name);
    }
}

/// Nothing but the fault is what a broken server is found out by.
#[test]
fn a_server_behind_what_breaks_nothing_passes_every_check() {
    let server = Server::start(&[]);
    server.table();
    for check in check::all() {
        let address = break_down(server.address, Fault::Thing(usize::MAX));
        let verdict = verdict(&check, &server, address, support::server::PATIENCE);
        assert_eq!(verdict, Verdict::Passed, "{}", check.name);
    }
}

/// Finds the faults that a check does not find.
fn unfound(number: usize, shared: &Server) -> Vec<String> {
    let name = check_number(number).name;
    let things = check_number(number).script.awaited();
    assert!(things > 0, "{name} can find nothing");
    let closes = name.contains("ends the connection") || name.contains("is closed with");
    let faults = (0..things).map(Fault::Thing);
    let faults = faults.chain(closes.then_some(Fault::StaysOpen));
    let is_found = |fault: &Fault| {
        let check = check_number(number);
        // What a server remembers of another time would be a thing of its own.
        let own = (check.group == Group::Original && check.script.publishes()).then(|| {
            let server = Server::start(&[]);
            server.table();
            server
        });
        let server = own.as_ref().unwrap_or(shared);
        let address = break_down(server.address, *fault);
        matches!(
            verdict(&check, server, address, PATIENCE),
            Verdict::Failed(_)
        )
    };
    let unfound = faults.filter(|fault| !is_found(fault));
    unfound.map(|fault| format!("{name}: {fault:?}")).collect()
}

#[test]
fn each_thing_that_a_check_waits_for_is_missed_where_it_is_wrong() {
    let server = Server::start(&[]);
    server.table();
    let count = check::all().len();
    let unfound: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|first| {
                let server = &server;
                let numbers = (first..count).step_by(8);
                scope.spawn(move || numbers.flat_map(|number| unfound(number, server)).collect())
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| -> Vec<String> { thread.join().unwrap() })
            .collect()
    });
    assert_eq!(unfound, [] as [String; 0]);
}

#[test]
fn a_handshake_that_agrees_to_what_it_must_not_is_found() {
    let server = Server::start(&[]);
    for fault in [Fault::Accept, Fault::Extension] {
        let number = check::all()
            .iter()
            .position(|check| check.name.contains("the RFC's example"));
        let check = check_number(number.unwrap());
        let address = break_down(server.address, fault);
        let verdict = verdict(&check, &server, address, PATIENCE);
        assert!(matches!(verdict, Verdict::Failed(_)), "{fault:?}");
    }
}

/// What the program says: its exit code, stdout and stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .arg("check")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_program_prints_a_table_or_json_and_fails_when_the_server_does() {
    let server = Server::start(&[]);
    let url = format!("ws://{}/", server.address);
    let (code, table, _) = run(&[&url, "--only", "updates"]);
    assert_eq!(code, Some(0));
    assert!(
        table.contains("-     promise   updates: an update has three keys\n"),
        "{table}"
    );
    assert!(
        table.ends_with("0 passed, 0 failed, 4 not tried\n"),
        "{table}"
    );
    let (code, table, _) = run(&[&url, "--only", "rfc6455"]);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains("ok    rfc6455   5.2: RSV1 ends the connection\n"),
        "{table}"
    );

    let address = break_down(server.address, Fault::Thing(0));
    let broken = format!("ws://{address}/");
    let (code, _, said) = run(&[&broken, "--patience", "400ms"]);
    assert_eq!(code, Some(69));
    assert!(said.contains("the server answers 200"), "{said}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = thread::spawn(move || {
        // The first connection only looks whether anybody is there.
        for _ in 0..2 {
            let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            if socket.read().is_ok_and(|message| message.is_text()) {
                socket.send(tungstenite::Message::text("{}")).unwrap();
            }
        }
    });
    let (code, json, said) = run(&[
        &format!("http://{address}"),
        "--only",
        "errors: no JSON",
        "--json",
    ]);
    accept.join().unwrap();
    assert_eq!(code, Some(1), "{json}");
    assert!(said.contains("1 of 1 checks failed."), "{said}");
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["failed"], &report["passed"]),
        (&1.into(), &0.into())
    );
    let check = &report["checks"][0];
    assert_eq!(
        (&check["group"], &check["result"]),
        (&"promise".into(), &"failed".into())
    );
    assert!(
        check["why"]
            .as_str()
            .unwrap()
            .starts_with("it says {}, and not "),
        "{check}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let server = Server::start(&[]);
    let url = format!("ws://{}/", server.address);
    let (code, _, said) = run(&[&url, "--only", "no such check"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--only"), "{said}");
    let (code, _, said) = run(&[&url, "--publish", "amqp://u:p@broker.example/?exchange=x"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--invent"), "{said}");
    let (code, _, said) = run(&["ws://127.0.0.1:1/"]);
    assert_eq!(code, Some(69));
    assert!(said.contains("cannot check ws://127.0.0.1:1/"), "{said}");
}
