//! WebSocket frames over real sockets: what RFC 6455 forbids, and what it allows and few clients
//! do.

mod support;

use support::client::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Frame, PING, PONG, TEXT, close, frame, header, text,
    unmasked,
};
use support::server::Server;

const SUBSCRIPTIONS: &str = r#"{"command":"subscriptions"}"#;
const NONE_SUBSCRIBED: &str = r#"{"command":"subscriptions","result":"ok","bugs":[]}"#;

/// The message with its last bytes left out of the masked payload: a header that announces more
/// than comes.
fn announced(first: u8, length: u64) -> Vec<u8> {
    [header(first, 0x80, length), vec![0; 4]].concat()
}

/// Text in fragments, one per part.
fn fragments(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let last = parts.len() - 1;
    let first_byte =
        |at: usize| if at == 0 { TEXT } else { CONTINUATION } | if at == last { FIN } else { 0 };
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| frame(first_byte(at), part))
        .collect()
}

/// Each fault, and the code that the server closes with.
fn faults() -> Vec<(&'static str, Vec<u8>, u16)> {
    let ok = SUBSCRIPTIONS.as_bytes();
    let begun = frame(TEXT, b"{\"comm");
    let after_begun = |bytes: Vec<u8>| [begun.clone(), bytes].concat();
    let two_bytes_of_three = &[b'"', 0xe2, 0x82];
    vec![
        ("text that is not masked", unmasked(FIN | TEXT, ok), 1002),
        ("a ping that is not masked", unmasked(FIN | PING, b""), 1002),
        (
            "a close that is not masked",
            unmasked(FIN | CLOSE, &1000_u16.to_be_bytes()),
            1002,
        ),
        (
            "the header of text that is not masked",
            header(FIN | TEXT, 0, 100),
            1002,
        ),
        ("RSV1", frame(FIN | 0x40 | TEXT, ok), 1002),
        ("RSV2", frame(FIN | 0x20 | TEXT, ok), 1002),
        ("RSV3", frame(FIN | 0x10 | TEXT, ok), 1002),
        ("RSV1 in a ping", frame(FIN | 0x40 | PING, b""), 1002),
        (
            "RSV1 in a continuation",
            after_begun(frame(FIN | 0x40 | CONTINUATION, b"")),
            1002,
        ),
        (
            "the header of a frame with RSV1",
            announced(FIN | 0x40 | TEXT, 100),
            1002,
        ),
        ("opcode 3", frame(FIN | 3, ok), 1002),
        ("opcode 7", frame(FIN | 7, b""), 1002),
        ("opcode 11", frame(FIN | 11, b""), 1002),
        ("opcode 15", frame(FIN | 15, b""), 1002),
        ("the header of opcode 3", announced(FIN | 3, 100), 1002),
        ("a ping in fragments", frame(PING, b"x"), 1002),
        ("a close in fragments", frame(CLOSE, b""), 1002),
        ("a ping of 126 bytes", frame(FIN | PING, &[b'x'; 126]), 1002),
        ("a pong of 126 bytes", frame(FIN | PONG, &[b'x'; 126]), 1002),
        ("a close of 126 bytes", frame(FIN | CLOSE, &[3; 126]), 1002),
        (
            "the header of a ping of 126 bytes",
            announced(FIN | PING, 126),
            1002,
        ),
        (
            "a continuation of nothing",
            frame(FIN | CONTINUATION, ok),
            1002,
        ),
        (
            "a continuation of what is complete",
            [text("x"), frame(CONTINUATION, ok)].concat()[text("x").len()..].to_vec(),
            1002,
        ),
        (
            "a message within a message",
            after_begun(text(SUBSCRIPTIONS)),
            1002,
        ),
        (
            "a fragment that begins within a message",
            after_begun(frame(BINARY, b"x")),
            1002,
        ),
        ("text that is no UTF-8", text(b"\"\xff\""), 1007),
        (
            "text that ends within a character",
            text(two_bytes_of_three),
            1007,
        ),
        ("text with a surrogate", text(b"\"\xed\xa0\x80\""), 1007),
        (
            "text with an overlong character",
            text(b"\"\xc0\xaf\""),
            1007,
        ),
        ("text beyond Unicode", text(b"\"\xf4\x90\x80\x80\""), 1007),
        (
            "a fragment that is no UTF-8",
            fragments(&[b"\"", b"\xff\""]).concat(),
            1007,
        ),
        (
            "a character that is cut by fragments and goes wrong",
            fragments(&[two_bytes_of_three, b"\x28\""]).concat(),
            1007,
        ),
        (
            "a character that is cut by the end",
            fragments(&[b"\"", two_bytes_of_three]).concat(),
            1007,
        ),
        (
            "a message of 256 KiB and a byte",
            text(vec![b' '; 256 * 1024 + 1]),
            1009,
        ),
        (
            "the header of a message of 256 KiB and a byte",
            announced(FIN | TEXT, 256 * 1024 + 1),
            1009,
        ),
        (
            "the header of a message of 2^63 bytes",
            announced(FIN | TEXT, 1 << 63),
            1009,
        ),
        (
            "the header of a message of 2^64 - 1 bytes",
            announced(FIN | BINARY, u64::MAX),
            1009,
        ),
        (
            "fragments of 256 KiB and a byte",
            fragments(&[&[b' '; 128 * 1024], &[b' '; 128 * 1024], b" "]).concat(),
            1009,
        ),
        (
            "binary fragments of 256 KiB and a byte",
            [frame(BINARY, &[b' '; 256 * 1024]), frame(FIN, b" ")].concat(),
            1009,
        ),
        ("a close of one byte", frame(FIN | CLOSE, &[3]), 1002),
        (
            "a close whose reason is no UTF-8",
            frame(FIN | CLOSE, &[3, 232, 0xff]),
            1007,
        ),
        ("a close with code 0", close(0, ""), 1002),
        ("a close with code 999", close(999, ""), 1002),
        ("a close with code 1004", close(1004, ""), 1002),
        ("a close with code 1005", close(1005, ""), 1002),
        ("a close with code 1006", close(1006, ""), 1002),
        ("a close with code 1015", close(1015, ""), 1002),
        ("a close with code 1016", close(1016, ""), 1002),
        ("a close with code 2999", close(2999, ""), 1002),
        ("a close with code 5000", close(5000, ""), 1002),
        ("a close with code 65535", close(65535, ""), 1002),
    ]
}

