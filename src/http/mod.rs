//! HTTP on the public port: reads the head of a request, finds what stands at its path, and writes
//! the response: an upgrade to a WebSocket, a page, or a refusal. A pure function over bytes. Knows
//! no socket, no client, no clock.

mod chunked;
mod cookies;
mod credentials;
mod events;
mod head;
mod limits;
mod origin;
mod plain;
mod refusal;
mod response;
mod route;
#[cfg(test)]
mod tests;
mod upgrade;
mod webhook;

use core::net::IpAddr;

use head::Head;
use limits::FIELDS_MAX;
use route::Route;

pub use credentials::{Credentials, Forwarded};
pub use events::Events;
pub use limits::HEAD_BYTES_MAX;
pub use origin::Origin;
pub(crate) use plain::{Reply, respond_plainly};
pub use refusal::Refusal;
pub use response::{Upgrade, write_kept, write_upgrade, write_welcome};
pub use route::{Page, Site};
pub use webhook::Webhook;

use crate::access::Shown;
use crate::proxy::{self, TrustedProxy};
use crate::record::Alert;
use crate::update::FeedId;

/// What a request has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request is not complete; call again with more bytes.
    Incomplete,
    /// The head of a post to a webhook is complete and right, and its body is not complete; call
    /// again with more bytes.
    Receiving,
    /// The response upgrades the connection to a WebSocket. The bytes after the head are frames.
    Upgraded {
        /// The feed at the request's path.
        feed: FeedId,
        /// The length of the head.
        head_bytes: usize,
    },
    /// The request asks for server-sent events. There is no response yet: it depends on whether the
    /// feed can do what it asks for.
    Listening {
        /// The feed below which the request's path is.
        feed: FeedId,
        /// What it asks for.
        events: Events,
    },
    /// The request asks for a WebSocket or events of a feed that not everybody may have, or whether it
    /// would get one. There is no response yet: it depends on who sends the request.
    Asked(Newcomer),
    /// A POST to a webhook. There is no response yet: it depends on what the feed's source makes of
    /// the body.
    Posted {
        /// The feed that the webhook fills.
        feed: FeedId,
        /// The body.
        body: Vec<u8>,
        /// The length of the request. The bytes after it are the next one.
        bytes: usize,
        /// Whether the client may send another request on this connection.
        keeps_connection: bool,
    },
    /// The response ends the connection.
    Answered,
    /// The same, and the response says why the request gets nothing else.
    Refused(Refusal),
}

/// Whether there is a place for another WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Free,
    /// The server has as many connections as it takes.
    Full,
    /// The client's address has as many as one may have.
    FullForAddress,
}

/// How somebody is to get a feed.
#[derive(Debug, PartialEq, Eq)]
pub enum Entrance {
    /// By a WebSocket: what the response says, see [`write_upgrade`].
    WebSocket(Upgrade),
    /// Not at all: the request only asks whether it would be let in, see [`write_welcome`].
    Question,
    /// As server-sent events: see [`Events::write_head`].
    Events(Events),
}

/// Somebody who asks for a feed that not everybody may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// The feed at the request's path.
    pub feed: FeedId,
    /// The length of the head.
    pub head_bytes: usize,
    /// What it is to be let in by.
    pub entrance: Entrance,
    /// What the request shows for who sends it.
    pub shown: Shown,
    /// How a proxy says that the request reached it.
    pub forwarded: Forwarded,
}

/// Responds to the request at the start of `bytes`, once it is complete. A server that is full
/// still serves pages and takes posts, since those connections end at once, and a post may carry
/// the update that the clients wait for. `unix_time` is the response's date, in seconds.
pub fn respond(
    site: &Site,
    bytes: &[u8],
    room: Room,
    unix_time: i64,
    response: &mut Vec<u8>,
) -> Outcome {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = Head::new(&mut fields);
    head.parse(bytes, site.head_bytes_max)
        .and_then(|is_complete| {
            if is_complete {
                dispatch(site, &head, bytes, room, unix_time, response)
            } else {
                Ok(Outcome::Incomplete)
            }
        })
        .unwrap_or_else(|refusal| {
            if is_tls(bytes) {
                response.extend_from_slice(&Alert::HandshakeFailure.plain_record());
                return Outcome::Answered;
            }
            let refusal = match refusal {
                Refusal::BadRequest(_) if proxy::is_begun(bytes) => Refusal::ProxyHeader,
                refusal => refusal,
            };
            refusal.write(response, head.is_method("HEAD"), unix_time);
            Outcome::Refused(refusal)
        })
}

