//! What RFC 6455 says that a server must do: whom it must not let in, what it must not take, and what
//! it must answer. The sections stand in the names.

use serde_json::json;

use super::play::HANDSHAKE;
use super::script::{Awaited, Script};
use super::wire::{
    BINARY, CLOSE, CONTINUATION, FIN, KEY, PING, PONG, TEXT, announced, close, close_payload,
    fragments, frame, header, text, unmasked,
};
use super::{Check, Group};

/// The codes by which a connection may be failed: section 7.4.1. A server may also just end it.
const FAILED: &[u16] = &[1002, 1003, 1007, 1008, 1009];

const SUBSCRIPTIONS: &str = r#"{"command":"subscriptions"}"#;

pub(super) fn checks() -> Vec<Check> {
    let refused = refused().into_iter().map(|(name, request)| {
        let script = Script::bare().send(request).wait_for(Awaited::Refused);
        (format!("4.2.1: {name} is refused"), script)
    });
    let accepted = accepted().into_iter().map(|(name, request)| {
        let accepted = Awaited::Accepted { protocol: None };
        let script = Script::bare().send(request).wait_for(accepted);
        (format!("4.2.1: {name} is accepted"), script)
    });
    let faults = faults().into_iter().map(|(name, bytes)| {
        let failed = Awaited::Closed {
            codes: FAILED,
            is_needed: false,
        };
        let script = Script::open().send(bytes).wait_for(failed);
        (format!("{name} ends the connection"), script)
    });
    let answered = answered().into_iter();
    let answered = answered.map(|(name, script)| (name.to_owned(), script));
    let all = refused.chain(accepted).chain(faults).chain(answered);
    all.map(|(name, script)| Check::new(Group::Rfc6455, name, script))
        .collect()
}

fn handshake_with(from: &str, to: &str) -> String {
    debug_assert!(HANDSHAKE.contains(from));
    HANDSHAKE.replacen(from, to, 1)
}

/// Handshakes that are none.
fn refused() -> Vec<(&'static str, String)> {
    let key_field = format!("Sec-WebSocket-Key: {KEY}\r\n");
    vec![
        ("a handshake without a Host", handshake_with("{host}", "")),
        ("a handshake with a POST", handshake_with("GET", "POST")),
        (
            "a handshake by HTTP/1.0",
            handshake_with("HTTP/1.1", "HTTP/1.0"),
        ),
        (
            "a handshake whose Connection is no Upgrade",
            handshake_with("Connection: Upgrade", "Connection: keep-alive"),
        ),
        ("a handshake without a key", handshake_with(&key_field, "")),
        (
            "a handshake with two keys",
            handshake_with(&key_field, &key_field.repeat(2)),
        ),
        ("a key of no bytes", handshake_with(KEY, "")),
        ("a key of five bytes", handshake_with(KEY, "c2hvcnQ=")),
        (
            "a key of twenty-four bytes",
            handshake_with(KEY, "dGhlIHNhbXBsZSBub25jZSB0aGF0IGlzIGxvbmc="),
        ),
        (
            "a key that is no base64",
            handshake_with(KEY, "not base64 at all!!!!!=="),
        ),
        ("version 8", handshake_with("Version: 13", "Version: 8")),
        (
            "a handshake without a version",
            handshake_with("Sec-WebSocket-Version: 13\r\n", ""),
        ),
    ]
}

/// Handshakes that are right, though few clients write them so.
fn accepted() -> Vec<(&'static str, String)> {
    let offers = "\r\nSec-WebSocket-Protocol: chat\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    vec![
        ("the handshake of the RFC's example", HANDSHAKE.to_owned()),
        (
            "a Connection with more than Upgrade",
            handshake_with("Connection: Upgrade", "connection: keep-alive , upgrade"),
        ),
        (
            "an Upgrade in another case",
            handshake_with("Upgrade: websocket", "upgrade: WebSocket"),
        ),
        (
            "a handshake whose offers can be left alone",
            handshake_with("\r\n\r\n", offers),
        ),
        (
            "a field that nobody knows",
            handshake_with("\r\n\r\n", "\r\nX-Unknown: yes\r\n\r\n"),
        ),
    ]
}