#[test]
fn each_fault_is_closed_with_its_code() {
    let server = Server::start(&[]);
    for (fault, bytes, code) in faults() {
        println!("{fault}");
        let mut client = server.connect();
        client.send(bytes);
        client.expect_close(Some(code));
    }
}

#[test]
fn what_was_asked_before_a_fault_is_answered_before_the_close() {
    let server = Server::start(&[]);
    for (fault, bytes, code) in faults() {
        println!("{fault}");
        let mut client = server.connect();
        client.send([text(SUBSCRIPTIONS), bytes].concat());
        assert_eq!(client.hear(), NONE_SUBSCRIBED);
        client.expect_close(Some(code));
    }
}

#[test]
fn the_close_can_be_read_however_much_was_sent_after_the_fault() {
    let server = Server::start(&[]);
    for (fault, bytes, code) in faults() {
        println!("{fault}");
        let mut client = server.connect();
        // At once, since a server may well be gone when a client that has closed goes on later.
        client.send([bytes, vec![0; 1024 * 1024]].concat());
        client.expect_close(Some(code));
    }
}

#[test]
fn a_fault_may_come_in_single_bytes() {
    let server = Server::start(&[]);
    for (fault, bytes, code) in faults()
        .into_iter()
        .filter(|(_, bytes, _)| bytes.len() < 1_000)
    {
        println!("{fault}");
        let mut client = server.connect();
        for byte in bytes {
            if client.try_send([byte]).is_err() {
                break;
            }
        }
        client.expect_close(Some(code));
    }
}

#[test]
fn a_close_is_answered_with_its_own_code() {
    let server = Server::start(&[]);
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        for reason in ["", "the client has had enough", &"x".repeat(123)] {
            let mut client = server.connect();
            client.send(close(code, reason));
            client.expect_close(Some(code));
        }
    }
    let mut client = server.connect();
    client.send(frame(FIN | CLOSE, b""));
    client.expect_close(None);
}

#[test]
fn nothing_that_follows_a_close_is_read_and_nothing_is_in_its_way() {
    let server = Server::start(&[]);
    for garbage in [0, 1_000, 60_000, 1024 * 1024] {
        let mut client = server.connect();
        client.send(
            [
                text(SUBSCRIPTIONS),
                close(4321, ""),
                text(SUBSCRIPTIONS),
                vec![0xff; garbage],
            ]
            .concat(),
        );
        assert_eq!(client.hear(), NONE_SUBSCRIBED);
        client.expect_close(Some(4321));
    }
}

#[test]
fn a_close_within_a_fragmented_message_is_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send([frame(TEXT, b"{"), close(1001, "bye")].concat());
    client.expect_close(Some(1001));
}

#[test]
fn a_client_that_leaves_without_a_close_gets_its_answers() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(
        [
            text(SUBSCRIPTIONS),
            text(SUBSCRIPTIONS),
            frame(TEXT, b"half a mess"),
        ]
        .concat(),
    );
    client.shut_down();
    assert_eq!(
        (client.hear(), client.hear()),
        (NONE_SUBSCRIBED.to_owned(), NONE_SUBSCRIBED.to_owned())
    );
    assert!(client.rest_of_frames().is_empty());
}

