//! The handshake, by rustls, and its end: what is kept of it are the two traffic secrets. Knows no
//! socket and no other client.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::{
    ConnectionTrafficSecrets, Error, KeyLog, ProtocolVersion, ServerConfig, ServerConnection,
};

use crate::record::{Records, Secret, Suite};

/// What each handshake is made with.
pub(super) struct Terms {
    config: Arc<ServerConfig>,
    secrets: Arc<Latest>,
}

impl Terms {
    pub(super) fn new(
        certificates: Arc<dyn ResolvesServerCert>,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Self {
        let secrets = Arc::new(Latest::default());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = tickets;
        // One is enough: a client that comes back gets another.
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
        config.enable_secret_extraction = true;
        Self {
            config: Arc::new(config),
            secrets,
        }
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terms")
    }
}

/// The first application traffic secrets of a connection: RFC 8446 section 7.1.
#[derive(Debug, Default)]
struct Secrets {
    client: Secret,
    server: Secret,
}

/// The secrets that rustls told last, until the handshake that they belong to takes them: the loop
/// is in one handshake at a time.
#[derive(Debug, Default)]
struct Latest(Mutex<Option<Secrets>>);

impl Latest {
    fn take(&self) -> Option<Secrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

const CLIENT_SECRET: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_SECRET: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Latest {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = latest.get_or_insert_default();
        // A length that no suite has leaves zeros, which the take-over finds to be wrong.
        match label {
            CLIENT_SECRET => secrets.client.set(secret),
            SERVER_SECRET => secrets.server.set(secret),
            _ => true,
        };
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT_SECRET | SERVER_SECRET)
    }
}

/// A handshake that has begun.
pub(super) struct Handshake {
    connection: ServerConnection,
    secrets: Option<Secrets>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

/// How a handshake ended well.
pub(super) enum Done {
    /// TLS 1.3: all that is left of it is in the records.
    Records,
    /// TLS 1.2 stays with rustls.
    Rustls(Box<ServerConnection>),
}

impl Handshake {
    pub(super) fn new(terms: &Terms) -> Result<Self, Error> {
        // Those of a handshake that failed before it took them.
        terms.secrets.take();
        Ok(Self {
            connection: ServerConnection::new(Arc::clone(&terms.config))?,
            secrets: None,
        })
    }

    /// Takes one record, and appends the answer, an alert in case of an error. It must be one
    /// record: what comes behind the client's last message is not for rustls.
    pub(super) fn take(
        &mut self,
        record: &[u8],
        terms: &Terms,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let result = feed(&mut self.connection, record);
        if let Some(secrets) = terms.secrets.take() {
            self.secrets = Some(secrets);
        }
        drain(&mut self.connection, output);
        result
    }

    pub(super) fn is_done(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Ends the handshake; what has been sealed and opened since is counted.
    pub(super) fn finish(self, records: &mut Records) -> Result<Done, Error> {
        if self.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Ok(Done::Rustls(Box::new(self.connection)));
        }
        let secrets = self.secrets.ok_or(Error::HandshakeNotComplete)?;
        let extracted = self.connection.dangerous_extract_secrets()?;
        let (sealed, ref own) = extracted.tx;
        let (opened, ref peers) = extracted.rx;
        let suite = parts(own).map(|(suite, ..)| suite);
        records.install(
            suite.ok_or(Error::HandshakeNotComplete)?,
            (&secrets.client, opened),
            (&secrets.server, sealed),
        );
        // What is derived here must be what rustls has derived; no record is sealed otherwise.
        let (read, write) = records.keys();
        let is_same = |keys: &crate::record::Keys, theirs| {
            parts(theirs).is_some_and(|(suite, key, iv)| keys.is(suite, key, iv))
        };
        if is_same(read, peers) && is_same(write, own) {
            Ok(Done::Records)
        } else {
            Err(Error::General(
                "the traffic secrets do not match".to_owned(),
            ))
        }
    }

    /// Appends the alert that ends the connection.
    pub(super) fn close(&mut self, output: &mut Vec<u8>) {
        close(&mut self.connection, output);
    }
}

fn parts(secrets: &ConnectionTrafficSecrets) -> Option<(Suite, &[u8], &[u8])> {
    let (suite, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Suite::ChaCha20Poly1305, key, iv)
        }
        _ => return None,
    };
    Some((suite, key.as_ref(), iv.as_ref()))
}

/// Has rustls take some bytes.
pub(super) fn feed(connection: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        let taken = connection
            .read_tls(&mut bytes)
            .map_err(|error| Error::General(error.to_string()))?;
        connection.process_new_packets()?;
        if taken == 0 {
            break;
        }
    }
    Ok(())
}

/// Appends what rustls has to send.
pub(super) fn drain(connection: &mut ServerConnection, output: &mut Vec<u8>) {
    while connection.wants_write() {
        connection
            .write_tls(output)
            .expect("a Vec takes all that is written to it");
    }
}

pub(super) fn close(connection: &mut ServerConnection, output: &mut Vec<u8>) {
    connection.send_close_notify();
    drain(connection, output);
}
