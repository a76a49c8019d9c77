//! TLS 1.3 after the handshake, in records that rustls's client has agreed on, beside rustls's own
//! server.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, KeyLog, RootCertStore, ServerConfig, ServerConnection, Side,
};

use super::script::Script;
use crate::record::{self, Records};
use crate::secure::takeover::{Latest, drain, feed, install};
use crate::secure::{Received, SessionId, Sessions};

const CA: &[u8] = include_bytes!("../../tests/watch/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../tests/watch/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../tests/watch/tls/server.key");

/// How many records are sent; what both refuse is that too many say nothing, and each has a limit of
/// its own.
const RECORDS_MAX: usize = 24;

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn certificate() -> Arc<One> {
    static CERTIFICATE_ONCE: OnceLock<Arc<One>> = OnceLock::new();
    let certificate = CERTIFICATE_ONCE.get_or_init(|| {
        let chain = CertificateDer::pem_slice_iter(CERTIFICATE).map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let key = CertifiedKey::from_der(chain.collect(), key, &ring::default_provider());
        Arc::new(One(Arc::new(key.unwrap())))
    });
    Arc::clone(certificate)
}

/// What a server has made of some bytes.
#[derive(Debug, PartialEq)]
struct Made {
    data: Vec<u8>,
    end: Option<End>,
}

#[derive(Debug, PartialEq)]
enum End {
    Closed,
    Failed,
}

/// One of the two servers.
trait Server {
    /// Takes bytes of a client, and appends what it is sent.
    fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Made;

    /// Seals data for the client.
    fn seal(&mut self, data: &[u8], output: &mut Vec<u8>);
}

struct Here(Sessions, SessionId);

impl Here {
    fn new() -> Self {
        let tickets = ring::Ticketer::new().unwrap();
        let mut sessions = Sessions::new(certificate(), tickets);
        let id = sessions.begin().unwrap();
        Self(sessions, id)
    }
}

impl Server for Here {
    fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Made {
        let Self(sessions, id) = self;
        let mut data = Vec::new();
        let end = match sessions.receive(*id, bytes, &mut data) {
            Received::More => None,
            Received::Closed => Some(End::Closed),
            Received::Failed(_) => Some(End::Failed),
        };
        if sessions.has_output(*id) {
            sessions.seal(*id, b"", false, output);
        }
        Made { data, end }
    }

    fn seal(&mut self, data: &[u8], output: &mut Vec<u8>) {
        let Self(sessions, id) = self;
        let mut sent = 0;
        while sent < data.len() {
            sent += sessions.seal(*id, &data[sent..], false, output);
        }
    }
}

struct Rustls(ServerConnection);

impl Rustls {
    fn new() -> Self {
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(certificate());
        config.send_tls13_tickets = 1;
        config.ticketer = ring::Ticketer::new().unwrap();
        Self(ServerConnection::new(Arc::new(config)).unwrap())
    }
}

impl Server for Rustls {
    fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Made {
        let result = feed(&mut self.0, bytes);
        drain(&mut self.0, output);
        let mut data = Vec::new();
        let is_closed = self.0.reader().read_to_end(&mut data).is_ok();
        let end = match result {
            Err(_) => Some(End::Failed),
            Ok(()) => is_closed.then_some(End::Closed),
        };
        Made { data, end }
    }

    fn seal(&mut self, data: &[u8], output: &mut Vec<u8>) {
        self.0.writer().write_all(data).unwrap();
        drain(&mut self.0, output);
    }
}

/// A client that has shaken hands with a server.
fn shake_hands(server: &mut dyn Server, suite: usize) -> (ClientConnection, Arc<Latest>) {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(CA) {
        roots.add(root.unwrap()).unwrap();
    }
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        [
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ][suite % 3],
    ];
    let secrets = Arc::new(Latest::default());
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    while client.is_handshaking() || client.wants_write() {
        let (mut bytes, mut answer) = (Vec::new(), Vec::new());
        drain(&mut client, &mut bytes);
        assert_eq!(
            server.take(&bytes, &mut answer),
            Made {
                data: Vec::new(),
                end: None
            }
        );
        feed(&mut client, &answer).unwrap();
    }
    (client, secrets)
}

/// The records of a client after its handshake.
fn client_records(server: &mut dyn Server, suite: usize) -> Records {
    let (client, secrets) = shake_hands(server, suite);
    let secrets = secrets.take().unwrap();
    let mut records = Records::default();
    let extracted = client.dangerous_extract_secrets().unwrap();
    install(&mut records, Side::Client, &secrets, &extracted).unwrap();
    records
}

