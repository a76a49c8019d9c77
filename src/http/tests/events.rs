//! What a request for server-sent events asks for.

use super::*;

fn with_events() -> Site {
    Site {
        offers_events: true,
        ..site()
    }
}

/// The feed, the command and the head of the response that a request for `target` gets, with these
/// header fields, each ended.
fn listening(site: &Site, target: &str, fields: &str) -> (FeedId, String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    match answered(site, &request, Room::Free).0 {
        Outcome::Listening { feed, events } => {
            let mut head = Vec::new();
            events.write_head(&mut head, 0);
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (feed, text(events.subscribe), text(head))
        }
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn a_subscription_stands_in_the_address() {
    for (target, fields, feed, command) in [
        (
            "/events?bugs=1,22",
            "",
            0,
            r#"{"command":"subscribe","bugs":["1","22"],"watermark":true}"#,
        ),
        (
            "/dev/events?bugs=1&x=y&bugs=,%32",
            "",
            1,
            r#"{"command":"subscribe","bugs":["1","2"],"watermark":true}"#,
        ),
        (
            "/events?bugs=*&since=2014-04-03T21%3A13%3A45",
            "",
            0,
            r#"{"command":"subscribe","bugs":"*","since":"2014-04-03T21:13:45"}"#,
        ),
        (
            "/events?bugs=1&since=2014-04-03",
            "Last-Event-ID: 2015-01-01\r\n",
            0,
            r#"{"command":"subscribe","bugs":["1"],"since":"2015-01-01"}"#,
        ),
        (
            "/events?bugs=1&since=2014-04-03",
            "Last-Event-ID:\r\n",
            0,
            r#"{"command":"subscribe","bugs":["1"],"since":"2014-04-03"}"#,
        ),
        (
            "/events?bugs=",
            "",
            0,
            r#"{"command":"subscribe","bugs":[],"watermark":true}"#,
        ),
    ] {
        let (own_feed, subscribe, head) = listening(&with_events(), target, fields);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&subscribe), value(command), "{target}");
        assert_eq!(own_feed, FeedId(feed), "{target}");
        assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"));
    }
}

#[test]
fn what_is_no_request_for_events_is_refused() {
    let refused = |site: &Site, request: &str, room| match answered(site, request, room).0 {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{request}: {other:?}"),
    };
    let get = "GET /events?bugs=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let without_bugs = get.replace("bugs=", "since=");
    assert!(matches!(
        refused(&with_events(), &without_bugs, Room::Free),
        Refusal::BadRequest(_)
    ));
    for (site, request, room, refusal) in [
        (site(), get, Room::Free, Refusal::NotFound),
        (with_events(), get, Room::Full, Refusal::Full),
        (
            with_events(),
            &get.replace("GET", "HEAD"),
            Room::Free,
            Refusal::MethodNotAllowed("GET"),
        ),
        (
            with_events(),
            &get.replace("/events", "/x/events"),
            Room::Free,
            Refusal::NotFound,
        ),
        (
            with_events(),
            &UPGRADE.replace("GET /", "GET /events?bugs=1"),
            Room::Free,
            Refusal::NotFound,
        ),
    ] {
        assert_eq!(refused(&site, request, room), refusal, "{request}");
    }
}

#[test]
fn a_page_may_read_the_events_that_it_may_have() {
    let everybody = "\r\nAccess-Control-Allow-Origin: *\r\n";
    let its_own = "\r\nAccess-Control-Allow-Origin: https://a.example\r\n";
    let may_show_cookies = "Access-Control-Allow-Credentials: true\r\n";
    let origin = "Origin: https://a.example\r\n";
    let (.., head) = listening(&with_events(), "/events?bugs=1", origin);
    assert!(head.contains(everybody) && !head.contains(may_show_cookies));

    let listed = Site {
        origins: vec!["https://a.example".parse().unwrap()],
        ..with_events()
    };
    let (.., head) = listening(&listed, "/events?bugs=1", origin);
    assert!(head.contains(its_own) && head.contains("\r\nVary: Origin\r\n"));
    assert!(!head.contains(may_show_cookies));
    let (.., head) = listening(&listed, "/events?bugs=1", "");
    assert!(head.contains(everybody), "it is no browser");
    let request = "GET /events?bugs=1 HTTP/1.1\r\nHost: a\r\nOrigin: https://b.example\r\n\r\n";
    assert_eq!(
        answered(&listed, request, Room::Free).0,
        Outcome::Refused(Refusal::ForbiddenOrigin)
    );

    let guarded = Site {
        credentials: Some(Credentials {
            in_address: false,
            cookies_of: None,
        }),
        ..with_events()
    };
    let request = request.replace("b.example", "a.example");
    match answered(&guarded, &request, Room::Free).0 {
        Outcome::Asked(Newcomer {
            entrance: Entrance::Events(events),
            ..
        }) => {
            let mut head = Vec::new();
            events.write_head(&mut head, 0);
            let head = String::from_utf8(head).unwrap();
            assert!(head.contains(its_own) && head.contains(may_show_cookies));
        }
        other => panic!("{other:?}"),
    }
}
