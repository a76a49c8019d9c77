//! What the body of a message is. Knows no broker.

use serde_json::value::RawValue;

/// What a body is.
pub(crate) enum Content<'a> {
    /// JSON, as it came: numbers keep their digits, and objects their order.
    Json(&'a RawValue),
    /// Another text.
    Text(&'a str),
    /// No text.
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    /// Looks at a body.
    pub(crate) fn of(body: &'a [u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => match serde_json::from_str(text) {
                Ok(json) => Content::Json(json),
                Err(_) => Content::Text(text),
            },
            Err(_) => Content::Bytes(body),
        }
    }
}
