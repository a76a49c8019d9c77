//! RFC 8446's rules for records, one test each. The peer is another record layer with the keys
//! swapped; `crate::secure` has rustls on the other side.

use std::collections::HashSet;

use super::*;

const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

fn secret(byte: u8) -> Secret {
    let mut secret = Secret::default();
    assert!(secret.set(&[byte; 48]));
    secret
}

/// A server and its client.
fn pair(suite: Suite) -> (Records, Records) {
    let (one, other) = (secret(1), secret(2));
    let (mut server, mut client) = (Records::default(), Records::default());
    server.install(suite, (&one, 0), (&other, 0));
    client.install(suite, (&other, 0), (&one, 0));
    (server, client)
}

/// What the server makes of the records in `bytes`: the data, and how the last record ended.
fn open_all(server: &mut Records, mut bytes: &[u8]) -> (Vec<u8>, Result<Opened, Alert>) {
    let mut plain = Vec::new();
    let mut last = Ok(Opened::Data);
    while !bytes.is_empty() {
        last = match find(bytes) {
            Ok(Some(length)) => {
                let (record, rest) = bytes.split_at(length);
                bytes = rest;
                server.open(record, &mut plain)
            }
            Ok(None) => panic!("an incomplete record"),
            Err(alert) => Err(alert),
        };
        if last.is_err() {
            break;
        }
    }
    (plain, last)
}

/// A record of the client's with this content, whatever the rules say.
fn record(client: &mut Records, content: u8, message: &[u8], padding: usize) -> Vec<u8> {
    let mut output = Vec::new();
    client.seal_anything(content, message, padding, &mut output);
    output
}

fn refused(content: u8, message: &[u8], padding: usize) -> Alert {
    let (mut server, mut client) = pair(Suite::Aes128Gcm);
    let bytes = record(&mut client, content, message, padding);
    let (plain, result) = open_all(&mut server, &bytes);
    assert_eq!(plain, b"", "nothing of a wrong record is handed on");
    result.unwrap_err()
}

#[test]
fn what_one_side_seals_the_other_opens_in_each_suite() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        for length in [1, 2, 126, DATA_BYTES_MAX] {
            let data = vec![7; length];
            let mut sealed = Vec::new();
            assert_eq!(client.seal(&data, &mut sealed), length);
            assert_eq!(open_all(&mut server, &sealed).0, data);
        }
    }
}

#[test]
fn a_record_holds_16_kib_at_most() {
    let (mut server, mut client) = pair(Suite::Aes128Gcm);
    let data = vec![1; DATA_BYTES_MAX + 1];
    let mut sealed = Vec::new();
    assert_eq!(server.seal(&data, &mut sealed), DATA_BYTES_MAX);
    assert_eq!(find(&sealed), Ok(Some(sealed.len())));
    assert_eq!(open_all(&mut client, &sealed).0.len(), DATA_BYTES_MAX);
}

/// AES-GCM and ChaCha20-Poly1305 seal the same bytes to the same bytes where the nonce is the same.
#[test]
fn a_nonce_is_never_used_twice() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        let mut seen = HashSet::new();
        let mut sealed = Vec::new();
        for at in 0..2_000 {
            sealed.clear();
            if at % 500 == 250 {
                let request = record(&mut client, 22, &[24, 0, 0, 1, 1], 0);
                client.change_keys();
                assert!(open_all(&mut server, &request).1.is_ok());
            }
            server.seal(b"the same", &mut sealed);
            let last = &sealed[sealed.len() - (HEADER_BYTES + 8 + 1 + TAG_BYTES)..];
            assert!(seen.insert(last.to_vec()), "{suite:?}: record {at}");
        }
    }
}

#[test]
fn padding_is_taken_off() {
    let (mut server, mut client) = pair(Suite::ChaCha20Poly1305);
    let bytes = record(&mut client, 23, b"data\0\0", 300);
    assert_eq!(open_all(&mut server, &bytes).0, b"data\0\0");
}

#[test]
fn a_record_of_padding_alone_is_unexpected() {
    assert_eq!(refused(0, b"", 20), Alert::UnexpectedMessage);
}

#[test]
fn a_record_that_is_too_long_is_an_overflow() {
    assert_eq!(
        refused(23, &[1; DATA_BYTES_MAX + 1], 0),
        Alert::RecordOverflow
    );
    assert_eq!(refused(23, b"", DATA_BYTES_MAX + 1), Alert::RecordOverflow);
    let longest = (SEALED_BYTES_MAX as u16).to_be_bytes();
    assert_eq!(find(&[23, 3, 3, longest[0], longest[1]]), Ok(None));
    assert_eq!(
        find(&[23, 3, 3, longest[0], longest[1] + 1]),
        Err(Alert::RecordOverflow)
    );
}

