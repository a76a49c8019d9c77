//! What a server answers to this program's own client, beside tungstenite's client, which gets the
//! same.

use std::io::{self, Read, Write};

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::handshake::derive_accept_key;

use super::http::site;
use super::script::Script;
use crate::client::{self, ConnectError, FeedUrl};
use crate::http::{self, Outcome, Room};

/// The feed that is asked for an upgrade.
const URL: &str = "ws://feed.example/";

/// What stands in an answer for the key that agrees to the request.
const ACCEPT: &[u8] = b"{key}";

/// A server that reads a request and gives one answer, in pieces, and then hangs up.
struct Server<A> {
    answer: A,
    piece: usize,
    request: Vec<u8>,
    /// What is still to be sent, once it is made.
    rest: Option<Vec<u8>>,
}

impl<A: Fn(&[u8]) -> Vec<u8>> Server<A> {
    fn new(answer: A, piece: usize) -> Self {
        Self {
            answer,
            piece,
            request: Vec::new(),
            rest: None,
        }
    }
}

impl<A> Write for Server<A> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<A: Fn(&[u8]) -> Vec<u8>> Read for Server<A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self
            .rest
            .get_or_insert_with(|| (self.answer)(&self.request));
        let length = rest.len().min(self.piece).min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        rest.drain(..length);
        Ok(length)
    }
}

/// The answer with the key of the request in it.
fn agreed(answer: &[u8], request: &[u8]) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .expect("a client sends a key");
    let key = derive_accept_key(key.as_bytes());
    let (mut agreed, mut rest) = (Vec::new(), answer);
    while let Some((first, more)) = rest.split_first() {
        match rest.strip_prefix(ACCEPT) {
            Some(behind) => {
                agreed.extend_from_slice(key.as_bytes());
                rest = behind;
            }
            None => {
                agreed.push(*first);
                rest = more;
            }
        }
    }
    agreed
}

/// What came of an answer in such pieces: what belongs to the WebSocket, read or not.
fn upgraded(answer: &[u8], piece: usize) -> Result<Vec<u8>, ConnectError> {
    let mut server = Server::new(|request: &[u8]| agreed(answer, request), piece);
    let mut tail = client::upgrade(&mut server, &URL.parse().unwrap(), None)?;
    tail.extend(server.rest.into_iter().flatten());
    Ok(tail)
}

/// First the pieces, then a server's answer to the upgrade.
pub(super) fn handshakes(input: &[u8]) {
    let mut script = Script(input);
    let piece = usize::from(script.byte()) + 1;
    let answer = script.0;
    let whole = upgraded(answer, usize::MAX);
    let in_pieces = upgraded(answer, piece);
    if answer.windows(ACCEPT.len()).any(|window| window == ACCEPT) {
        // Each request has a key of its own, which may have come anywhere.
        assert_eq!(in_pieces.is_ok(), whole.is_ok(), "in pieces of {piece}");
    } else {
        assert_eq!(in_pieces, whole, "in pieces of {piece}");
    }
    if let Err(ConnectError::Rejected(rejection)) = &whole {
        assert_ne!(rejection.status, 101);
        assert!(!rejection.words.contains(char::is_control), "{rejection:?}");
        assert!(rejection.words.chars().count() <= 200);
    }
    check_beside_tungstenite(answer, whole.as_deref());
}

/// What is agreed to here, tungstenite agrees to as well, and the other way round.
fn check_beside_tungstenite(answer: &[u8], ours: Result<&[u8], &ConnectError>) {
    let server = Server::new(|request: &[u8]| agreed(answer, request), usize::MAX);
    let request = URL.into_client_request().unwrap();
    let theirs = ClientHandshake::start(server, request, None)
        .unwrap()
        .handshake();
    match (ours, theirs) {
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        // RFC 9110 section 7.6.1 has a list there, of which tungstenite wants one alone.
        (Ok(_), Err(why)) => assert!(has_list(answer), "tungstenite refuses it: {why}"),
        (Err(why), Ok((_, response))) => {
            let has = |name| response.headers().contains_key(name);
            let has_more = has("Sec-WebSocket-Extensions") || has("Sec-WebSocket-Protocol");
            assert!(has_more, "tungstenite takes what is refused here: {why}");
        }
    }
}

fn has_list(answer: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut fields);
    let _ = response.parse(answer);
    response.headers.iter().any(|field| {
        let is_list = ["upgrade", "connection"].contains(&&*field.name.to_ascii_lowercase());
        is_list && field.value.contains(&b',')
    })
}

/// The URL of a feed: it is the same when it is read again, and this program's own server understands what
/// is sent to it.
pub(super) fn feed_urls(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(url) = text.parse::<FeedUrl>() else {
        return;
    };
    assert_eq!(url.to_string().parse().as_ref(), Ok(&url));
    let answer = |request: &[u8]| {
        let mut response = Vec::new();
        let outcome = http::respond(&site(), request, Room::Free, 784_111_777, &mut response);
        assert!(!matches!(outcome, Outcome::Incomplete | Outcome::Receiving));
        response
    };
    let mut server = Server::new(answer, usize::MAX);
    match client::upgrade(&mut server, &url, None) {
        Ok(tail) => assert_eq!(tail, b""),
        Err(ConnectError::Rejected(_)) => {}
        Err(why) => panic!("{url}: {why}"),
    }
    let request = String::from_utf8(server.request).unwrap();
    let line = format!("GET {} HTTP/1.1\r\n", request_target(&text));
    assert!(request.starts_with(&line), "{line}{request}");
}

/// What a server is asked for, by the text of a URL alone: RFC 3986 section 3, RFC 6455 section 3.
fn request_target(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a URL has a scheme");
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{path}")
}
