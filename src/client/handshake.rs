//! The client's side of the upgrade from HTTP to WebSocket. Knows no socket, only bytes in and out.
//!
//! tungstenite's own handshake discards the rest of the answer when a server rejects the request,
//! and with it the server's explanation.

use std::fmt;
use std::io::{self, Read, Write};

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::generate_request;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::HeaderValue;

use super::{ConnectError, FeedUrl};

/// The longest head of an answer that is read, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How much of a rejection's body is read for the server's words, in bytes.
const BODY_BYTES_MAX: usize = 1 << 10;
/// How many of the server's words are shown, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// An HTTP answer other than "switching protocols".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status, such as 404.
    pub status: u16,
    /// The status's name and, where the server gave some, its explanation; fit to be shown on a
    /// terminal.
    pub words: String,
}

impl Rejection {
    /// Whether another attempt cannot end differently: the URL is wrong, has moved, or is not open
    /// to this client.
    pub(crate) fn is_final(&self) -> bool {
        match self.status {
            // Request timeout, too early, too many requests.
            408 | 425 | 429 => false,
            status => (300..500).contains(&status),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.words)
    }
}

/// What the head of an answer says.
struct Head {
    bytes: usize,
    is_http_10: bool,
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
}

/// Asks for the upgrade. Returns the bytes that the server sent behind its answer, which belong to
/// the WebSocket.
pub(crate) fn upgrade<S: Read + Write>(
    stream: &mut S,
    url: &FeedUrl,
    authorization: Option<&HeaderValue>,
) -> Result<Vec<u8>, ConnectError> {
    let (request, key) = request(url, authorization)
        .map_err(|error| ConnectError::Unreachable(error.to_string()))?;
    stream.write_all(&request).and_then(|()| stream.flush())?;
    let mut received = Vec::new();
    let head = loop {
        if receive(stream, &mut received)? == 0 {
            return Err(ConnectError::Unreachable(
                "the server hung up instead of answering".to_owned(),
            ));
        }
        if let Some(head) = Head::read(&received).map_err(ConnectError::Unreachable)? {
            break head;
        }
        if received.len() > HEAD_BYTES_MAX {
            return Err(ConnectError::Unreachable(format!(
                "the head of its answer is longer than {HEAD_BYTES_MAX} bytes"
            )));
        }
    };
    let mut tail = received.split_off(head.bytes);
    if head.status != 101 {
        read_body(stream, &head, &mut tail);
        return Err(ConnectError::Rejected(head.rejection(&tail)));
    }
    if head.is_upgrade(&derive_accept_key(key.as_bytes())) {
        Ok(tail)
    } else {
        Err(ConnectError::Unreachable(
            "its answer agrees to something else than WebSocket".to_owned(),
        ))
    }
}

