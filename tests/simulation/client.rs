//! A client of the simulated world: what it says, byte by byte, and what becomes of it.

use std::collections::VecDeque;

use bugzfeed::moment::Moment;
use bugzfeed::subscriptions::ClientId;
use fastrand::Rng;
use rustls::ClientConnection;

use crate::session::{Named, Said, Session};
use crate::wire::Handle;

/// The request of a client of the feed `/` that wants to speak WebSocket.
pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What is to become of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Stays as long as the server does.
    Stays,
    /// Has said something that ends in a close with this code.
    Closes(Option<u16>),
    /// Says no more, but reads on.
    HalfCloses,
    /// Is gone without a word.
    Vanishes,
    /// Answers no ping.
    IsDeaf,
    /// Takes no byte.
    IsStuck,
}

#[derive(Debug)]
pub enum Kind {
    /// Speaks WebSocket, for a user.
    Socket { session: Box<Session>, user: usize },
    /// Gets a response over plain HTTP.
    Http { response: Vec<u8> },
    /// Does not finish its request.
    Silent,
}

#[derive(Debug)]
pub struct Client {
    pub kind: Kind,
    pub fate: Fate,
    /// Its place at the server, once it is accepted.
    pub id: Option<ClientId>,
    pub handle: Handle,
    pub is_fast: bool,
    /// What it has said and the network has not brought yet.
    pub outbox: VecDeque<u8>,
    /// The length of its stream, with and without the outbox.
    pub said_bytes: usize,
    pub reached_bytes: usize,
    /// How much of the server's stream was looked at.
    pub seen_bytes: usize,
    /// Whether the head of the server's response was seen.
    pub is_open: bool,
    /// What the kernel has to notify the server's loop of.
    pub is_readable: bool,
    pub is_writable: bool,
    /// The loop wants to know when there is room.
    pub is_watched_for_room: bool,
    /// How many bytes it takes now and then, where it does not take what comes.
    pub trickle: Option<usize>,
    /// When the server last heard of it, and whether it has been pinged since.
    pub heard: Moment,
    pub is_pinged: bool,
    /// When the connection was over, and when the kernel first had no room for a client that is
    /// stuck.
    pub over: Option<Moment>,
    pub refused: Option<Moment>,
}

impl Client {
    pub fn new(kind: Kind, is_fast: bool, request: &str, random: &mut Rng) -> Self {
        let handle = Handle::default();
        handle.wire_mut().room = if is_fast {
            usize::MAX
        } else {
            random.usize(0..2_000)
        };
        handle.wire_mut().until_interrupted = random.u32(1..40);
        Self {
            kind,
            fate: Fate::Stays,
            id: None,
            handle,
            is_fast,
            outbox: request.bytes().collect(),
            said_bytes: request.len(),
            reached_bytes: 0,
            seen_bytes: 0,
            is_open: false,
            is_readable: false,
            is_writable: false,
            is_watched_for_room: false,
            trickle: None,
            heard: Moment(0),
            is_pinged: false,
            over: None,
            refused: None,
        }
    }

    /// Speaks TLS from the first byte on.
    pub fn secure(&mut self, mut tls: ClientConnection) {
        tls.set_buffer_limit(None);
        let mut wire = self.handle.wire_mut();
        wire.tls = Some(Box::new(tls));
        wire.say(b"");
    }

    /// The client's TLS may have said something by itself.
    pub fn notice_answers(&mut self) {
        self.is_readable |= std::mem::take(&mut self.handle.wire_mut().has_answered);
    }

    /// Changes the keys of its TLS, if it is in, and asks for others of the server.
    pub fn change_keys(&mut self) {
        let mut wire = self.handle.wire_mut();
        let is_in = wire.can_end() && !wire.is_client_done && !wire.is_garbled;
        if let Some(tls) = wire.tls.as_mut().filter(|_| is_in) {
            tls.refresh_traffic_keys().unwrap();
            wire.say(b"");
        }
    }

