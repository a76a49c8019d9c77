//! Whether a server is who it says: by a certificate that a trusted one has issued for its name, or
//! by just the certificate that was named. Plain `openssl req -x509` makes such a certificate: its
//! own issuer, and often without a name that today's rules accept.

use std::sync::Arc;

use rustls::client::VerifierBuilderError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Verifies certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    issued: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Trusts what `issuers` have issued, and the certificates `pinned` themselves.
    ///
    /// # Errors
    /// When there are no issuers.
    pub(super) fn new(
        issuers: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        Ok(Self {
            issued: WebPkiServerVerifier::builder(Arc::new(issuers)).build()?,
            pinned,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .issued
            .verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // Nobody but the server has its key, whatever is written in it; but it has an end.
            Err(Error::InvalidCertificate(why))
                if !is_out_of_date(&why) && self.pinned.contains(certificate) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

/// Its dates are looked at before all else that may be wrong with it.
fn is_out_of_date(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}
