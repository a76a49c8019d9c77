//! Sessions against rustls's own client.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::ring,
};

use super::*;

const CA: &[u8] = include_bytes!("../../tests/watch/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../tests/watch/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../tests/watch/tls/server.key");

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

pub(crate) fn sessions() -> Sessions {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE);
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let key = CertifiedKey::from_der(
        chain.map(Result::unwrap).collect(),
        key,
        &ring::default_provider(),
    );
    let tickets = ring::Ticketer::new().unwrap();
    Sessions::new(Arc::new(One(Arc::new(key.unwrap()))), tickets)
}

fn client_config(
    suite: Option<SupportedCipherSuite>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(CA) {
        roots.add(root.unwrap()).unwrap();
    }
    let mut provider = ring::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A client for the tests of other rooms.
pub(crate) struct Peer(ClientConnection);

impl Peer {
    pub(crate) fn new() -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let config = client_config(None, &TLS13);
        Self(ClientConnection::new(config, name).unwrap())
    }

    /// Says something; returns what is to be sent for it now.
    pub(crate) fn say(&mut self, plain: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(plain).unwrap();
        let mut sealed = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut sealed).unwrap();
        }
        sealed
    }

    /// Says that nothing more comes; returns what is to be sent for it.
    pub(crate) fn close(&mut self) -> Vec<u8> {
        self.0.send_close_notify();
        self.say(b"")
    }

    /// What the server has said by these bytes.
    pub(crate) fn hear(&mut self, mut sealed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !sealed.is_empty() {
            self.0.read_tls(&mut sealed).unwrap();
            self.0.process_new_packets().unwrap();
            // WouldBlock says that there is nothing more.
            let _ = self.0.reader().read_to_end(&mut plain);
        }
        plain
    }
}

/// A server with one client.
struct World {
    sessions: Sessions,
    id: SessionId,
    client: ClientConnection,
    /// What the server has got.
    received: Vec<u8>,
    random: fastrand::Rng,
}

impl World {
    fn new(mut sessions: Sessions, config: Arc<ClientConfig>, seed: u64) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let id = sessions.begin().unwrap();
        Self {
            sessions,
            id,
            client: ClientConnection::new(config, name).unwrap(),
            received: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Carries the client's bytes to the server, in pieces.
    fn tell_server(&mut self) -> Received {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        self.carry(&bytes)
    }

    fn carry(&mut self, mut bytes: &[u8]) -> Received {
        let mut last = Received::More;
        while !bytes.is_empty() && matches!(last, Received::More) {
            let longest = if self.random.bool() { 40 } else { 40_000 };
            let (piece, rest) = bytes.split_at(self.random.usize(1..=longest).min(bytes.len()));
            bytes = rest;
            last = self.sessions.receive(self.id, piece, &mut self.received);
        }
        last
    }

    /// Carries the server's bytes to the client, with `data`; returns what the client got.
    fn tell_client(&mut self, data: &[u8], is_last: bool) -> Result<Vec<u8>, rustls::Error> {
        let mut sent = 0;
        let mut got = Vec::new();
        loop {
            let mut sealed = Vec::new();
            sent += self
                .sessions
                .seal(self.id, &data[sent..], is_last, &mut sealed);
            let mut rest = sealed.as_slice();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets()?;
                // WouldBlock says that there is nothing more.
                let _ = self.client.reader().read_to_end(&mut got);
            }
            if sent == data.len() {
                return Ok(got);
            }
        }
    }

    fn shake_hands(&mut self) {
        while self.client.is_handshaking() || self.client.wants_write() {
            assert!(matches!(self.tell_server(), Received::More));
            assert_eq!(self.tell_client(b"", false).unwrap(), b"");
        }
        assert_eq!(self.sessions.shaking_len(), 0);
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = match self.random.u8(..4) {
            0 => self.random.usize(1..10),
            1 => self.random.usize(16_380..16_390),
            2 => self.random.usize(1..50_000),
            _ => self.random.usize(1..300),
        };
        (0..length).map(|_| self.random.u8(..)).collect()
    }
}

const TLS13_SUITES: [SupportedCipherSuite; 3] = [
    ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
    ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Data both ways, with key updates by both sides at any time.
fn converse(world: &mut World) {
    for _ in 0..60 {
        match world.random.u8(..6) {
            0 => world.client.refresh_traffic_keys().unwrap_or_default(),
            1..=3 => {
                let data = world.bytes();
                let mut sent = 0;
                while sent < data.len() {
                    sent += world.client.writer().write(&data[sent..]).unwrap();
                    assert!(matches!(world.tell_server(), Received::More));
                }
                assert_eq!(std::mem::take(&mut world.received), data);
            }
            _ => {
                let data = world.bytes();
                assert_eq!(world.tell_client(&data, false).unwrap(), data);
            }
        }
    }
    assert_eq!(world.tell_client(b"", false).unwrap(), b"");
    assert!(!world.sessions.has_output(world.id));
    if world.client.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
        assert_eq!(world.sessions.owned(world.id), 0, "nothing but its keys");
    }
}

