//! What a `mysql:` or `postgres:` address says, and its defaults. Knows no database.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::options::{self, Mode, ReadOptions, Shown};
use crate::address::{Password, Place, ServerUrl, decode, read_options, value};

const OPTIONS: &str =
    "sslmode=disable|require|verify-full, cacert=FILE, password_file=FILE and socket=PATH";

/// The URLs of a kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    name: &'static str,
    /// Where servers listen by default.
    port: u16,
}

/// MariaDB and MySQL.
#[cfg(any(feature = "mysql", test))]
pub(super) const MYSQL: Scheme = Scheme {
    name: "mysql",
    port: 3306,
};

/// PostgreSQL.
#[cfg(any(feature = "postgres", test))]
pub(super) const POSTGRES: Scheme = Scheme {
    name: "postgres",
    port: 5432,
};

/// How to reach a database, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The socket (MariaDB, MySQL) or its folder (PostgreSQL), in place of host and port.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) user: String,
    password: Option<Password>,
    pub(crate) database: String,
    pub(crate) tls: Tls,
    pub(crate) options: ReadOptions,
}

/// How a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all.
    Off,
    /// Whoever answers is believed: no one can listen, but someone can stand in between.
    Unverified,
    /// The server must prove its name.
    Verified {
        /// Certificates that are believed.
        ca_file: Option<PathBuf>,
    },
}

impl ServerSettings {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted, without any part of the address
    /// that may hold the password.
    pub(crate) fn parse(scheme: Scheme, address: &str) -> Result<Self, String> {
        let accepted = format!("{}://USER:PASSWORD@HOST[:PORT]/DATABASE", scheme.name);
        let url = ServerUrl::parse(address, &accepted)?;
        let database = decode(&url.path)?;
        if database.is_empty() || database.contains('/') {
            return Err(format!("it names no database; accepted is {accepted}"));
        }
        if url.user.is_empty() {
            return Err(format!("the user is missing; accepted is {accepted}"));
        }
        let mut settings = Self {
            scheme,
            host: url.host,
            port: url.port.unwrap_or(scheme.port),
            socket: None,
            user: url.user,
            password: url.password,
            database,
            tls: Tls::Off,
            options: ReadOptions::default(),
        };
        settings.set_options(&url.options)?;
        Ok(settings)
    }

    fn set_options(&mut self, text: &str) -> Result<(), String> {
        let accepted = format!("{}, {OPTIONS}", options::ACCEPTED);
        let (mut sslmode, mut ca_file) = (None, None);
        read_options(text, &accepted, |name, value| {
            match name {
                "sslmode" => sslmode = Some(value.to_owned()),
                "cacert" => ca_file = Some(PathBuf::from(value)),
                "socket" => self.socket = Some(value.into()),
                "password_file" => Password::set_file(&mut self.password, value)?,
                _ => return self.options.set(name, value),
            }
            Ok(true)
        })?;
        self.tls = self.tls(sslmode.as_deref(), ca_file)?;
        Ok(())
    }

    /// A password must not cross a network in clear unless the user wants that; within one machine,
    /// encryption is of no use.
    fn tls(&self, sslmode: Option<&str>, ca_file: Option<PathBuf>) -> Result<Tls, String> {
        match (sslmode, ca_file) {
            (Some("disable"), None) => Ok(Tls::Off),
            (Some("require"), None) => Ok(Tls::Unverified),
            (Some("disable" | "require"), Some(_)) => {
                Err("cacert: only sslmode=verify-full uses certificates".to_owned())
            }
            (Some("verify-full"), ca_file) | (None, ca_file @ Some(_)) => {
                Ok(Tls::Verified { ca_file })
            }
            (None, None) if self.is_local() => Ok(Tls::Off),
            (None, None) => Ok(Tls::Verified { ca_file: None }),
            (Some(other), _) => Err(format!(
                "sslmode: '{other}' is none; accepted are disable, require and verify-full"
            )),
        }
    }

    fn is_local(&self) -> bool {
        self.socket.is_some()
            || self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The password, if there is one, from the file that holds it if need be.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn password(&self) -> Result<Option<String>, String> {
        self.password.as_ref().map(Password::read).transpose()
    }

    /// What helps where TLS has failed.
    pub(crate) fn tls_hint(&self) -> &'static str {
        match self.tls {
            Tls::Verified { .. } => {
                " (the address may name the server's CA by cacert=FILE, or say sslmode=require or sslmode=disable)"
            }
            Tls::Unverified => " (the address may say sslmode=disable)",
            Tls::Off => "",
        }
    }
}

