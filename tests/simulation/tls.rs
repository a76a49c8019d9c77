//! Clients with TLS, by rustls's own client, beside one without: bytes in any pieces, kernels that
//! refuse them, key updates by both sides, garbage, and clients that are cut off, in seeded runs.
//! `BUGZFEED_SEED=1234 cargo test --test simulation tls` plays one again.

use std::io::{Read, Write};
use std::sync::Arc;

use bugzfeed::history::History;
use bugzfeed::hub::Hub;
use bugzfeed::moment::Moment;
use bugzfeed::promise::Promise;
use bugzfeed::secure::Sessions;
use bugzfeed::server::{Limits, Server};
use bugzfeed::subscriptions::ClientId;
use bugzfeed::update::{BugId, FeedId, Update, When};
use fastrand::Rng;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Seed;
use crate::client::{UPGRADE, frame_of};
use crate::wire::{Handle, SimStream};
use crate::world::{PATHS, site};

const RUNS: u64 = 60;
const BUGS: u32 = 5;
const FIRST_SECOND: i64 = 1_900_000_000;
const SUBSCRIBE: &[u8] = br#"{"command":"subscribe","bugs":[1,2,3,4,5]}"#;

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

pub fn sessions() -> Sessions {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("../watch/tls/server.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../watch/tls/server.key")).unwrap();
    let provider = ring::default_provider();
    let pair = CertifiedKey::from_der(chain.map(Result::unwrap).collect(), key, &provider);
    let tickets = ring::Ticketer::new().unwrap();
    Sessions::new(Arc::new(One(Arc::new(pair.unwrap()))), tickets)
}

