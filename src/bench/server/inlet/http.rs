//! Publishing by HTTP: a POST for each update, on one connection for as long as the server keeps
//! it. Knows nothing of WebSockets.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Where to post, and with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Host and port.
    pub authority: String,
    /// The path; `{bug}` in it stands for the bug.
    pub path: String,
    /// The key of a webhook, for the header field X-Api-Key.
    pub key: Option<String>,
}

impl Settings {
    /// Reads `//[KEY@]HOST:PORT/PATH`, what stands behind `http:`.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("//")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (key, authority) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(key, authority)| {
                (Some(key.to_owned()), authority)
            });
        Some(Self {
            authority: authority.to_owned(),
            path: format!("/{path}"),
            key,
        })
    }
}

/// Posts updates.
#[derive(Debug)]
pub struct Poster {
    settings: Settings,
    /// The connection, if the server has kept it.
    stream: Option<TcpStream>,
}

impl Poster {
    /// Sees whether there is something to connect to. The connection is not kept: it may be long
    /// until the first update.
    ///
    /// # Errors
    /// When there is not.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        super::connect(&settings.authority)?;
        Ok(Self {
            settings: settings.clone(),
            stream: None,
        })
    }

    /// Posts one update. To a webhook it is as Bugzilla's Push extension would say it; else it is
    /// what clients are to get.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn post(&mut self, bug: u32, when: &str) -> io::Result<()> {
        let Settings {
            authority,
            path,
            key,
        } = &self.settings;
        let path = path.replace("{bug}", &bug.to_string());
        let (field, body) = match key {
            Some(key) => (
                format!("X-Api-Key: {key}\r\n"),
                format!(r#"{{"id":{bug},"delta_ts":"{when}"}}"#),
            ),
            None => (
                String::new(),
                format!(r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#),
            ),
        };
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{field}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => super::connect(authority)?,
        };
        stream.write_all(request.as_bytes())?;
        if read_answer(&mut stream)? {
            self.stream = Some(stream);
        }
        Ok(())
    }
}

/// Reads an answer up to its end, as far as its Content-Length says where that is. Returns whether
/// the connection is kept.
fn read_answer(stream: &mut TcpStream) -> io::Result<bool> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..bytes]);
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let status = head.lines().next().unwrap_or_default();
            let is_ok = status
                .split(' ')
                .nth(1)
                .is_some_and(|code| code.starts_with('2'));
            let is_kept = !head.contains("connection: close");
            return if is_ok {
                Ok(is_kept)
            } else {
                Err(io::Error::other(format!(
                    "the post was answered with {status:?}"
                )))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_before_the_host() {
        let settings = Settings::parse("//secret@127.0.0.1:8844/webhook").unwrap();
        assert_eq!(
            (settings.authority.as_str(), settings.path.as_str()),
            ("127.0.0.1:8844", "/webhook")
        );
        assert_eq!(settings.key.as_deref(), Some("secret"));
        assert_eq!(Settings::parse("//localhost:80").unwrap().path, "/");
    }
}
