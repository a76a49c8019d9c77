//! Networks: those whose proxies are believed, and those that count as one address.

use core::net::IpAddr;
use std::str::FromStr;

/// Proxies that are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrustedProxy {
    /// All whose addresses begin with so many bits of this one.
    Network(IpAddr, u8),
    /// All who connect to a Unix socket.
    Unix,
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let refuse = |why: &str| {
            format!(
                "'{text}' {why}; accepted are 10.0.0.0/8, fd00::/8, 192.0.2.1, and unix for all who \
                 come by a Unix socket"
            )
        };
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| refuse("is no network and no address"))?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => bits_max,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|&number: &u8| number <= bits_max && number.to_string() == bits)
                .ok_or_else(|| refuse("has no length of a network"))?,
        };
        if begin(address, bits) != address {
            return Err(refuse("is an address in a network, and not the network"));
        }
        Ok(Self::Network(address, bits))
    }
}

/// Whether a proxy is believed that connects from this address, or to a Unix socket where there is
/// none.
pub(crate) fn is_trusted(trusted: &[TrustedProxy], peer: Option<IpAddr>) -> bool {
    trusted.iter().any(|proxy| match (proxy, peer) {
        (TrustedProxy::Unix, None) => true,
        (&TrustedProxy::Network(network, bits), Some(peer)) => {
            network.is_ipv4() == peer.is_ipv4() && begin(peer, bits) == network
        }
        (TrustedProxy::Unix, Some(_)) | (TrustedProxy::Network(..), None) => false,
    })
}

/// The address with nothing but its first `bits`.
fn begin(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// What counts as one address: that of IPv4, and the /64 of IPv6, which every household has of its
/// own (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Block {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Block::V4(address.into()),
            IpAddr::V6(address) => Block::V6((u128::from(address) >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_trusted_proxy_is_a_network_an_address_or_a_unix_socket() {
        let trusted: Vec<TrustedProxy> = ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "unix"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for peer in ["10.0.0.0", "10.255.1.2", "192.0.2.1", "fd12::1"] {
            assert!(is_trusted(&trusted, Some(ip(peer))), "{peer}");
        }
        for peer in ["11.0.0.0", "192.0.2.2", "fe00::1", "::10.0.0.1"] {
            assert!(!is_trusted(&trusted, Some(ip(peer))), "{peer}");
        }
        assert!(is_trusted(&trusted, None));
        assert!(!is_trusted(&trusted[..3], None));
        let all: [TrustedProxy; 2] = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
        assert!(is_trusted(&all[..1], Some(ip("8.8.8.8"))));
        assert!(!is_trusted(&all[..1], Some(ip("::1"))));
        assert!(is_trusted(&all[1..], Some(ip("::1"))));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_is_accepted() {
        for text in [
            "",
            "proxy",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "fd00::1/8",
            "unix:",
            "10.0.0.1:80",
        ] {
            let why = text.parse::<TrustedProxy>().unwrap_err();
            assert!(
                why.starts_with(&format!("'{text}' ")) && why.contains("accepted are 10.0.0.0/8"),
                "{why}"
            );
        }
    }

    #[test]
    fn one_address_is_one_of_ipv4_or_sixty_four_bits_of_ipv6() {
        assert_eq!(
            Block::from(ip("2001:db8::1")),
            Block::from(ip("2001:db8::2:3"))
        );
        assert_ne!(
            Block::from(ip("2001:db8::1")),
            Block::from(ip("2001:db8:0:1::1"))
        );
        assert_ne!(Block::from(ip("192.0.2.1")), Block::from(ip("192.0.2.2")));
        assert_ne!(Block::from(ip("0.0.0.1")), Block::from(ip("::1")));
    }
}