/// The client of a request that came from `peer`, as far as those are believed who are `trusted`:
/// see [`proxy::client`]. `None` where the head is not complete, or the request came by a Unix
/// socket and nobody says from whom.
pub(crate) fn client(
    bytes: &[u8],
    trusted: &[TrustedProxy],
    peer: Option<IpAddr>,
) -> Option<IpAddr> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = Head::new(&mut fields);
    head.parse(bytes, usize::MAX)
        .ok()
        .filter(|&is_whole| is_whole)?;
    proxy::client(
        trusted,
        peer,
        head.values(proxy::X_FORWARDED_FOR),
        head.values(proxy::FORWARDED),
    )
}

/// Whether these bytes begin a TLS handshake: a client's first record, RFC 8446 section 5.1. It gets
/// an alert, which its user is shown, where a status would be no TLS to it.
fn is_tls(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    bytes.first() == Some(&HANDSHAKE)
}

/// Hands a complete head to what stands at its path.
fn dispatch(
    site: &Site,
    head: &Head<'_, '_>,
    bytes: &[u8],
    room: Room,
    unix_time: i64,
    response: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    head.check_host()?;
    let route = site.route(head.path()).ok_or(Refusal::NotFound)?;
    if let Route::Webhook(webhook) = route {
        return webhook.receive(head, bytes, response);
    }
    let is_head = head.is_method("HEAD");
    if !is_head && !head.is_method("GET") {
        return Err(Refusal::MethodNotAllowed("GET, HEAD"));
    }
    let is_upgrade = !is_head && upgrade::is_wanted(head);
    if !is_upgrade && upgrade::was_wanted(head) {
        return Err(Refusal::UpgradeLost);
    }
    match route {
        Route::Feed { feed, .. } if is_upgrade || (!is_head && upgrade::is_in_question(head)) => {
            upgrade::check_origin(head, &site.origins)?;
            let upgrade = is_upgrade.then(|| upgrade::check(head)).transpose()?;
            room.check()?;
            let head_bytes = head.bytes();
            if let Some(credentials) = &site.credentials {
                let entrance = upgrade.map_or(Entrance::Question, Entrance::WebSocket);
                return ask(site, head, credentials, feed, entrance);
            }
            match &upgrade {
                Some(upgrade) => {
                    response::write_upgrade(response, upgrade);
                    Ok(Outcome::Upgraded { feed, head_bytes })
                }
                None => {
                    response::write_welcome(response, unix_time);
                    Ok(Outcome::Answered)
                }
            }
        }
        Route::Events(_) if is_head => Err(Refusal::MethodNotAllowed("GET")),
        Route::Events(feed) if !is_upgrade => {
            let events = events::read(head, &site.origins, site.credentials.is_some())?;
            room.check()?;
            match &site.credentials {
                Some(credentials) => ask(site, head, credentials, feed, Entrance::Events(events)),
                None => Ok(Outcome::Listening { feed, events }),
            }
        }
        Route::Page(page)
        | Route::Feed {
            page: Some(page), ..
        } if !is_upgrade => {
            let fields = page.fields(head.query());
            if head.has_entity_tag(&page.etag) {
                response::write_known_page(response, &fields, unix_time);
            } else {
                let (kind, body) = (page.content_type, &page.body);
                response::write_page(response, &fields, kind, body, is_head, unix_time);
            }
            Ok(Outcome::Answered)
        }
        Route::Page(_) | Route::Feed { .. } | Route::Events(_) | Route::Webhook(_) => {
            Err(Refusal::NotFound)
        }
    }
}

impl Room {
    /// Refuses a newcomer for whom there is no place.
    fn check(self) -> Result<(), Refusal> {
        match self {
            Room::Free => Ok(()),
            Room::Full => Err(Refusal::Full),
            Room::FullForAddress => Err(Refusal::TooManyFromAddress),
        }
    }
}

/// Has it found out who sends the request.
fn ask(
    site: &Site,
    head: &Head<'_, '_>,
    credentials: &Credentials,
    feed: FeedId,
    entrance: Entrance,
) -> Result<Outcome, Refusal> {
    Ok(Outcome::Asked(Newcomer {
        feed,
        head_bytes: head.bytes(),
        entrance,
        shown: credentials::shown(head, credentials, &site.origins)?,
        forwarded: credentials::forwarded(head),
    }))
}
