//! The addresses to listen on, as the user writes them. Knows no socket.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::address::read_options;

/// The options of a Unix socket, for the user.
const OPTIONS: &str = "mode=660 and group=NAME";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// IPv4 or IPv6; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The same, with TLS.
    Tls(SocketAddr),
    /// A Unix socket.
    Unix(UnixFile),
}

/// The file of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnixFile {
    /// Where it stands.
    pub path: PathBuf,
    /// Its permissions, where they are not what the umask makes of them.
    pub mode: Option<u32>,
    /// The number of its group, where it is not that of the process.
    pub group: Option<u32>,
}

/// What one `HOST:PORT`, `tls:HOST:PORT` or `unix:FILE` stands for: a name may have several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// At least one.
    pub all: Vec<Address>,
    /// Whether they are those of a name, of which this machine need not have all: `localhost` has
    /// an IPv6 address where IPv6 is switched off, too.
    pub is_name: bool,
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| {
            format!(
                "'{text}' is no address: {why}; accepted are 127.0.0.1:8844, [::1]:8844, \
                 localhost:8844, tls:HOST:PORT, unix:FILE and unix:FILE?mode=660&group=www-data"
            )
        };
        if let Some(file) = text.strip_prefix("unix:") {
            let file = UnixFile::parse(file).map_err(|why| refuse(&why))?;
            return Ok(Self {
                all: vec![Address::Unix(file)],
                is_name: false,
            });
        }
        let (host, kind): (_, fn(SocketAddr) -> Address) = match text.strip_prefix("tls:") {
            Some(host) => (host, Address::Tls),
            None => (text, Address::Tcp),
        };
        let found = host
            .to_socket_addrs()
            .map_err(|error| refuse(&error.to_string()))?;
        let mut all = Vec::new();
        for address in found.map(kind) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        if all.is_empty() {
            return Err(refuse("nothing has that name"));
        }
        let is_name = host.parse::<SocketAddr>().is_err();
        Ok(Self { all, is_name })
    }
}

impl UnixFile {
    /// A file with the permissions that it has.
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            path,
            mode: None,
            group: None,
        }
    }

    /// Reads `FILE` or `FILE?mode=660&group=NAME`.
    fn parse(text: &str) -> Result<Self, String> {
        let (path, options) = text.split_once('?').unwrap_or((text, ""));
        if path.is_empty() {
            return Err("the file's name is missing".to_owned());
        }
        let mut file = Self::at(path.into());
        read_options(options, OPTIONS, |name, value| {
            match name {
                "mode" => file.mode = Some(mode(value)?),
                "group" => file.group = Some(group(value)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(file)
    }
}

fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
        .ok_or_else(|| format!("'{text}' is none; accepted are octal digits such as 660"))
}

/// The number of a group: that of a name in /etc/group (see group(5)), or as it stands.
fn group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group")
        .map_err(|error| format!("cannot read /etc/group: {error}"))?;
    groups
        .lines()
        .filter_map(|line| line.strip_prefix(text)?.strip_prefix(':'))
        .find_map(|rest| rest.split(':').nth(1)?.parse().ok())
        .ok_or_else(|| {
            format!("'{text}' is not in /etc/group; accepted are a group's name and its number")
        })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Tls(address) => write!(f, "tls:{address}"),
            Address::Unix(file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_file() {
        for (text, shown) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:0", "[::1]:0"),
            ("tls:127.0.0.1:1", "tls:127.0.0.1:1"),
            ("tls:[::]:443", "tls:[::]:443"),
            ("unix:/run/b", "unix:/run/b"),
            ("unix:/run/b?mode=600", "unix:/run/b"),
        ] {
            let addresses: Addresses = text.parse().unwrap();
            assert!(!addresses.is_name, "{text}");
            let [address] = &addresses.all[..] else {
                panic!("{addresses:?}")
            };
            assert_eq!(address.to_string(), shown);
        }
        assert!("localhost:1".parse::<Addresses>().unwrap().is_name);
        for text in [
            "",
            "8844",
            "127.0.0.1",
            "127.0.0.1:99999",
            "::1:8844x",
            "tls:",
            "tls:8844",
            "unix:",
            "unix:?mode=660",
        ] {
            let why = text.parse::<Addresses>().unwrap_err();
            assert!(
                why.contains(&format!("'{text}'")) && why.contains("accepted are"),
                "{why}"
            );
        }
    }

    #[test]
    fn the_file_of_a_unix_socket_may_have_a_mode_and_a_group() {
        let file = UnixFile::parse("/run/b?mode=0660&group=root").unwrap();
        assert_eq!((file.mode, file.group), (Some(0o660), Some(0)));
        let by_number = UnixFile::parse("/run/b?group=33").unwrap();
        assert_eq!((by_number.mode, by_number.group), (None, Some(33)));
        for (options, why) in [
            ("mode=rw", "'rw' is none; accepted are octal digits"),
            ("mode=1777", "'1777' is none"),
            (
                "group=no-such-group",
                "'no-such-group' is not in /etc/group",
            ),
            ("owner=root", "accepted are mode=660 and group=NAME"),
            ("mode", "accepted are mode=660 and group=NAME"),
        ] {
            let error = UnixFile::parse(&format!("/run/b?{options}"));
            let error = error.unwrap_err();
            assert!(error.contains(why) || error.contains(OPTIONS), "{error}");
        }
    }
}