/// First the suite, and whether a client of our own sends records or one of rustls data.
pub(super) fn records(input: &[u8]) {
    let mut script = Script(input);
    let (suite, is_converse) = (usize::from(script.byte()), script.byte() & 1 == 1);
    if is_converse {
        converse(&mut script, suite);
    } else {
        compare(&mut script, suite);
    }
}

/// The same records to both servers, whatever is in them.
fn compare(script: &mut Script<'_>, suite: usize) {
    let (mut here, mut theirs) = (Here::new(), Rustls::new());
    let mut to_here = client_records(&mut here, suite);
    let mut to_theirs = client_records(&mut theirs, suite);
    for _ in 0..RECORDS_MAX {
        if script.is_over() {
            return;
        }
        let (content, message, padding, flaw) = content(script);
        let sent = |server: &mut dyn Server, records: &mut Records| {
            let (mut bytes, mut output) = (Vec::new(), Vec::new());
            records.seal_anything(content, &message, padding, &mut bytes);
            if let Some((at, bit)) = flaw {
                let at = record::HEADER_BYTES + at % (bytes.len() - record::HEADER_BYTES);
                bytes[at] ^= bit;
            }
            server.take(&bytes, &mut output)
        };
        let made_here = sent(&mut here, &mut to_here);
        let made = sent(&mut theirs, &mut to_theirs);
        match (content, &message[..], &made_here.end, &made.end) {
            // rustls waits for the whole of a message that cannot be a key update,
            (22, _, Some(End::Failed), None) => return,
            // and looks at an alert's level, which is to be ignored: RFC 8446 section 6.
            (21, [0 | 3.., _], Some(End::Closed) | None, Some(End::Failed)) => return,
            _ => {}
        }
        assert_eq!(made_here, made, "{content} {message:?} {padding}");
        if made.end.is_some() {
            return;
        }
        if content == 22 && message.starts_with(&[24, 0, 0, 1]) {
            to_here.change_keys();
            to_theirs.change_keys();
        }
    }
}

type Content = (u8, Vec<u8>, usize, Option<(usize, u8)>);

/// What a record has in it: its type, its message, its padding, and what is wrong on its way.
fn content(script: &mut Script<'_>) -> Content {
    let kind = script.byte();
    let length = match kind >> 6 {
        // Most are as long as may be, or longer by one.
        0 => (script.number() >> 1).min(record::DATA_BYTES_MAX + script.number() % 2),
        _ => usize::from(script.byte() % 16),
    };
    let filled = |script: &mut Script<'_>| {
        let mut message = script.bytes(length.min(64)).to_vec();
        message.resize(length, 0);
        message
    };
    let (content, message) = match kind & 7 {
        0..=2 => (23, filled(script)),
        3 | 4 => (22, vec![24, 0, 0, 1, script.byte() & 1]),
        5 => (22, script.bytes(length).to_vec()),
        6 => (21, script.bytes(length).to_vec()),
        _ => (script.byte(), script.bytes(length).to_vec()),
    };
    let padding = if kind & 8 == 0 {
        0
    } else {
        usize::from(script.byte())
    };
    let padding = padding.min(record::DATA_BYTES_MAX.saturating_sub(message.len()));
    let flaw = (kind & 0x38 == 0x38).then(|| (script.number(), 1 << (script.byte() % 8)));
    (content, message, padding, flaw)
}

/// Data both ways with rustls's client, and new keys at any time.
fn converse(script: &mut Script<'_>, suite: usize) {
    let mut server = Here::new();
    let (mut client, _) = shake_hands(&mut server, suite);
    for _ in 0..RECORDS_MAX {
        if script.is_over() {
            return;
        }
        let kind = script.byte();
        let length = script.number() % 40_000;
        let data: Vec<u8> = (0..length)
            .map(|at| (at as u8).wrapping_mul(kind))
            .collect();
        let (mut bytes, mut answer) = (Vec::new(), Vec::new());
        match kind % 3 {
            0 => client.refresh_traffic_keys().unwrap(),
            1 => {
                client.writer().write_all(&data).unwrap();
                drain(&mut client, &mut bytes);
                let made = server.take(&bytes, &mut answer);
                assert_eq!(made, Made { data, end: None });
            }
            _ => {
                server.seal(&data, &mut answer);
                let mut got = Vec::new();
                let mut rest = &answer[..];
                while !rest.is_empty() {
                    client.read_tls(&mut rest).unwrap();
                    client.process_new_packets().unwrap();
                    // There is nothing more yet.
                    let _ = client.reader().read_to_end(&mut got);
                }
                assert_eq!(got, data);
                answer.clear();
            }
        }
        feed(&mut client, &answer).unwrap();
    }
}