/// Frames that are none.
fn faults() -> Vec<(&'static str, Vec<u8>)> {
    let ok = SUBSCRIPTIONS.as_bytes();
    let begun = frame(TEXT, b"{\"comm");
    let after_begun = |bytes: Vec<u8>| [begun.clone(), bytes].concat();
    let cut = &[b'"', 0xe2, 0x82];
    let control = |opcode| frame(FIN | opcode, &[b'x'; 126]);
    vec![
        ("5.1: text that is not masked", unmasked(FIN | TEXT, ok)),
        ("5.1: a ping that is not masked", unmasked(FIN | PING, b"")),
        (
            "5.1: a close that is not masked",
            unmasked(FIN | CLOSE, &close_payload(1000, "")),
        ),
        ("5.2: RSV1", frame(FIN | 0x40 | TEXT, ok)),
        ("5.2: RSV2", frame(FIN | 0x20 | TEXT, ok)),
        ("5.2: RSV3", frame(FIN | 0x10 | TEXT, ok)),
        ("5.2: RSV1 in a ping", frame(FIN | 0x40 | PING, b"")),
        (
            "5.2: RSV1 in a continuation",
            after_begun(frame(FIN | 0x40 | CONTINUATION, b"")),
        ),
        ("5.2: opcode 3", frame(FIN | 3, ok)),
        ("5.2: opcode 7", frame(FIN | 7, b"")),
        ("5.2: opcode 11", frame(FIN | 11, b"")),
        ("5.2: opcode 15", frame(FIN | 15, b"")),
        (
            "5.2: a length of 2^64 - 1",
            announced(FIN | BINARY, u64::MAX),
        ),
        (
            "5.4: a continuation of nothing",
            frame(FIN | CONTINUATION, ok),
        ),
        (
            "5.4: a message within a message",
            after_begun(text(SUBSCRIPTIONS)),
        ),
        (
            "5.4: a fragment that begins within a message",
            after_begun(frame(BINARY, b"x")),
        ),
        ("5.5: a ping in fragments", frame(PING, b"x")),
        ("5.5: a close in fragments", frame(CLOSE, b"")),
        ("5.5: a ping of 126 bytes", control(PING)),
        ("5.5: a pong of 126 bytes", control(PONG)),
        ("5.5: a close of 126 bytes", frame(FIN | CLOSE, &[3; 126])),
        ("5.5.1: a close of one byte", frame(FIN | CLOSE, &[3])),
        (
            "5.5.1: a close whose reason is no UTF-8",
            frame(FIN | CLOSE, &[3, 232, 0xff]),
        ),
        ("7.4: a close with code 0", close(0, "")),
        ("7.4: a close with code 999", close(999, "")),
        ("7.4.1: a close with code 1005", close(1005, "")),
        ("7.4.1: a close with code 1006", close(1006, "")),
        ("7.4.1: a close with code 1015", close(1015, "")),
        ("7.4: a close with code 65535", close(65_535, "")),
        ("8.1: text that is no UTF-8", text(b"\"\xff\"")),
        ("8.1: text that ends within a character", text(cut)),
        ("8.1: text with a surrogate", text(b"\"\xed\xa0\x80\"")),
        (
            "8.1: text with an overlong character",
            text(b"\"\xc0\xaf\""),
        ),
        ("8.1: text beyond Unicode", text(b"\"\xf4\x90\x80\x80\"")),
        (
            "8.1: a fragment that is no UTF-8",
            fragments(&[b"\"", b"\xff\""]),
        ),
        (
            "8.1: a character that fragments cut and that goes wrong",
            fragments(&[cut, b"\x28\""]),
        ),
    ]
}

