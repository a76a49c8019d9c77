//! The yardstick: what a server costs that does nothing but the system calls. Each connection costs
//! it one accept4, one epoll_ctl, one read and one write for the handshake, the same for the
//! subscription, one write for each turn that has updates for it, and one close. It checks nothing,
//! remembers nothing, and drops what the kernel refuses; nobody should put it on a network.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Type};

use super::inlet;
use crate::frame;

const LISTENER: Token = Token(usize::MAX - 1);
const CONTROL_LISTENER: Token = Token(usize::MAX - 2);
const CONTROL: Token = Token(usize::MAX - 3);
const BACKLOG: i32 = 4_096;

/// Who gets an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every client, whatever the bug, if it is below this number; nobody gets those above.
    All(u32),
    /// The one client that subscribed to the bug last.
    Owner,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    control_listener: TcpListener,
    /// Where updates come from, and the lines that have come.
    control: Option<TcpStream>,
    lines: Vec<u8>,
    clients: Slab<TcpStream>,
    /// By bug, one more than the key of the client that wants it.
    owners: Vec<u32>,
    audience: Audience,
    buffer: Box<[u8]>,
    output: Vec<u8>,
}

/// Serves until the updates' connection ends or the process is killed. Prints on stdout which ports
/// it listens on: that of the clients, and that of the updates.
///
/// # Errors
/// When there is no port, or the poll fails.
pub(crate) fn run(audience: Audience) -> io::Result<()> {
    let mut floor = Floor::new(audience)?;
    let mut events = Events::with_capacity(1_024);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        let mut has_newcomers = false;
        for event in &events {
            match event.token() {
                LISTENER => has_newcomers = true,
                CONTROL_LISTENER => floor.accept_control()?,
                CONTROL if floor.read_lines() => return Ok(()),
                CONTROL => floor.publish(),
                Token(key) => floor.readable(key),
            }
        }
        if has_newcomers {
            floor.accept()?;
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Floor {
    fn new(audience: Audience) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = listen()?;
        let mut control_listener = listen()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        registry.register(&mut control_listener, CONTROL_LISTENER, Interest::READABLE)?;
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        println!("{} {}", port(&listener)?, port(&control_listener)?);
        Ok(Self {
            poll,
            listener,
            control_listener,
            control: None,
            lines: Vec::new(),
            clients: Slab::new(),
            owners: Vec::new(),
            audience,
            buffer: vec![0; 64 * 1024].into(),
            output: Vec::new(),
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            let key = self.clients.insert(stream);
            self.poll.registry().register(
                &mut self.clients[key],
                Token(key),
                Interest::READABLE,
            )?;
        }
        Ok(())
    }

    fn accept_control(&mut self) -> io::Result<()> {
        let (mut stream, _) = self.control_listener.accept()?;
        self.poll
            .registry()
            .register(&mut stream, CONTROL, Interest::READABLE)?;
        self.control = Some(stream);
        Ok(())
    }

    /// Reads what has come of the updates; returns whether their connection has ended.
    fn read_lines(&mut self) -> bool {
        while let Some(Ok(bytes)) = self
            .control
            .as_mut()
            .map(|stream| stream.read(&mut self.buffer))
        {
            self.lines.extend_from_slice(&self.buffer[..bytes]);
            if bytes < self.buffer.len() {
                return bytes == 0;
            }
        }
        false
    }

    fn readable(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let bytes = match client.read(&mut self.buffer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => 0,
        };
        self.output.clear();
        let is_end = match self.buffer[..bytes].first() {
            Some(b'G') => {
                upgrade(&self.buffer[..bytes], &mut self.output);
                false
            }
            Some(0x81) => {
                let bug = subscribe(&self.buffer[..bytes], &mut self.output) as usize;
                if self.audience == Audience::Owner {
                    self.owners.resize(self.owners.len().max(bug + 1), 0);
                    self.owners[bug] = key as u32 + 1;
                }
                false
            }
            Some(0x88) => {
                // The answer to a close with code 1000.
                self.output.extend_from_slice(&[0x88, 2, 3, 0xe8]);
                true
            }
            _ => true,
        };
        if !self.output.is_empty() {
            let _ = client.write(&self.output);
        }
        if is_end {
            self.clients.remove(key);
        }
    }

    /// Sends the updates whose lines are complete: one write for each client.
    fn publish(&mut self) {
        let is_end = |&byte: &u8| byte == b'\n';
        let complete = self.lines.iter().rposition(is_end).map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.lines.drain(..complete).collect();
        let updates = lines.split(is_end).filter_map(inlet::read_line);
        self.output.clear();
        for (bug, when) in updates {
            let text = format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#);
            match self.audience {
                Audience::All(end) if bug < end => {
                    frame::write_text(&mut self.output, text.as_bytes())
                }
                Audience::All(_) => {}
                Audience::Owner => self.send_to_owner(bug, text.as_bytes()),
            }
        }
        if !self.output.is_empty() {
            for (_, client) in &mut self.clients {
                let _ = client.write(&self.output);
            }
        }
    }

    fn send_to_owner(&mut self, bug: u32, text: &[u8]) {
        let owner = self.owners.get(bug as usize).copied().unwrap_or_default() as usize;
        let key = owner.checked_sub(1);
        if let Some(client) = key.and_then(|key| self.clients.get_mut(key)) {
            self.output.clear();
            frame::write_text(&mut self.output, text);
            let _ = client.write(&self.output);
            self.output.clear();
        }
    }
}

fn upgrade(head: &[u8], output: &mut Vec<u8>) {
    const FIELD: &[u8] = b"Sec-WebSocket-Key: ";
    let key = head
        .windows(FIELD.len())
        .position(|bytes| bytes == FIELD)
        .map_or(0, |at| at + FIELD.len());
    let accept =
        tungstenite::handshake::derive_accept_key(head.get(key..key + 24).unwrap_or_default());
    output.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ");
    output.extend_from_slice(accept.as_bytes());
    output.extend_from_slice(b"\r\n\r\n");
}

/// Answers what can only be the bench's subscription, and returns its last bug.
fn subscribe(frame: &[u8], output: &mut Vec<u8>) -> u32 {
    let (mask, payload) = match frame {
        [_, 0xfe, _, _, a, b, c, d, payload @ ..] | [_, _, a, b, c, d, payload @ ..] => {
            ([*a, *b, *c, *d], payload)
        }
        _ => return 0,
    };
    let mut bugs = payload
        .iter()
        .enumerate()
        .map(|(at, byte)| byte ^ mask[at % 4])
        .skip_while(|&byte| byte != b'[')
        .peekable();
    let mut text = br#"{"command":"subscribe","result":"ok","bugs":"#.to_vec();
    let mut bug = 0u32;
    while let Some(byte) = bugs.next_if(|&byte| byte != b']') {
        text.push(byte);
        bug = if byte.is_ascii_digit() {
            bug.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'))
        } else {
            0
        };
    }
    text.extend_from_slice(b"]}");
    frame::write_text(output, &text);
    bug
}