#[test]
fn a_client_of_tls_13_reads_and_is_read_in_each_suite_with_key_updates() {
    for suite in TLS13_SUITES {
        for seed in 0..15 {
            let mut world = World::new(sessions(), client_config(Some(suite), &TLS13), seed);
            world.shake_hands();
            assert_eq!(world.client.tls13_tickets_received(), 1);
            assert_eq!(world.client.alpn_protocol(), Some(&b"http/1.1"[..]));
            converse(&mut world);
            assert_eq!(world.sessions.hellos_left, HELLOS_PER_TURN - 1);
        }
    }
}

#[test]
fn a_client_of_tls_12_reads_and_is_read_in_each_suite() {
    let suites = ring::ALL_CIPHER_SUITES.iter();
    let ecdsa = |suite: &&SupportedCipherSuite| format!("{:?}", suite.suite()).contains("_ECDSA_");
    for &suite in suites.filter(ecdsa) {
        for seed in 0..5 {
            let mut world = World::new(sessions(), client_config(Some(suite), &TLS12), seed);
            world.shake_hands();
            converse(&mut world);
        }
    }
}

#[test]
fn a_key_update_right_behind_the_last_message_of_the_handshake_is_not_lost() {
    for suite in TLS13_SUITES {
        let mut world = World::new(sessions(), client_config(Some(suite), &TLS13), 1);
        world.tell_server();
        world.tell_client(b"", false).unwrap();
        assert!(!world.client.is_handshaking());
        world.client.refresh_traffic_keys().unwrap();
        world.client.writer().write_all(b"behind").unwrap();
        let mut bytes = Vec::new();
        while world.client.wants_write() {
            world.client.write_tls(&mut bytes).unwrap();
        }
        // In one piece, as one read may bring it.
        let received = world
            .sessions
            .receive(world.id, &bytes, &mut world.received);
        assert!(matches!(received, Received::More));
        assert_eq!(std::mem::take(&mut world.received), b"behind");
        assert!(world.sessions.has_output(world.id), "its own key update");
        assert_eq!(world.tell_client(b"answer", false).unwrap(), b"answer");
        converse(&mut world);
    }
}

#[test]
fn a_client_that_comes_back_resumes() {
    for version in [&TLS12, &TLS13] {
        let config = client_config(None, version);
        let mut sessions = sessions();
        for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let mut world = World::new(sessions, Arc::clone(&config), 1);
            world.shake_hands();
            assert_eq!(world.client.handshake_kind(), Some(kind));
            converse(&mut world);
            world.sessions.remove(world.id);
            sessions = world.sessions;
        }
    }
}

#[test]
fn closing_is_announced_both_ways() {
    for version in [&TLS12, &TLS13] {
        let mut world = World::new(sessions(), client_config(None, version), 1);
        world.shake_hands();
        assert_eq!(world.tell_client(b"the last", true).unwrap(), b"the last");
        assert_eq!(world.client.reader().read(&mut [0; 9]).unwrap(), 0);
        world.client.send_close_notify();
        assert!(matches!(world.tell_server(), Received::Closed));
    }
}

#[test]
fn a_bad_record_gets_its_alert_and_ends_only_its_own_client() {
    for version in [&TLS12, &TLS13] {
        let mut world = World::new(sessions(), client_config(None, version), 1);
        world.shake_hands();
        let other = world.sessions.begin().unwrap();
        assert!(matches!(
            world.carry(b"\x17\x03\x03\x00\x20beware of the record's bad mac..."),
            Received::Failed(_)
        ));
        let error = world.tell_client(b"data", false).unwrap_err();
        assert_eq!(
            error,
            rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac)
        );
        assert_eq!(world.sessions.owned(world.id), 0);
        world.sessions.remove(world.id);
        world.id = other;
        world.client = World::new(sessions(), client_config(None, version), 1).client;
        world.shake_hands();
        converse(&mut world);
    }
}

#[test]
fn a_client_that_speaks_only_http_2_is_refused_with_an_alert() {
    let mut config = Arc::unwrap_or_clone(client_config(None, &TLS13));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut world = World::new(sessions(), Arc::new(config), 1);
    assert!(matches!(world.tell_server(), Received::Failed(_)));
    assert_eq!(world.sessions.shaking_len(), 0);
    let error = world.tell_client(b"", false).unwrap_err();
    assert_eq!(
        error,
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
    );
}

#[test]
fn garbage_is_refused_and_http_is_told_apart() {
    for (bytes, is_http) in [
        (&b"GET / HTTP/1.1\r\n"[..], true),
        (b"\x80\x2e\x01\x00\x02", false),
        (b"\x16\x03\x01\xff\xff\x01", false),
        (b"\x17\x03\x03\x00\x01\x01", false),
        (&[0; 64], false),
    ] {
        let mut world = World::new(sessions(), client_config(None, &TLS13), 1);
        let received = world.sessions.receive(world.id, bytes, &mut world.received);
        let Received::Failed(failure) = received else {
            panic!("{bytes:?}: {received:?}");
        };
        assert_eq!(matches!(failure, Failure::PlainHttp), is_http, "{bytes:?}");
        assert_eq!(world.received, b"");
    }
}