/// What must be answered, and how.
fn answered() -> Vec<(&'static str, Script)> {
    let none = json!({"command": "subscriptions", "result": "ok", "bugs": []});
    let wrong_version = handshake_with("Version: 13", "Version: 8");
    let told = Awaited::Response {
        status: 426,
        fields: &[("Sec-WebSocket-Version", "13")],
    };
    let ping = |payload: &[u8]| frame(FIN | PING, payload);
    let pong = |payload: &[u8]| Awaited::Pong(payload.to_vec());
    let payload = [b'p'; 125];
    let parts: &[&[u8]] = &[b"{\"command\"", b":", b"\"subscriptions\"}"];
    let in_between = [
        frame(TEXT, parts[0]),
        ping(b"between"),
        frame(CONTINUATION, parts[1]),
        frame(FIN | CONTINUATION, parts[2]),
    ];
    let long_header = [
        vec![FIN | PING, 0x80],
        vec![0; 4],
        vec![FIN | TEXT, 0x80 | 126],
        (SUBSCRIPTIONS.len() as u16).to_be_bytes().to_vec(),
        vec![0; 4],
        SUBSCRIPTIONS.into(),
    ];
    vec![
        (
            "4.4: another version is told which one is spoken",
            Script::bare().send(wrong_version).wait_for(told),
        ),
        (
            "5.5.2: a ping is answered with its payload",
            Script::open().send(ping(&payload)).wait_for(pong(&payload)),
        ),
        (
            "5.5.2: an empty ping is answered",
            Script::open().send(ping(b"")).wait_for(pong(b"")),
        ),
        (
            "5.5.3: a pong that nobody asked for is passed over",
            Script::open()
                .send(frame(FIN | PONG, b"x"))
                .say(SUBSCRIPTIONS)
                .hear(none.clone()),
        ),
        (
            "5.4: a message may come in fragments",
            Script::open().send(fragments(parts)).hear(none.clone()),
        ),
        (
            "5.4: a ping may stand between fragments",
            Script::open()
                .send(in_between.concat())
                .wait_for(pong(b"between"))
                .hear(none.clone()),
        ),
        (
            "5.2: a length of 16 bits is read",
            Script::open()
                .send(long_header.concat())
                .wait_for(pong(b""))
                .hear(none.clone()),
        ),
        (
            "5.2: a length of 64 bits is read",
            Script::open().send(long_text()).hear(none.clone()),
        ),
        (
            "5.5.1: a close is answered with its code",
            Script::open()
                .send(close(1000, "bye"))
                .wait_for(Awaited::Echo(close_payload(1000, ""))),
        ),
        (
            "7.4.2: a close with a code of its own is answered with it",
            Script::open()
                .send(close(4999, ""))
                .wait_for(Awaited::Echo(close_payload(4999, ""))),
        ),
        (
            "5.5.1: an empty close is answered with an empty one",
            Script::open()
                .send(frame(FIN | CLOSE, b""))
                .wait_for(Awaited::Echo(Vec::new())),
        ),
        (
            "5.5.1: a close within a fragmented message is answered",
            Script::open()
                .send([frame(TEXT, b"x"), close(1001, "")].concat())
                .wait_for(Awaited::Echo(close_payload(1001, ""))),
        ),
        (
            "5.5.1: what was asked before a close is answered before it",
            Script::open()
                .say(SUBSCRIPTIONS)
                .send(close(1000, ""))
                .hear(none)
                .wait_for(Awaited::Echo(close_payload(1000, ""))),
        ),
    ]
}

/// A message of more than 64 KiB.
fn long_text() -> Vec<u8> {
    let text = format!("{SUBSCRIPTIONS}{}", " ".repeat(70_000));
    let mut bytes = header(FIN | TEXT, 0x80, text.len() as u64);
    bytes.extend([0; 4]);
    bytes.extend(text.as_bytes());
    bytes
}
