//! The bytes of each response. Knows no request.

use std::fmt;
use std::io::Write as _;

use time::OffsetDateTime;

/// What the response to a request for a WebSocket says.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The answer to the request's key.
    pub(super) accept: String,
    /// Whether the request offers the subprotocol of the feed.
    pub(super) has_protocol: bool,
}

/// Writes that the client already has a page: RFC 9110 section 15.4.5. `fields` are the page's own,
/// as whole lines.
pub(super) fn write_known_page(response: &mut Vec<u8>, fields: &str, unix_time: i64) {
    let date = date(unix_time);
    append(
        response,
        format_args!(
            "HTTP/1.1 304 Not Modified\r\n\
             Date: {date}\r\n\
             Connection: close\r\n\
             {fields}\r\n"
        ),
    );
}

/// Writes a page, with fields of its own as whole lines; the response to a HEAD has no body.
pub(super) fn write_page(
    response: &mut Vec<u8>,
    fields: &str,
    content_type: &str,
    body: &str,
    is_head: bool,
    unix_time: i64,
) {
    write(
        response,
        "200 OK",
        fields,
        content_type,
        body,
        is_head,
        unix_time,
    );
}

/// Writes that the body of a request is waited for: RFC 9110 section 10.1.1.
pub(super) fn write_continue(response: &mut Vec<u8>) {
    append(response, format_args!("HTTP/1.1 100 Continue\r\n\r\n"));
}

/// Writes the response that upgrades a connection to a WebSocket: RFC 6455 section 4.2.2.
pub fn write_upgrade(response: &mut Vec<u8>, upgrade: &Upgrade) {
    let accept = &upgrade.accept;
    let protocol = match upgrade.has_protocol {
        true => "Sec-WebSocket-Protocol: bugzfeed\r\n",
        false => "",
    };
    append(
        response,
        format_args!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\
             {protocol}\r\n"
        ),
    );
}

/// Writes that a request for a WebSocket would get one.
pub fn write_welcome(response: &mut Vec<u8>, unix_time: i64) {
    let date = date(unix_time);
    append(
        response,
        format_args!(
            "HTTP/1.1 204 No Content\r\n\
             Date: {date}\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n"
        ),
    );
}

/// Writes the head of server-sent events. A proxy is to pass on each one at once; nginx does so when
/// it is told. The end of the connection is the end of the stream. `fields` are whole lines.
pub(super) fn write_stream(response: &mut Vec<u8>, fields: &str, unix_time: i64) {
    let date = date(unix_time);
    append(
        response,
        format_args!(
            "HTTP/1.1 200 OK\r\n\
             Date: {date}\r\n\
             Content-Type: text/event-stream\r\n\
             Cache-Control: no-store\r\n\
             X-Accel-Buffering: no\r\n\
             Connection: close\r\n\
             {fields}\r\n"
        ),
    );
}

/// Writes the response to a post that was kept. Bugzillas on the code of bugzilla.mozilla.org before
/// June 2025 take no other status than 200 for a success. With HTTP/1.1 a connection is kept where
/// nothing else is said (RFC 9112 section 9.3).
pub fn write_kept(response: &mut Vec<u8>, keeps_connection: bool, unix_time: i64) {
    let date = date(unix_time);
    let close = if keeps_connection {
        ""
    } else {
        "Connection: close\r\n"
    };
    append(
        response,
        format_args!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n{close}\r\n"),
    );
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
    unix_time: i64,
) {
    let date = date(unix_time);
    let length = body.len();
    let body = if is_head { "" } else { body };
    append(
        response,
        format_args!(
            "HTTP/1.1 {status}\r\n\
             Date: {date}\r\n\
             Content-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\
             Connection: close\r\n\
             {fields}\r\n{body}"
        ),
    );
}

/// A time in Unix seconds as header fields have it: RFC 9110 section 5.6.7.
fn date(unix_time: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix_time).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        &weekday[..3],
        time.day(),
        &month[..3],
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn append(response: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    response
        .write_fmt(text)
        .expect("a Vec takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_in_the_example_of_the_rfc() {
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
