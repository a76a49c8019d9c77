//! What comes from outside, made wrong on purpose: a target for each thing that reads bytes of a
//! client, a proxy, a broker, a database or a file. A target does more than not to panic: it holds
//! what was read against another reader of the same (httparse, tungstenite, rustls, serde_json), or
//! writes it and reads it again.
//!
//! Compiled for tests, and for a fuzzer (`cfg(fuzzing)`). `tests/fuzz/run` runs all targets; the
//! inputs that they begin with stand in `tests/fuzz/corpus/`, a folder for each.

mod addresses;
mod broker;
mod bugzilla;
mod client;
#[cfg(test)]
mod driver;
mod files;
mod http;
mod json;
mod management;
mod records;
mod script;
mod settings;
mod websocket;

/// Lists the targets, and makes a test of each.
macro_rules! targets {
    ($($name:ident: $target:path,)*) => {
        /// All targets by name. Each takes one input, and panics where something is wrong.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $target)),*];

        #[cfg(test)]
        mod tests {
            use super::*;

            $(
                #[test]
                fn $name() {
                    driver::fuzz(stringify!($name), $target);
                }
            )*
        }
    };
}

targets! {
    heads: http::heads,
    posts: http::posts,
    proxy_headers: http::proxy_headers,
    frames: websocket::frames,
    commands: json::commands,
    since: json::since,
    replies: json::replies,
    messages: json::messages,
    handshakes: client::handshakes,
    feed_urls: client::feed_urls,
    bug_lists: bugzilla::bug_lists,
    rights: bugzilla::rights,
    management: management::management,
    sources: addresses::sources,
    destinations: addresses::destinations,
    settings: settings::settings,
    sieve: broker::sieve,
    numbers: broker::numbers,
    records: records::records,
    history: files::history,
    backlog: files::backlog,
}
