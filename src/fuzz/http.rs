//! Requests: their heads beside httparse's and tungstenite's, posts in chunks beside a reader by the
//! letter of RFC 9112, and PROXY headers.

use core::net::{IpAddr, Ipv4Addr};

use httparse::Status;
use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{Request, create_response};

use super::script::Script;
use crate::http::{self, HEAD_BYTES_MAX, Outcome, Page, Refusal, Room, Site, Webhook};
use crate::proxy;
use crate::update::FeedId;

pub(super) fn site() -> Site {
    Site {
        feeds: vec!["/".to_owned(), "/dev/".to_owned()],
        pages: vec![Page::new("/", "text/html", "<p>the page</p>".to_owned())],
        webhooks: vec![Webhook {
            path: "/webhook".to_owned(),
            feed: FeedId(0),
            field: "X-Api-Key".to_owned(),
            key: "key".to_owned(),
        }],
        ..Site::default()
    }
}

fn answered(input: &[u8]) -> (Outcome, Vec<u8>) {
    let mut response = Vec::new();
    let outcome = http::respond(&site(), input, Room::Free, 784_111_777, &mut response);
    (outcome, response)
}

fn is_waiting(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Incomplete | Outcome::Receiving)
}

/// A request and what follows it.
pub(super) fn heads(input: &[u8]) {
    let (outcome, response) = answered(input);
    check_length(input, &outcome);
    check_response(input, &outcome, &response);
    check_upgrade(input, &outcome, &response);
    check_pieces(input, &outcome, &response);
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let peer = IpAddr::from([10, 0, 0, 1]);
    let client = http::client(input, &trusted, Some(peer));
    assert_eq!(http::client(input, &[], Some(peer)), client.map(|_| peer));
}

/// A head is as long as httparse says, and one that is not whole is waited for.
fn check_length(input: &[u8], outcome: &Outcome) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let theirs = httparse::Request::new(&mut fields).parse(input);
    match (theirs, outcome) {
        (Ok(Status::Partial), _) if input.len() < HEAD_BYTES_MAX => {
            assert_eq!(*outcome, Outcome::Incomplete);
        }
        (Ok(Status::Complete(length)), Outcome::Upgraded { head_bytes, .. }) => {
            assert_eq!(length, *head_bytes);
            let head = &input[..length];
            assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"));
        }
        (Ok(Status::Complete(length)), Outcome::Posted { bytes, .. }) => {
            assert!((length..=input.len()).contains(bytes));
        }
        (theirs, Outcome::Incomplete | Outcome::Upgraded { .. } | Outcome::Posted { .. }) => {
            panic!("httparse has {theirs:?}, this server {outcome:?}");
        }
        _ => {}
    }
}

/// What is answered is one response by the rules, as long as it says.
fn check_response(input: &[u8], outcome: &Outcome, response: &[u8]) {
    if response.starts_with(&[21, 3, 3]) {
        return assert_eq!(*outcome, Outcome::Answered, "an alert of TLS");
    }
    let has_none = matches!(outcome, Outcome::Incomplete | Outcome::Posted { .. });
    let may_have_none = has_none || *outcome == Outcome::Receiving;
    if response.is_empty() {
        return assert!(may_have_none);
    }
    assert!(!has_none);
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(Status::Complete(length)) = parsed.parse(response) else {
        panic!("no response: {}", response.escape_ascii());
    };
    let body_bytes = response.len() - length;
    let said = parsed.headers.iter().find(|it| it.name == "Content-Length");
    let said = said.map(|it| {
        std::str::from_utf8(it.value)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    });
    match said {
        Some(said) => assert!(
            body_bytes == said || input.trim_ascii_start().starts_with(b"HEAD ") && body_bytes == 0
        ),
        None => assert_eq!(body_bytes, 0),
    }
}

/// What is upgraded here, tungstenite's own server upgrades, too, with the same answer.
fn check_upgrade(input: &[u8], outcome: &Outcome, response: &[u8]) {
    let Ok(Some((_, request))) = Request::try_parse(input) else {
        return;
    };
    let theirs = create_response(&request);
    if let Outcome::Upgraded { .. } = outcome {
        let says_more = |name| {
            let mut values = request.headers().get_all(name).iter();
            let is_one = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            values.next().is_none_or(|value| !is_one(value.as_bytes())) || values.next().is_some()
        };
        match &theirs {
            Ok(theirs) => {
                let accept = theirs.headers()["Sec-WebSocket-Accept"].as_bytes();
                let mut accepts = response.windows(accept.len());
                assert!(accepts.any(|window| window == accept));
            }
            // RFC 6455 section 4.2.1 has a list there, of which tungstenite wants one alone.
            Err(_) if says_more("Upgrade") || says_more("Connection") => {}
            Err(why) => panic!("tungstenite refuses it: {why}"),
        }
    }
}

