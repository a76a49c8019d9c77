//! The page that the server shows at `/`, and the client in JavaScript that others can load from
//! here, too; and the page of the inspector. Built in, with nothing from elsewhere. Knows no server.

use crate::http::Page;
use crate::protocol::VERSION;

/// The page and its parts. Bugs on it are links to `bugzilla`, where that is a URL and not empty. It
/// offers all bugs at once if the feeds do.
pub(crate) fn pages(bugzilla: &str, offers_all: bool) -> Vec<Page> {
    let html = include_str!("index.html")
        .replace("{{version}}", VERSION)
        .replace("{{firehose}}", if offers_all { "on" } else { "off" })
        .replace("{{bugzilla}}", &escape(bugzilla.trim_end_matches('/')));
    vec![
        Page::new("/", "text/html; charset=utf-8", html),
        Page::new(
            "/bugzfeed.css",
            "text/css; charset=utf-8",
            include_str!("bugzfeed.css").to_owned(),
        ),
        script("/page.js", include_str!("page.js")),
        script(
            "/bugzfeed.js",
            include_str!("../../docs/clients/js/bugzfeed.js"),
        )
        .shared(VERSION),
    ]
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
}
