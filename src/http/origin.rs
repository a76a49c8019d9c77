//! The origins that browsers may connect from. Knows no request.

use std::str::FromStr;

/// What an origin must look like: `https://bugzilla.example.org`, in which one `*` may stand for any
/// text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In lower case.
    start: String,
    /// What follows the `*`, if there is one.
    end: Option<String>,
}

impl Origin {
    /// Whether the value of a header field Origin is such an origin.
    pub(super) fn matches(&self, origin: &[u8]) -> bool {
        let origin = origin.to_ascii_lowercase();
        match &self.end {
            None => self.start.as_bytes() == origin,
            Some(end) => {
                origin.len() >= self.start.len() + end.len()
                    && origin.starts_with(self.start.as_bytes())
                    && origin.ends_with(end.as_bytes())
            }
        }
    }
}

impl FromStr for Origin {
    type Err = String;

    /// Refuses what no browser ever sends: an origin is a scheme, a host and a port that is not the
    /// scheme's own (RFC 6454 section 6.2), or `null`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let why = match text.as_str() {
            "null" => None,
            _ => flaw(&text),
        };
        match why {
            None => Ok(match text.split_once('*') {
                None => Self {
                    start: text,
                    end: None,
                },
                Some((start, end)) => Self {
                    start: start.to_owned(),
                    end: Some(end.to_owned()),
                },
            }),
            Some(why) => Err(format!(
                "no browser sends it, because {why}; accepted are such as https://bugzilla.example.org, \
                 http://localhost:8080 and https://*.example.org"
            )),
        }
    }
}

/// Why no origin can be what `text` says, in lower case.
fn flaw(text: &str) -> Option<&'static str> {
    if text.matches('*').count() > 1 {
        return Some("only one * stands for any text");
    }
    if !text.is_ascii() {
        return Some("the host stands in it as DNS has it, in ASCII (xn--…)");
    }
    let (scheme, host) = match text.split_once("://") {
        Some(parts) => parts,
        None if text.starts_with('*') => ("*", text),
        None => return Some("it begins with a scheme such as https://"),
    };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.*".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return Some("it begins with a scheme such as https://");
    }
    if host.contains(['/', '?', '#']) {
        return Some("it ends with the host or the port, without a slash or a path");
    }
    if host.is_empty() || host.starts_with(':') {
        return Some("a host follows the scheme");
    }
    if host.contains('@') || host.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Some("nothing but a host and a port follows the scheme");
    }
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port,
        _ => return None,
    };
    match (scheme, port) {
        ("http", "80") | ("https", "443") => Some("the scheme's own port is left out"),
        _ if port.contains('*') => None,
        _ if port.starts_with('0') || port.parse::<u16>().is_err() => {
            Some("behind the host's colon stands the number of a port")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_browsers_send_is_matched_in_any_case() {
        for (pattern, origin) in [
            ("https://a.example", "https://a.example"),
            ("HTTPS://A.example", "https://a.example"),
            ("https://*.b.example", "https://x.y.b.example"),
            ("*.b.example", "http://x.b.example"),
            ("*", "http://any.example:1"),
            ("http://localhost:*", "http://localhost:8080"),
            ("https://a.example*", "https://a.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("https://a.example:80", "https://a.example:80"),
            ("moz-extension://0af9", "moz-extension://0af9"),
            ("null", "null"),
        ] {
            let pattern: Origin = pattern.parse().unwrap();
            assert!(pattern.matches(origin.as_bytes()), "{pattern:?} {origin}");
        }
        let pattern: Origin = "https://*.b.example".parse().unwrap();
        for origin in [
            "https://b.example",
            "https://x.b.example.evil",
            "http://x.y.z.b.example",
            "null",
        ] {
            assert!(!pattern.matches(origin.as_bytes()), "{origin}");
        }
        let pattern: Origin = "https://x.*.x".parse().unwrap();
        assert!(!pattern.matches(b"https://x.x"), "two dots are one");
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for (text, why) in [
            ("", "scheme"),
            ("foo", "scheme"),
            ("bugzilla.example.org", "scheme"),
            ("bugzilla.example.org:8080", "scheme"),
            ("://a.example", "scheme"),
            ("https://a.example/", "slash"),
            ("https://a.example/bugs", "path"),
            ("https://", "a host follows"),
            ("https://:8080", "a host follows"),
            ("https://user@a.example", "nothing but"),
            ("https://a example", "nothing but"),
            ("https://a.example:443", "left out"),
            ("http://a.example:80", "left out"),
            ("https://a.example:x", "number of a port"),
            ("https://a.example:", "number of a port"),
            ("https://*.*.example", "only one *"),
            ("https://bücher.example", "ASCII"),
        ] {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(
                error.contains(why) && error.contains("accepted are"),
                "{text}: {error}"
            );
        }
    }
}
