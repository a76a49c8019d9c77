//! Which requests become a WebSocket: RFC 6455 section 4.2.1, and the list of allowed origins.
//! Knows no path.

use tungstenite::handshake::derive_accept_key;

use super::credentials::{check_protocols, offers_protocol};
use super::head::Head;
use super::response::Upgrade;
use super::{Origin, Refusal};

/// Whether a request asks for a WebSocket.
pub(super) fn is_wanted(head: &Head<'_, '_>) -> bool {
    head.has_token("Upgrade", "websocket")
}

/// Whether a request that asks for none did so before a proxy removed the field Upgrade, which is
/// for one hop only (RFC 9110 section 7.6.1).
pub(super) fn was_wanted(head: &Head<'_, '_>) -> bool {
    head.values("Sec-WebSocket-Key").next().is_some()
}

/// Whether a request asks, with `access` in its query, if it would get a WebSocket: a browser does not
/// tell a page why it got none.
pub(super) fn is_in_question(head: &Head<'_, '_>) -> bool {
    head.query().split('&').any(|part| part == "access")
}

/// Refuses pages of other origins than these; all are allowed when there are none.
pub(super) fn check_origin(head: &Head<'_, '_>, origins: &[Origin]) -> Result<(), Refusal> {
    let is_allowed = |origin| origins.iter().any(|allowed| allowed.matches(origin));
    if !origins.is_empty() && !head.values("Origin").all(is_allowed) {
        return Err(Refusal::ForbiddenOrigin);
    }
    Ok(())
}

/// Checks a request that asks for a WebSocket, and returns what the response says.
pub(super) fn check(head: &Head<'_, '_>) -> Result<Upgrade, Refusal> {
    if !head.is_http_11() {
        return Err(Refusal::BadRequest("A WebSocket needs HTTP/1.1."));
    }
    if !head.has_token("Connection", "Upgrade") {
        return Err(Refusal::BadRequest(
            "The header field Connection does not say Upgrade.",
        ));
    }
    let mut versions = head.values("Sec-WebSocket-Version");
    if (versions.next(), versions.next()) != (Some(b"13"), None) {
        return Err(Refusal::UpgradeRequired);
    }
    let has_length = !head.values("Content-Length").all(|length| length == b"0");
    if has_length || head.values("Transfer-Encoding").next().is_some() {
        return Err(Refusal::BadRequest("A WebSocket handshake has no body."));
    }
    let key = key(head)?;
    check_protocols(head)?;
    Ok(Upgrade {
        accept: derive_accept_key(key),
        has_protocol: offers_protocol(head),
    })
}

fn key<'bytes>(head: &Head<'_, 'bytes>) -> Result<&'bytes [u8], Refusal> {
    let mut keys = head.values("Sec-WebSocket-Key");
    let refuse = |why| Err(Refusal::BadRequest(why));
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key,
        (None, _) => return refuse("The header field Sec-WebSocket-Key is missing."),
        (Some(_), Some(_)) => {
            return refuse("The header field Sec-WebSocket-Key stands there twice.");
        }
    };
    if data_encoding::BASE64.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        return refuse("The header field Sec-WebSocket-Key is no base64 of 16 bytes.");
    }
    Ok(key)
}
