//! What a request shows for who sends it: a token, in one of the places where it may stand. Knows
//! no token, and does not compare any.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::cookies;
use super::head::Head;
use super::{Origin, Refusal};
use crate::access::{Secret, Shown};

/// Which credentials are looked at.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Whether a token may stand in the address, as `?access_token=`: it is in the history of a
    /// browser then, and in the log of each proxy on the way.
    pub in_address: bool,
    /// The origin of Bugzilla's pages, where the cookies of a login to it count.
    pub cookies_of: Option<Origin>,
}

/// How a proxy says that the request reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// There is no such field: no proxy, or one that does not say.
    Unsaid,
    /// By https alone.
    Securely,
    /// By http.
    Openly,
}

/// The subprotocol of the feed, which is answered.
const PROTOCOL: &str = "bugzfeed";

/// How a subprotocol begins whose rest is a token: a browser's WebSocket lets a page add no other
/// header field. It is never answered.
const BEARER: &[u8] = b"bearer.";

/// Whether the subprotocol of the feed is offered.
pub(super) fn offers_protocol(head: &Head<'_, '_>) -> bool {
    protocols(head).any(|protocol| protocol == PROTOCOL.as_bytes())
}

/// What a request shows. A request with two tokens says nothing clear about who sends it. A token
/// comes before cookies, which browsers add by themselves; `origins` are the pages that may connect,
/// if not all.
pub(super) fn shown(
    head: &Head<'_, '_>,
    credentials: &Credentials,
    origins: &[Origin],
) -> Result<Shown, Refusal> {
    let in_fields = head.values("Authorization").filter_map(bearer);
    let in_protocols = protocols(head).filter_map(|protocol| protocol.strip_prefix(BEARER));
    let in_address = head
        .query_values("access_token")
        .filter(|_| credentials.in_address)
        .map(|value| Cow::from(percent_decode(value.as_bytes())));
    let mut tokens = in_fields
        .map(Cow::from)
        .chain(in_protocols.map(Cow::from))
        .chain(in_address);
    match (tokens.next(), tokens.next()) {
        (None, _) => {
            let bugzilla = credentials.cookies_of.as_ref();
            let login = bugzilla.and_then(|bugzilla| cookies::login(head, bugzilla, origins));
            Ok(login.map_or(Shown::Nothing, Shown::Cookies))
        }
        (Some(token), None) => Ok(Shown::Bearer(Secret::from(&*token))),
        (Some(_), Some(_)) => Err(Refusal::BadRequest("The request has more than one token.")),
    }
}

/// Refuses a token among the subprotocols where none is offered that could be answered: a browser
/// would fail the connection without a word.
pub(super) fn check_protocols(head: &Head<'_, '_>) -> Result<(), Refusal> {
    let has_token = protocols(head).any(|protocol| protocol.starts_with(BEARER));
    if has_token && !offers_protocol(head) {
        return Err(Refusal::BadRequest(
            "A token is not answered: the subprotocol bugzfeed must be offered, too.",
        ));
    }
    Ok(())
}

/// How a proxy says that the request reached it. Of several proxies, each must have got it securely.
pub(super) fn forwarded(head: &Head<'_, '_>) -> Forwarded {
    let mut schemes = items(head, "X-Forwarded-Proto").peekable();
    if schemes.peek().is_none() {
        return Forwarded::Unsaid;
    }
    let is_secure = |scheme: &[u8]| {
        scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss")
    };
    match schemes.all(is_secure) {
        true => Forwarded::Securely,
        false => Forwarded::Openly,
    }
}

/// The token in the value of a field Authorization, if its scheme is Bearer: RFC 6750 section 2.1.
/// Another scheme may be for a proxy.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then_some(token.trim_ascii())
}

/// The subprotocols that are offered.
fn protocols<'bytes>(head: &Head<'_, 'bytes>) -> impl Iterator<Item = &'bytes [u8]> {
    items(head, "Sec-WebSocket-Protocol")
}

/// The items of a field that is a list.
fn items<'bytes>(head: &Head<'_, 'bytes>, name: &str) -> impl Iterator<Item = &'bytes [u8]> {
    head.values(name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}
