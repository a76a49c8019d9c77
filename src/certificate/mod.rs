//! The certificates that clients with TLS are shown, and the keys of their tickets: read from files,
//! chosen by name, and read anew. Knows no connection.

mod keeper;
mod tickets;
mod validity;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use log::warn;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use time::OffsetDateTime;

use crate::systemd;

pub(crate) use keeper::Keeper;
pub(crate) use tickets::Tickets;
pub(crate) use validity::ends_at;

/// How long before its end a certificate is warned of, in days.
const WARNING_DAYS: i64 = 14;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The files of a certificate, with those that lead from it to an authority, and of its key.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// `--tls-cert`.
    pub certificate: PathBuf,
    /// `--tls-key`.
    pub key: PathBuf,
}

/// A certificate, and what is known of it.
#[derive(Debug)]
struct Pair {
    files: Files,
    key: Arc<CertifiedKey>,
    /// Unix seconds.
    ends_at: i64,
}

/// All certificates, the first for all who ask for none of the others.
#[derive(Debug)]
pub(crate) struct Certificates(RwLock<Vec<Pair>>);

impl Certificates {
    /// Reads the certificates in some files.
    ///
    /// # Errors
    /// When a file is no such file, in a sentence without its full stop that names it.
    pub(crate) fn read(files: &[Files]) -> Result<Self, String> {
        Ok(Self(RwLock::new(read_all(files)?)))
    }

    /// Takes over others. Who is connected stays.
    pub(crate) fn replace(&self, others: Self) {
        let others = others
            .0
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// The file and the end of each, in Unix seconds.
    pub(crate) fn ends(&self) -> Vec<(String, i64)> {
        let pairs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let ends = pairs.iter().map(|pair| {
            let file = pair.files.certificate.display().to_string();
            (file, pair.ends_at)
        });
        ends.collect()
    }

    /// Warns of those that have ended, or will soon. `now` is in Unix seconds.
    pub(crate) fn warn_of_ends(&self, now: i64) {
        let pairs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for pair in &*pairs {
            if let Some(warning) = warning(pair.ends_at, now) {
                let file = pair.files.certificate.display();
                warn!("the certificate in {file} {warning}");
            }
        }
    }
}

/// What is to be said of a certificate's end, if anything is. Times are in Unix seconds.
pub(crate) fn warning(ends_at: i64, now: i64) -> Option<String> {
    let date = OffsetDateTime::from_unix_timestamp(ends_at)
        .map_or_else(|_| "a time that is none".to_owned(), |at| at.to_string());
    match ends_at - now {
        left if left < 0 => Some(format!("has expired: it was valid until {date}")),
        left if left < WARNING_DAYS * DAY_SECONDS => Some(format!("expires soon: {date}")),
        _ => None,
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let is_asked_for = |pair: &&Pair| {
            name.as_ref().is_some_and(|name| {
                let certificate = pair.key.end_entity_cert();
                let parsed = certificate.and_then(ParsedCertificate::try_from);
                parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
            })
        };
        let can_sign = |pair: &&Pair| {
            pair.key
                .key
                .choose_scheme(hello.signature_schemes())
                .is_some()
        };
        let mut asked_for = pairs.iter().filter(is_asked_for);
        asked_for
            .find(can_sign)
            .or_else(|| pairs.iter().find(can_sign))
            .or_else(|| pairs.first())
            .map(|pair| Arc::clone(&pair.key))
    }
}

/// Until when a certificate in a file is valid, in Unix seconds, if it can be used with its key.
///
/// # Errors
/// As [`Certificates::read`].
pub(crate) fn end_of(files: &Files) -> Result<i64, String> {
    read(files).map(|pair| pair.ends_at)
}

fn read_all(files: &[Files]) -> Result<Vec<Pair>, String> {
    files.iter().map(read).collect()
}

fn read(files: &Files) -> Result<Pair, String> {
    let certificate = |why: &str| cannot_use(&files.certificate, "--tls-cert", why);
    let key = |why: &str| cannot_use(&files.key, "--tls-key", why);
    let chain = systemd::file(&files.certificate)
        .map_err(pem::Error::Io)
        .and_then(CertificateDer::pem_file_iter)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| certificate(&pem_error(&error)))?;
    let first = chain
        .first()
        .ok_or_else(|| certificate("it holds no certificate in PEM format"))?;
    let ends_at = validity::ends_at(first)
        .ok_or_else(|| certificate("the certificate in it says not until when it is valid"))?;
    let private = systemd::file(&files.key)
        .map_err(pem::Error::Io)
        .and_then(PrivateKeyDer::from_pem_file)
        .map_err(|error| key(&key_error(&error, &files.key)))?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, private, &provider) {
        Ok(pair) => Ok(Pair {
            files: files.clone(),
            key: Arc::new(pair),
            ends_at,
        }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(key(&format!(
            "it is not the key of the certificate in {}",
            files.certificate.display()
        ))),
        Err(Error::InvalidCertificate(error)) => Err(certificate(&error.to_string())),
        Err(error) => Err(key(&error.to_string())),
    }
}