pub fn config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(include_bytes!("../watch/tls/ca.pem")) {
        roots.add(root.unwrap()).unwrap();
    }
    Arc::new(
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// The server's name.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// What a client speaks by.
enum Speech {
    Tls(Box<ClientConnection>),
    Plain,
}

struct Client {
    id: ClientId,
    handle: Handle,
    speech: Speech,
    /// What the network has not brought yet.
    outbox: Vec<u8>,
    /// What the server has sent, and was not looked at yet.
    received: Vec<u8>,
    is_open: bool,
    /// The latest second of each bug that it has got.
    got: [i64; BUGS as usize + 1],
    /// The server is to end it, or it has gone.
    is_broken: bool,
    has_ended: bool,
    is_readable: bool,
    is_watched: bool,
}

struct World {
    random: Rng,
    server: Server<SimStream>,
    clients: Vec<Client>,
    config: Arc<ClientConfig>,
    now: Moment,
    second: i64,
}

impl Client {
    fn write(&mut self, bytes: &[u8]) {
        match &mut self.speech {
            Speech::Tls(connection) => connection.writer().write_all(bytes).unwrap(),
            Speech::Plain => self.outbox.extend(bytes),
        }
    }

    /// Takes what the server has written, and says what is to be said next.
    fn look(&mut self) {
        let written = std::mem::take(&mut self.handle.wire_mut().written);
        match &mut self.speech {
            Speech::Plain => self.received.extend(written),
            Speech::Tls(connection) => {
                let mut rest = written.as_slice();
                while !rest.is_empty() {
                    connection.read_tls(&mut rest).unwrap();
                    match connection.process_new_packets() {
                        Ok(state) => self.has_ended |= state.peer_has_closed(),
                        Err(error) => {
                            assert!(self.is_broken, "{error}");
                            return;
                        }
                    }
                    // WouldBlock says that there is nothing more.
                    let _ = connection.reader().read_to_end(&mut self.received);
                }
                while connection.wants_write() {
                    connection.write_tls(&mut self.outbox).unwrap();
                }
            }
        }
        self.read_frames();
    }

    fn read_frames(&mut self) {
        if !self.is_open {
            let Some(end) = self.received.windows(4).position(|end| end == b"\r\n\r\n") else {
                return;
            };
            assert!(self.received.starts_with(b"HTTP/1.1 101 "));
            self.received.drain(..end + 4);
            self.is_open = true;
            self.write(&frame_of(0x81, SUBSCRIBE));
        }
        while let Some((&[first, length], rest)) = self.received.split_first_chunk() {
            let (length, header) = match (length, rest) {
                (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
                (126, _) => return,
                (length, _) => (usize::from(length), 2),
            };
            let Some(payload) = self.received.get(header..header + length) else {
                return;
            };
            if first == 0x81 {
                let message: serde_json::Value = serde_json::from_slice(payload).unwrap();
                if message["command"] == "update" {
                    let bug = message["bug"].as_u64().unwrap() as usize;
                    let when: When = message["when"].as_str().unwrap().parse().unwrap();
                    let second = when.unix_seconds();
                    assert!(second >= self.got[bug], "a bug's time went back");
                    self.got[bug] = second;
                }
            }
            self.received.drain(..header + length);
        }
    }
}

impl World {
    fn new(seed: u64, config: Arc<ClientConfig>) -> Self {
        let limits = Limits {
            connections_max: 100,
            message_bytes_max: 256 * 1024,
            messages_per_second: 1_000,
            messages_burst: 1_000_000,
            handshake: 60_000,
            message: 60_000,
            ping: 600_000,
            pong: 600_000,
            stall: 600_000,
        };
        let hubs = PATHS.map(|_| Hub::new(History::new(10, 0), 10));
        let mut server = Server::new(limits, site(), hubs.into());
        server.secure(sessions());
        server.promise(FeedId(0), Promise::After(0));
        let mut world = Self {
            random: Rng::with_seed(seed),
            server,
            clients: Vec::new(),
            config,
            now: Moment(u32::MAX - 1_000),
            second: FIRST_SECOND,
        };
        world.connect(false);
        world
    }

    fn connect(&mut self, has_tls: bool) {
        let handle = Handle::default();
        handle.wire_mut().room = self.random.usize(0..3_000);
        handle.wire_mut().until_interrupted = self.random.u32(1..40);
        let stream = if has_tls {
            handle.secure_stream(self.server.begin_session().unwrap())
        } else {
            handle.stream()
        };
        let id = self.server.accept(stream, self.now);
        let name = ServerName::try_from("localhost").unwrap();
        let speech = if has_tls {
            let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
            Speech::Tls(Box::new(connection))
        } else {
            Speech::Plain
        };
        let mut client = Client {
            id,
            handle,
            speech,
            outbox: Vec::new(),
            received: Vec::new(),
            is_open: false,
            got: [0; BUGS as usize + 1],
            is_broken: false,
            has_ended: false,
            is_readable: false,
            is_watched: false,
        };
        client.write(UPGRADE.as_bytes());
        client.look();
        self.clients.push(client);
    }

    fn publish(&mut self, bug: u32) {
        self.second += 1;
        let update = Update {
            bug: BugId::new(bug).unwrap(),
            when: When::from_unix_seconds(self.second),
        };
        self.server.publish(FeedId(0), update, i64::MAX);
    }

    fn happen(&mut self) {
        let clients = self.clients.len();
        let at = self.random.usize(0..clients);
        let (random, client) = (&mut self.random, &mut self.clients[at]);
        match random.u8(0..40) {
            0 if client.is_broken => {}
            0 if matches!(client.speech, Speech::Tls(_)) && random.u8(0..3) == 0 => {
                client.is_broken = true;
                let garbage: Vec<u8> = (0..random.usize(40_000..50_000))
                    .map(|_| random.u8(..))
                    .collect();
                client.outbox.extend(garbage);
            }
            1 if at > 0 && random.u8(0..4) == 0 => {
                client.is_broken = true;
                client.outbox.clear();
                client.handle.wire_mut().is_client_done = true;
                client.is_readable = true;
            }
            2..=4 => {
                if let Speech::Tls(connection) = &mut client.speech
                    && !client.is_broken
                    && client.is_open
                {
                    connection.refresh_traffic_keys().unwrap();
                }
            }
            5..=7 if client.is_open && !client.is_broken => {
                let payload = vec![7; random.usize(0..=125)];
                client.write(&frame_of(0x89, &payload));
            }
            8..=14 => {
                let bug = random.u32(1..=BUGS);
                (0..random.usize(1..4)).for_each(|_| self.publish(bug));
            }
            15 if clients < 12 => self.connect(true),
            16..=28 => {
                let bytes = match random.u8(0..3) {
                    0 => random.usize(1..20),
                    1 => random.usize(1..1_000),
                    _ => usize::MAX,
                };
                deliver(client, bytes);
            }
            _ => {
                let bytes = random.usize(1..3_000);
                give_room(client, bytes);
            }
        }
    }

    fn turn(&mut self) {
        self.now = self.now.plus(1);
        self.server.resume(self.now);
        for client in &mut self.clients {
            let has_room = {
                let mut wire = client.handle.wire_mut();
                let has_room = client.is_watched && wire.is_refused && wire.room > 0;
                wire.is_refused &= !has_room;
                has_room
            };
            if client.handle.wire().is_dropped {
                continue;
            }
            if has_room {
                self.server.writable(client.id, self.now);
            }
            if std::mem::take(&mut client.is_readable) {
                let is_ended = client.handle.wire().is_client_done;
                self.server.readable(client.id, is_ended, self.now);
            }
        }
        self.server.tick(self.now);
        self.server.flush(usize::MAX, self.now);
        for id in self.server.take_refused() {
            for client in self.clients.iter_mut().filter(|client| client.id == id) {
                client.is_watched = true;
            }
        }
        self.server.reap(self.now);
        self.server.check_invariants();
        for client in &mut self.clients {
            client.look();
        }
        // The slots of those who have gone are given to others.
        self.clients
            .retain(|client| !client.is_broken || !client.handle.wire().is_dropped);
    }

    fn settle(&mut self) {
        for _ in 0..300 {
            for client in &mut self.clients {
                deliver(client, usize::MAX);
                give_room(client, 100_000);
            }
            self.turn();
        }
    }
}

fn deliver(client: &mut Client, bytes: usize) {
    let bytes = bytes.min(client.outbox.len());
    if bytes > 0 && !client.handle.wire().is_client_done {
        let mut wire = client.handle.wire_mut();
        wire.to_server.extend(client.outbox.drain(..bytes));
        client.is_readable = true;
    }
}

fn give_room(client: &mut Client, bytes: usize) {
    let mut wire = client.handle.wire_mut();
    wire.room = wire.room.saturating_add(bytes);
}

fn play(seed: u64, config: Arc<ClientConfig>) {
    let seed = Seed(seed);
    let mut world = World::new(seed.0, config);
    for _ in 0..world.random.usize(50..400) {
        for _ in 0..world.random.usize(0..8) {
            world.happen();
        }
        world.turn();
    }
    world.settle();
    (1..=BUGS).for_each(|bug| world.publish(bug));
    world.settle();
    let latest: Vec<i64> = (1..=i64::from(BUGS))
        .map(|bug| world.second - i64::from(BUGS) + bug)
        .collect();
    for client in &world.clients {
        if !client.is_broken {
            assert!(client.is_open, "client {:?} is stuck", client.id);
            assert_eq!(client.got[1..], latest, "client {:?}", client.id);
        }
    }
    assert_eq!(world.server.unfinished_len(), 0);
    // In the end each is told that nothing more comes.
    world.server.drain(0, world.now);
    world.settle();
    for client in &world.clients {
        assert!(
            client.is_broken || client.has_ended || matches!(client.speech, Speech::Plain),
            "client {:?} has got no close_notify",
            client.id
        );
    }
}

#[test]
fn clients_with_tls_get_what_those_without_get_whatever_happens() {
    let config = config();
    if let Ok(seed) = std::env::var("BUGZFEED_SEED") {
        return play(seed.parse().expect("BUGZFEED_SEED is a number"), config);
    }
    for seed in 0..RUNS {
        play(seed, Arc::clone(&config));
    }
}
