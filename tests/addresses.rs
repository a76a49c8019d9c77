//! Who is there: clients behind proxies, by header fields and by PROXY headers, plain, by Unix
//! sockets and before TLS, and limits that count by address. HAProxy and nginx are real.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use support::client::{Client, UPGRADE};
use support::proxy::{Kind, Proxy};
use support::server::{Server, wait_until};
use support::unprivileged::certificate;

/// A PROXY header of version 1, of a client that HAProxy would have.
const HEADER: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n";

/// Asks for a WebSocket with one more header field; returns the client and the status.
fn upgrade(server: &Server, field: &str) -> (Client, String) {
    let mut client = Client::connect(server.address);
    client.send(UPGRADE.replacen("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"), 1));
    let head = client.head();
    (client, head[9..12].to_owned())
}

#[test]
fn an_address_has_so_many_connections_and_the_one_beyond_gets_429() {
    let server = Server::start(&["--connections-per-address", "2"]);
    let (_first, second) = (server.connect(), server.connect());
    let (mut beyond, status) = upgrade(&server, "X-Forwarded-For: 192.0.2.7");
    assert_eq!(status, "429", "nobody is believed");
    let body = String::from_utf8(beyond.rest()).unwrap();
    assert!(
        body.contains("Your address has as many connections"),
        "{body}"
    );
    drop(second);
    wait_until("another one may come", || {
        (upgrade(&server, "").1 == "101").then_some(())
    });
}

#[test]
fn silent_connections_of_one_address_are_bounded_too() {
    let server = Server::start(&["--connections-per-address", "1"]);
    let mut silent: Vec<Client> = (0..9).map(|_| Client::connect(server.address)).collect();
    let mut beyond = Client::connect(server.address);
    assert_eq!(beyond.rest(), b"", "it is closed at once");
    silent.truncate(1);
    wait_until("another one may come", || {
        let mut stream = TcpStream::connect(server.address).ok()?;
        stream.write_all(UPGRADE.as_bytes()).ok()?;
        let mut response = String::new();
        // As long as the others are not known to have gone, it is closed.
        stream.read_to_string(&mut response).ok()?;
        response.starts_with("HTTP/1.1 429 ").then_some(())
    });
}

#[test]
fn what_a_trusted_proxy_says_is_believed() {
    let server = Server::start(&[
        "--trusted-proxy",
        "127.0.0.0/8",
        "--connections-per-address",
        "1",
        "--log",
        "debug",
    ]);
    let is_let_in = |field: &str| {
        let (client, status) = upgrade(&server, field);
        (status == "101").then_some(client)
    };
    let client = is_let_in("X-Forwarded-For: 203.0.113.9, 192.0.2.7").unwrap();
    assert!(is_let_in("X-Forwarded-For: 192.0.2.7").is_none());
    assert!(is_let_in("Forwarded: for=192.0.2.7").is_none());
    let _other = is_let_in("X-Forwarded-For: 203.0.113.9").unwrap();
    let _by_v6 = is_let_in("Forwarded: for=\"[2001:db8::1]\"").unwrap();
    assert!(
        is_let_in("X-Forwarded-For: 2001:db8::2").is_none(),
        "one /64"
    );
    // Those that the proxy does not name are not counted for it.
    let _unnamed = [is_let_in("").unwrap(), is_let_in("").unwrap()];
    drop(client);
    server.program().wait_for_line(" was 192.0.2.7: ");
}

