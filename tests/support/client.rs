//! A client that sends exactly the bytes that a test passes to it, valid or not, and returns exactly
//! those that come. Written from RFC 6455 alone, so that it shares no fault with the server.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket as Socket2, Type};

use crate::support::contract::check_message;
use crate::support::server::PATIENCE;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CONTINUATION: u8 = 0;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Set in the first byte of a frame that ends its message.
pub const FIN: u8 = 0x80;

/// The head of a handshake as a browser sends it, with the path `/`.
pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame of a client, masked, whose first byte is `first`.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, 0x80, payload.len() as u64);
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A frame that is not masked.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// The first bytes of a frame, without the mask.
pub fn header(first: u8, mask_bit: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(mask_bit | length as u8),
        126..0x1_0000 => {
            header.push(mask_bit | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}

/// A whole text message of a client.
pub fn text(message: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, message.as_ref())
}

/// A close with a code, or with the payload that stands for none.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(
        FIN | CLOSE,
        &[&code.to_be_bytes(), reason.as_bytes()].concat(),
    )
}

/// What a server sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:#x} {:?}",
            self.first,
            String::from_utf8_lossy(&self.payload)
        )
    }
}

/// Takes the first whole frame off bytes that a server sent.
pub fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert!(second & 0x80 == 0, "a server never masks");
    let (header, length) = match second {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize,
        ),
        length => (2, usize::from(length)),
    };
    let payload = bytes.get(header..header + length)?.to_vec();
    bytes.drain(..header + length);
    Some(Frame { first, payload })
}

/// A connection to a server.
pub struct Client {
    socket: Socket,
    /// What has come and was not asked for yet.
    received: Vec<u8>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection from an address of this machine.
fn stream_from(from: SocketAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket2::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&address.into()).unwrap();
    TcpStream::from(socket)
}

impl Client {
    /// A connection without a byte sent.
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    /// The same, from an address of this machine.
    pub fn connect_from(from: SocketAddr, address: SocketAddr) -> Self {
        Self::of(stream_from(from, address))
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // Otherwise the kernel would gather what a test sends byte by byte.
        stream.set_nodelay(true).unwrap();
        Self {
            socket: Socket::Tcp(stream),
            received: Vec::new(),
        }
    }

