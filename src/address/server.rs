//! `SCHEME://USER:PASSWORD@HOST:PORT/NAME?OPTIONS`: the address of a server that asks who comes.

use std::fmt;

use url::Url;

use super::{Password, decode, percent};

/// What such an address says, before its options are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// In lower case.
    pub(crate) scheme: String,
    /// Empty where there is none.
    pub(crate) user: String,
    pub(crate) password: Option<Password>,
    /// A name, or an address without brackets; empty where there is none.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// The path without the slash in front; a slash that belongs to a name in it is still written
    /// `%2F`.
    pub(crate) path: String,
    /// What stands behind the question mark, for [`super::read_options`].
    pub(crate) options: String,
}

impl ServerUrl {
    /// Reads an address. `accepted` shows one, for the user.
    ///
    /// # Errors
    /// A sentence that names what was wrong and what is accepted, without any part of the address
    /// that may hold the password.
    pub(crate) fn parse(text: &str, accepted: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|why| {
            format!("it is no URL ({why}); accepted is {accepted}; in a password, '/' must be written %2F, '?' %3F, '#' %23 and '@' %40")
        })?;
        if url.fragment().is_some() {
            return Err("a '#' in it must be written %23".to_owned());
        }
        let path = url.path();
        Ok(Self {
            scheme: url.scheme().to_owned(),
            user: decode(url.username())?,
            password: url.password().map(decode).transpose()?.map(Password::Text),
            host: url
                .host_str()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            port: url.port(),
            path: path.strip_prefix('/').unwrap_or(path).to_owned(),
            options: url.query().unwrap_or_default().to_owned(),
        })
    }
}

/// Shows who asks which server, without the password.
pub(crate) struct Place<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) user: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// The virtual host, or the database.
    pub(crate) name: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme, host, port, ..
        } = self;
        write!(f, "{scheme}://{}@", percent::user(self.user))?;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}")?,
            false => write!(f, "{host}:{port}")?,
        }
        write!(f, "/{}", percent::path_part(self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_asks_which_server_for_what() {
        let url = ServerUrl::parse("amqps://u%40x:p%2Fw@[::1]:1234/a%2Fb?x=%26", "").unwrap();
        assert_eq!(
            url,
            ServerUrl {
                scheme: "amqps".to_owned(),
                user: "u@x".to_owned(),
                password: Some(Password::Text("p/w".to_owned())),
                host: "::1".to_owned(),
                port: Some(1234),
                path: "a%2Fb".to_owned(),
                options: "x=%26".to_owned(),
            }
        );
        let place = Place {
            scheme: &url.scheme,
            user: "u@x:y",
            host: &url.host,
            port: 1234,
            name: "a/b",
        };
        assert_eq!(place.to_string(), "amqps://u%40x%3Ay@[::1]:1234/a%2Fb");
    }
}