impl fmt::Display for ServerSettings {
    /// The address without its password, and with what says which updates come from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place {
            scheme: self.scheme.name,
            user: &self.user,
            host: &self.host,
            port: self.port,
            name: &self.database,
        };
        place.fmt(f)?;
        let mut separator = '?';
        let mut option = |f: &mut fmt::Formatter<'_>, name: &str, text: &str| {
            let separator = std::mem::replace(&mut separator, '&');
            write!(f, "{separator}{name}={}", value(text))
        };
        if let Some(socket) = self.socket.as_deref().and_then(Path::to_str) {
            option(f, "socket", socket)?;
        }
        match self.options.mode {
            Mode::Bugs => option(f, "mode", "bugs"),
            Mode::Table if self.options.table != ReadOptions::default().table => {
                option(f, "table", &self.options.table.to_string())
            }
            Mode::Table => Ok(()),
        }?;
        match self.options.shown {
            Shown::Public => option(f, "bugs", "public"),
            Shown::All => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> ServerSettings {
        let scheme = if address.starts_with("mysql") {
            MYSQL
        } else {
            POSTGRES
        };
        ServerSettings::parse(scheme, address).unwrap_or_else(|why| panic!("{address}: {why}"))
    }

    #[test]
    fn an_address_says_everything() {
        let settings = parse(
            "mysql://u%40x:p%2Fw%3a%25@[::1]:1234/my%20bugs?table=push_notify_2&poll=1s&tz=UTC&mode=bugs&window=5m&cacert=/a+b/ca%20.pem",
        );
        assert_eq!(
            (
                settings.host.as_str(),
                settings.port,
                settings.user.as_str(),
                settings.database.as_str()
            ),
            ("::1", 1234, "u@x", "my bugs")
        );
        assert_eq!(settings.password(), Ok(Some("p/w:%".to_owned())));
        assert_eq!(
            settings.tls,
            Tls::Verified {
                ca_file: Some("/a+b/ca .pem".into())
            }
        );
        assert_eq!(
            (settings.options.mode, settings.options.poll.as_millis()),
            (Mode::Bugs, 1_000)
        );
        assert_eq!(
            (parse("mysql://u@h/b").port, parse("postgres://u@h/b").port),
            (3306, 5432)
        );
        assert_eq!(parse("postgres://u@h/b").password(), Ok(None));
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_and_verified_unless_the_user_says_otherwise() {
        for (address, tls) in [
            ("mysql://u@127.0.0.1/b", Tls::Off),
            ("postgres://u@localhost/b", Tls::Off),
            ("postgres://u@[::1]/b", Tls::Off),
            ("postgres://u@db.example/b?socket=/run/postgresql", Tls::Off),
            ("mysql://u@db.example/b", Tls::Verified { ca_file: None }),
            (
                "mysql://u@localhost/b?sslmode=verify-full",
                Tls::Verified { ca_file: None },
            ),
            (
                "mysql://u@localhost/b?cacert=x",
                Tls::Verified {
                    ca_file: Some("x".into()),
                },
            ),
            ("mysql://u@db.example/b?sslmode=require", Tls::Unverified),
            ("mysql://u@db.example/b?sslmode=disable", Tls::Off),
        ] {
            assert_eq!(parse(address).tls, tls, "{address}");
        }
    }

    #[test]
    fn what_is_printed_holds_no_password_and_is_an_address_of_the_same_updates() {
        for (address, printed) in [
            ("mysql://u:secret@h/b?poll=1s&tz=UTC", "mysql://u@h:3306/b"),
            (
                "postgres://u%40x:secret@[::1]/my%20bugs?table=x",
                "postgres://u%40x@[::1]:5432/my%20bugs?table=x",
            ),
            (
                "mysql://u:secret@localhost/b?mode=bugs&socket=/run/s",
                "mysql://u@localhost:3306/b?socket=/run/s&mode=bugs",
            ),
        ] {
            let settings = parse(address);
            assert_eq!(settings.to_string(), printed);
            assert_eq!(parse(printed).to_string(), printed);
            assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_its_password() {
        for (address, said) in [
            ("mysql:", "names no database"),
            ("mysql://u:secret@h", "names no database"),
            ("mysql://u:secret@h/a/b", "names no database"),
            ("mysql://:secret@h/b", "user is missing"),
            ("mysql:///b", "user is missing"),
            ("mysql://u:secret@/b", "no URL"),
            ("mysql://u:sec/ret@h/b", "no URL"),
            ("mysql://u:1?secret@h/b", "names no database"),
            ("mysql://u:1#secret@h/b", "%23"),
            ("mysql://u:secret%ff@h/b", "UTF-8"),
            ("mysql://u:secret@h/b?password_file=/x", "one is enough"),
            ("mysql://u:secret@h/b?colour=1", "accepted are table=NAME"),
            ("mysql://u:1@h/b?secret@h/b", "accepted are table=NAME"),
            ("mysql://u:secret@h/b?poll=0s", "poll: "),
            (
                "mysql://u:secret@h/b?sslmode=prefer",
                "accepted are disable",
            ),
            (
                "mysql://u:secret@h/b?sslmode=disable&cacert=x",
                "verify-full",
            ),
        ] {
            let why = ServerSettings::parse(MYSQL, address).unwrap_err();
            assert!(why.contains(said), "{address}: {why}");
            assert!(!why.contains("secret"), "{address}: {why}");
        }
    }
}