#[test]
fn records_of_other_types_are_unexpected() {
    for content in [20, 21, 22, 24, 0x47] {
        assert_eq!(
            find(&[content, 3, 3, 0, 1, 1]),
            Err(Alert::UnexpectedMessage)
        );
    }
    assert_eq!(refused(20, &[1], 0), Alert::UnexpectedMessage);
    assert_eq!(refused(24, b"heartbeat", 0), Alert::UnexpectedMessage);
}

#[test]
fn a_record_that_was_changed_has_a_bad_mac() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        let mut sealed = Vec::new();
        client.seal(b"data", &mut sealed);
        for at in [HEADER_BYTES, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let (mut server, _) = pair(suite);
            assert_eq!(
                open_all(&mut server, &changed),
                (Vec::new(), Err(Alert::BadRecordMac))
            );
        }
        assert_eq!(open_all(&mut server, &sealed).0, b"data");
        assert_eq!(
            open_all(&mut server, &sealed).1,
            Err(Alert::BadRecordMac),
            "the same record again"
        );
        assert_eq!(find(&[23, 3, 3, 0, 16]), Ok(None));
        let short = [23, 3, 3, 0, 1, 1];
        assert_eq!(open_all(&mut server, &short).1, Err(Alert::BadRecordMac));
    }
}

#[test]
fn empty_records_without_end_are_unexpected() {
    let (mut server, mut client) = pair(Suite::Aes128Gcm);
    for _ in 0..2 {
        for _ in 0..IDLE_RECORDS_MAX {
            let bytes = record(&mut client, 23, b"", 0);
            assert_eq!(
                open_all(&mut server, &bytes),
                (Vec::new(), Ok(Opened::Data))
            );
        }
        let bytes = record(&mut client, 23, b"data", 0);
        assert_eq!(open_all(&mut server, &bytes).0, b"data");
    }
    for at in 0..=IDLE_RECORDS_MAX {
        let bytes = record(&mut client, 23, b"", 0);
        let expected = if at < IDLE_RECORDS_MAX {
            Ok(Opened::Data)
        } else {
            Err(Alert::UnexpectedMessage)
        };
        assert_eq!(open_all(&mut server, &bytes).1, expected);
    }
}

#[test]
fn key_updates_without_end_are_unexpected() {
    let (mut server, mut client) = pair(Suite::Aes128Gcm);
    for at in 0..=IDLE_RECORDS_MAX {
        let bytes = record(&mut client, 22, &[24, 0, 0, 1, 0], 0);
        client.change_keys();
        let expected = if at < IDLE_RECORDS_MAX {
            Ok(Opened::Data)
        } else {
            Err(Alert::UnexpectedMessage)
        };
        assert_eq!(open_all(&mut server, &bytes).1, expected);
    }
}

#[test]
fn a_key_update_changes_the_keys_of_its_direction_only() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        let bytes = record(&mut client, 22, &[24, 0, 0, 1, 0], 0);
        client.change_keys();
        assert_eq!(open_all(&mut server, &bytes).1, Ok(Opened::Data));
        let mut sealed = Vec::new();
        client.seal(b"behind", &mut sealed);
        assert_eq!(open_all(&mut server, &sealed).0, b"behind");
        sealed.clear();
        server.seal(b"answer", &mut sealed);
        assert_eq!(open_all(&mut client, &sealed).0, b"answer");
        assert_eq!(client.read.sequence(), 1, "no key update was asked for");
    }
}

#[test]
fn key_updates_that_ask_for_one_are_answered_once_before_the_next_data() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        assert!(!server.owes_key_update());
        for _ in 0..3 {
            let bytes = record(&mut client, 22, &[24, 0, 0, 1, 1], 0);
            client.change_keys();
            assert_eq!(open_all(&mut server, &bytes).1, Ok(Opened::Data));
            assert!(server.owes_key_update());
        }
        let mut sealed = Vec::new();
        server.seal(b"data", &mut sealed);
        let first = find(&sealed).unwrap().unwrap();
        assert_eq!(open_all(&mut client, &sealed[..first]).1, Ok(Opened::Data));
        assert_eq!(client.read.sequence(), 0, "the client has changed its keys");
        assert_eq!(open_all(&mut client, &sealed[first..]).0, b"data");
        sealed.clear();
        assert_eq!(server.seal(b"", &mut sealed), 0);
        assert_eq!(sealed, b"", "one is enough");
        assert!(!server.owes_key_update());
    }
}

