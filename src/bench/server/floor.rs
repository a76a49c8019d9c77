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

use crate::bench::server::inlet;
use crate::frame;

const LISTENER: Token = Token(usize::MAX - 1);
const CONTROL_LISTENER: Token = Token(usize::MAX - 2);
const CONTROL: Token = Token(usize::MAX - 3);
const BACKLOG: i32 = 4_096;

/// Who gets an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every client, whatever the bug, if it is below this number; nobody gets those above.
    All(u32),
    /// The one client that subscribed to the bug last.
    Owner,
}

struct Floor {
    clients: Slab<TcpStream>,
    /// By bug, one more than the key of the client that wants it.
    owners: Vec<u32>,
    audience: Audience,
    buffer: Box<[u8]>,
    output: Vec<u8>,
}

/// Serves until the process is killed. Says on stdout which ports it listens on: that of the
/// clients, and that of the updates.
///
/// # Errors
/// When there is no port, or the poll fails.
pub fn run(audience: Audience) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = listen()?;
    let mut control_listener = listen()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    poll.registry()
        .register(&mut control_listener, CONTROL_LISTENER, Interest::READABLE)?;
    println!(
        "{} {}",
        listener.local_addr()?.port(),
        control_listener.local_addr()?.port()
    );
    let mut floor = Floor {
        clients: Slab::new(),
        owners: Vec::new(),
        audience,
        buffer: vec![0; 64 * 1024].into(),
        output: Vec::new(),
    };
    let mut control: Option<TcpStream> = None;
    let mut lines = Vec::new();
    let mut events = Events::with_capacity(1_024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        let mut has_newcomers = false;
        for event in &events {
            match event.token() {
                LISTENER => has_newcomers = true,
                CONTROL_LISTENER => {
                    let (mut stream, _) = control_listener.accept()?;
                    poll.registry()
                        .register(&mut stream, CONTROL, Interest::READABLE)?;
                    control = Some(stream);
                }
                CONTROL => {
                    let Some(stream) = &mut control else { continue };
                    while let Ok(bytes) = stream.read(&mut floor.buffer) {
                        if bytes == 0 {
                            return Ok(());
                        }
                        lines.extend_from_slice(&floor.buffer[..bytes]);
                        if bytes < floor.buffer.len() {
                            break;
                        }
                    }
                    floor.publish(&mut lines);
                }
                Token(key) => floor.readable(key),
            }
        }
        while has_newcomers {
            match listener.accept() {
                Ok((stream, _)) => {
                    let key = floor.clients.insert(stream);
                    poll.registry().register(
                        &mut floor.clients[key],
                        Token(key),
                        Interest::READABLE,
                    )?;
                }
                Err(_) => has_newcomers = false,
            }
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
                let bug = subscribe(&self.buffer[..bytes], &mut self.output);
                if self.audience == Audience::Owner {
                    if self.owners.len() <= bug as usize {
                        self.owners.resize(bug as usize + 1, 0);
                    }
                    self.owners[bug as usize] = key as u32 + 1;
                }
                false
            }
            Some(0x88) => {
                // The answer to a close that says 1000.
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
    fn publish(&mut self, lines: &mut Vec<u8>) {
        let complete = lines
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        self.output.clear();
        for (bug, when) in lines[..complete]
            .split(|&byte| byte == b'\n')
            .filter_map(inlet::read_line)
        {
            let text = format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#);
            match self.audience {
                Audience::All(end) if bug < end => {
                    frame::write_text(&mut self.output, text.as_bytes())
                }
                Audience::All(_) => {}
                Audience::Owner => {
                    let owner = self.owners.get(bug as usize).copied().unwrap_or_default() as usize;
                    let Some(client) = owner
                        .checked_sub(1)
                        .and_then(|key| self.clients.get_mut(key))
                    else {
                        continue;
                    };
                    self.output.clear();
                    frame::write_text(&mut self.output, text.as_bytes());
                    let _ = client.write(&self.output);
                }
            }
        }
        lines.drain(..complete);
        if matches!(self.audience, Audience::All(_)) && !self.output.is_empty() {
            for (_, client) in &mut self.clients {
                let _ = client.write(&self.output);
            }
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
