//! A proxy between a client and a server that cuts connections, lets them fall silent, and is slow.
//! Knows no protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How a connection is treated; it may change while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// All bytes are passed on.
    Pass,
    /// Nothing is passed on any more, and nothing is closed: what a network that was lost does.
    BlackHole,
    /// One byte at a time.
    Slow,
    /// So many bytes of the server's are passed on, then the connection is cut.
    CutAfter(usize),
    /// It is closed as soon as it is accepted.
    CloseAtOnce,
}

/// A running proxy. Its threads end with their connections, or with the test.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// How the next connections are treated.
    next: Manner,
    connections: Vec<Arc<Connection>>,
}

struct Connection {
    manner: Mutex<Manner>,
    client: TcpStream,
}

impl Proxy {
    /// A proxy that passes all on to `server`, which need not be there yet.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            next: Manner::Pass,
            connections: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accept(&client, server, &shared);
            }
        });
        Self { address, state }
    }

    /// How many connections have come so far.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections.len()
    }

    /// Treats all connections that come from now on like this.
    pub fn treat_next(&self, manner: Manner) {
        self.state.lock().unwrap().next = manner;
    }

    /// Treats all connections that are open like this.
    pub fn treat_open(&self, manner: Manner) {
        for connection in &self.state.lock().unwrap().connections {
            *connection.manner.lock().unwrap() = manner;
        }
    }

    /// Cuts all connections that are open.
    pub fn cut(&self) {
        for connection in &self.state.lock().unwrap().connections {
            // It may be closed already.
            let _ = connection.client.shutdown(Shutdown::Both);
        }
    }
}

fn accept(client: &TcpStream, server: SocketAddr, state: &Mutex<State>) {
    let mut state = state.lock().unwrap();
    let connection = Arc::new(Connection {
        manner: Mutex::new(state.next),
        client: client.try_clone().unwrap(),
    });
    state.connections.push(Arc::clone(&connection));
    let upstream = TcpStream::connect(server);
    let (Ok(upstream), false) = (upstream, state.next == Manner::CloseAtOnce) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    for stream in [client, &upstream] {
        stream.set_nodelay(true).unwrap();
    }
    let directions = [
        (client.try_clone().unwrap(), upstream.try_clone().unwrap()),
        (upstream, client.try_clone().unwrap()),
    ];
    for (is_servers, (from, to)) in directions.into_iter().enumerate() {
        let connection = Arc::clone(&connection);
        thread::spawn(move || {
            pass_on(&from, &to, &connection, is_servers == 1);
            if *connection.manner.lock().unwrap() != Manner::BlackHole {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            }
        });
    }
}

/// Passes bytes on until an end closes, in the manner of the moment.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, connection: &Connection, is_servers: bool) {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let manner = *connection.manner.lock().unwrap();
        let is_passed_on = match manner {
            Manner::Pass | Manner::CloseAtOnce => to.write_all(&buffer[..count]).is_ok(),
            Manner::BlackHole => true,
            Manner::Slow => buffer[..count].iter().all(|byte| {
                thread::sleep(Duration::from_millis(1));
                to.write_all(&[*byte]).is_ok()
            }),
            Manner::CutAfter(limit) => {
                let count = count.min(limit.saturating_sub(passed));
                to.write_all(&buffer[..count]).is_ok() && (!is_servers || passed + count < limit)
            }
        };
        passed += count;
        if !is_passed_on {
            return;
        }
    }
}
