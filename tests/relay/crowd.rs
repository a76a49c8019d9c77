//! Many clients behind a balancer, who come back whenever their connection ends, resume where they
//! were, and are counted. Knows nothing of the balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::{Error, HandshakeError, Message};

use crate::WHEN;
use crate::support::server::{PATIENCE, wait_within};

/// Clients that subscribe to the bugs 1 to 20. They leave when dropped.
pub struct Crowd {
    address: SocketAddr,
    clients: Vec<(Arc<Mutex<Seen>>, JoinHandle<()>)>,
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    is_leaving: bool,
    is_subscribed: bool,
    bugs: BTreeSet<u64>,
    /// How often which HTTP status refused it.
    refusals: BTreeMap<u16, usize>,
    /// To end the connection, if there is one.
    stream: Option<TcpStream>,
}

impl Crowd {
    /// Sends this many clients to an address.
    pub fn start(address: SocketAddr, clients: usize) -> Self {
        let mut crowd = Self {
            address,
            clients: Vec::new(),
        };
        crowd.grow(clients);
        crowd
    }

    /// Sends some more.
    pub fn grow(&mut self, clients: usize) {
        let address = self.address;
        self.clients.extend((0..clients).map(|_| {
            let seen = Arc::new(Mutex::new(Seen::default()));
            let shared = Arc::clone(&seen);
            (seen, thread::spawn(move || come_back(address, &shared)))
        }));
    }

    /// Makes some of those leave who are subscribed.
    pub fn shrink(&mut self, clients: usize) {
        for _ in 0..clients {
            let is_subscribed =
                |(seen, _): &(Arc<Mutex<Seen>>, _)| seen.lock().unwrap().is_subscribed;
            let at = self.clients.iter().position(is_subscribed).unwrap();
            leave(&self.clients.swap_remove(at).0);
        }
    }

    /// Waits until all are subscribed, and each has heard of these bugs.
    pub fn expect_all(&self, what: &str, bugs: impl Iterator<Item = u64> + Clone) {
        self.expect_all_within(PATIENCE, what, bugs);
    }

    /// The same, with a patience of its own.
    pub fn expect_all_within(
        &self,
        patience: Duration,
        what: &str,
        bugs: impl Iterator<Item = u64> + Clone,
    ) {
        let is_whole =
            |seen: &Seen| seen.is_subscribed && bugs.clone().all(|bug| seen.bugs.contains(&bug));
        wait_within(patience, what, || {
            (self.count(is_whole) == self.clients.len()).then_some(())
        });
    }

    /// Waits until this many are subscribed, and at least one of the others was refused.
    pub fn expect_some(&self, clients: usize) {
        wait_within(PATIENCE, "so many are subscribed", || {
            let is_full = self.count(|seen| seen.is_subscribed) == clients;
            (is_full && (clients == self.clients.len() || !self.refusals().is_empty()))
                .then_some(())
        });
    }

    /// The HTTP statuses that have refused anybody.
    pub fn refusals(&self) -> BTreeSet<u16> {
        let clients = self.clients.iter();
        clients
            .flat_map(|(seen, _)| {
                let seen = seen.lock().unwrap();
                seen.refusals.keys().copied().collect::<Vec<_>>()
            })
            .collect()
    }

    fn count(&self, is_counted: impl Fn(&Seen) -> bool) -> usize {
        let clients = self.clients.iter();
        clients
            .filter(|(seen, _)| is_counted(&seen.lock().unwrap()))
            .count()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.clients.iter().for_each(|(seen, _)| leave(seen));
        for (_, client) in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn leave(seen: &Mutex<Seen>) {
    let mut seen = seen.lock().unwrap();
    seen.is_leaving = true;
    if let Some(stream) = &seen.stream {
        // The balancer may have ended it.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A client's life.
fn come_back(address: SocketAddr, seen: &Mutex<Seen>) {
    while !seen.lock().unwrap().is_leaving {
        let end = visit(address, seen);
        let mut seen = seen.lock().unwrap();
        (seen.is_subscribed, seen.stream) = (false, None);
        if let Error::Http(response) = end {
            *seen.refusals.entry(response.status().as_u16()).or_default() += 1;
        }
        drop(seen);
        // So do all good clients; otherwise a crowd comes back at one moment.
        thread::sleep(Duration::from_secs_f64(fastrand::f64()));
    }
}

/// Connects and listens until the connection ends; returns why.
fn visit(address: SocketAddr, seen: &Mutex<Seen>) -> Error {
    let connected = TcpStream::connect(address).and_then(|stream| {
        let mut seen = seen.lock().unwrap();
        seen.stream = Some(stream.try_clone()?);
        // Who has told it to leave did not see this connection.
        if seen.is_leaving {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(stream)
    });
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => return error.into(),
    };
    let mut socket = match tungstenite::client(format!("ws://{address}/"), stream) {
        Ok((socket, _)) => socket,
        Err(HandshakeError::Failure(error)) => return error,
        Err(HandshakeError::Interrupted(_)) => unreachable!("the stream blocks"),
    };
    let bugs: Vec<u32> = (1..=20).collect();
    let subscribe = serde_json::json!({"command": "subscribe", "bugs": bugs, "since": WHEN});
    if let Err(error) = socket.send(Message::text(subscribe.to_string())) {
        return error;
    }
    loop {
        let message = match socket.read() {
            Ok(Message::Text(message)) => message,
            Ok(_) => continue,
            Err(error) => return error,
        };
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        let mut seen = seen.lock().unwrap();
        match message["command"].as_str().unwrap() {
            "subscribe" => seen.is_subscribed = true,
            "update" => drop(seen.bugs.insert(message["bug"].as_u64().unwrap())),
            other => panic!("{other}"),
        }
    }
}
