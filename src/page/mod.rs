//! The page that the server shows at `/`, and what others can load from here, too: the client in
//! JavaScript, the contract for machines, and the script for Bugzilla's own pages; and the page of the inspector. Built in, with
//! nothing from elsewhere. Knows no server.

use url::Url;

use crate::http::Page;
use crate::protocol::VERSION;

/// The client that is published, too: the page is built on it.
const JAVASCRIPT_CLIENT: &str = include_str!("../../docs/clients/js/bugzfeed.js");

/// The protocol for machines: AsyncAPI 3.0.
const CONTRACT: &str = include_str!("../../docs/asyncapi.json");

/// The page and its parts, and the contract. Bugs on it are links to `bugzilla`, where that is a URL and not empty, and
/// the page may ask it. It offers all bugs at once if the feeds do.
pub(crate) fn pages(bugzilla: &str, offers_all: bool) -> Vec<Page> {
    let html = include_str!("index.html")
        .replace("{{version}}", VERSION)
        .replace("{{firehose}}", if offers_all { "on" } else { "off" })
        .replace("{{bugzilla}}", &escape(bugzilla.trim_end_matches('/')));
    let page = Page::new("/", "text/html; charset=utf-8", html);
    let css = include_str!("bugzfeed.css").to_owned();
    vec![
        match origin(bugzilla) {
            Some(origin) => page.connecting_to(&origin),
            None => page,
        },
        Page::new("/bugzfeed.css", "text/css; charset=utf-8", css),
        script("/page.js", include_str!("page.js")),
        script("/figures.js", include_str!("figures.js")),
        script("/shared.js", include_str!("shared.js")),
        script("/updates.js", include_str!("updates.js")),
        script("/words.js", include_str!("words.js")),
        script("/worker.js", include_str!("worker.js")),
        script("/bugzfeed.js", JAVASCRIPT_CLIENT).shared(VERSION),
        script("/bugzilla.js", include_str!("bugzilla.js")).shared(VERSION),
        script("/details.js", include_str!("details.js")).shared(VERSION),
        Page::new("/asyncapi.json", "application/json", contract()).shared(VERSION),
    ]
}

/// The messages of clients and server, as a tool reads them.
fn contract() -> String {
    CONTRACT.replace("{{version}}", VERSION)
}

/// The page of the inspector and its parts, below a path such as `/TOKEN/`.
pub(crate) fn inspector(path: &str) -> Vec<Page> {
    let style = |name: &str, body: &str| {
        let kind = "text/css; charset=utf-8";
        Page::new(&format!("{path}{name}"), kind, body.to_owned())
    };
    let html = include_str!("inspector.html").replace("{{version}}", VERSION);
    vec![
        Page::new(path, "text/html; charset=utf-8", html),
        style("bugzfeed.css", include_str!("bugzfeed.css")),
        style("inspector.css", include_str!("inspector.css")),
        script(&format!("{path}inspector.js"), include_str!("inspector.js")),
        script(&format!("{path}tree.js"), include_str!("tree.js")),
    ]
}

fn script(path: &str, body: &str) -> Page {
    Page::new(path, "text/javascript; charset=utf-8", body.to_owned())
}

/// The origin of an http address, as a Content-Security-Policy names it.
fn origin(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

/// Escapes a text for an attribute in double quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bugzilla_cannot_break_out_of_its_attribute() {
        let pages = pages("https://b.example/\"><script>/", false);
        assert!(
            pages[0]
                .body
                .contains("https://b.example/&quot;&gt;&lt;script&gt;\"")
        );
    }

    #[test]
    fn a_bugzilla_cannot_break_out_of_the_policy() {
        for (address, expected) in [
            ("https://b.example/bugzilla/", Some("https://b.example")),
            ("http://b.example:8080", Some("http://b.example:8080")),
            ("https://b.example/;script-src *", Some("https://b.example")),
            ("https://b.example script-src", None),
            ("javascript:alert(1)", None),
            ("", None),
        ] {
            assert_eq!(origin(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn the_whole_page_is_smaller_than_80_kilobytes() {
        let pages = pages("https://bugzilla.example.org/", true);
        let parts = pages
            .iter()
            .filter(|page| !["/bugzilla.js", "/asyncapi.json"].contains(&page.path.as_str()));
        let bytes: usize = parts.map(|page| page.body.len()).sum();
        assert!(bytes < 80_000, "{bytes}");
    }
}
