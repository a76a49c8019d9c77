//! Inlet `http:`: a POST for each update, on one connection for as long as the server keeps it.

use std::net::TcpStream;
use std::time::Duration;
use std::{fmt, io};

use ureq::Agent;

use crate::client::FeedUrl;

/// For the whole of a post: a server that takes longer will not take the next one either.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where to post, and with which key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpAddress {
    /// `{bug}` in its path stands for the bug.
    url: FeedUrl,
    /// The key of a webhook, for the header field X-Api-Key.
    key: Option<String>,
}

impl HttpAddress {
    /// Reads `http://[KEY@]HOST[:PORT]/PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").unwrap_or_default();
        let end = rest.find('/').unwrap_or(rest.len());
        let (key, host) = match rest[..end].rsplit_once('@') {
            Some((key, host)) => (Some(key.to_owned()), host),
            None => (None, &rest[..end]),
        };
        let url = format!("http://{host}{}", &rest[end..]).parse()?;
        Ok(Self { url, key })
    }

    pub(super) fn host(&self) -> &str {
        self.url.host()
    }
}

/// The key is a secret.
impl fmt::Debug for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

pub(crate) struct Poster {
    address: HttpAddress,
    agent: Agent,
}

impl Poster {
    /// Fails when nobody listens. The connection that shows it is not kept: it may be long until the
    /// first update.
    pub(crate) fn open(address: &HttpAddress) -> io::Result<Self> {
        TcpStream::connect((address.url.host(), address.url.port()))?;
        let config = Agent::config_builder()
            // The time that a proxy takes is not the server's.
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT));
        Ok(Self {
            address: address.clone(),
            agent: config.build().new_agent(),
        })
    }

    /// Posts one update: to a webhook as Bugzilla's Push extension would, else as clients are to get
    /// it.
    pub(crate) fn post(&mut self, bug: u32, when: &str) -> io::Result<()> {
        let HttpAddress { url, key } = &self.address;
        let path = url.path().replace("{bug}", &bug.to_string());
        let mut request = self
            .agent
            .post(format!("http://{}{path}", url.authority()))
            .content_type("application/json");
        let body = match key {
            Some(key) => {
                request = request.header("X-Api-Key", key);
                format!(r#"{{"id":{bug},"delta_ts":"{when}"}}"#)
            }
            None => format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#),
        };
        let mut response = request.send(body).map_err(io::Error::other)?;
        // A connection is kept once its response has been read to the end.
        response
            .body_mut()
            .read_to_vec()
            .map(drop)
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_before_the_host() {
        let address = HttpAddress::parse("http://secret@127.0.0.1:8844/webhook").unwrap();
        assert_eq!(
            (address.url.authority(), address.url.path()),
            ("127.0.0.1:8844", "/webhook")
        );
        assert_eq!(address.key.as_deref(), Some("secret"));
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn the_path_may_hold_the_bug_and_an_address_may_be_ipv6() {
        let address = HttpAddress::parse("http://[::1]/pub/{bug}").unwrap();
        assert_eq!(
            (address.url.host(), address.url.port(), address.url.path()),
            ("::1", 80, "/pub/{bug}")
        );
        assert!(HttpAddress::parse("http://:80/").is_err());
    }
}
