//! What docs/scaling.md shows: a relay, a broker, three servers behind nginx, and clients spread
//! over them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::WHEN;
use crate::crowd::Crowd;
use crate::program::{Place, terminate};
use crate::support::docs;
use crate::support::proxy::{Kind, Proxy};
use crate::support::rabbitmq::{self, Broker};
use crate::support::server::{PATIENCE, Server};

const PAGE: &str = "scaling.md";
const TRY_IT: &str = "Try it on one machine";

/// How many clients print what they get, and how many are counted.
const CLIENTS: usize = 9;
const CROWD: usize = 150;

/// How long clients may take to leave a server that hangs. Some must wait for it twice, 15 s each.
const HUNG_PATIENCE: Duration = Duration::from_secs(75);

/// What docs/scaling.md shows: three servers, each with a queue of its own, behind nginx.
struct Site {
    folder: TempDir,
    /// It ends when nobody holds it.
    _broker: Arc<Broker>,
    exchange: String,
    servers: Vec<Option<Server>>,
    addresses: Vec<SocketAddr>,
    nginx: Proxy,
}

impl Site {
    /// Starts all, as the page says, with further options of the servers'.
    fn start(name: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = rabbitmq::shared();
        let exchange = broker.url("guest", &format!("exchange/guest/{name}"));
        let servers: Vec<Server> = (0..3)
            .map(|number| serve(folder.path(), &exchange, number, "127.0.0.1:0", options))
            .collect();
        let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
        let places: Vec<(String, String)> = (0..3)
            .map(|number| (example(number), addresses[number].to_string()))
            .collect();
        let places: Vec<(&str, String)> = places
            .iter()
            .map(|(example, here)| (example.as_str(), here.clone()))
            .collect();
        let [configuration] = &docs::blocks(&docs::section(PAGE, TRY_IT), "nginx")[..] else {
            panic!("not one configuration of nginx");
        };
        let nginx = Proxy::start(
            Kind::Nginx,
            folder.path(),
            configuration,
            "127.0.0.1:8840",
            &places,
        );
        Self {
            folder,
            _broker: broker,
            exchange,
            servers: servers.into_iter().map(Some).collect(),
            addresses,
            nginx,
        }
    }

    fn server(&self, number: usize) -> &Server {
        self.servers[number].as_ref().expect("it runs")
    }

    /// Ends a server, and waits for its end.
    fn end(&mut self, number: usize, signal: Signal) {
        self.servers[number].take().expect("it runs").end(signal);
    }

    /// Starts the ended server again, where and as it was.
    fn start_again(&mut self, number: usize) {
        let address = self.addresses[number].to_string();
        let server = serve(self.folder.path(), &self.exchange, number, &address, &[]);
        self.servers[number] = Some(server);
    }

    /// Publishes a change, as `bugzfeed notify` does.
    fn change(&self, bug: u64) {
        let mut notify = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        notify.args(["notify", &bug.to_string(), "--source", &self.exchange]);
        assert!(notify.status().unwrap().success());
    }
}

/// Where the page's server of this number listens.
fn example(number: usize) -> String {
    format!("127.0.0.1:884{}", number + 1)
}

/// Runs the page's command for a server, with another address and broker.
fn serve(folder: &Path, exchange: &str, number: usize, address: &str, options: &[&str]) -> Server {
    let blocks = docs::blocks(&docs::section(PAGE, TRY_IT), "sh");
    let mut commands = blocks
        .iter()
        .flat_map(|block| block.lines())
        .filter(|line| line.starts_with("bugzfeed serve "));
    let command = commands.nth(number).expect("three servers");
    let command = command.trim_start_matches("bugzfeed serve ");
    // Tests share a broker.
    let name = exchange.rsplit('/').next().expect("a name");
    let source = format!("{exchange}&queue={name}-");
    let command = command
        .replace(&example(number), address)
        .replace("amqp://guest:guest@127.0.0.1/?queue=", &source)
        // The changes of these tests stand in no Bugzilla.
        .replace(" --catch-up sqlite:bugzilla.db", "");
    let arguments: Vec<&str> = command
        .split(' ')
        .map(|argument| argument.trim_matches('\''))
        .chain(options.iter().copied())
        .collect();
    assert!(
        arguments.contains(&address) && command.contains(exchange),
        "{command}"
    );
    let server = Server::start_in(folder, &arguments);
    // What is published before a queue is bound is in none.
    server.program().wait_for_line("reading updates from");
    server
}

/// A `bugzfeed watch`.
struct Watch {
    process: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Watch {
    fn start(address: SocketAddr, bugs: &[u32]) -> Self {
        Self::start_with(&[&format!("ws://{address}/")], bugs)
    }

    /// Starts it with these options and this URL.
    fn start_with(arguments: &[&str], bugs: &[u32]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        command
            .args(["watch", "--since", WHEN])
            .args(arguments)
            .args(bugs.iter().map(u32::to_string));
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, errors) = (
            lines(process.stdout.take().unwrap()),
            lines(process.stderr.take().unwrap()),
        );
        Self {
            process,
            lines,
            errors,
        }
    }

