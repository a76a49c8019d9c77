//! Mail, by SMTP: where it goes out, and how a notice is sent. Knows no queue.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message, SmtpTransport, Transport};

use super::notice::{Notice, TellError};
use crate::address::{Password, ServerUrl, read_options};
use crate::tls;

/// For each step of sending.
const TIMEOUT: Duration = Duration::from_secs(30);

const ACCEPTED: &str = "smtp://HOST/?from=NAME@HOST, or smtps:// for TLS from the start; with a user, password_file=FILE";
const OPTIONS: &str = "from, password_file, cacert and tls";

/// Where mail goes out, and who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    protection: Protection,
    user: String,
    password: Option<Password>,
    from: Address,
    ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    None,
    StartTls,
    Tls,
}

impl FromStr for Settings {
    type Err = String;

    /// Reads an address. Mail to another machine goes by TLS unless it says `tls=none`.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = ServerUrl::parse(text, ACCEPTED)?;
        let is_tls = match url.scheme.as_str() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(format!("accepted is {ACCEPTED}")),
        };
        if url.host.is_empty() {
            return Err(format!("the host is missing; accepted is {ACCEPTED}"));
        }
        let is_local = matches!(&*url.host, "localhost" | "127.0.0.1" | "::1");
        let mut protection = match (is_tls, is_local) {
            (true, _) => Protection::Tls,
            (false, true) => Protection::None,
            (false, false) => Protection::StartTls,
        };
        let (mut password, mut from, mut ca_file) = (url.password, None, None);
        read_options(&url.options, OPTIONS, |name, value| {
            match name {
                "from" => from = Some(value.parse().map_err(|_| no_address(value))?),
                "password_file" => Password::set_file(&mut password, value)?,
                "cacert" => ca_file = Some(value.into()),
                "tls" if is_tls => return Err("smtps:// says so already".to_owned()),
                "tls" => {
                    protection = match value {
                        "none" => Protection::None,
                        "starttls" => Protection::StartTls,
                        _ => return Err(format!("'{value}' is neither none nor starttls")),
                    };
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if url.user.is_empty() != password.is_none() {
            return Err(format!(
                "a user has a password, and only a user; accepted is {ACCEPTED}"
            ));
        }
        let default_port = if is_tls { 465 } else { 25 };
        Ok(Self {
            host: url.host,
            port: url.port.unwrap_or(default_port),
            protection,
            user: url.user,
            password,
            from: from.ok_or("from: the sender's address is missing")?,
            ca_file,
        })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protection {
            Protection::Tls => "smtps",
            Protection::None | Protection::StartTls => "smtp",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Settings {
    /// Sends a notice to each of those whom it concerns. Whom the server refuses does not keep the
    /// others from getting theirs.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(super) fn send(&self, notice: &Notice) -> Result<(), TellError> {
        let transport = self.transport().map_err(TellError::Failed)?;
        let mut refused = Vec::new();
        for to in &notice.to {
            let sent = self.message(notice, to).and_then(|(envelope, message)| {
                transport
                    .send_raw(&envelope, &message)
                    .map_err(|error| sentence(&error))
            });
            match sent {
                Ok(_) => {}
                Err(TellError::Refused(why)) => refused.push(format!("{to}: {why}")),
                Err(failed) => return Err(failed),
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(TellError::Refused(refused.join("; "))),
        }
    }

    fn message(&self, notice: &Notice, to: &str) -> Result<(Envelope, Vec<u8>), TellError> {
        let to: Address = to.parse().map_err(|_| TellError::Refused(no_address(to)))?;
        let message = Message::builder()
            .from(Mailbox::new(Some("Pulse".to_owned()), self.from.clone()))
            .to(Mailbox::new(None, to))
            .subject(notice.title())
            .body(notice.text())
            .map_err(|error| TellError::Refused(error.to_string()))?;
        Ok((message.envelope().clone(), message.formatted()))
    }

    fn transport(&self) -> Result<SmtpTransport, String> {
        let tls = match self.protection {
            Protection::None => Tls::None,
            Protection::StartTls => Tls::Required(self.tls()?),
            Protection::Tls => Tls::Wrapper(self.tls()?),
        };
        let mut transport = SmtpTransport::builder_dangerous(&self.host)
            .port(self.port)
            .timeout(Some(TIMEOUT))
            .hello_name(ClientId::Domain(self.from.domain().to_owned()))
            .tls(tls);
        if let Some(password) = &self.password {
            let credentials = Credentials::new(self.user.clone(), password.read()?);
            transport = transport.credentials(credentials);
        }
        Ok(transport.build())
    }

    fn tls(&self) -> Result<TlsParameters, String> {
        let roots = tls::roots(self.ca_file.as_deref()).map_err(|error| error.to_string())?;
        let mut parameters =
            TlsParameters::builder(self.host.clone()).certificate_store(CertificateStore::None);
        for root in roots {
            let root = Certificate::from_der(root.to_vec()).map_err(|error| error.to_string())?;
            parameters = parameters.add_root_certificate(root);
        }
        parameters.build().map_err(|error| error.to_string())
    }
}

fn no_address(text: &str) -> String {
    format!("'{text}' is no mail address; accepted is NAME@HOST")
}

fn sentence(error: &lettre::transport::smtp::Error) -> TellError {
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        why.push_str(&format!(": {error}"));
        cause = error.source();
    }
    if why.contains("UnknownIssuer") {
        why = "the mail server's certificate was issued by nobody who is trusted here; cacert=FILE names a certificate to trust".to_owned();
    }
    if error.is_permanent() {
        TellError::Refused(why)
    } else {
        TellError::Failed(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_to_another_machine_is_protected_unless_told_otherwise() {
        let protection = |address: &str| address.parse::<Settings>().unwrap().protection;
        for (address, expected) in [
            ("smtp://h/?from=a@b.c", Protection::StartTls),
            ("smtp://h/?from=a@b.c&tls=none", Protection::None),
            ("smtp://127.0.0.1:2525/?from=a@b.c", Protection::None),
            ("smtps://u@h/?from=a@b.c&password_file=p", Protection::Tls),
        ] {
            assert_eq!(protection(address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_way_out_for_mail_is_refused_without_its_password() {
        for (address, said) in [
            ("smtp://h/", "from: the sender's address is missing"),
            ("smtp://h/?from=me", "'me' is no mail address"),
            ("smtp://u@h/?from=a@b.c", "a user has a password"),
            ("http://h/?from=a@b.c", "accepted is smtp://"),
            ("smtp://u:secret@h/?colour=red", "no such option"),
            ("smtp://h/?from=a@b.c&tls=yes", "neither none nor starttls"),
        ] {
            let why = address.parse::<Settings>().unwrap_err();
            assert!(
                why.contains(said) && !why.contains("secret"),
                "{address}: {why}"
            );
        }
    }
}
