//! What `--management` says: where the management API is, and who asks it. Knows no request.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::address::{Password, decode, read_options};
use crate::duration;

/// The variable that holds the password where no file does.
const PASSWORD_VARIABLE: &str = "BUGZFEED_MANAGEMENT_PASSWORD";

const ACCEPTED: &str =
    "http://USER@HOST:15672/ or https://USER@HOST:15671/, with #password_file=FILE";
const OPTIONS: &str = "password_file=FILE, cacert=FILE and timeout=DURATION, behind a '#'";

/// How long an answer may take, where nobody says otherwise: a broker with tens of thousands of
/// queues takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the management API is, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Without user and fragment; the path ends with a slash.
    pub(super) url: Url,
    pub(crate) user: String,
    /// `None` where [`PASSWORD_VARIABLE`] holds it.
    pub(super) password: Option<Password>,
    pub(super) ca_file: Option<PathBuf>,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

impl Settings {
    /// The same API for somebody else.
    pub(crate) fn with_user(&self, user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Some(Password::Text(password.to_owned())),
            ..self.clone()
        }
    }

    /// The address as it can be given again.
    pub(crate) fn in_full(&self) -> String {
        let mut url = self.url.clone();
        let mut options = Vec::new();
        // A text is guest's, who need not be named.
        if !matches!(self.password, Some(Password::Text(_))) {
            let _ = url.set_username(&self.user);
        }
        if let Some(Password::File(file)) = &self.password {
            options.push(format!("password_file={}", file.display()));
        }
        if let Some(file) = &self.ca_file {
            options.push(format!("cacert={}", file.display()));
        }
        url.set_fragment((!options.is_empty()).then(|| options.join("&")).as_deref());
        url.into()
    }

    /// Whether it is asked on this machine, where RabbitMQ lets `guest` in.
    pub(crate) fn is_local(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// The password: from the file, each time anew, or the environment.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn password(&self) -> Result<String, String> {
        if let Some(password) = &self.password {
            return password.read();
        }
        if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
            return Ok(password);
        }
        Err(format!(
            "the password of {} is missing; #password_file=FILE behind the address names a file that holds it, or the variable {PASSWORD_VARIABLE} does",
            self.user
        ))
    }
}

impl FromStr for Settings {
    type Err = String;

    /// Reads an address. Without a user, it is RabbitMQ's own first account, `guest`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text)
            .map_err(|why| format!("it is no URL ({why}); accepted is {ACCEPTED}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
            return Err(format!("accepted is {ACCEPTED}"));
        }
        if url.password().is_some() {
            return Err(format!(
                "a password does not stand in the address, where others can see it; accepted is {ACCEPTED}, or the variable {PASSWORD_VARIABLE}"
            ));
        }
        let mut user = decode(url.username())?;
        let fragment = url.fragment().unwrap_or_default().to_owned();
        url.set_fragment(None);
        // An address with a host can have a user.
        let _ = url.set_username("");
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let (mut password, mut ca_file, mut timeout) = (None, None, TIMEOUT);
        read_options(&fragment, OPTIONS, |name, value| {
            match name {
                "password_file" => password = Some(Password::File(value.into())),
                "timeout" => timeout = duration::parse(value)?,
                "cacert" if url.scheme() == "https" => ca_file = Some(PathBuf::from(value)),
                "cacert" => return Err("only https:// uses certificates".to_owned()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if user.is_empty() {
            user = "guest".to_owned();
            password.get_or_insert_with(|| Password::Text(user.clone()));
        }
        Ok(Self {
            url,
            user,
            password,
            ca_file,
            timeout,
        })
    }
}

impl fmt::Display for Settings {
    /// The address with its user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        let _ = url.set_username(&self.user);
        f.write_str(url.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_asks_where_and_a_password_stands_elsewhere() {
        let settings: Settings = "https://ad%40min@h:15671/rabbit#password_file=p&cacert=c"
            .parse()
            .unwrap();
        assert_eq!(settings.user, "ad@min");
        assert_eq!(settings.url.as_str(), "https://h:15671/rabbit/");
        assert_eq!(settings.password, Some(Password::File("p".into())));
        assert_eq!(
            settings.in_full(),
            "https://ad%40min@h:15671/rabbit/#password_file=p&cacert=c"
        );
        let bare: Settings = "http://127.0.0.1:15672".parse().unwrap();
        assert_eq!(bare.password().as_deref(), Ok("guest"));
        assert_eq!(bare.in_full(), "http://127.0.0.1:15672/");
        assert_eq!(bare.to_string(), "http://guest@127.0.0.1:15672/");
        assert!(bare.is_local());
        for (address, said) in [
            ("http://u:secret@h/", PASSWORD_VARIABLE),
            ("amqp://h/", "accepted is http://USER@HOST"),
            ("http://h/#cacert=x", "only https:// uses certificates"),
            ("http://h/#colour=red", "there is no such option"),
            ("nonsense", "it is no URL"),
        ] {
            let why = address.parse::<Settings>().unwrap_err();
            assert!(why.contains(said) && !why.contains("secret"), "{why}");
        }
    }
}