fn request(
    url: &FeedUrl,
    authorization: Option<&HeaderValue>,
) -> tungstenite::Result<(Vec<u8>, String)> {
    let mut request = url.uri().into_client_request()?;
    let user_agent = HeaderValue::from_static(concat!("bugzfeed/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert("User-Agent", user_agent);
    if let Some(value) = authorization {
        request.headers_mut().insert("Authorization", value.clone());
    }
    generate_request(request)
}

fn receive<S: Read>(stream: &mut S, received: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 2048];
    let count = stream.read(&mut buffer)?;
    received.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// The body only explains the status, so what cannot be read of it is left out.
fn read_body<S: Read>(stream: &mut S, head: &Head, body: &mut Vec<u8>) {
    let length = head
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(BODY_BYTES_MAX);
    while body.len() < length.min(BODY_BYTES_MAX)
        && receive(stream, body).is_ok_and(|count| count > 0)
    {}
    body.truncate(length);
}

impl Head {
    /// Reads the head of an answer, where it is complete.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(bytes) {
            Ok(httparse::Status::Partial) => Ok(None),
            Ok(httparse::Status::Complete(length)) => Ok(Some(Self {
                bytes: length,
                is_http_10: response.version == Some(0),
                status: response.code.unwrap_or_default(),
                reason: response.reason.unwrap_or_default().to_owned(),
                headers: response
                    .headers
                    .iter()
                    .map(|header| {
                        (
                            header.name.to_ascii_lowercase(),
                            String::from_utf8_lossy(header.value).into_owned(),
                        )
                    })
                    .collect(),
            })),
            Err(error) => Err(format!("its answer is no HTTP ({error})")),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.0 == name)
            .map(|header| header.1.trim())
    }

    /// Whether this is what RFC 6455, section 4.1 wants of an answer to a request without
    /// extensions and subprotocols.
    fn is_upgrade(&self, accept_key: &str) -> bool {
        let has = |name, token: &str| {
            self.header(name).is_some_and(|value| {
                value
                    .split(',')
                    .any(|part| part.trim().eq_ignore_ascii_case(token))
            })
        };
        // HTTP/1.0 has no such answer (RFC 9110 section 15.2).
        !self.is_http_10
            && has("upgrade", "websocket")
            && has("connection", "upgrade")
            && self.header("sec-websocket-accept") == Some(accept_key)
            && self.header("sec-websocket-extensions").is_none()
            && self.header("sec-websocket-protocol").is_none()
    }

    fn rejection(&self, body: &[u8]) -> Rejection {
        let is_plain = self
            .header("content-type")
            .is_none_or(|kind| kind.starts_with("text/plain"));
        let body = if is_plain {
            String::from_utf8_lossy(body)
        } else {
            "".into()
        };
        let location = self.header("location").unwrap_or_default();
        let parts = [self.reason.trim(), body.trim(), location];
        let words = parts
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(": ");
        // A terminal must not obey what a server wrote.
        let words = words
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(WORDS_CHARS_MAX)
            .collect();
        Rejection {
            status: self.status,
            words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `answer` in pieces of `piece` bytes, with the accept key in place of
    /// `{key}`, and then hangs up.
    struct Server {
        answer: &'static str,
        piece: usize,
        request: Vec<u8>,
        sent: usize,
    }

    impl Write for Server {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.request.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Server {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let request = String::from_utf8_lossy(&self.request).into_owned();
            let key = request
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
                .unwrap();
            let answer = self
                .answer
                .replace("{key}", &derive_accept_key(key.as_bytes()));
            let piece = &answer.as_bytes()[self.sent..answer.len().min(self.sent + self.piece)];
            buffer[..piece.len()].copy_from_slice(piece);
            self.sent += piece.len();
            Ok(piece.len())
        }
    }

    fn answered(answer: &'static str, piece: usize) -> Result<Vec<u8>, ConnectError> {
        let url = "ws://feed.example:8844/dev?a=b".parse().unwrap();
        let mut server = Server {
            answer,
            piece,
            request: Vec::new(),
            sent: 0,
        };
        let authorization = HeaderValue::from_static("Bearer abc");
        let result = upgrade(&mut server, &url, Some(&authorization));
        let request = String::from_utf8(server.request).unwrap();
        assert!(
            request.starts_with("GET /dev?a=b HTTP/1.1\r\nHost: feed.example:8844\r\n"),
            "{request}"
        );
        let is_shown = |line: &str| line.eq_ignore_ascii_case("authorization: bearer abc");
        assert!(request.lines().any(is_shown), "{request}");
        result
    }

    #[test]
    fn the_upgrade_is_agreed_on_and_the_first_frames_behind_it_are_kept() {
        for answer in [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\nframes",
            "HTTP/1.1 101 \r\nsec-websocket-accept:{key} \r\nconnection: keep-alive, upgrade\r\nUPGRADE: WebSocket\r\n\r\nframes",
        ] {
            assert_eq!(answered(answer, 1000).unwrap(), b"frames");
            assert!(answered(answer, 1).unwrap().is_empty());
        }
    }

    #[test]
    fn an_answer_that_agrees_to_something_else_is_no_connection() {
        for answer in [
            "HTTP/1.1 101 \r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n",
            "HTTP/1.1 101 \r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n",
            "HTTP/1.1 101 \r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n",
            "HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\nSec-WebSocket-Extensions: x\r\n\r\n",
            "HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n",
            "HTTP/1.0 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n",
            "SSH-2.0-OpenSSH_9.6\r\n",
            "",
        ] {
            assert!(
                matches!(answered(answer, 1000), Err(ConnectError::Unreachable(_))),
                "{answer}"
            );
        }
    }

    #[test]
    fn a_rejection_carries_the_servers_words_however_they_arrive() {
        for (answer, words) in [
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno feedXXX",
                "404 Not Found: no feed",
            ),
            (
                "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nno\x1b[1m\nfeed\n",
                "404 Not Found: no [1m feed",
            ),
            (
                "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n<html>",
                "404 Not Found",
            ),
            (
                "HTTP/1.1 301 Moved\r\nLocation: https://feed.example/\r\n\r\n",
                "301 Moved: https://feed.example/",
            ),
            ("HTTP/1.1 403 \r\nContent-Length: 0\r\n\r\n", "403 "),
        ] {
            for piece in [1, 1000] {
                let Err(ConnectError::Rejected(rejection)) = answered(answer, piece) else {
                    panic!("{answer} is no rejection")
                };
                assert_eq!(rejection.to_string(), words);
            }
        }
    }

    #[test]
    fn a_rejection_is_final_where_another_attempt_cannot_help() {
        let is_final = |status: &u16| {
            Rejection {
                status: *status,
                words: String::new(),
            }
            .is_final()
        };
        assert!(
            [301, 308, 400, 401, 403, 404, 405, 426]
                .iter()
                .all(is_final)
        );
        assert!(
            ![200, 408, 425, 429, 500, 502, 503, 504]
                .iter()
                .any(is_final)
        );
    }
}
