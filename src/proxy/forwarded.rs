//! The header fields in which a proxy of HTTP names its client: `X-Forwarded-For`, which has no
//! standard, and `Forwarded`, RFC 7239.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{TrustedProxy, is_trusted};

/// The names of the fields.
pub(crate) const X_FORWARDED_FOR: &str = "X-Forwarded-For";
pub(crate) const FORWARDED: &str = "Forwarded";

/// The client of a request that came from `peer` (`None`: by a Unix socket), as far as only those
/// are believed who are trusted: each proxy adds to the end of the list whom it got the request
/// from, so the list is read from there, as long as those who wrote it are trusted. What the client
/// itself has written stands before that, and is never read.
///
/// A proxy writes one of the two fields and passes the other one on as it came, so one of them alone
/// can be believed. That is `X-Forwarded-For`, the one that all proxies write, where it stands.
pub(crate) fn client<'a>(
    trusted: &[TrustedProxy],
    peer: Option<IpAddr>,
    x_forwarded_for: impl Iterator<Item = &'a [u8]>,
    forwarded: impl Iterator<Item = &'a [u8]>,
) -> Option<IpAddr> {
    let mut named: Vec<Option<IpAddr>> = x_forwarded_for
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(node)
        .collect();
    if named.is_empty() {
        named = forwarded
            .flat_map(|value| split_outside_quotes(value, b','))
            .map(forwarded_for)
            .collect();
    }
    let mut client = peer;
    while is_trusted(trusted, client)
        && let Some(Some(before)) = named.pop()
    {
        client = Some(before);
    }
    client
}

/// The address behind `for=` in an element of `Forwarded`, if it names one.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    split_outside_quotes(element, b';')
        .into_iter()
        .find_map(|pair| {
            let at = pair.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
            if !name.eq_ignore_ascii_case(b"for") {
                return None;
            }
            let unquoted = value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""));
            node(unquoted.unwrap_or(value))
        })
}

fn split_outside_quotes(value: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut is_quoted = false;
    value
        .split(|&byte| {
            is_quoted ^= byte == b'"';
            byte == separator && !is_quoted
        })
        .collect()
}

/// An address, with or without a port, that of IPv6 with or without brackets.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim_ascii();
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_port = port.is_empty() || port.starts_with(':');
            IpAddr::V6(address.parse::<Ipv6Addr>().ok().filter(|_| is_port)?)
        }
        None => match (text.parse(), text.split_once(':')) {
            (Ok(address), _) => address,
            (Err(_), Some((address, _))) => IpAddr::V4(address.parse::<Ipv4Addr>().ok()?),
            (Err(_), None) => return None,
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client of a request from `peer`, where 10.0.0.0/8 and Unix sockets are trusted.
    fn found(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), TrustedProxy::Unix];
        let client = client(
            &trusted,
            peer.parse().ok(),
            x_forwarded_for.iter().map(|value| value.as_bytes()),
            forwarded.iter().map(|value| value.as_bytes()),
        );
        client.map_or("nobody".to_owned(), |client| client.to_string())
    }

    #[test]
    fn the_client_is_whom_the_last_trusted_proxy_names() {
        for (peer, field, client) in [
            ("10.0.0.1", &["192.0.2.7"][..], "192.0.2.7"),
            ("unix", &["192.0.2.7"], "192.0.2.7"),
            // What the client itself has sent stands before what the proxy adds.
            ("10.0.0.1", &["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["192.0.2.7,10.0.0.2 ,10.0.0.3"], "192.0.2.7"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["192.0.2.7:1234"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db8::7]:1234"], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            // Nobody is named, or not by an address: what is known is the proxy.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7, "], "10.0.0.1"),
            ("unix", &[], "nobody"),
            // Strangers are not believed.
            ("192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
        ] {
            assert_eq!(found(peer, field, &[]), client, "{peer} {field:?}");
        }
    }

    #[test]
    fn forwarded_is_read_where_it_stands_alone() {
        for (field, client) in [
            (&["for=192.0.2.7"][..], "192.0.2.7"),
            (
                &["by=10.0.0.1; For=\"192.0.2.7:80\";proto=https"],
                "192.0.2.7",
            ),
            (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (
                &["for=203.0.113.9", "for=192.0.2.7, for=10.0.0.2"],
                "192.0.2.7",
            ),
            (&["for=\"a,b;for=203.0.113.9\", for=192.0.2.7"], "192.0.2.7"),
            (&["for=unknown"], "10.0.0.1"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["for=\"[2001:db8::7]x\""], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
            (&["for=192.0.2.7, for=\"203.0.113.9"], "10.0.0.1"),
        ] {
            assert_eq!(found("10.0.0.1", &[], field), client, "{field:?}");
        }
        // nginx adds to X-Forwarded-For, and passes on what a client has sent as Forwarded.
        assert_eq!(
            found("10.0.0.1", &["192.0.2.7"], &["for=203.0.113.9"]),
            "192.0.2.7"
        );
    }
}