    /// A connection to a Unix socket.
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket: Socket::Unix(stream),
            received: Vec::new(),
        }
    }

    /// A connection by TLS to `localhost`, whose certificate these authorities have signed.
    pub fn connect_tls(address: SocketAddr, authorities: &Path) -> Self {
        Self::connect_tls_from(SocketAddr::from(([0; 4], 0)), address, authorities)
    }

    /// The same, from an address of this machine.
    pub fn connect_tls_from(from: SocketAddr, address: SocketAddr, authorities: &Path) -> Self {
        let stream = stream_from(from, address);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            CertificateDer::pem_file_iter(authorities)
                .unwrap()
                .map(Result::unwrap),
        );
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Self {
            socket: Socket::Tls(Box::new(StreamOwned::new(connection, stream))),
            received: Vec::new(),
        }
    }

    /// A connection whose handshake is done.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(address);
        client.shake_hands(path);
        client
    }

    pub fn shake_hands(&mut self, path: &str) {
        self.send(UPGRADE.replacen("GET /", &format!("GET {path}"), 1));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// The port of its own end.
    pub fn port(&self) -> u16 {
        match &self.socket {
            Socket::Tcp(stream) => stream.local_addr().unwrap().port(),
            Socket::Tls(stream) => stream.sock.local_addr().unwrap().port(),
            Socket::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes to a server that may have closed the connection already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Socket::Unix(stream) => stream.write_all(bytes.as_ref()),
            Socket::Tls(stream) => stream.write_all(bytes.as_ref()),
        }
    }

    /// Sends byte after byte with a pause after each, until something comes; returns how many were
    /// sent then, or `None` when all were.
    pub fn send_slowly(&mut self, bytes: impl Iterator<Item = u8>) -> Option<usize> {
        let Socket::Tcp(stream) = &mut self.socket else {
            panic!("bytes go slowly over TCP only")
        };
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let sent = bytes.enumerate().find_map(|(at, byte)| {
            let has_come = stream.peek(&mut [0]).is_ok();
            (has_come || stream.write_all(&[byte]).is_err()).then_some(at)
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Says that nothing more will be sent.
    pub fn shut_down(&self) {
        match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            Socket::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
        }
        .unwrap();
    }

    /// Sends a text message.
    pub fn say(&mut self, message: impl AsRef<[u8]>) {
        self.send(text(message));
    }

    /// Sends a text message and returns the next one that comes.
    pub fn ask(&mut self, message: &str) -> String {
        self.say(message);
        self.hear()
    }

    /// The next message, which must be text in one frame, and as docs/asyncapi.json allows.
    pub fn hear(&mut self) -> String {
        self.hear_or_close()
            .unwrap_or_else(|close| panic!("{close:?} in place of a message"))
    }

    /// The next message, which must be the same, or the close in its place.
    pub fn hear_or_close(&mut self) -> Result<String, Frame> {
        let frame = self.frame();
        if frame.first == FIN | CLOSE {
            return Err(frame);
        }
        assert_eq!(frame.first, FIN | TEXT, "{frame:?}");
        let text = String::from_utf8(frame.payload).unwrap();
        check_message(&text);
        Ok(text)
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = take_frame(&mut self.received) {
                return frame;
            }
            assert!(
                self.receive(),
                "the server ended the connection; before that came {:?}",
                self.received
            );
        }
    }

    /// A response's head up to its empty line.
    pub fn head(&mut self) -> String {
        self.until("\r\n\r\n")
    }

    /// The next server-sent event, or comment, without the empty line behind it.
    pub fn event(&mut self) -> String {
        let event = self.until("\n\n").trim_end().to_owned();
        if let Some((_, message)) = event.split_once("data: ") {
            check_message(message);
        }
        event
    }

    /// What comes up to this end, and the end.
    pub fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self
                .received
                .windows(end.len())
                .position(|window| window == end.as_bytes())
            {
                let rest = self.received.split_off(at + end.len());
                let whole = std::mem::replace(&mut self.received, rest);
                return String::from_utf8(whole).unwrap();
            }
            assert!(
                self.receive(),
                "the server ended the connection before {end:?}: {:?}",
                String::from_utf8_lossy(&self.received)
            );
        }
    }

    /// All that comes until the server ends its side, which it must do in order: a reset would take
    /// away what was not read yet.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.received)
    }

    /// All frames that come until the server ends its side in order.
    pub fn rest_of_frames(&mut self) -> Vec<Frame> {
        let mut rest = self.rest();
        let frames = std::iter::from_fn(|| take_frame(&mut rest)).collect();
        assert!(
            rest.is_empty(),
            "the connection ended within a frame: {rest:?}"
        );
        frames
    }

    /// Expects that nothing comes but a close with this code (`None`: an empty one) and then the
    /// end.
    pub fn expect_close(&mut self, code: Option<u16>) {
        let frames = self.rest_of_frames();
        let [close] = &frames[..] else {
            panic!("not one close: {frames:?}")
        };
        assert_eq!(
            (close.first, close.payload.get(..2)),
            (
                FIN | CLOSE,
                code.map(u16::to_be_bytes).as_ref().map(<[u8; 2]>::as_slice)
            )
        );
    }

    /// Waits for more bytes; false at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        let result = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut buffer),
            Socket::Unix(stream) => stream.read(&mut buffer),
            Socket::Tls(stream) => stream.read(&mut buffer),
        };
        match result {
            Ok(bytes) => {
                self.received.extend(&buffer[..bytes]);
                bytes > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "the server says nothing; before that came {:?}",
                    String::from_utf8_lossy(&self.received)
                )
            }
            Err(error) => panic!(
                "{error}; before that came {:?}",
                String::from_utf8_lossy(&self.received)
            ),
        }
    }
}
