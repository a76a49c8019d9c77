//! Where a webhook is, and what proves who sent a post.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::hmac;
use ureq::Agent;
use ureq::http::HeaderValue;
use url::Url;

use crate::address::{Password, is_field_name, read_options};
use crate::tls;

/// For the whole of a post. One that takes longer comes again.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
        let tls = tls::http_config(&self.url, self.ca_file.as_deref())
            .map_err(|error| error.to_string())?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A post that followed a redirect would become a GET, or go to somebody who was not
            // named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("bugzfeed/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls);
        Ok(config.build().new_agent())
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
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