#[test]
fn a_proxy_header_is_believed_at_each_kind_of_listener_and_may_come_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(
        folder.path(),
        &[
            "--listen",
            "127.0.0.1:0,unix:b.sock",
            "--trusted-proxy",
            "127.0.0.1,unix",
            "--proxy-protocol",
            "--log",
            "debug",
        ],
    );
    let mut version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    version_2.extend(
        "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    version_2.extend([0; 20]);
    for (header, address) in [
        (HEADER.as_bytes(), "192.0.2.7"),
        (&version_2, "2001:db8::7"),
    ] {
        for is_unix in [false, true] {
            let mut client = match is_unix {
                true => Client::connect_unix(&folder.path().join("b.sock")),
                false => Client::connect(server.address),
            };
            for piece in header.chunks(7) {
                client.send(piece);
            }
            client.shake_hands("/");
            assert!(
                client
                    .ask(r#"{"command":"version"}"#)
                    .contains("\"version\"")
            );
        }
        let was = format!(" was {address}: ");
        wait_until("both have gone", || {
            (server.program().log().matches(&was).count() == 2).then_some(())
        });
    }
    // The header and all that follows at once.
    let mut client = Client::connect(server.address);
    client.send(format!("{HEADER}{UPGRADE}"));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_proxy_header_must_be_there_exactly_where_it_is_expected() {
    let answer = |options: &[&str], bytes: &str| {
        let server = Server::start(options);
        let mut client = Client::connect(server.address);
        client.send(bytes);
        String::from_utf8(client.rest()).unwrap()
    };
    let expects = ["--trusted-proxy", "127.0.0.1", "--proxy-protocol"];
    let missing = answer(&expects, UPGRADE);
    assert!(
        missing.starts_with("HTTP/1.1 400 ")
            && missing.contains("a PROXY header is expected first"),
        "{missing}"
    );
    let half = answer(
        &[&expects[..], &["--handshake-timeout", "100ms"]].concat(),
        "PROXY TCP4 ",
    );
    assert!(half.starts_with("HTTP/1.1 408 "), "{half}");
    let from_a_stranger = ["--trusted-proxy", "192.0.2.1", "--proxy-protocol"];
    for options in [&[][..], &expects[..2], &from_a_stranger] {
        let unexpected = answer(options, &format!("{HEADER}{UPGRADE}"));
        assert!(
            unexpected.starts_with("HTTP/1.1 400 ")
                && unexpected.contains("No PROXY header is expected"),
            "{options:?}: {unexpected}"
        );
    }
    // And who is no proxy is served without one.
    let server = Server::start(&from_a_stranger);
    server.connect();
}

#[test]
fn those_beyond_the_rate_wait_and_are_served() {
    let server = Server::start(&["--accept-rate", "50"]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        client.shake_hands("/");
    }
}

/// An HAProxy in a folder, in mode `tcp` or `http`, with these lines of a backend.
fn start_haproxy(folder: &Path, mode: &str, backend: &str) -> Proxy {
    let configuration = format!(
        "defaults\n mode {mode}\n timeout connect 10s\n timeout client 1m\n timeout server 1m\n\
         frontend all\n bind ADDRESS\n default_backend behind\nbackend behind\n{backend}\n"
    );
    Proxy::start(Kind::HAProxy, folder, &configuration, "ADDRESS", &[])
}

#[test]
#[ignore = "needs HAProxy"]
fn haproxys_header_comes_before_tls_in_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(
        folder.path(),
        &[
            "--listen",
            "127.0.0.1:0,tls:127.0.0.1:0",
            "--tls-cert",
            certificate("server.pem").to_str().unwrap(),
            "--tls-key",
            certificate("server.key").to_str().unwrap(),
            "--trusted-proxy",
            "127.0.0.2",
            "--proxy-protocol",
            "--log",
            "debug",
        ],
    );
    let line = server.program().wait_for_line(" listens on ");
    let secure = line
        .split("wss://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    for (to, scheme) in [
        (server.address.to_string(), "http"),
        (secure.to_owned(), "https"),
    ] {
        for send in ["send-proxy", "send-proxy-v2"] {
            let behind = format!("server bugzfeed {to} {send} source 127.0.0.2");
            let haproxy = start_haproxy(folder.path(), "tcp", &behind);
            let url = format!("{scheme}://{}/", haproxy.address);
            let page = Command::new("curl")
                .args(["-sSk", "--interface", "127.0.0.3", &url])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&page.stdout);
            assert!(text.contains("<html"), "{send} {scheme}: {page:?}");
        }
    }
    wait_until("all four have gone", || {
        (server.program().log().matches(" was 127.0.0.3: ").count() == 4).then_some(())
    });
}

#[test]
#[ignore = "needs HAProxy and nginx"]
fn the_fields_that_haproxy_and_nginx_add_name_the_client_whatever_it_says_itself() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--trusted-proxy", "127.0.0.1", "--log", "debug"];
    let server = Server::start_in(folder.path(), &options);
    let to = format!("server bugzfeed {}", server.address);
    let haproxy = start_haproxy(folder.path(), "http", &format!("option forwardfor\n{to}"));
    let nginx = Proxy::start(
        Kind::Nginx,
        folder.path(),
        "server { listen ADDRESS; location / { proxy_pass http://SERVER;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }",
        "ADDRESS",
        &[("SERVER", server.address.to_string())],
    );
    for (address, from) in [(haproxy.address, "127.0.0.3"), (nginx.address, "127.0.0.4")] {
        let lies = ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9"];
        let page = Command::new("curl")
            .args(["-sS", "--interface", from, "-H", lies[0], "-H", lies[1]])
            .arg(format!("http://{address}/"))
            .output()
            .unwrap();
        assert!(page.status.success(), "{page:?}");
        server.program().wait_for_line(&format!(" was {from}: "));
    }
}