#[test]
fn so_many_handshakes_begin_in_a_turn_and_so_many_are_under_way() {
    let mut sessions = sessions();
    let config = client_config(None, &TLS13);
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(config, name)
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    let mut ids = Vec::new();
    while sessions.has_room() {
        sessions.begin_turn();
        let mut begun = 0;
        loop {
            let id = sessions.begin().unwrap();
            ids.push(id);
            if sessions.must_wait(id) {
                break;
            }
            sessions.receive(id, &hello, &mut Vec::new());
            begun += 1;
        }
        assert!(begun <= HELLOS_PER_TURN);
    }
    assert_eq!(sessions.shaking_len(), SHAKING_MAX);
    for id in ids {
        sessions.remove(id);
    }
    assert_eq!(sessions.shaking_len(), 0);
    assert!(sessions.chunks.iter().all(|chunk| chunk.capacity() == 0));
}

#[test]
fn a_client_that_is_closed_in_its_handshake_is_told_so() {
    for version in [&TLS12, &TLS13] {
        let mut world = World::new(sessions(), client_config(None, version), 1);
        assert!(matches!(world.tell_server(), Received::More));
        assert_eq!(world.sessions.shaking_len(), 1);
        let mut sealed = Vec::new();
        world.sessions.seal(world.id, b"", false, &mut sealed);
        let before = sealed.len();
        world.sessions.seal(world.id, b"", true, &mut sealed);
        assert!(sealed.len() > before);
    }
}

#[test]
fn a_client_without_tls_is_answered_without_tls() {
    let mut world = World::new(sessions(), client_config(None, &TLS13), 1);
    world.carry(b"GET / HTTP/1.1\r\n");
    assert!(!world.sessions.has_output(world.id));
    world.sessions.answer_plainly(world.id, b"plain".to_vec());
    assert!(world.sessions.has_output(world.id));
    let mut sent = Vec::new();
    assert_eq!(world.sessions.seal(world.id, b"data", true, &mut sent), 4);
    assert_eq!(sent, b"plain");
    assert!(!world.sessions.has_output(world.id));
    assert_eq!(world.sessions.owned(world.id), 0);
}

#[test]
fn what_a_client_has_begun_is_counted() {
    let mut world = World::new(sessions(), client_config(None, &TLS13), 1);
    world.shake_hands();
    assert_eq!(world.sessions.owned(world.id), 0);
    let mut begun = vec![23, 3, 3, 0x20, 0];
    begun.resize(5_000, 0);
    world.sessions.receive(world.id, &begun, &mut Vec::new());
    assert!((5_000..5_500).contains(&world.sessions.owned(world.id)));
    world.sessions.answer_plainly(world.id, vec![0; 3_000]);
    assert!((8_000..8_500).contains(&world.sessions.owned(world.id)));
}

#[test]
fn a_record_in_two_pieces_costs_nothing_when_it_is_whole() {
    let mut world = World::new(sessions(), client_config(None, &TLS13), 1);
    world.shake_hands();
    world.client.writer().write_all(b"data").unwrap();
    let mut record = Vec::new();
    world.client.write_tls(&mut record).unwrap();
    let (first, rest) = record.split_at(10);
    for (piece, owns) in [(first, true), (rest, false)] {
        world.sessions.receive(world.id, piece, &mut world.received);
        assert_eq!(world.sessions.owned(world.id) > 0, owns);
    }
    assert_eq!(world.received, b"data");
}

#[test]
fn sessions_are_allocated_by_the_thousand_and_fill_gaps_first() {
    let mut sessions = sessions();
    let ids: Vec<SessionId> = (0..SESSIONS_PER_CHUNK)
        .map(|_| sessions.begin().unwrap())
        .collect();
    sessions.begin().unwrap();
    let capacities = |sessions: &Sessions| -> Vec<usize> {
        sessions.chunks.iter().map(Slab::capacity).collect()
    };
    assert_eq!(capacities(&sessions), [SESSIONS_PER_CHUNK; 2]);
    sessions.remove(ids[7]);
    assert_eq!(sessions.begin(), Some(ids[7]));
}

#[test]
fn a_hello_that_is_taken_beyond_those_of_the_turn_begins_its_handshake() {
    let mut sessions = sessions();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(client_config(None, &TLS13), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for _ in 0..=HELLOS_PER_TURN {
        let id = sessions.begin().unwrap();
        sessions.receive(id, &hello, &mut Vec::new());
    }
    assert_eq!(sessions.shaking_len(), HELLOS_PER_TURN as usize + 1);
    assert!(!sessions.may_begin_handshake());
}
