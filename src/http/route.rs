//! What stands at which path of the public port. Knows no request.

use super::{Origin, Webhook};
use crate::update::FeedId;

/// What stands where on the public port.
#[derive(Debug, Default)]
pub struct Site {
    /// The path of each feed, such as `/` or `/dev/`.
    pub feeds: Vec<String>,
    /// What plain HTTP requests get.
    pub pages: Vec<Page>,
    /// Where Bugzilla posts what has changed.
    pub webhooks: Vec<Webhook>,
    /// The origins that browsers may connect from; all when empty.
    pub origins: Vec<Origin>,
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
    Page(&'a Page),
}

impl Site {
    /// Finds what stands at `path`. A feed's `/dev/` is found at `/dev`, too.
    pub(super) fn route(&self, path: &str) -> Option<Route<'_>> {
        if let Some(webhook) = self.webhooks.iter().find(|webhook| webhook.path == path) {
            return Some(Route::Webhook(webhook));
        }
        let page_at = |paths: &[&str]| {
            self.pages
                .iter()
                .find(|page| paths.contains(&page.path.as_str()))
        };
        match self.feeds.iter().position(|feed| is_feed_at(feed, path)) {
            Some(feed) => Some(Route::Feed {
                feed: FeedId(feed as u8),
                page: page_at(&[path, "/"]),
            }),
            None => page_at(&[path]).map(Route::Page),
        }
    }
}

fn is_feed_at(feed: &str, path: &str) -> bool {
    feed == path || (!path.is_empty() && feed.strip_suffix('/') == Some(path))
}