#[test]
fn binary_frames_that_hold_json_are_read_and_answered_in_text() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(frame(FIN | BINARY, SUBSCRIPTIONS.as_bytes()));
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
    client.send(
        [
            frame(BINARY, b"{\"command\":"),
            frame(FIN | CONTINUATION, b"\"subscriptions\"}"),
        ]
        .concat(),
    );
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
    client.send(frame(FIN | BINARY, b"\xff\xfe"));
    assert_eq!(
        client.hear(),
        r#"{"command":null,"result":"error","error":"invalid JSON"}"#
    );
}

#[test]
fn a_message_may_come_in_any_fragments_with_pings_in_between() {
    let server = Server::start(&[]);
    let message = "{\"command\":\"caf\u{e9} \u{1f41b}\"}".as_bytes();
    let reply =
        "{\"command\":\"caf\u{e9} \u{1f41b}\",\"result\":\"error\",\"error\":\"invalid command\"}";
    let pong = |payload: &str| Frame {
        first: FIN | PONG,
        payload: payload.as_bytes().to_vec(),
    };
    for size in 1..=message.len() {
        let parts: Vec<&[u8]> = message.chunks(size).chain([b"".as_slice()]).collect();
        let mut client = server.connect();
        for fragment in fragments(&parts) {
            client.send([fragment, frame(FIN | PONG, b"unasked")].concat());
        }
        assert_eq!(client.hear(), reply);
        // The same with a ping behind each fragment but the last.
        let mut all: Vec<u8> = fragments(&parts)
            .into_iter()
            .flat_map(|fragment| [fragment, frame(FIN | PING, b"!")].concat())
            .collect();
        all.truncate(all.len() - frame(FIN | PING, b"!").len());
        client.send(&all);
        for _ in 1..parts.len() {
            assert_eq!(client.frame(), pong("!"));
        }
        assert_eq!(client.hear(), reply);
    }
}

#[test]
fn a_message_may_come_in_single_bytes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let bytes = [
        fragments(&[b"{\"command\":", b"\"subscriptions", b"\"}"]).concat(),
        frame(FIN | PING, b"?"),
        text(SUBSCRIPTIONS),
    ]
    .concat();
    for byte in bytes {
        client.send([byte]);
    }
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
    assert_eq!(
        client.frame(),
        Frame {
            first: FIN | PONG,
            payload: b"?".to_vec()
        }
    );
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
}

#[test]
fn a_message_may_be_as_large_as_the_limit() {
    let server = Server::start(&[]);
    let padded = SUBSCRIPTIONS.to_owned() + &" ".repeat(256 * 1024 - SUBSCRIPTIONS.len());
    let mut client = server.connect();
    assert_eq!(client.ask(&padded), NONE_SUBSCRIBED);
    let parts: Vec<&[u8]> = padded.as_bytes().chunks(50_000).collect();
    for fragment in fragments(&parts) {
        client.send(fragment);
    }
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
}

#[test]
fn a_length_may_be_written_longer_than_needed() {
    // RFC 6455 forbids it to the sender only, and no server that we know minds.
    let server = Server::start(&[]);
    let message = frame(FIN | TEXT, SUBSCRIPTIONS.as_bytes());
    let length = SUBSCRIPTIONS.len() as u8;
    let mut client = server.connect();
    client.send([&[message[0], 0x80 | 126, 0, length], &message[2..]].concat());
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
    client.send(
        [
            &[message[0], 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, length],
            &message[2..],
        ]
        .concat(),
    );
    assert_eq!(client.hear(), NONE_SUBSCRIBED);
}

#[test]
fn each_ping_is_answered_in_its_place() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let payload = |at: usize| vec![at as u8; at % 126];
    let all: Vec<u8> = (0..450)
        .flat_map(|at| [frame(FIN | PING, &payload(at)), text(SUBSCRIPTIONS)].concat())
        .collect();
    client.send(all);
    for at in 0..450 {
        assert_eq!(
            client.frame(),
            Frame {
                first: FIN | PONG,
                payload: payload(at)
            }
        );
        assert_eq!(client.hear(), NONE_SUBSCRIBED);
    }
}

#[test]
fn a_flood_of_pings_is_too_many_messages() {
    let server = Server::start(&[]);
    for flood in [
        frame(FIN | PING, b""),
        frame(FIN | PONG, b""),
        frame(TEXT, b""),
        text(SUBSCRIPTIONS),
    ] {
        let mut client: Client = server.connect();
        // The fault of a second message within the first would come sooner.
        let continued = if flood[0] == TEXT {
            frame(CONTINUATION, b"")
        } else {
            flood.clone()
        };
        // 100 per second are allowed beyond the 1,000 at once.
        let sent = [flood, continued.repeat(60_000)].concat();
        let _ = client.try_send(sent);
        let frames = client.rest_of_frames();
        let close = frames.last().unwrap();
        assert_eq!(
            (close.first, &close.payload[..2]),
            (FIN | CLOSE, 1008_u16.to_be_bytes().as_slice()),
            "{close:?}"
        );
        assert!(
            frames.len() == 1 || frames.len() > 1_000,
            "{}",
            frames.len()
        );
    }
}
