//! Where a webhook is, and what proves who sent a post.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ureq::Agent;
use ureq::http::HeaderValue;
use url::Url;

use crate::address::{Password, is_field_name, read_options};
use crate::tls;

/// For the whole of a post. One that takes longer comes again.
const TIMEOUT: Duration = Duration::from_secs(30);

/// For the rest of an answer whose status is known. Nothing in it matters.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

const OPTIONS: &str = "secret_file=FILE, key_file=FILE, header=NAME and cacert=FILE, behind a '#'";

/// Where posts go, and what proves who sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Without the fragment, which holds the options.
    pub(crate) url: Url,
    /// What the signature is made with.
    secret: Option<Password>,
    /// What is sent along, and the header field that carries it.
    key: Option<(String, Password)>,
    /// Certificates that are believed in place of the system's.
    ca_file: Option<PathBuf>,
}

impl Settings {
    /// Reads a URL with its options in the fragment.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let mut url = Url::parse(address)
            .map_err(|why| format!("it is no URL ({why}); accepted is https://HOST/PATH"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a user or password in it is not sent; use #header=Authorization&key_file=FILE"
                    .to_owned(),
            );
        }
        let fragment = url.fragment().unwrap_or_default().to_owned();
        url.set_fragment(None);
        let mut settings = Self {
            url,
            secret: None,
            key: None,
            ca_file: None,
        };
        let (mut field, mut key) = (None, None);
        read_options(&fragment, OPTIONS, |name, value| {
            match name {
                "secret_file" => settings.secret = Some(Password::File(value.into())),
                "key_file" => key = Some(Password::File(value.into())),
                "header" if is_field_name(value) => field = Some(value.to_owned()),
                "header" => return Err(format!("'{value}' is no name of a header field")),
                "cacert" if settings.url.scheme() == "https" => {
                    settings.ca_file = Some(value.into());
                }
                "cacert" => return Err("only https:// uses certificates".to_owned()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        settings.key = match (field, key) {
            (Some(_), None) => {
                return Err("header: what it carries is missing; add key_file=FILE".to_owned());
            }
            (field, key) => key.map(|key| (field.unwrap_or_else(|| "X-Api-Key".to_owned()), key)),
        };
        Ok(settings)
    }

    /// Somebody who posts there.
    ///
    /// # Errors
    /// When a file of certificates cannot be used.
    pub(crate) fn agent(&self) -> Result<Agent, String> {
        tls::http_agent(self.ca_file.as_deref(), &self.url, TIMEOUT, BODY_TIMEOUT)
            .map_err(|error| error.to_string())
    }

    /// What proves who sent a post with this body. Files are read each time anew, so that their
    /// contents may change.
    pub(crate) fn proofs(&self, body: &[u8]) -> Result<Vec<(&str, HeaderValue)>, String> {
        let mut proofs = Vec::new();
        if let Some(secret) = &self.secret {
            let signature = format!(
                "sha256={}",
                HEXLOWER.encode(sign(not_empty(secret)?.as_bytes(), body).as_ref())
            );
            proofs.push(("X-Hub-Signature-256", header_value(&signature)?));
        }
        if let Some((field, key)) = &self.key {
            proofs.push((field, header_value(&not_empty(key)?)?));
        }
        Ok(proofs)
    }
}

impl fmt::Display for Settings {
    /// The URL with a digest in place of path and query, which may hold a token. What is shown once
    /// reads as itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.url.origin().ascii_serialization();
        let rest = &self.url[url::Position::BeforePath..];
        if rest == "/" || is_masked(rest) {
            return write!(f, "{origin}{rest}");
        }
        let digest = digest(&SHA256, self.url.as_str().as_bytes());
        let digest = HEXLOWER.encode(&digest.as_ref()[..MASK_BYTES]);
        write!(f, "{origin}{MASK}{digest}")
    }
}

/// What stands in front of the digest.
const MASK: &str = "/...";

/// How many bytes of the digest are shown: enough to tell a few destinations apart.
const MASK_BYTES: usize = 4;

fn is_masked(rest: &str) -> bool {
    rest.strip_prefix(MASK).is_some_and(|digest| {
        digest.len() == 2 * MASK_BYTES && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn sign(secret: &[u8], body: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body)
}

/// An empty file is one that was not filled yet.
fn not_empty(password: &Password) -> Result<String, String> {
    match (password.read()?, password) {
        (text, Password::File(file)) if text.is_empty() => {
            Err(format!("the file {} is empty", file.display()))
        }
        (text, _) => Ok(text),
    }
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "the key holds what no header can carry, such as a line break")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231_and_of_github() {
        assert_eq!(
            HEXLOWER.encode(sign(b"Jefe", b"what do ya want for nothing?").as_ref()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // From GitHub's documentation of X-Hub-Signature-256.
        assert_eq!(
            HEXLOWER.encode(sign(b"It's a Secret to Everybody", b"Hello, World!").as_ref()),
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn a_secret_is_read_each_time_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let settings = Settings::parse(&format!(
            "https://h/#key_file={}&header=X-Key",
            file.display()
        ))
        .unwrap();
        assert!(settings.proofs(b"").unwrap_err().contains("cannot read"));
        std::fs::write(&file, "\n").unwrap();
        assert!(settings.proofs(b"").unwrap_err().contains("is empty"));
        for key in ["one", "two"] {
            std::fs::write(&file, key).unwrap();
            assert_eq!(
                settings.proofs(b""),
                Ok(vec![("X-Key", HeaderValue::from_static(key))])
            );
        }
    }
}
