//! Where a feed is: `ws://` and `wss://` URLs, and what a user may write for them. Does no I/O.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tungstenite::http::Uri;
use tungstenite::http::uri::{Authority, PathAndQuery};

/// The URL of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedUrl {
    /// Scheme `ws` or `wss`, with a host and a path.
    uri: Uri,
    is_encrypted: bool,
}

impl FeedUrl {
    /// Whether the feed is to be reached by TLS (`wss://`).
    pub(crate) fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether nobody on the way can read along: with TLS, or on this machine.
    pub(crate) fn keeps_secrets(&self) -> bool {
        let host = self.host();
        let address = host.parse::<IpAddr>();
        self.is_encrypted
            || host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Name or address of the host; an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The TCP port: 80, or 443 with TLS, where the URL names none.
    pub(crate) fn port(&self) -> u16 {
        self.uri
            .port_u16()
            .unwrap_or(if self.is_encrypted { 443 } else { 80 })
    }

    /// Host and port as they stand in the URL, which is what the header field Host says.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", Authority::as_str)
    }

    /// The path with its query.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl FromStr for FeedUrl {
    type Err = String;

    /// Reads a `ws://` or `wss://` URL; `http://` and `https://` stand for the same feeds.
    fn from_str(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str =
            "accepted are ws://HOST[:PORT]/PATH and wss://…, or http:// and https:// for the same";
        let no_url = |reason: &str| format!("'{text}' is no URL of a feed: {reason}; {ACCEPTED}");
        let uri: Uri = text.parse().map_err(|_| no_url("it cannot be read"))?;
        let is_encrypted = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(_) => return Err(no_url("its scheme is another")),
            None => return Err(no_url("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| no_url("it names no host"))?;
        let host = authority.host();
        if host.is_empty() {
            return Err(no_url("it names no host"));
        }
        if authority.as_str().contains('@') {
            return Err(format!(
                "'{text}' carries a user name, which is not supported; {ACCEPTED}"
            ));
        }
        let port = authority.as_str()[host.len()..].trim_start_matches(':');
        if !port.is_empty() && port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(no_url("its port is not a number from 1 to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        let uri = Uri::builder()
            .scheme(if is_encrypted { "wss" } else { "ws" })
            .authority(authority.clone())
            .path_and_query(format!("{slash}{path}"))
            .build()
            .map_err(|error| no_url(&error.to_string()))?;
        Ok(Self { uri, is_encrypted })
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feeds_url_names_host_port_and_path_and_may_be_written_as_http() {
        for (text, url, host, port) in [
            (
                "ws://127.0.0.1:8844/",
                "ws://127.0.0.1:8844/",
                "127.0.0.1",
                8844,
            ),
            ("ws://localhost", "ws://localhost/", "localhost", 80),
            ("ws://[::1]/", "ws://[::1]/", "::1", 80),
            (
                "http://localhost:8844",
                "ws://localhost:8844/",
                "localhost",
                8844,
            ),
            (
                "https://feed.example/dev/?a=b",
                "wss://feed.example/dev/?a=b",
                "feed.example",
                443,
            ),
            (
                "wss://feed.example:8443?a=b",
                "wss://feed.example:8443/?a=b",
                "feed.example",
                8443,
            ),
            ("ws://[::1]:8844/dev", "ws://[::1]:8844/dev", "::1", 8844),
            (
                "HTTPS://Feed.Example/",
                "wss://Feed.Example/",
                "Feed.Example",
                443,
            ),
        ] {
            let read: FeedUrl = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (read.to_string().as_str(), read.host(), read.port()),
                (url, host, port),
                "{text}"
            );
            assert_eq!(read.is_encrypted(), url.starts_with("wss"), "{text}");
            let is_local = ["127.0.0.1", "localhost", "::1"].contains(&host);
            assert_eq!(read.keeps_secrets(), read.is_encrypted() || is_local);
        }
    }

    #[test]
    fn what_is_no_url_of_a_feed_is_refused_with_what_is_accepted() {
        for (text, reason) in [
            ("", "cannot be read"),
            ("127.0.0.1:8844", "no scheme"),
            ("feed.example", "no scheme"),
            ("/dev/", "no scheme"),
            ("ftp://feed.example/", "scheme is another"),
            ("ws://", "cannot be read"),
            ("ws://:8844/", "names no host"),
            ("ws://host:70000/", "port"),
            ("ws://host:0/", "port"),
            ("ws://host:1x/", "port"),
            ("ws://ho st/", "cannot be read"),
            ("ws://me:secret@host/", "user name"),
        ] {
            let error = text.parse::<FeedUrl>().unwrap_err();
            assert!(
                error.contains(reason) && error.contains("accepted are ws://"),
                "{text}: {error}"
            );
        }
    }
}
