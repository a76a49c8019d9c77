//! What is just small enough, and what is not.

use super::super::limits::BODY_BYTES_MAX;
use super::*;

#[test]
fn a_head_may_be_as_long_as_the_setting_says() {
    let outcome = |head_bytes_max, request: &str| {
        let site = Site {
            head_bytes_max,
            ..site()
        };
        answered(&site, request, Room::Free).0
    };
    let bytes = UPGRADE.len();
    assert!(matches!(outcome(bytes, UPGRADE), Outcome::Upgraded { .. }));
    assert_eq!(
        outcome(bytes - 1, UPGRADE),
        Outcome::Refused(Refusal::HeadTooLarge(bytes - 1))
    );
    let incomplete = &UPGRADE[..bytes - 1];
    assert_eq!(outcome(bytes, incomplete), Outcome::Incomplete);
    assert_eq!(
        outcome(bytes - 1, incomplete),
        Outcome::Refused(Refusal::HeadTooLarge(bytes - 1))
    );
}

#[test]
fn a_head_may_have_a_hundred_fields() {
    let fields = |count: usize| {
        let fields = "X: y\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };
    let outcome = |request: &str| answered(&site(), request, Room::Free).0;
    assert_eq!(outcome(&fields(100)), Outcome::Answered);
    assert_eq!(
        outcome(&fields(101)),
        Outcome::Refused(Refusal::HeadTooLarge(HEAD_BYTES_MAX))
    );
}

#[test]
fn a_body_may_be_a_mebibyte_long() {
    let head = |length: usize| {
        format!(
            "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Key: secret\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let outcome = |length| answered(&site(), &head(length), Room::Free).0;
    assert_eq!(outcome(BODY_BYTES_MAX), Outcome::Receiving);
    assert_eq!(
        outcome(BODY_BYTES_MAX + 1),
        Outcome::Refused(Refusal::BodyTooLarge)
    );
}

#[test]
fn a_body_whose_end_is_not_clear_is_refused_with_what_is_wrong() {
    let refused = |version: &str, fields: &str| {
        let request =
            format!("POST /webhook {version}\r\nHost: a\r\nX-Key: secret\r\n{fields}\r\n0\r\n\r\n");
        match answered(&site(), &request, Room::Free).0 {
            Outcome::Refused(Refusal::BadRequest(why)) => why,
            other => panic!("{fields}: {other:?}"),
        }
    };
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for (version, fields, why) in [
        ("HTTP/1.1", [length, length], "twice"),
        ("HTTP/1.1", [length, chunked], "both"),
        ("HTTP/1.1", [chunked, chunked], "only chunked"),
        (
            "HTTP/1.1",
            ["Transfer-Encoding: gzip\r\n", ""],
            "only chunked",
        ),
        ("HTTP/1.0", [chunked, ""], "only chunked"),
    ] {
        let refused = refused(version, &fields.concat());
        assert!(refused.contains(why), "{fields:?}: {refused}");
    }
}

#[test]
fn a_request_names_its_host_once() {
    let refused = |hosts: &str| {
        let request = UPGRADE.replacen("Host: a\r\n", hosts, 1);
        match answered(&site(), &request, Room::Free).0 {
            Outcome::Refused(Refusal::BadRequest(why)) => why,
            other => panic!("{hosts}: {other:?}"),
        }
    };
    assert!(refused("").contains("missing"));
    assert!(refused("Host: a\r\nHost: b\r\n").contains("twice"));
}