fn cannot_use(file: &Path, setting: &str, why: &str) -> String {
    format!("cannot use {} (setting {setting}): {why}", file.display())
}

fn pem_error(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Why there is no key in a file.
fn key_error(error: &pem::Error, file: &Path) -> String {
    let text = systemd::file(file).and_then(fs::read_to_string);
    let is_encrypted = text.is_ok_and(|text| text.contains("ENCRYPTED"));
    match error {
        _ if is_encrypted => format!(
            "its key is encrypted; accepted is one that is not, as openssl pkey -in {} makes it",
            file.display()
        ),
        pem::Error::NoItemsFound => "it holds no private key in PEM format".to_owned(),
        error => pem_error(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/watch/tls")
            .join(name)
    }

    fn refused(certificate: PathBuf, key: PathBuf) -> String {
        Certificates::read(&[Files { certificate, key }]).unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("empty"), "").unwrap();
        fs::write(
            path("broken"),
            "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        fs::write(path("encrypted"), encrypted).unwrap();
        let (certificate, key) = (test_file("server.pem"), test_file("server.key"));
        for (certificate, key, file, why) in [
            (
                path("none"),
                key.clone(),
                "none (setting --tls-cert)",
                "No such file",
            ),
            (
                path("empty"),
                key.clone(),
                "empty (setting --tls-cert)",
                "no certificate",
            ),
            (
                path("broken"),
                key.clone(),
                "broken (setting --tls-cert)",
                "base64",
            ),
            (
                certificate.clone(),
                path("none"),
                "none (setting --tls-key)",
                "No such file",
            ),
            (
                certificate.clone(),
                path("empty"),
                "empty (setting --tls-key)",
                "no private key",
            ),
            (
                certificate.clone(),
                certificate.clone(),
                "server.pem (setting --tls-key)",
                "no private key",
            ),
            (
                certificate.clone(),
                path("encrypted"),
                "encrypted (setting --tls-key)",
                "openssl pkey",
            ),
            (
                test_file("ca.pem"),
                key.clone(),
                "server.key (setting --tls-key)",
                "not the key of the certificate in ",
            ),
        ] {
            let error = refused(certificate, key);
            assert!(error.contains(file) && error.contains(why), "{error}");
        }
        assert!(Certificates::read(&[Files { certificate, key }]).is_ok());
    }

    #[test]
    fn a_certificate_is_warned_of_from_fourteen_days_before_its_end() {
        let end = 2_000_000_000;
        assert_eq!(warning(end, end - 14 * DAY_SECONDS), None);
        let soon = warning(end, end - 14 * DAY_SECONDS + 1).unwrap();
        assert!(soon.contains("expires soon: 2033-05-18"), "{soon}");
        assert!(warning(end, end + 1).unwrap().contains("has expired"));
    }

    #[test]
    fn certificates_are_replaced_while_they_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: folder.path().join("certificate"),
            key: folder.path().join("key"),
        };
        fs::copy(test_file("server.pem"), &files.certificate).unwrap();
        fs::copy(test_file("server.key"), &files.key).unwrap();
        let read = || Certificates::read(std::slice::from_ref(&files));
        let certificates = read().unwrap();
        let shown = || Arc::clone(&certificates.0.read().unwrap()[0].key);
        let first = shown();
        certificates.replace(read().unwrap());
        assert!(!Arc::ptr_eq(&first, &shown()));
    }
}
