//! The PROXY header, versions 1 and 2, that a proxy sends before all else of a connection: "The
//! PROXY protocol", HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first bytes of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of version 2 before the addresses.
const FIXED_BYTES: usize = 16;

/// The longest header that is read: version 2 may carry further fields, which are passed over.
const BYTES_MAX: usize = 4 * 1024;

/// The first bytes of version 1, and its longest line with its end.
const WORD: &[u8] = b"PROXY ";
const LINE_BYTES_MAX: usize = 107;

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its length.
    pub bytes: usize,
    /// The client's address; `None` where the connection is the proxy's own, such as a health check,
    /// or the client has no address.
    pub client: Option<IpAddr>,
}

/// What came is no PROXY header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoHeader;

/// Whether these bytes begin a header.
pub(crate) fn is_begun(bytes: &[u8]) -> bool {
    bytes.starts_with(WORD) || bytes.starts_with(SIGNATURE)
}

/// Reads the header at the start of `bytes`; `None` while it is not complete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        parse_version_2(bytes)
    } else if begins(WORD) {
        parse_version_1(bytes)
    } else {
        Err(NoHeader)
    }
}

fn parse_version_1(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(NoHeader)
        };
    };
    let line = str::from_utf8(&bytes[WORD.len()..end]).map_err(|_| NoHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["UNKNOWN", ..] => None,
        ["TCP4", client, proxy, client_port, proxy_port] => {
            read_ends::<Ipv4Addr>([client, proxy], [client_port, proxy_port])?
        }
        ["TCP6", client, proxy, client_port, proxy_port] => {
            read_ends::<Ipv6Addr>([client, proxy], [client_port, proxy_port])?
        }
        _ => return Err(NoHeader),
    };
    Ok(Some(Header {
        bytes: end + 2,
        client,
    }))
}

/// Reads both addresses and ports, and returns the first address.
fn read_ends<A: std::str::FromStr + Into<IpAddr>>(
    addresses: [&str; 2],
    ports: [&str; 2],
) -> Result<Option<IpAddr>, NoHeader> {
    let is_port = |text: &str| {
        text.parse::<u16>()
            .is_ok_and(|port| port.to_string() == text)
    };
    let [client, proxy] = addresses.map(|text| text.parse::<A>().ok());
    match (client, proxy) {
        (Some(client), Some(_)) if ports.into_iter().all(is_port) => {
            Ok(Some(client.into().to_canonical()))
        }
        _ => Err(NoHeader),
    }
}

fn parse_version_2(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else {
        return Ok(None);
    };
    let [version_and_command, family, high, low] = fixed[SIGNATURE.len()..] else {
        unreachable!("the fixed part is the signature and four bytes");
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_BYTES + length > BYTES_MAX {
        return Err(NoHeader);
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(NoHeader),
    };
    let Some(fields) = rest.get(..length) else {
        return Ok(None);
    };
    // In the upper half of the byte the kind of address, in the lower one stream or datagram.
    let client = match family {
        // A connection of the proxy's own counts as that, whatever stands there.
        _ if is_local => None,
        0x00 => None,
        0x11 | 0x12 => {
            let (ends, _) = fields.split_first_chunk::<12>().ok_or(NoHeader)?;
            let [a, b, c, d, ..] = *ends;
            Some(IpAddr::from([a, b, c, d]))
        }
        0x21 | 0x22 => {
            let (ends, _) = fields.split_first_chunk::<36>().ok_or(NoHeader)?;
            let (client, _) = ends.split_first_chunk::<16>().ok_or(NoHeader)?;
            Some(IpAddr::from(*client).to_canonical())
        }
        // A Unix socket's two names.
        0x31 | 0x32 if length >= 216 => None,
        _ => return Err(NoHeader),
    };
    Ok(Some(Header {
        bytes: FIXED_BYTES + length,
        client,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(version_and_command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = (fields.len() as u16).to_be_bytes();
        [SIGNATURE, &[version_and_command, family], &length, fields].concat()
    }

    #[track_caller]
    fn check(header: &[u8], client: Option<&str>) {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(None), "{end} bytes of {header:?}");
        }
        let expected = Header {
            bytes: header.len(),
            client: client.map(|client| client.parse().unwrap()),
        };
        assert_eq!(parse(header), Ok(Some(expected)));
        let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&followed), Ok(Some(expected)));
    }

    #[test]
    fn version_1_is_a_line() {
        check(
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n",
            Some("192.0.2.7"),
        );
        check(
            b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
            Some("2001:db8::7"),
        );
        check(
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n",
            Some("192.0.2.7"),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_BYTES_MAX - 16));
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        check(longest.as_bytes(), None);
    }

    #[test]
    fn version_2_is_binary_and_its_further_fields_are_passed_over() {
        let ipv4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        check(&version_2(0x21, 0x11, &ipv4), Some("192.0.2.7"));
        let with_more = [&ipv4[..], &[4, 0, 1, 0]].concat();
        check(&version_2(0x21, 0x11, &with_more), Some("192.0.2.7"));
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        ipv6[15] = 7;
        check(&version_2(0x21, 0x21, &ipv6), Some("2001:db8::7"));
        check(&version_2(0x21, 0x31, &[0; 216]), None);
        check(&version_2(0x21, 0x00, &[]), None);
        check(&version_2(0x20, 0x00, &[]), None);
        check(&version_2(0x20, 0x11, &ipv4), None);
    }

    #[test]
    fn what_is_no_header_is_known_as_soon_as_it_is_none() {
        let long_line = format!("PROXY UNKNOWN {}", "f".repeat(LINE_BYTES_MAX));
        let long = version_2(0x21, 0x11, &[0; BYTES_MAX]);
        for bytes in [
            &b"G"[..],
            b"\x16\x03\x01",
            b"PROXX",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 1\r\n",
            b"PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 056324 443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 65536\r\n",
            b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 ::1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY \xff\r\n",
            long_line.as_bytes(),
            &long,
            &version_2(0x11, 0x11, &[0; 12]),
            &version_2(0x22, 0x11, &[0; 12]),
            &version_2(0x21, 0x11, &[0; 11]),
            &version_2(0x21, 0x21, &[0; 35]),
            &version_2(0x21, 0x31, &[0; 215]),
            &version_2(0x21, 0x41, &[0; 12]),
        ] {
            assert_eq!(parse(bytes), Err(NoHeader), "{bytes:?}");
        }
        assert!(is_begun(b"PROXY TCP4") && is_begun(&version_2(0x21, 0, &[])));
        assert!(!is_begun(b"PROXY") && !is_begun(b"GET /"));
    }
}
