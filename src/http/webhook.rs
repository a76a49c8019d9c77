//! Which requests to a webhook are taken. Knows no source: what a post says is not read here.

use std::fmt;

use subtle::ConstantTimeEq as _;

use super::chunked::{Flaw, read_chunks};
use super::head::Head;
use super::limits::BODY_BYTES_MAX;
use super::response::write_continue;
use super::{Outcome, Refusal};
use crate::update::FeedId;

/// A path that takes POST requests of those who know a key.
pub struct Webhook {
    /// Where it stands, such as `/webhook`.
    pub path: String,
    /// The feed that it fills.
    pub feed: FeedId,
    /// The header field that carries the key.
    pub field: String,
    /// The key, compared byte by byte.
    pub key: String,
}

impl fmt::Debug for Webhook {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("path", &self.path)
            .field("feed", &self.feed)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// Takes a request, `bytes` of which have come, once its body is complete. The head is checked
    /// before that: no body is waited for that would be refused. A client that waits for a word
    /// before it sends the body gets it.
    pub(super) fn receive(
        &self,
        head: &Head<'_, '_>,
        bytes: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<Outcome, Refusal> {
        if !head.is_method("POST") {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        if !self.is_authorized(head) {
            return Err(Refusal::Unauthorized(self.feed));
        }
        let come = &bytes[head.bytes()..];
        let body = match framing(head)? {
            Framing::Length(length) => come.get(..length).map(|body| (body.to_vec(), length)),
            Framing::Chunked => read_chunks(come, BODY_BYTES_MAX).map_err(|flaw| match flaw {
                Flaw::Malformed => Refusal::BadRequest("The body has a wrong chunk."),
                Flaw::TooLarge => Refusal::BodyTooLarge,
            })?,
        };
        if let Some((body, body_bytes)) = body {
            return Ok(Outcome::Posted {
                feed: self.feed,
                body,
                bytes: head.bytes() + body_bytes,
                keeps_connection: head.keeps_connection(),
            });
        }
        if come.is_empty() && head.is_http_11() && head.has_token("Expect", "100-continue") {
            write_continue(response);
        }
        Ok(Outcome::Receiving)
    }

    /// Whether the request carries the key, once. Compares in constant time: how long it takes must
    /// not reveal how much of a guess is right.
    fn is_authorized(&self, head: &Head<'_, '_>) -> bool {
        let mut keys = head.values(&self.field);
        keys.next()
            .is_some_and(|key| bool::from(key.ct_eq(self.key.as_bytes())))
            && keys.next().is_none()
    }
}

/// How the end of a body is found.
enum Framing {
    /// It is so many bytes long.
    Length(usize),
    Chunked,
}

/// RFC 9112 section 6.1. A request that says both may mean something else to a proxy in between.
fn framing(head: &Head<'_, '_>) -> Result<Framing, Refusal> {
    let lengths: Vec<&[u8]> = head.values("Content-Length").collect();
    let codings: Vec<&[u8]> = head.values("Transfer-Encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([length], []) => body_bytes(length).map(Framing::Length),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && head.is_http_11() => {
            Ok(Framing::Chunked)
        }
        ([], []) => Err(Refusal::LengthRequired),
        (_, []) => Err(Refusal::BadRequest(
            "The header field Content-Length stands there twice.",
        )),
        ([], _) => Err(Refusal::BadRequest(
            "Of all transfer codings only chunked is read, with HTTP/1.1.",
        )),
        _ => Err(Refusal::BadRequest(
            "The body has both a Content-Length and a Transfer-Encoding.",
        )),
    }
}

/// Reads the length of a body, in bytes.
fn body_bytes(length: &[u8]) -> Result<usize, Refusal> {
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadRequest(
            "The header field Content-Length is no number.",
        ));
    }
    std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse().ok())
        .filter(|&length| length <= BODY_BYTES_MAX)
        .ok_or(Refusal::BodyTooLarge)
}
