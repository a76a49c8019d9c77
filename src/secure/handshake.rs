//! The handshake, by rustls, and its end: what is kept of it are the two traffic secrets. Knows no
//! socket and no other client.

use std::fmt;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::{Error, KeyLog, ProtocolVersion, ServerConfig, ServerConnection, Side};

use super::takeover::{Latest, Secrets, drain, feed, install};
use crate::record::Records;

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
        install(records, Side::Server, &secrets, &extracted)?;
        Ok(Done::Records)
    }

    /// Appends the alert that ends the connection.
    pub(super) fn close(&mut self, output: &mut Vec<u8>) {
        close(&mut self.connection, output);
    }
}

pub(super) fn close(connection: &mut ServerConnection, output: &mut Vec<u8>) {
    connection.send_close_notify();
    drain(connection, output);
}
