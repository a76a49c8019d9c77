//! The TLS of all clients that connect by it: who is in a handshake, and how many may be; the keys
//! of those who are in. Knows no socket and no WebSocket.
//!
//! The handshake is rustls's. An idle client of TLS 1.3 keeps nothing of it but its keys, and its
//! records are the room `record`'s; one of TLS 1.2 keeps rustls's whole connection.

mod handshake;
mod session;
pub(crate) mod takeover;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use rustls::server::{ProducesTickets, ResolvesServerCert};
use slab::Slab;

pub(crate) use session::{Failure, Received};

use handshake::Terms;
use session::Session;

/// How many handshakes may begin in one turn of the loop: each costs it some 0.15 ms with an ECDSA
/// certificate and 0.7 ms with an RSA one, and those who are in wait meanwhile.
const HELLOS_PER_TURN: u32 = 8;

/// How many handshakes may be under way however much memory there is.
const SHAKING_MAX: usize = 2_048;

/// How many may be under way however little there is: those who are refused with a 503 need one, too.
const SHAKING_LEAST: usize = 16;

/// Sessions that are allocated together. They never move, so that no copy of a key is left behind;
/// and they are so large together that the C library takes them from the kernel and gives them
/// back, whatever handshakes leave behind in its heap.
const SESSIONS_PER_CHUNK: usize = 1_024;

/// One client's TLS. Three bytes, so that a socket that remembers it is no larger than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId([u8; 3]);

impl SessionId {
    fn new(chunk: usize, key: usize) -> Option<Self> {
        let number = u32::try_from(chunk * SESSIONS_PER_CHUNK + key).ok()?;
        let [0, high, middle, low] = number.to_be_bytes() else {
            return None;
        };
        Some(Self([high, middle, low]))
    }

    fn place(self) -> (usize, usize) {
        let Self([high, middle, low]) = self;
        let number = u32::from_be_bytes([0, high, middle, low]) as usize;
        (number / SESSIONS_PER_CHUNK, number % SESSIONS_PER_CHUNK)
    }
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    terms: Terms,
    chunks: Vec<Slab<Session>>,
    /// How many are in a handshake.
    shaking: usize,
    /// How many may be.
    shaking_max: usize,
    /// How many handshakes may begin in this turn.
    hellos_left: u32,
}

impl Sessions {
    /// No sessions yet. Handshakes are made with `certificates`, and resumed by `tickets`.
    pub fn new(
        certificates: Arc<dyn ResolvesServerCert>,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Self {
        Self {
            terms: Terms::new(certificates, tickets),
            chunks: Vec::new(),
            shaking: 0,
            shaking_max: SHAKING_MAX,
            hellos_left: HELLOS_PER_TURN,
        }
    }

    /// Begins the session of a new client; `None` when there are as many as can be counted.
    pub(crate) fn begin(&mut self) -> Option<SessionId> {
        let has_room = |chunk: &Slab<Session>| chunk.len() < SESSIONS_PER_CHUNK;
        let chunk = self
            .chunks
            .iter()
            .position(has_room)
            .unwrap_or(self.chunks.len());
        if chunk == self.chunks.len() {
            self.chunks.push(Slab::new());
        }
        let sessions = &mut self.chunks[chunk];
        if sessions.capacity() == 0 {
            sessions.reserve_exact(SESSIONS_PER_CHUNK);
        }
        let entry = sessions.vacant_entry();
        let id = SessionId::new(chunk, entry.key())?;
        entry.insert(Session::new());
        Some(id)
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(Slab::len).sum()
    }

    /// Ends a session, and wipes its secrets.
    pub(crate) fn remove(&mut self, id: SessionId) {
        let (chunk, key) = id.place();
        let sessions = &mut self.chunks[chunk];
        self.shaking -= usize::from(sessions[key].is_shaking());
        sessions[key].wipe();
        sessions.remove(key);
        if sessions.is_empty() {
            *sessions = Slab::new();
        }
    }

    /// How many clients are in a handshake.
    #[cfg(test)]
    fn shaking_len(&self) -> usize {
        self.shaking
    }

    /// Sets how many more handshakes may be under way, as far as memory is concerned.
    pub(crate) fn allow(&mut self, more: usize) {
        let most = self.shaking.saturating_add(more);
        self.shaking_max = most.clamp(SHAKING_LEAST, SHAKING_MAX);
    }

    /// What a client's TLS owns beyond its keys, in bytes.
    pub(crate) fn owned(&self, id: SessionId) -> usize {
        self.get(id).owned()
    }

    /// To be called at the beginning of a turn.
    pub(crate) fn begin_turn(&mut self) {
        self.hellos_left = HELLOS_PER_TURN;
    }

    /// Whether another handshake may begin in this turn.
    pub(crate) fn may_begin_handshake(&self) -> bool {
        self.hellos_left > 0 && self.has_room()
    }

    /// Whether another handshake may be under way.
    pub(crate) fn has_room(&self) -> bool {
        self.shaking < self.shaking_max
    }

    /// Whether the client must not be read now, because its handshake could not begin.
    pub(crate) fn must_wait(&self, id: SessionId) -> bool {
        self.get(id).is_fresh() && !self.may_begin_handshake()
    }

    /// Whether the client's hello waits for its turn.
    pub(crate) fn is_waiting(&self, id: SessionId) -> bool {
        self.get(id).is_waiting()
    }

    /// Notes whether the client's hello waits for its turn; returns whether it did.
    pub(crate) fn set_waiting(&mut self, id: SessionId, is_waiting: bool) -> bool {
        self.get_mut(id).set_waiting(is_waiting)
    }

    /// Takes bytes from the client; appends the data in them to `plain`.
    pub(crate) fn receive(&mut self, id: SessionId, bytes: &[u8], plain: &mut Vec<u8>) -> Received {
        let (chunk, key) = id.place();
        let session = &mut self.chunks[chunk][key];
        let (was_fresh, was_shaking) = (session.is_fresh(), session.is_shaking());
        let received = session.receive(bytes, &self.terms, plain);
        self.hellos_left -= u32::from(was_fresh && !session.is_fresh() && self.hellos_left > 0);
        self.shaking += usize::from(session.is_shaking());
        self.shaking -= usize::from(was_shaking);
        received
    }

    /// Whether the client is to be sent something that is no data.
    pub(crate) fn has_output(&self, id: SessionId) -> bool {
        self.get(id).has_output()
    }

    /// Sets what the client is sent last, without TLS.
    pub(crate) fn answer_plainly(&mut self, id: SessionId, bytes: Vec<u8>) {
        self.get_mut(id).answer_plainly(bytes);
    }

    /// Appends to `output` what is to be sent first, then as much of `data` as fits one record;
    /// returns how many bytes of it that was. Where no data can be sent, it is dropped. Data that
    /// `is_last` is followed by the notice that nothing more will come.
    pub(crate) fn seal(
        &mut self,
        id: SessionId,
        data: &[u8],
        is_last: bool,
        output: &mut Vec<u8>,
    ) -> usize {
        let session = self.get_mut(id);
        let sealed = session.seal(data, output);
        if is_last && sealed == data.len() {
            session.close(output);
        }
        sealed
    }

    fn get(&self, id: SessionId) -> &Session {
        let (chunk, key) = id.place();
        &self.chunks[chunk][key]
    }

    fn get_mut(&mut self, id: SessionId) -> &mut Session {
        let (chunk, key) = id.place();
        &mut self.chunks[chunk][key]
    }
}
