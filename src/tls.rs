//! TLS as this program uses it: rustls with ring. Owns which certificates are trusted. Knows no
//! connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use url::Url;

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
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots(ca_file)?);
    Ok(Arc::new(
        ClientConfig::builder()
            .with_root_certificates(store)
            .with_no_client_auth(),
    ))
}

/// How an HTTP client reaches `url`: with TLS where it is `https:`, trusting the certificates in the
/// PEM file `ca_file`, or this machine's own where none is given.
///
/// # Errors
/// When no certificate is left to trust.
pub(crate) fn http_config(url: &Url, ca_file: Option<&Path>) -> Result<TlsConfig, Error> {
    let tls = TlsConfig::builder();
    if url.scheme() != "https" {
        return Ok(tls.build());
    }
    let roots = roots(ca_file)?;
    let roots = roots
        .iter()
        .map(|root| Certificate::from_der(root).to_owned());
    Ok(tls
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .build())
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
#[cfg(feature = "postgres")]
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

#[cfg(feature = "postgres")]
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