    /// Sends what is no TLS, where it should speak that; returns whether it should.
    pub fn garble(&mut self, random: &mut Rng) -> bool {
        let mut wire = self.handle.wire_mut();
        if wire.tls.is_none() {
            return false;
        }
        // More than a record can hold.
        let garbage = (0..random.usize(20_000..40_000)).map(|_| random.u8(..));
        wire.to_server.extend(garbage);
        wire.is_garbled = true;
        self.is_readable = true;
        self.outbox.clear();
        true
    }

    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.kind {
            Kind::Socket { session, .. } => Some(session),
            Kind::Http { .. } | Kind::Silent => None,
        }
    }

    /// Whether it goes on speaking WebSocket.
    pub fn is_talking(&self) -> bool {
        matches!(&self.kind, Kind::Socket { session, .. } if session.close.is_none())
            && self.fate == Fate::Stays
    }

    /// The kernel takes more bytes from the server.
    pub fn give_room(&mut self, bytes: usize) {
        let mut wire = self.handle.wire_mut();
        wire.room = wire.room.saturating_add(bytes);
        if wire.room > 0 && wire.is_refused && self.is_watched_for_room {
            wire.is_refused = false;
            self.is_writable = true;
        }
    }

    /// The server's loop asks to be notified of room.
    pub fn watch_for_room(&mut self) {
        self.is_watched_for_room = true;
        self.give_room(0);
    }

    /// The network brings some bytes to the server's kernel.
    pub fn deliver(&mut self, bytes: usize) {
        let bytes = bytes.min(self.outbox.len());
        let mut wire = self.handle.wire_mut();
        if bytes > 0 {
            let said: Vec<u8> = self.outbox.drain(..bytes).collect();
            wire.say(&said);
            self.reached_bytes += bytes;
            self.is_readable = true;
        }
        let may_end = self.fate == Fate::HalfCloses && wire.can_end();
        if self.outbox.is_empty() && may_end && !wire.is_client_done {
            wire.is_client_done = true;
            self.is_readable = true;
        }
    }

    /// Closes the socket, or has it reset.
    pub fn vanish(&mut self, by_reset: bool) {
        let mut wire = self.handle.wire_mut();
        wire.is_client_done = true;
        wire.is_client_gone = true;
        wire.is_reset |= by_reset;
        self.is_readable = true;
        self.outbox.clear();
    }

    /// Says something that is to be answered, in as many frames as it likes.
    pub fn say(&mut self, said: Said, random: &mut Rng) {
        let (opcode, mut payload) = match &said {
            Said::Ping { payload } => (9, payload.clone()),
            Said::Close { code } => (8, code.iter().flat_map(|code| code.to_be_bytes()).collect()),
            command => (
                if random.u8(0..10) == 0 { 2 } else { 1 },
                message(command, random),
            ),
        };
        if random.u8(0..200) == 0 && opcode < 8 {
            // White space, as much as makes the server read several times.
            payload.extend(std::iter::repeat_n(b' ', random.usize(0..120_000)));
        }
        let cuts = if opcode < 8 && random.u8(0..4) == 0 {
            random.usize(1..4)
        } else {
            0
        };
        let mut first = opcode;
        for at in 0..=cuts {
            let is_last = at == cuts;
            let part: Vec<u8> = if is_last {
                std::mem::take(&mut payload)
            } else {
                payload.drain(..random.usize(0..=payload.len())).collect()
            };
            self.send(&frame(
                first | if is_last { 0x80 } else { 0 },
                &part,
                random,
            ));
            first = 0;
            if !is_last && random.bool() {
                let payload = vec![at as u8; random.usize(0..=125)];
                self.send(&frame(0x89, &payload, random));
                let end = self.said_bytes;
                self.session().unwrap().ask(Said::Ping { payload }, end);
            }
        }
        let end = self.said_bytes;
        self.session().unwrap().ask(said, end);
    }

    /// Sends a pong that nobody needs to answer.
    pub fn pong(&mut self, random: &mut Rng) {
        self.send(&frame(0x8a, b"", random));
    }

    /// Breaks RFC 6455; returns the code of the close that must come.
    pub fn break_rules(&mut self, random: &mut Rng) -> u16 {
        // The bytes, and how many of them show the fault.
        let (bytes, shown, code) = match random.u8(0..6) {
            0 => (vec![0x81, 2, b'{', b'}'], 2, 1002),
            1 => (frame(0xc1, b"{}", random), 6, 1002),
            2 => (frame(0x83, b"{}", random), 6, 1002),
            3 => (frame(0x80, b"{}", random), 8, 1002),
            4 => (frame(0x81, b"\"\xff\"", random), 9, 1007),
            _ => (
                vec![0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4],
                14,
                1009,
            ),
        };
        let end = self.said_bytes + shown;
        self.send(&bytes);
        self.session()
            .unwrap()
            .ask(Said::Close { code: Some(code) }, end);
        self.send(&vec![0; random.usize(0..100)]);
        code
    }

    fn send(&mut self, bytes: &[u8]) {
        self.outbox.extend(bytes);
        self.said_bytes += bytes.len();
    }
}

fn message(command: &Said, random: &mut Rng) -> Vec<u8> {
    let list = |bugs: &Named| match bugs {
        Named::These(bugs) => {
            let bugs = bugs.iter().rev().map(u32::to_string);
            format!("[{}]", bugs.collect::<Vec<_>>().join(","))
        }
        Named::All => r#""*""#.to_owned(),
    };
    match command {
        Said::Subscribe {
            bugs,
            since: Some(since),
        } => {
            let since = bugzfeed::update::When::from_unix_seconds(*since);
            format!(
                r#"{{"command":"subscribe","bugs":{},"since":"{since}"}}"#,
                list(bugs)
            )
        }
        Said::Subscribe { bugs, since: None } => {
            let since = if random.bool() { r#","since":"""# } else { "" };
            format!(r#"{{"command":"subscribe","bugs":{}{since}}}"#, list(bugs))
        }
        Said::Unsubscribe { bugs } => {
            format!(r#"{{"bugs":{},"command":"unsubscribe"}}"#, list(bugs))
        }
        Said::Subscriptions => r#"{"command":"subscriptions"}"#.to_owned(),
        Said::Version => r#"{"command":"version"}"#.to_owned(),
        Said::Nonsense { .. } => "nonsense".to_owned(),
        Said::Ping { .. } | Said::Close { .. } => unreachable!("no text message"),
    }
    .into_bytes()
}

/// A frame of a client, with a mask that changes nothing.
pub fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut frame = header(first, payload.len());
    let mask = random.u32(..).to_be_bytes();
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// The header of a masked frame, without the mask.
fn header(first: u8, payload_bytes: usize) -> Vec<u8> {
    let mut header = vec![first];
    match payload_bytes {
        length @ 0..126 => header.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        length => {
            header.push(0x80 | 127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header
}
