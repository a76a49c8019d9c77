//! Clients that do what none should, and some that do what few do: one after the other, each on a
//! connection of its own, while others get their updates. Knows no plan and no ledger.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::wire;
use crate::tls;

/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// How many stay, silent, until others take their place.
const SILENT_MAX: usize = 100;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What is sent in place of a request.
const NO_REQUESTS: [&[u8]; 6] = [
    b"",
    b"\0\xff no HTTP at all\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Half-A-Head",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nUpgrade: websocket\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 half a hello",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n\r\n",
];

/// What is sent behind a request that asks for a WebSocket: RFC 6455 section 5.2 forbids most of it.
const NO_FRAMES: [&[u8]; 9] = [
    b"\x81\x02{}",
    b"\xf1\x80\0\0\0\0",
    b"\x83\x80\0\0\0\0",
    b"\x82\xff\0\0\x01\0\0\0\0\0\0\0\0\0",
    b"\x09\x80\0\0\0\0",
    b"\x80\x81\0\0\0\0x",
    b"\x81\x82\0\0\0\0\xc3\x28",
    b"\x88\x82\0\0\0\0\x03\xed",
    b"\x81\xfe\x10\0\0\0\0\0{\"command\":\"subs",
];

/// How many pings are sent at once.
const PINGS: usize = 2_000;

/// Where they connect to.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub address: SocketAddr,
    /// What the header field Host says.
    pub host: String,
    pub path: String,
    pub is_encrypted: bool,
}

/// The thread that they come from.
pub(crate) struct Hostile {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Hostile {
    /// Begins.
    pub(crate) fn start(site: Site) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let mut crowd = Crowd {
            site,
            silent: VecDeque::new(),
        };
        let thread = thread::Builder::new()
            .name("hostile".to_owned())
            .spawn(move || crowd.run(&seen))?;
        Ok(Self { is_over, thread })
    }

    /// Ends it, and all that are still connected; returns how many there were.
    ///
    /// # Errors
    /// When the server did not answer one that did nothing wrong.
    pub(crate) fn end(self) -> io::Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        let panicked = |_| io::Error::other("the hostile clients have failed");
        self.thread.join().map_err(panicked)?
    }
}

struct Crowd {
    site: Site,
    /// Those who say nothing more, the oldest first.
    silent: VecDeque<TcpStream>,
}

impl Crowd {
    fn run(&mut self, is_over: &AtomicBool) -> io::Result<u64> {
        let mut count = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            // One that the server does not let in, or ends while it speaks, is what is wanted.
            let _ = self.misbehave(count as usize);
            count += 1;
            if self.site.is_encrypted && count.is_multiple_of(10) {
                self.renew_keys()?;
                count += 1;
            }
            thread::sleep(PAUSE);
        }
        Ok(count)
    }

    fn misbehave(&mut self, at: usize) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.site.address, TIMEOUT)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut bytes = Vec::new();
        let kinds = NO_REQUESTS.len() + NO_FRAMES.len() + 1;
        match at % kinds {
            kind if kind < NO_REQUESTS.len() => bytes.extend_from_slice(NO_REQUESTS[kind]),
            kind => {
                bytes.extend(wire::upgrade(&self.site.host, &self.site.path));
                match NO_FRAMES.get(kind - NO_REQUESTS.len()) {
                    Some(frame) => bytes.extend_from_slice(frame),
                    None => (0..PINGS).for_each(|_| wire::write_frame(&mut bytes, wire::PING, b"")),
                }
            }
        }
        stream.write_all(&bytes)?;
        // Each kind ends in each way in turn: reset with all that was not read, or not for long.
        match at / kinds % 3 {
            0 => drop(stream),
            1 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
            _ => {
                self.silent.push_back(stream);
                if self.silent.len() > SILENT_MAX {
                    self.silent.pop_front();
                }
            }
        }
        Ok(())
    }

    /// A client that does nothing wrong: it changes its keys before each command, and asks for the
    /// server's to be changed.
    fn renew_keys(&self) -> io::Result<()> {
        let name = ServerName::from(self.site.address.ip());
        let session = ClientConnection::new(tls::unverified_client_config(), name);
        let stream = TcpStream::connect_timeout(&self.site.address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut stream = StreamOwned::new(session.map_err(io::Error::other)?, stream);
        stream.write_all(&wire::upgrade(&self.site.host, &self.site.path))?;
        expect(&mut stream, "\r\n\r\n")?;
        for _ in 0..3 {
            let renewed = stream.conn.refresh_traffic_keys();
            renewed.map_err(io::Error::other)?;
            let mut command = Vec::new();
            wire::write_frame(&mut command, wire::TEXT, br#"{"command":"version"}"#);
            stream.write_all(&command)?;
            expect(&mut stream, r#""result":"ok""#)?;
        }
        stream.conn.send_close_notify();
        stream.flush()
    }
}

/// Reads until this has come.
fn expect(stream: &mut impl Read, text: &str) -> io::Result<()> {
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&received).contains(text) {
        match stream.read(&mut buffer)? {
            0 => {
                return Err(io::Error::other(
                    "the server ended a client that changes its keys",
                ));
            }
            bytes => received.extend_from_slice(&buffer[..bytes]),
        }
    }
    Ok(())
}
