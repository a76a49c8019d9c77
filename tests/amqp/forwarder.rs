//! What lies between a client and a broker, and may stop passing on without a word, as a firewall
//! does that forgets a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Passes connections on to a port of this machine.
pub struct Forwarder {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    /// How many connections, from the first one, are stalled.
    stalled: Arc<AtomicUsize>,
}

impl Forwarder {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let forwarder = Self {
            port: listener.local_addr().unwrap().port(),
            accepted: Arc::default(),
            stalled: Arc::default(),
        };
        let (accepted, stalled) = (forwarder.accepted.clone(), forwarder.stalled.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, broker) = (client.unwrap(), TcpStream::connect(("127.0.0.1", to)));
                let broker = broker.unwrap();
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                for (from, to, is_heard) in [(&client, &broker, true), (&broker, &client, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let stalled = stalled.clone();
                    let is_stalled = move || number < stalled.load(Ordering::SeqCst);
                    thread::spawn(move || pass_on(from, to, is_heard, is_stalled));
                }
            }
        });
        forwarder
    }

    /// Of the connections that there are, the client hears nothing any more, and the broker never
    /// hears of the client's end.
    pub fn stall(&self) {
        let accepted = self.accepted.load(Ordering::SeqCst);
        self.stalled.store(accepted, Ordering::SeqCst);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_heard: bool, is_stalled: impl Fn() -> bool) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut bytes).unwrap_or(0);
        while is_stalled() && !(is_heard && read > 0) {
            thread::park();
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            // Both, so that the other direction ends, too.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