/// However a request comes in pieces, it gets the same.
fn check_pieces(input: &[u8], outcome: &Outcome, response: &[u8]) {
    if input.len() >= HEAD_BYTES_MAX {
        return;
    }
    for at in 1..12 {
        let piece = &input[..input.len() * at / 12];
        let (early, early_response) = answered(piece);
        // That a PROXY header has begun is known by more bytes than that no request has.
        let is_proxy = *outcome == Outcome::Refused(Refusal::ProxyHeader);
        if is_proxy && matches!(early, Outcome::Refused(Refusal::BadRequest(_))) {
            continue;
        }
        if !is_waiting(&early) && !piece.is_empty() {
            assert_eq!((&early, &early_response[..]), (outcome, response), "{at}");
        }
    }
}

/// The body of a post in chunks: first how they are cut, then what follows.
pub(super) fn posts(input: &[u8]) {
    const HEAD: &[u8] = b"POST /webhook HTTP/1.1\r\nHost: a\r\nX-Api-Key: key\r\nTransfer-Encoding: chunked\r\n\r\n";
    let posted = |chunks: &[u8]| answered(&[HEAD, chunks].concat()).0;
    if let Some((body, used)) = strict_chunks(input) {
        let whole = Outcome::Posted {
            feed: FeedId(0),
            body,
            bytes: HEAD.len() + used,
            keeps_connection: true,
        };
        assert_eq!(posted(input), whole);
        for end in (0..used.min(300)).chain([used - 1]) {
            assert_eq!(posted(&input[..end]), Outcome::Receiving, "{end}");
        }
    } else {
        posted(input);
    }
    let (mut script, mut body, mut chunks) = (Script(input), Vec::new(), Vec::new());
    loop {
        let length = usize::from(script.byte()) + 1;
        let chunk = script.bytes(length);
        body.extend_from_slice(chunk);
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
        if chunk.is_empty() {
            // That was the last one.
            break;
        }
    }
    let bytes = HEAD.len() + chunks.len();
    chunks.extend_from_slice(b"POST /");
    let outcome = posted(&chunks);
    assert_eq!(
        outcome,
        Outcome::Posted {
            feed: FeedId(0),
            body,
            bytes,
            keeps_connection: true
        }
    );
}

/// Chunks of nothing but lower-case digits and data, and no fields behind them.
fn strict_chunks(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut rest, mut body) = (input, Vec::new());
    loop {
        let digits = rest
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if !(1..=4).contains(&digits) {
            return None;
        }
        let length = std::str::from_utf8(&rest[..digits]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        rest = rest[digits..].strip_prefix(b"\r\n")?;
        body.extend_from_slice(rest.get(..length)?);
        rest = rest[length..].strip_prefix(b"\r\n")?;
        if length == 0 {
            return Some((body, input.len() - rest.len()));
        }
    }
}

/// A PROXY header at the start of a connection, and one that is written from the same bytes.
pub(super) fn proxy_headers(input: &[u8]) {
    let whole = proxy::parse(input);
    for end in 0..input.len().min(300) {
        match (proxy::parse(&input[..end]), &whole) {
            (Ok(None), _) => {}
            (early, whole) => assert_eq!(early, *whole, "{end}"),
        }
    }
    if let Ok(Some(header)) = &whole {
        assert!(header.bytes <= input.len() && proxy::is_begun(input));
        let mut longer = input.to_vec();
        longer.extend_from_slice(b"GET / HTTP/1.1\r\n");
        assert_eq!(proxy::parse(&longer), whole);
    }
    let mut script = Script(input);
    let (kind, is_binary) = (script.byte(), script.byte() & 1 == 1);
    let is_v6 = kind & 1 == 1;
    let client = match address(&mut script, is_v6) {
        // One of version 4 in the clothes of version 6.
        IpAddr::V6(client) if kind & 2 == 2 => {
            let [.., a, b, c, d] = client.octets();
            IpAddr::V6(Ipv4Addr::new(a, b, c, d).to_ipv6_mapped())
        }
        client => client,
    };
    let server = address(&mut script, is_v6);
    let (client_port, server_port) = (script.number(), script.number());
    let written = if is_binary {
        let fields = script.bytes(100);
        let ports = [
            (client_port as u16).to_be_bytes(),
            (server_port as u16).to_be_bytes(),
        ]
        .concat();
        let ends = [octets(client), octets(server), ports, fields.to_vec()].concat();
        let mut written = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
        written.push(if is_v6 { 0x21 } else { 0x11 });
        written.extend_from_slice(&(ends.len() as u16).to_be_bytes());
        [written, ends].concat()
    } else {
        let family = if is_v6 { "TCP6" } else { "TCP4" };
        format!("PROXY {family} {client} {server} {client_port} {server_port}\r\n").into_bytes()
    };
    let header = proxy::parse(&written).ok().flatten().unwrap();
    assert_eq!(
        (header.bytes, header.client),
        (written.len(), Some(client.to_canonical()))
    );
}

fn address(script: &mut Script<'_>, is_v6: bool) -> IpAddr {
    let mut bytes = [0; 16];
    let taken = script.bytes(if is_v6 { 16 } else { 4 });
    bytes[..taken.len()].copy_from_slice(taken);
    match is_v6 {
        true => IpAddr::from(bytes),
        false => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
