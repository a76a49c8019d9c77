//! What docs/scaling.md shows: a relay, a broker, three servers behind nginx, and clients spread
//! over them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::WHEN;
use crate::program::{Place, terminate};
use crate::support::rabbitmq::{self, free_ports};
use crate::support::server::{PATIENCE, Server, wait_until};

const CLIENTS: usize = 9;

/// The nginx of docs/scaling.md, but for the ports.
struct Nginx {
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    fn start(folder: &Path, servers: &[Server]) -> Self {
        let guide =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scaling.md")).unwrap();
        let block = guide
            .split("\n```nginx\n")
            .nth(1)
            .expect("a block for nginx")
            .split("\n```")
            .next()
            .unwrap();
        let [port] = free_ports();
        let mut block = block.replace("127.0.0.1:8840", &format!("127.0.0.1:{port}"));
        for (server, number) in servers.iter().zip(1..) {
            let example = format!("127.0.0.1:884{number} ");
            assert!(block.contains(&example), "{block}");
            block = block.replace(&example, &format!("{} ", server.address));
        }
        let around = "daemon off; pid nginx.pid; error_log error.log; worker_processes 1; events { worker_connections 100; }
            http { access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;";
        fs::write(folder.join("nginx.conf"), format!("{around}\n{block}\n}}")).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(folder)
            .stdin(Stdio::null());
        let process = command.spawn().expect("nginx is needed");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("nginx listens", || {
            std::net::TcpStream::connect(address).ok()
        });
        Self { address, process }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to, it ends its workers as well.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::TERM,
        );
        let _ = self.process.wait();
    }
}

/// A `bugzfeed watch`.
struct Watch {
    process: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Watch {
    fn start(address: SocketAddr, bugs: &[u32]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
        command
            .args(["watch", "--since", WHEN, &format!("ws://{address}/")])
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
    let broker = rabbitmq::shared();
    let exchange = broker.url("guest", "exchange/guest/balanced");
    let mut servers: Vec<Server> = ["one", "two", "three"]
        .map(|label| Server::start(&["--source", &format!("{exchange}&queue=balanced-{label}")]))
        .into();
    // What is published before a queue is bound is in none.
    for server in &servers {
        server.program().wait_for_line("reading updates from");
    }
    let place = Place::new();
    let relay = place.relay(&[&exchange]);
    let nginx = Nginx::start(place.path(), &servers);
    let bugs: Vec<u32> = (1..=400).collect();
    let watches: Vec<Watch> = (0..CLIENTS)
        .map(|_| Watch::start(nginx.address, &bugs))
        .collect();
    place.table().record(bugs[..100].iter().copied());
    for watch in &watches {
        watch.expect(&bugs[..100]);
    }
    // Killed while changes go out.
    place.table().record(bugs[100..200].iter().copied());
    drop(servers.remove(1));
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
