//! Every "no" that a request can get, and the response that carries it. Knows no request.

use std::fmt;

use super::limits::{BODY_BYTES_MAX, FIELDS_MAX};
use super::response;
use crate::protocol;
use crate::update::FeedId;

/// Why a request gets nothing but a status and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is no HTTP, or contradicts itself.
    BadRequest(&'static str),
    /// A PROXY header comes from an address that is not believed, or where none is expected.
    ProxyHeader,
    /// The PROXY header is missing that a trusted proxy is to send.
    NoProxyHeader,
    /// What was posted is no message about a bug.
    Unreadable,
    /// The key of the webhook of this feed is missing or wrong.
    Unauthorized(FeedId),
    /// The request shows no token, where one is needed.
    TokenMissing,
    /// The token is nobody's.
    TokenUnknown,
    /// Only those come in whom Bugzilla knows.
    LoginNeeded,
    /// Bugzilla has not said yet whether it knows who shows this.
    RightsUnknown,
    /// The token has come in the open.
    TokenExposed,
    /// The page's origin is not on the list.
    ForbiddenOrigin,
    /// There is nothing at this path.
    NotFound,
    /// Only these methods are answered here.
    MethodNotAllowed(&'static str),
    /// The head did not come in time.
    Timeout,
    /// What is posted must come with its length.
    LengthRequired,
    /// What is posted is longer than 1 MiB.
    BodyTooLarge,
    /// Another version of WebSocket than 13 was asked for.
    UpgradeRequired,
    /// A WebSocket is asked for without the field that does so.
    UpgradeLost,
    /// The head is longer than so many bytes, or has too many fields.
    HeadTooLarge(usize),
    /// The server has as many connections as it takes.
    Full,
    /// The client's address has as many connections as one may have.
    TooManyFromAddress,
    /// The events that are asked for are none that a client can have.
    NotSubscribed(protocol::Error),
    /// What was posted could not be kept; it should be posted again.
    NotKept,
}

impl Refusal {
    /// The word for it in a metric.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Refusal::BadRequest(_) => "bad_request",
            Refusal::ProxyHeader | Refusal::NoProxyHeader => "proxy_header",
            Refusal::Unreadable => "unreadable",
            Refusal::Unauthorized(_) => "unauthorized",
            Refusal::TokenMissing => "token_missing",
            Refusal::LoginNeeded => "login_needed",
            Refusal::RightsUnknown => "rights_unknown",
            Refusal::TokenUnknown => "token_unknown",
            Refusal::TokenExposed => "token_exposed",
            Refusal::ForbiddenOrigin => "origin",
            Refusal::NotFound => "not_found",
            Refusal::MethodNotAllowed(_) => "method",
            Refusal::Timeout => "timeout",
            Refusal::LengthRequired => "length_required",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::UpgradeRequired => "upgrade_required",
            Refusal::UpgradeLost => "upgrade_lost",
            Refusal::HeadTooLarge(_) => "head_too_large",
            Refusal::Full => "full",
            Refusal::TooManyFromAddress => "full_for_address",
            Refusal::NotSubscribed(_) => "not_subscribed",
            Refusal::NotKept => "not_kept",
        }
    }

    fn status(self) -> &'static str {
        match self {
            Refusal::BadRequest(_)
            | Refusal::ProxyHeader
            | Refusal::NoProxyHeader
            | Refusal::NotSubscribed(_)
            | Refusal::Unreadable => "400 Bad Request",
            Refusal::Unauthorized(_)
            | Refusal::TokenMissing
            | Refusal::TokenUnknown
            | Refusal::LoginNeeded => "401 Unauthorized",
            Refusal::TokenExposed | Refusal::ForbiddenOrigin => "403 Forbidden",
            Refusal::NotFound => "404 Not Found",
            Refusal::MethodNotAllowed(_) => "405 Method Not Allowed",
            Refusal::Timeout => "408 Request Timeout",
            Refusal::LengthRequired => "411 Length Required",
            Refusal::BodyTooLarge => "413 Content Too Large",
            Refusal::UpgradeRequired | Refusal::UpgradeLost => "426 Upgrade Required",
            Refusal::TooManyFromAddress => "429 Too Many Requests",
            Refusal::HeadTooLarge(_) => "431 Request Header Fields Too Large",
            Refusal::RightsUnknown | Refusal::Full | Refusal::NotKept => "503 Service Unavailable",
        }
    }

    /// The header fields that this status calls for: RFC 9110 sections 7.8, 15.5.2, 15.5.6 and
    /// 15.5.22, RFC 6455 section 4.4, RFC 6750 section 3.
    fn fields(self) -> String {
        match self {
            Refusal::Unauthorized(_) => "WWW-Authenticate: ApiKey\r\n",
            Refusal::TokenMissing | Refusal::LoginNeeded => "WWW-Authenticate: Bearer\r\n",
            Refusal::TokenUnknown => "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
            Refusal::MethodNotAllowed(methods) => return format!("Allow: {methods}\r\n"),
            Refusal::UpgradeRequired | Refusal::UpgradeLost => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            }
            Refusal::RightsUnknown
            | Refusal::Full
            | Refusal::TooManyFromAddress
            | Refusal::NotKept => "Retry-After: 30\r\n",
            Refusal::BadRequest(_)
            | Refusal::ProxyHeader
            | Refusal::NoProxyHeader
            | Refusal::NotSubscribed(_)
            | Refusal::Unreadable
            | Refusal::TokenExposed
            | Refusal::ForbiddenOrigin
            | Refusal::NotFound
            | Refusal::Timeout => "",
            Refusal::LengthRequired | Refusal::BodyTooLarge | Refusal::HeadTooLarge(_) => "",
        }
        .to_owned()
    }

    /// Writes the response; the answer to a HEAD has no body.
    pub(crate) fn write(self, response: &mut Vec<u8>, is_head: bool, unix_time: i64) {
        response::write(
            response,
            self.status(),
            &self.fields(),
            "text/plain; charset=utf-8",
            &format!("{self}\n"),
            is_head,
            unix_time,
        );
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadRequest(why) => f.write_str(why),
            Refusal::NotSubscribed(why) => write!(f, "{why}"),
            Refusal::ProxyHeader => f.write_str(
                "No PROXY header is expected from this address (settings --proxy-protocol and --trusted-proxy).",
            ),
            Refusal::NoProxyHeader => f.write_str(
                "From this address a PROXY header is expected first (settings --proxy-protocol and --trusted-proxy).",
            ),
            Refusal::Unreadable => f.write_str("The body is no message of Bugzilla about a bug."),
            Refusal::Unauthorized(_) => f.write_str("The key is missing or wrong."),
            Refusal::TokenMissing => f.write_str(
                "A token is needed: \"Authorization: Bearer TOKEN\", or the subprotocols \"bugzfeed, bearer.TOKEN\".",
            ),
            Refusal::LoginNeeded => f.write_str(
                "Log in to Bugzilla first, or show an API key: \"Authorization: Bearer KEY\".",
            ),
            Refusal::RightsUnknown => f.write_str(
                "Bugzilla has not said yet whether it knows you; try again later.",
            ),
            Refusal::TokenUnknown => f.write_str("This token is not known here, or not any more."),
            Refusal::TokenExposed => f.write_str(
                "A token is taken by https or on this machine only; this one came in the open: have it replaced.",
            ),
            Refusal::ForbiddenOrigin => {
                f.write_str("Pages of this origin may not connect to this server.")
            }
            Refusal::NotFound => f.write_str("There is nothing at this path."),
            Refusal::MethodNotAllowed(methods) => write!(f, "Only {methods} is answered here."),
            Refusal::Timeout => f.write_str("The request did not come in time."),
            Refusal::LengthRequired => {
                f.write_str("The body's length is missing: Content-Length, or chunks.")
            }
            Refusal::BodyTooLarge => write!(f, "The body is larger than {BODY_BYTES_MAX} bytes."),
            Refusal::UpgradeRequired => f.write_str("This server speaks WebSocket version 13."),
            Refusal::UpgradeLost => f.write_str(
                "The request has a Sec-WebSocket-Key, but no \"Upgrade: websocket\": a proxy in between \
                 must pass on the header fields Upgrade and Connection.",
            ),
            Refusal::HeadTooLarge(bytes_max) => write!(
                f,
                "The request's head is larger than {bytes_max} bytes (setting --head-size) or {FIELDS_MAX} fields."
            ),
            Refusal::Full => {
                f.write_str("The server has as many connections as it takes; try again later.")
            }
            Refusal::TooManyFromAddress => f.write_str(
                "Your address has as many connections as one may have; close one, or try again later.",
            ),
            Refusal::NotKept => f.write_str("The change could not be kept; post it again later."),
        }
    }
}