#[test]
fn a_key_update_may_come_in_pieces_with_nothing_between_them() {
    let (mut server, mut client) = pair(Suite::Aes256Gcm);
    for piece in [&[24][..], &[0, 0], &[1, 1]] {
        let bytes = record(&mut client, 22, piece, 0);
        assert!(open_all(&mut server, &bytes).1.is_ok());
    }
    client.change_keys();
    let mut sealed = Vec::new();
    client.seal(b"behind", &mut sealed);
    assert_eq!(open_all(&mut server, &sealed).0, b"behind");

    for (content, between) in [(23, &b"data"[..]), (23, b""), (21, &[1, 90])] {
        let (mut server, mut client) = pair(Suite::Aes256Gcm);
        let mut bytes = record(&mut client, 22, &[24], 0);
        bytes.extend(record(&mut client, content, between, 0));
        assert_eq!(
            open_all(&mut server, &bytes),
            (Vec::new(), Err(Alert::UnexpectedMessage))
        );
    }
}

#[test]
fn wrong_handshake_messages_get_the_alert_that_says_why() {
    for (message, alert) in [
        (&[][..], Alert::UnexpectedMessage),
        (&[1, 0, 0, 0], Alert::UnexpectedMessage),
        (&[4, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (&[24, 0, 0, 1, 2], Alert::IllegalParameter),
        (&[24, 0, 0, 2, 0, 0], Alert::DecodeError),
        (&[24, 1, 0, 1, 0], Alert::DecodeError),
        (&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (&[24, 0, 0, 1, 0, 24], Alert::UnexpectedMessage),
    ] {
        assert_eq!(refused(22, message, 0), alert, "{message:?}");
    }
}

#[test]
fn alerts_end_what_they_say() {
    for (message, expected) in [
        (&[1, 0][..], Ok(Opened::Closed)),
        (&[2, 0], Ok(Opened::Closed)),
        (&[1, 90], Ok(Opened::Data)),
        (&[2, 46], Ok(Opened::Failed(46))),
        (&[1, 46], Ok(Opened::Failed(46))),
        (&[][..], Err(Alert::UnexpectedMessage)),
        (&[1], Err(Alert::DecodeError)),
        (&[1, 0, 0], Err(Alert::DecodeError)),
    ] {
        let (mut server, mut client) = pair(Suite::Aes128Gcm);
        let bytes = record(&mut client, 21, message, 0);
        assert_eq!(open_all(&mut server, &bytes), (Vec::new(), expected));
    }
}

#[test]
fn nothing_is_sealed_after_an_alert() {
    let (mut server, mut client) = pair(Suite::Aes128Gcm);
    let request = record(&mut client, 22, &[24, 0, 0, 1, 1], 0);
    assert!(open_all(&mut server, &request).1.is_ok());
    let mut sealed = Vec::new();
    server.close(Alert::CloseNotify, &mut sealed);
    server.close(Alert::DecodeError, &mut sealed);
    assert!(!server.owes_key_update());
    assert_eq!(server.seal(b"data", &mut sealed), 4, "it is dropped");
    assert_eq!(open_all(&mut client, &sealed).1, Ok(Opened::Closed));
    assert_eq!(server.keys().1.sequence(), 1);
}

#[test]
fn nothing_is_sealed_without_secrets() {
    let (mut server, _) = pair(Suite::Aes128Gcm);
    server.wipe();
    let (read, write) = server.keys();
    for keys in [read, write] {
        assert!(keys.is(Suite::Aes128Gcm, &[0; 16], &[0; 12]));
    }
    let mut sealed = Vec::new();
    assert_eq!(server.seal(b"data", &mut sealed), 4, "it is dropped");
    server.close(Alert::CloseNotify, &mut sealed);
    assert_eq!(sealed, b"");
}

#[test]
fn keys_are_changed_before_they_have_sealed_too_much() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        server.write.skip_to(RECORDS_PER_KEY - 1);
        client.read.skip_to(RECORDS_PER_KEY - 1);
        let mut sealed = Vec::new();
        server.seal(b"the last", &mut sealed);
        server.seal(b"the first", &mut sealed);
        assert_eq!(server.keys().1.sequence(), 1);
        assert_eq!(open_all(&mut client, &sealed).0, b"the lastthe first");
        assert_eq!(client.keys().0.sequence(), 1);
    }
}

#[test]
fn an_idle_client_is_two_directions_and_little_more() {
    assert!(size_of::<Records>() <= 216, "{}", size_of::<Records>());
}
