//! Which requests to a webhook are taken. Knows no source: what a post says is not read here.

use std::fmt;

use subtle::ConstantTimeEq as _;

use super::head::Head;
use super::limits::BODY_BYTES_MAX;
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
    /// Takes a request of which `bytes_len` bytes have come, once its body is complete. The head is
    /// checked before that: no body is waited for that would be refused.
    pub(super) fn receive(
        &self,
        head: &Head<'_, '_>,
        bytes_len: usize,
    ) -> Result<Outcome, Refusal> {
        if !head.is_method("POST") {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        if !self.is_authorized(head) {
            return Err(Refusal::Unauthorized);
        }
        let body = head.bytes()..head.bytes() + body_bytes(head)?;
        Ok(if body.end <= bytes_len {
            Outcome::Posted {
                feed: self.feed,
                body,
            }
        } else {
            Outcome::Incomplete
        })
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

/// The length of the body, which must be given: a chunked body is not read.
fn body_bytes(head: &Head<'_, '_>) -> Result<usize, Refusal> {
    let mut lengths = head.values("Content-Length");
    let (Some(length), None, None) = (
        lengths.next(),
        lengths.next(),
        head.values("Transfer-Encoding").next(),
    ) else {
        return Err(Refusal::LengthRequired);
    };
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
