//! The TLS of the load's clients: whom they trust, and what they resume by. It must cost less than
//! the server's: the handshake is rustls's, and what is left of it are the keys.

mod session;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption,
    Tls13ClientSessionValue,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, KeyLog, NamedGroup,
    SignatureScheme, SupportedProtocolVersion,
};
use serde::{Deserialize, Serialize};

use crate::secure::takeover::Latest;
use crate::tls;

pub(crate) use session::{Received, Session};

/// How the clients speak TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TlsSetup {
    /// The server's name or address, as its certificate has it.
    pub name: String,
    pub trust: Trust,
    /// The only version that they speak, where that matters.
    pub version: Option<Version>,
}

/// Which servers the clients believe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trust {
    /// Whoever answers.
    Anybody,
    /// Those with a certificate by an authority that this machine trusts.
    Machine,
    /// The same for the certificates in this file.
    File(PathBuf),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

/// How long the server may take for the one handshake that shows whether it is believed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

impl TlsSetup {
    /// Finds out by one handshake whether the server is believed: else each client would find it out
    /// anew, and nobody would ever be in.
    ///
    /// # Errors
    /// When it is not believed, or does not answer.
    pub(crate) fn probe(&self, address: SocketAddr) -> io::Result<()> {
        if self.trust == Trust::Anybody {
            return Ok(());
        }
        let terms = Terms::new(self)?;
        let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        let refused = |error: &dyn fmt::Display| {
            io::Error::other(format!(
                "TLS with {}: {error}; --cacert FILE says whom to trust, and --insecure to trust anybody",
                self.name
            ))
        };
        let mut connection =
            ClientConnection::new(terms.config, terms.name).map_err(|error| refused(&error))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut stream)
                .map_err(|error| refused(&error))?;
        }
        Ok(())
    }
}

/// What all handshakes of a process are made with.
pub(crate) struct Terms {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    secrets: Arc<Latest>,
    tickets: Arc<Tickets>,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terms")
    }
}

impl Terms {
    pub(super) fn new(setup: &TlsSetup) -> io::Result<Self> {
        let verifier: Arc<dyn ServerCertVerifier> = match &setup.trust {
            Trust::Anybody => Arc::new(Anybody),
            Trust::Machine => tls::verifier(None).map_err(io::Error::other)?,
            Trust::File(file) => tls::verifier(Some(file)).map_err(io::Error::other)?,
        };
        let versions: &[&SupportedProtocolVersion] = match setup.version {
            None => &[&TLS13, &TLS12],
            Some(Version::Tls12) => &[&TLS12],
            Some(Version::Tls13) => &[&TLS13],
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let (secrets, tickets) = (Arc::new(Latest::default()), Arc::new(Tickets::default()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>)
            .tls12_resumption(Tls12Resumption::SessionIdOrTickets);
        config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
        config.enable_secret_extraction = true;
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(setup.name.clone()).map_err(io::Error::other)?,
            secrets,
            tickets,
        })
    }

    /// Sets whether handshakes from now on may resume what others have begun.
    pub(super) fn set_resuming(&self, resumes: bool) {
        self.tickets.lock().resumes = resumes;
    }
}

/// Tickets that have come, to be used once each; in TLS 1.2 the latest, again and again.
#[derive(Debug, Default)]
struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    resumes: bool,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
    group: Option<NamedGroup>,
}

/// How many tickets are kept: some for each client that a process can hold.
const TICKETS_MAX: usize = 200_000;

impl Tickets {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let kept = self.lock();
        kept.tls12.clone().filter(|_| kept.resumes)
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.lock();
        if kept.tls13.len() < TICKETS_MAX {
            kept.tls13.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.lock();
        if kept.resumes { kept.tls13.pop() } else { None }
    }
}

/// Believes everything, and asks for no proof: the bench measures the server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
