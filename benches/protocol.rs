//! What a message costs that is read or written, and an upgrade.

use bugzfeed::frame;
use bugzfeed::http::{self, Room, Site};
use bugzfeed::protocol;
use bugzfeed::update::{BugId, Update, When};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 100, 10_000])]
fn read_subscribe(bencher: Bencher<'_, '_>, bugs: u32) {
    let bugs: Vec<String> = (1..=bugs)
        .map(|bug| (1_000_000 + bug).to_string())
        .collect();
    let message = format!(
        r#"{{"command":"subscribe","bugs":[{}],"since":""}}"#,
        bugs.join(",")
    );
    bencher.bench_local(|| protocol::parse(black_box(message.as_bytes()), false));
}

#[divan::bench(args = [r#"{"command":"version"}"#, r#"{"command":"unsubscribe","bugs":"1234"}"#, r#"{"command":"nonsense"}"#, "no JSON"])]
fn read(message: &str) -> impl Sized {
    protocol::parse(black_box(message.as_bytes()), false)
}

#[divan::bench(args = [1, 10_000])]
fn write_reply(bencher: Bencher<'_, '_>, bugs: u32) {
    let mut reply = Vec::new();
    bencher.bench_local(|| {
        reply.clear();
        protocol::write_bugs(
            &mut reply,
            "subscribe",
            (1..=bugs).filter_map(BugId::new),
            false,
            &[],
            None,
        );
    });
}

/// Once for each update, however many get it.
#[divan::bench]
fn write_update(bencher: Bencher<'_, '_>) {
    let update = Update {
        bug: BugId::new(1_234_567).unwrap(),
        when: When::from_unix_seconds(1_396_559_625),
    };
    let (mut text, mut frames) = (Vec::new(), Vec::new());
    bencher.bench_local(|| {
        text.clear();
        frames.clear();
        protocol::write_update(&mut text, black_box(&update));
        frame::write_text(&mut frames, &text);
    });
}

#[divan::bench]
fn shake_hands(bencher: Bencher<'_, '_>) {
    let site = Site {
        feeds: vec!["/".to_owned()],
        ..Site::default()
    };
    let request = b"GET / HTTP/1.1\r\nHost: push.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
        Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nSec-WebSocket-Version: 13\r\nOrigin: https://example.org\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\r\n";
    let mut response = Vec::new();
    bencher.bench_local(|| {
        response.clear();
        http::respond(&site, black_box(request), Room::Free, 0, &mut response)
    });
}
