//! The bytes of each response. Knows no request.

use std::fmt;
use std::io::Write as _;

use tungstenite::handshake::derive_accept_key;

/// The page needs nothing from elsewhere, and nobody may frame it.
const PAGE_FIELDS: &str = "Cache-Control: no-cache\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

/// Writes a page; the response to a HEAD has no body.
pub(super) fn write_page(response: &mut Vec<u8>, content_type: &str, body: &str, is_head: bool) {
    write(response, "200 OK", PAGE_FIELDS, content_type, body, is_head);
}

/// Writes the response that upgrades a connection to a WebSocket: RFC 6455 section 4.2.2.
pub(super) fn write_upgrade(response: &mut Vec<u8>, key: &[u8]) {
    let accept = derive_accept_key(key);
    append(
        response,
        format_args!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ),
    );
}

/// Writes the response to a post that was kept. Bugzillas on the code of bugzilla.mozilla.org before
/// June 2025 take no other status than 200 for a success.
pub fn write_kept(response: &mut Vec<u8>) {
    response
        .extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Writes a response that ends the connection. `fields` are whole lines; the response to a HEAD has
/// no body.
pub(super) fn write(
    response: &mut Vec<u8>,
    status: &str,
    fields: &str,
    content_type: &str,
    body: &str,
    is_head: bool,
) {
    let length = body.len();
    let body = if is_head { "" } else { body };
    append(
        response,
        format_args!(
            "HTTP/1.1 {status}\r\n\
             Content-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\
             Connection: close\r\n\
             {fields}\r\n{body}"
        ),
    );
}

fn append(response: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    response
        .write_fmt(text)
        .expect("a Vec takes all that is written to it");
}
