//! The cookies of a login to Bugzilla. A browser adds them to a request of any page, also of one that
//! has no business with Bugzilla: they count only for pages of certain origins. Knows no reader.

use super::Origin;
use super::head::Head;
use crate::access::Secret;

/// The number of the account, and the secret of the login: what Bugzilla itself takes. All other
/// cookies stay here.
const NAMES: [&str; 2] = ["Bugzilla_login", "Bugzilla_logincookie"];

/// The longest value of a cookie that is passed on, in bytes; Bugzilla's have 22 at most.
const VALUE_BYTES_MAX: usize = 128;

/// The login that a request shows, as a header field Cookie has it. `bugzilla` is the origin of
/// Bugzilla's own pages; `origins` are those that count in place of it and of this server's own,
/// where there are any.
pub(super) fn login(head: &Head<'_, '_>, bugzilla: &Origin, origins: &[Origin]) -> Option<Secret> {
    if !is_from_allowed(head, bugzilla, origins) {
        return None;
    }
    let [login, secret] = NAMES.map(|name| value(head, name));
    let (login, secret) = (login?, secret?);
    let text = format!("{}={login}; {}={secret}", NAMES[0], NAMES[1]);
    Some(Secret::from(text.as_bytes()))
}

/// Whether a request comes from a page of an origin that counts.
fn is_from_allowed(head: &Head<'_, '_>, bugzilla: &Origin, origins: &[Origin]) -> bool {
    let is_listed = |origin: &[u8]| origins.iter().any(|allowed| allowed.matches(origin));
    let mut own_origins = head.values("Origin");
    match (own_origins.next(), own_origins.next()) {
        (Some(origin), None) if origins.is_empty() => {
            bugzilla.matches(origin) || is_own(head, origin)
        }
        (Some(origin), None) => is_listed(origin),
        (None, _) => {
            // A browser leaves the origin out of a page's own GET, and says this instead. No script
            // can: Fetch Metadata section 2, and the Fetch standard's forbidden request-headers.
            let is_of_page = head.values("Sec-Fetch-Site").eq([b"same-origin"]);
            let own = head.values("Host").map(|host| [b"https://", host].concat());
            is_of_page && (origins.is_empty() || own.into_iter().all(|own| is_listed(&own)))
        }
        (Some(_), Some(_)) => false,
    }
}

/// Whether this is the origin of this server's own pages: by https, and on this machine by http, too.
fn is_own(head: &Head<'_, '_>, origin: &[u8]) -> bool {
    let Some(host) = head.values("Host").next() else {
        return false;
    };
    let name = match host.iter().rposition(|&byte| byte == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    };
    let is_local = [&b"localhost"[..], b"127.0.0.1", b"[::1]"]
        .iter()
        .any(|local| name.eq_ignore_ascii_case(local));
    let is_at = |scheme: &[u8]| {
        origin
            .strip_prefix(scheme)
            .is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    is_at(b"https://") || (is_local && is_at(b"http://"))
}

/// The value of a cookie, the first of its name, as Bugzilla reads it; only if it is one that
/// Bugzilla makes.
fn value<'bytes>(head: &Head<'_, 'bytes>, name: &str) -> Option<&'bytes str> {
    let pairs = head
        .values("Cookie")
        .flat_map(|value| value.split(|&byte| byte == b';'));
    let value = pairs
        .filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="))?;
    let is_made = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_one = (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.iter().all(is_made);
    std::str::from_utf8(value).ok().filter(|_| is_one)
}
