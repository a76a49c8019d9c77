//! The head of a request: parsed by httparse, and read field by field. Knows no path and no status
//! of its own, but which refusal a malformed head gets.

use httparse::{Header, Request, Status};

use super::refusal::Refusal;

/// The head of one request, with its fields in the caller's buffer.
pub(super) struct Head<'fields, 'bytes> {
    request: Request<'fields, 'bytes>,
    bytes: usize,
}

impl<'fields, 'bytes> Head<'fields, 'bytes> {
    /// A head that is not parsed yet; its fields will stand in `fields`.
    pub(super) fn new(fields: &'fields mut [Header<'bytes>]) -> Self {
        Self {
            request: Request::new(fields),
            bytes: 0,
        }
    }

    /// Parses the head at the start of `bytes`, at most `bytes_max` long; returns whether it is
    /// complete. What came before a mistake can be asked for even after a refusal.
    pub(super) fn parse(&mut self, bytes: &'bytes [u8], bytes_max: usize) -> Result<bool, Refusal> {
        match self.request.parse(bytes) {
            Ok(Status::Complete(head_bytes)) if head_bytes <= bytes_max => {
                self.bytes = head_bytes;
                Ok(true)
            }
            Ok(Status::Partial) if bytes.len() < bytes_max => Ok(false),
            Ok(Status::Complete(_) | Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                Err(Refusal::HeadTooLarge(bytes_max))
            }
            Err(_) => Err(Refusal::BadRequest("The request is no HTTP/1.1.")),
        }
    }

    /// The length of the head, with the empty line that ends it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_method(&self, method: &str) -> bool {
        self.request.method == Some(method)
    }

    pub(super) fn is_http_11(&self) -> bool {
        self.request.version == Some(1)
    }

    /// Whether the client may send another request on the same connection: RFC 9112 section 9.3.
    /// Those of HTTP/1.0 that could, if both sides said so, open another one instead.
    pub(super) fn keeps_connection(&self) -> bool {
        self.is_http_11() && !self.has_token("Connection", "close")
    }

    /// HTTP/1.1 asks for exactly one Host; HTTP/1.0 for at most one (RFC 9112 section 3.2).
    pub(super) fn check_host(&self) -> Result<(), Refusal> {
        match self.values("Host").count() {
            1 => Ok(()),
            0 if !self.is_http_11() => Ok(()),
            0 => Err(Refusal::BadRequest("The header field Host is missing.")),
            _ => Err(Refusal::BadRequest(
                "The header field Host stands there twice.",
            )),
        }
    }

    /// The path of the request's target: without the query, and without scheme and host where it
    /// has them (RFC 9112 section 3.2.2).
    pub(super) fn path(&self) -> &'bytes str {
        let target = self.request.path.unwrap_or("/");
        let target = target.split_once('?').map_or(target, |(path, _)| path);
        match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => target,
        }
    }

    /// What stands in the request's target behind the question mark.
    pub(super) fn query(&self) -> &'bytes str {
        let target = self.request.path.unwrap_or("/");
        target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The values of a name in the query, still encoded.
    pub(super) fn query_values(&self, name: &str) -> impl Iterator<Item = &'bytes str> {
        let pairs = self
            .query()
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .filter(move |(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// The values of a header field, without the white space around them.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'bytes [u8]> {
        self.request
            .headers
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.trim_ascii())
    }

    /// Whether a header field that is a list of tokens holds this one, in whatever case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the client has what this entity tag stands for: RFC 9110 section 13.1.2. A proxy that
    /// compresses makes the tag a weak one.
    pub(super) fn has_entity_tag(&self, etag: &str) -> bool {
        [etag, &format!("W/{etag}"), "*"]
            .iter()
            .any(|tag| self.has_token("If-None-Match", tag))
    }
}
