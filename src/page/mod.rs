//! The page that the server shows at `/`, and the client in JavaScript that others can load from
//! here, too: built in, with nothing from elsewhere. Knows no server.

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
