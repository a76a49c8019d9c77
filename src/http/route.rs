//! What stands at which path of the public port. Knows no request.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::limits::HEAD_BYTES_MAX;
use super::{Credentials, Origin, Webhook};
use crate::update::FeedId;

/// Who may load a page's files, and for how long they may be kept: RFC 9111 section 5.2.2.
const PRIVATE: &str = "Cache-Control: no-cache\r\n";
/// The same of a file that pages of all origins may load.
const SHARED: &str = "Cache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\n";
/// The same of one version of such a file, which never changes: RFC 8246.
const SHARED_FOR_GOOD: &str = "Cache-Control: public, max-age=31536000, immutable\r\n\
    Access-Control-Allow-Origin: *\r\n";

/// Nothing of a page is from elsewhere, and nobody may frame it. Behind `connect-src` stands what else
/// it may connect to.
const PROTECTION: &str = "X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    connect-src 'self' ws: wss:";

/// What stands where on the public port.
#[derive(Debug)]
pub struct Site {
    /// The path of each feed, such as `/` or `/dev/`.
    pub feeds: Vec<String>,
    /// What plain HTTP requests get.
    pub pages: Vec<Page>,
    /// Where Bugzilla posts what has changed.
    pub webhooks: Vec<Webhook>,
    /// The origins that browsers may connect from; all when empty.
    pub origins: Vec<Origin>,
    /// Which credentials are looked at; none where everybody may have the feeds.
    pub credentials: Option<Credentials>,
    /// Whether each feed has server-sent events, too, at `events` below its path.
    pub offers_events: bool,
    /// The longest head that is read, in bytes.
    pub head_bytes_max: usize,
}

impl Default for Site {
    /// A site with nothing on it.
    fn default() -> Self {
        Self {
            feeds: Vec::new(),
            pages: Vec::new(),
            webhooks: Vec::new(),
            origins: Vec::new(),
            credentials: None,
            offers_events: false,
            head_bytes_max: HEAD_BYTES_MAX,
        }
    }
}

/// A file that is served to plain HTTP requests.
#[derive(Debug)]
pub struct Page {
    /// Where it stands, such as `/`.
    pub path: String,
    /// The value of the header field Content-Type.
    pub content_type: &'static str,
    /// What follows the head of the response.
    pub body: String,
    /// The value of the header field ETag: the same body has the same on all servers.
    pub(super) etag: String,
    /// The version of this file, where pages of all origins may load it.
    shared: Option<&'static str>,
    /// An origin that it may connect to besides its own, behind a space; or nothing.
    connects_to: String,
}

impl Page {
    /// A file that stands at `path`.
    pub fn new(path: &str, content_type: &'static str, body: String) -> Self {
        let hash = FixedState::with_seed(0).hash_one(&body);
        Self {
            path: path.to_owned(),
            content_type,
            etag: format!("\"{hash:016x}\""),
            body,
            shared: None,
            connects_to: String::new(),
        }
    }

    /// A page that may ask this origin, too, such as `https://bugzilla.example.org`.
    pub fn connecting_to(self, origin: &str) -> Self {
        Self {
            connects_to: format!(" {origin}"),
            ..self
        }
    }

    /// A file that pages of all origins may load. Who asks for it with this version in the query,
    /// as in `/file.js?v=1.2.3`, may keep it for good.
    pub fn shared(self, version: &'static str) -> Self {
        Self {
            shared: Some(version),
            ..self
        }
    }

    /// Its tag, who may load it, for how long it may be kept, and what it may do, as whole lines of a
    /// head.
    pub(super) fn fields(&self, query: &str) -> String {
        let is_version = |version| {
            let mut parts = query.split('&');
            parts.any(|part| part.strip_prefix("v=") == Some(version))
        };
        let rules = match self.shared {
            None => PRIVATE,
            Some(version) if is_version(version) => SHARED_FOR_GOOD,
            Some(_) => SHARED,
        };
        let (etag, connects_to) = (&self.etag, &self.connects_to);
        format!("ETag: {etag}\r\n{rules}{PROTECTION}{connects_to}\r\n")
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route<'a> {
    Webhook(&'a Webhook),
    /// A feed, for those who ask for a WebSocket; the others get the page, if there is one.
    Feed {
        feed: FeedId,
        page: Option<&'a Page>,
    },
    /// The server-sent events of a feed.
    Events(FeedId),
    Page(&'a Page),
}

impl Site {
    /// Finds what stands at `path`. A feed's `/dev/` is found at `/dev`, too, and what belongs to
    /// the page, below each feed: the page names it relative to itself.
    pub(super) fn route(&self, path: &str) -> Option<Route<'_>> {
        if let Some(webhook) = self.webhooks.iter().find(|webhook| webhook.path == path) {
            return Some(Route::Webhook(webhook));
        }
        let page_at = |paths: &[&str]| {
            self.pages
                .iter()
                .find(|page| paths.contains(&page.path.as_str()))
        };
        let feed_at = |is_it: &dyn Fn(&String) -> bool| {
            let position = self.feeds.iter().position(is_it);
            position.map(|feed| FeedId(feed as u8))
        };
        match feed_at(&|feed| is_feed_at(feed, path)) {
            Some(feed) => Some(Route::Feed {
                feed,
                page: page_at(&[path, "/"]),
            }),
            None => {
                let place = path.strip_suffix("events").filter(|_| self.offers_events);
                if let Some(feed) = place.and_then(|place| feed_at(&|feed| feed == place)) {
                    return Some(Route::Events(feed));
                }
                let below = |feed: &String| path.strip_prefix(feed.trim_end_matches('/'));
                let mut parts = self.feeds.iter().filter_map(below);
                page_at(&[path])
                    .or_else(|| parts.find_map(|part| page_at(&[part])))
                    .map(Route::Page)
            }
        }
    }
}

fn is_feed_at(feed: &str, path: &str) -> bool {
    feed == path || (!path.is_empty() && feed.strip_suffix('/') == Some(path))
}
