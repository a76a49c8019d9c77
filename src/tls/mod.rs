//! TLS as this program uses it: rustls with ring. Owns which certificates are trusted. Knows no
//! connection.

mod http;
mod pinned;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::systemd;

pub(crate) use self::http::http_agent;

/// Why no certificate could be trusted; a sentence without its full stop.
#[derive(Debug)]
pub enum Error {
    /// The file of certificates cannot be read, or holds none that can be used.
    CaFile {
        /// The file as the user named it.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This machine has no trusted certificates of its own.
    NoNativeRoots(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::CaFile { file, reason } => write!(
                f,
                "cannot use the certificates in {}: {reason}",
                file.display()
            ),
            Error::NoNativeRoots(reason) => {
                write!(
                    f,
                    "this machine has no trusted certificates (Debian: package ca-certificates){reason}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// What a TLS client trusts: the certificates in the PEM file `ca_file` and no others, or this
/// machine's own where none is given.
///
/// # Errors
/// When no certificate is left to trust.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    Ok(Arc::new(
        ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(verifier(ca_file)?)
            .with_no_client_auth(),
    ))
}

/// The same, for a client that has further settings.
///
/// # Errors
/// As [`client_config`].
pub(crate) fn verifier(ca_file: Option<&Path>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let trusted = roots(ca_file)?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(trusted.iter().cloned());
    // With this machine's own certificates, none was named as the server's.
    let pinned = if ca_file.is_some() {
        trusted
    } else {
        Vec::new()
    };
    pinned::Verifier::new(store, pinned)
        .map(|verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>)
        .map_err(|error| Error::NoNativeRoots(format!(": {error}")))
}

/// What is wrong with the server's certificate, and what can be done, where TLS has ended a connection
/// for that.
pub(crate) fn flaw(error: &io::Error) -> Option<&'static str> {
    use rustls::{CertificateError as Flaw, Error};
    let Error::InvalidCertificate(flaw) = error.get_ref()?.downcast_ref()? else {
        return None;
    };
    Some(match flaw {
        Flaw::UnknownIssuer => {
            "the server's certificate was issued by nobody who is trusted here; cacert=FILE names a certificate to trust"
        }
        Flaw::Expired | Flaw::ExpiredContext { .. } => {
            "the server's certificate has expired, or this machine's clock is wrong"
        }
        Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet, or this machine's clock is wrong"
        }
        Flaw::NotValidForName | Flaw::NotValidForNameContext { .. } => {
            "the server's certificate is for another host name than the one in the address"
        }
        flaw if flaw.to_string().contains("CaUsedAsEndEntity") => {
            "the server's certificate is one of an issuer, and not the one that is trusted here; cacert=FILE names a certificate to trust"
        }
        _ => return None,
    })
}

/// The certificates that a TLS client trusts: those in the PEM file `ca_file`, or this machine's
/// own where none is given. At least one.
///
/// # Errors
/// When no certificate is left to trust.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    match ca_file {
        Some(file) => roots_in(file).map_err(|reason| Error::CaFile {
            file: file.to_owned(),
            reason,
        }),
        None => native_roots(),
    }
}

/// A TLS client that believes whoever answers. Nobody can listen then, but somebody can stand in
/// between.
pub(crate) fn unverified_client_config() -> Arc<ClientConfig> {
    let provider = ClientConfig::builder().crypto_provider().clone();
    let verifier = Arc::new(unverified::Verifier(provider));
    Arc::new(
        ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
    )
}

fn roots_in(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut roots = Vec::new();
    let file = systemd::file(file).map_err(|error| error.to_string())?;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| error.to_string())?;
        roots.push(certificate);
    }
    if roots.is_empty() {
        return Err("it holds no certificate in PEM format".to_owned());
    }
    Ok(roots)
}

fn native_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = rustls_native_certs::load_native_certs();
    // Some machines trust certificates that are none by today's rules.
    let roots: Vec<_> = found
        .certs
        .into_iter()
        .filter(|root| RootCertStore::empty().add(root.clone()).is_ok())
        .collect();
    if roots.is_empty() {
        let reasons = found
            .errors
            .iter()
            .map(|error| format!(": {error}"))
            .collect();
        return Err(Error::NoNativeRoots(reasons));
    }
    Ok(roots)
}

mod unverified {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Believes each certificate, but asks for the proof that the server has its key.
    #[derive(Debug)]
    pub(super) struct Verifier(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for Verifier {
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
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(
                message,
                certificate,
                signature,
                &self.0.signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(
                message,
                certificate,
                signature,
                &self.0.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
