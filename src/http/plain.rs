//! Requests that get a text and nothing else, at an address of its own that is for those who run a
//! server. Knows no path.

use serde_json::Value;

use super::head::Head;
use super::limits::{FIELDS_MAX, HEAD_BYTES_MAX};
use super::{Refusal, response};

/// What a request gets.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Such as `200 OK`.
    pub status: &'static str,
    /// Header fields, as whole lines.
    pub fields: String,
    /// The value of the header field Content-Type.
    pub content_type: &'static str,
    pub body: String,
}

impl Reply {
    /// A text, with header fields as whole lines.
    pub(crate) fn text(status: &'static str, fields: String, body: String) -> Self {
        Self {
            status,
            fields,
            content_type: "text/plain; charset=utf-8",
            body,
        }
    }

    /// A value, for programs and for people.
    pub(crate) fn json(value: &Value) -> Self {
        Self {
            content_type: "application/json",
            ..Self::text("200 OK", String::new(), format!("{value:#}\n"))
        }
    }
}

/// Responds to the GET or HEAD at the start of `bytes`, once it is complete, with what `reply` has
/// at its path with its query; returns whether it was. `unix_time` is the response's date.
pub(crate) fn respond_plainly(
    bytes: &[u8],
    unix_time: i64,
    response: &mut Vec<u8>,
    reply: impl FnOnce(&str, &str) -> Option<Reply>,
) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = Head::new(&mut fields);
    let found = match head.parse(bytes, HEAD_BYTES_MAX) {
        Ok(false) => return false,
        Ok(true) if !head.is_method("GET") && !head.is_method("HEAD") => {
            Err(Refusal::MethodNotAllowed("GET, HEAD"))
        }
        Ok(true) => reply(head.path(), head.query()).ok_or(Refusal::NotFound),
        Err(refusal) => Err(refusal),
    };
    let is_head = head.is_method("HEAD");
    match found {
        Ok(reply) => response::write(
            response,
            reply.status,
            &format!("Cache-Control: no-store\r\n{}", reply.fields),
            reply.content_type,
            &reply.body,
            is_head,
            unix_time,
        ),
        Err(refusal) => refusal.write(response, is_head, unix_time),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(request: &str) -> Option<String> {
        let mut response = Vec::new();
        let is_complete = respond_plainly(request.as_bytes(), 0, &mut response, |path, query| {
            (path == "/a").then(|| Reply {
                status: "200 OK",
                fields: "X-A: b\r\n".to_owned(),
                content_type: "text/plain",
                body: format!("query '{query}'"),
            })
        });
        is_complete.then(|| String::from_utf8(response).unwrap())
    }

    #[test]
    fn a_request_gets_what_stands_at_its_path_or_is_refused() {
        assert_eq!(answered("GET /a HTTP/1.1\r\nHost: b\r\n"), None);
        let response = answered("GET /a?x=1&y HTTP/1.1\r\nHost: b\r\n\r\n").unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("\r\nX-A: b\r\n") && response.ends_with("\r\n\r\nquery 'x=1&y'"));
        assert!(
            answered("HEAD /a HTTP/1.0\r\n\r\n")
                .unwrap()
                .ends_with("\r\n\r\n")
        );
        for (request, status) in [
            ("GET /b HTTP/1.1\r\n\r\n", "404"),
            ("POST /a HTTP/1.1\r\n\r\n", "405"),
            ("\x16\x03\x01\r\n\r\n", "400"),
        ] {
            let response = answered(request).unwrap();
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status} ")),
                "{response}"
            );
        }
    }
}
