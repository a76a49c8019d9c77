//! Which Bugzilla is asked, and as whom: what stands behind `--catch-up https:`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ureq::Agent;
use url::Url;

use crate::address::{Password, read_options};
use crate::bugzilla::Sees;
use crate::tls;

/// For the whole of an answer: a search takes a large Bugzilla some seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const OPTIONS: &str = "sees=all, key_file=FILE and cacert=FILE, behind a '#'";

/// Which Bugzilla, and as whom it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of Bugzilla's start page, with a slash at the end and without the fragment, which holds the
    /// options.
    pub(super) url: Url,
    pub(super) key: Option<Password>,
    /// Certificates that are trusted in place of the system's.
    ca_file: Option<PathBuf>,
    /// Which bugs the account sees.
    pub(crate) sees: Sees,
}

impl Settings {
    /// Reads the URL of Bugzilla's start page, with options in the fragment.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let mut url = Url::parse(address)
            .map_err(|why| format!("it is no URL ({why}); accepted is https://HOST/PATH"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(
                "accepted is the address of Bugzilla's start page, such as https://bugzilla.example.org/, with #key_file=FILE for an API key"
                    .to_owned(),
            );
        }
        let fragment = url.fragment().unwrap_or_default().to_owned();
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let mut settings = Self {
            url,
            key: None,
            ca_file: None,
            sees: Sees::Some,
        };
        read_options(&fragment, OPTIONS, |name, value| {
            match (name, value) {
                ("sees", "all") => settings.sees = Sees::All,
                ("sees", _) => {
                    return Err(format!(
                        "'{value}' is not accepted; it is 'all', where the account sees all bugs"
                    ));
                }
                ("key_file", _) => settings.key = Some(Password::File(value.into())),
                ("cacert", _) if settings.url.scheme() == "https" => {
                    settings.ca_file = Some(value.into());
                }
                ("cacert", _) => return Err("only https:// uses certificates".to_owned()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(settings)
    }

    /// The HTTP client that asks this Bugzilla.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(super) fn agent(&self) -> Result<Agent, String> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("bugzfeed/", env!("CARGO_PKG_VERSION")))
            .tls_config(
                tls::http_config(&self.url, self.ca_file.as_deref())
                    .map_err(|error| error.to_string())?,
            );
        Ok(config.build().new_agent())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