    /// Waits for lines about these bugs, in any order, as a client gets them that was cut off in
    /// between.
    fn expect(&self, bugs: &[u32]) {
        let mut due: BTreeSet<String> =
            bugs.iter().map(|bug| format!("{WHEN} bug {bug}")).collect();
        while !due.is_empty() {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("never printed: {due:?}"));
            assert!(due.remove(&line), "{line}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    // Ends when nobody wants more, or there is no more.
    thread::spawn(move || {
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    receiver
}

#[test]
#[ignore = "needs RabbitMQ and nginx: run tests/run"]
fn clients_of_three_servers_behind_nginx_get_everything_also_when_a_server_is_killed() {
    let mut site = Site::start("balanced", &[]);
    let place = Place::new();
    let relay = place.relay(&[&site.exchange]);
    let bugs: Vec<u32> = (1..=400).collect();
    let watches: Vec<Watch> = (0..CLIENTS)
        .map(|_| Watch::start(site.nginx.address, &bugs))
        .collect();
    place.table().record(bugs[..100].iter().copied());
    for watch in &watches {
        watch.expect(&bugs[..100]);
    }
    // Killed while changes go out.
    place.table().record(bugs[100..200].iter().copied());
    site.end(1, Signal::KILL);
    place.table().record(bugs[200..300].iter().copied());
    for watch in &watches {
        watch.expect(&bugs[100..300]);
    }
    place.table().record(bugs[300..].iter().copied());
    for watch in &watches {
        watch.expect(&bugs[300..]);
    }
    // nginx had spread them evenly.
    let cut_off = watches
        .iter()
        .filter(|watch| {
            watch
                .errors
                .try_iter()
                .any(|line| line.contains("retrying"))
        })
        .count();
    assert_eq!(cut_off, CLIENTS / 3);
    terminate(relay);
}

#[test]
#[ignore = "needs RabbitMQ and nginx: run tests/run"]
fn a_rolling_restart_brings_all_clients_back_and_refuses_nobody() {
    let mut site = Site::start("rolling", &[]);
    let crowd = Crowd::start(site.nginx.address, CROWD);
    crowd.expect_all("all are in", 0..0);
    for number in 0..3 {
        site.end(number, Signal::TERM);
        site.change(number as u64 + 1);
        crowd.expect_all("all are with the others", 1..number as u64 + 2);
        site.start_again(number);
    }
    site.change(4);
    crowd.expect_all("all have come back", 1..5);
    assert_eq!(crowd.refusals(), BTreeSet::new());
}

#[test]
#[ignore = "needs RabbitMQ and nginx: run tests/run"]
fn full_servers_refuse_the_rest_with_503_and_let_in_whoever_comes_when_others_leave() {
    let site = Site::start("full", &["--connections", "20"]);
    let mut crowd = Crowd::start(site.nginx.address, 80);
    crowd.expect_some(60);
    assert_eq!(crowd.refusals(), BTreeSet::from([503]));
    crowd.shrink(30);
    crowd.expect_some(50);
    assert_eq!(crowd.refusals(), BTreeSet::from([503]));
}

#[test]
#[ignore = "needs RabbitMQ and nginx: run tests/run"]
fn a_server_that_hangs_keeps_its_clients_for_half_a_minute_and_newcomers_for_a_quarter() {
    let mut site = Site::start("hung", &[]);
    let mut crowd = Crowd::start(site.nginx.address, CROWD);
    crowd.expect_all("all are in", 0..0);
    site.server(1).program().signal(Signal::STOP);
    site.change(1);
    crowd.expect_all_within(HUNG_PATIENCE, "all are with the others", 1..2);
    crowd.grow(10);
    crowd.expect_all_within(HUNG_PATIENCE, "the newcomers are in", 0..0);
    site.end(1, Signal::KILL);
    site.start_again(1);
    site.change(2);
    crowd.expect_all("all are still in", 2..3);
    assert_eq!(crowd.refusals(), BTreeSet::new());
}

#[test]
#[ignore = "needs RabbitMQ and nginx: run tests/run"]
fn a_machine_that_is_gone_without_a_word_costs_its_clients_seconds() {
    let mut site = Site::start("gone", &[]);
    let mut crowd = Crowd::start(site.nginx.address, CROWD);
    crowd.expect_all("all are in", 0..0);
    site.end(1, Signal::KILL);
    let silence = silence(site.addresses[1]);
    site.change(1);
    crowd.expect_all("all are with the others", 1..2);
    crowd.grow(10);
    crowd.expect_all("the newcomers are in", 0..0);
    assert_eq!(crowd.refusals(), BTreeSet::new());
    drop(silence);
}

/// Makes an address drop who connects, as that of a machine that is gone: its queue is full.
fn silence(address: SocketAddr) -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let queued = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // In progress, for the last ones for ever.
        let _ = socket.connect(&address.into());
        socket
    });
    (listener, queued.collect())
}
