//! The configurations of docs/proxies.md, each run by the real program: the handshake, a client that
//! is silent for longer than the proxy waits, and a server that is restarted behind it.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use support::client::{CLOSE, Client, FIN, PING, PONG, UPGRADE, frame};
use support::docs;
use support::proxy::{Kind, Proxy};
use support::server::{Server, wait_until};
use support::unprivileged::certificate;

const WHEN: &str = "2026-11-20 15:50:32";

/// A server behind a proxy, as the page shows it.
struct Site {
    folder: TempDir,
    server: Option<Server>,
    address: SocketAddr,
    proxy: Proxy,
}

impl Site {
    /// Starts both. The proxy waits for two seconds where the page says 90.
    fn start(kind: Kind, ping: &str) -> Self {
        Self::start_with(kind, ping, &[])
    }

    /// The same, with further options of the server's.
    fn start_with(kind: Kind, ping: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = [&["--ping", ping], options].concat();
        let server = Server::start_in(folder.path(), &options);
        let address = server.address;
        let language = format!("{kind:?}").to_lowercase();
        let section = docs::section("proxies.md", heading(kind));
        let [configuration] = &docs::blocks(&section, &language)[..] else {
            panic!("not one configuration of {kind:?}");
        };
        let places = places(kind, folder.path(), address);
        let proxy = Proxy::start(kind, folder.path(), configuration, listen(kind), &places);
        Self {
            folder,
            server: Some(server),
            address,
            proxy,
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// A client's connection to the proxy.
    fn connect(&self) -> Client {
        Client::connect_tls(self.proxy.address, &certificate("ca.pem"))
    }

    /// A client whose handshake is done.
    fn open(&self) -> Client {
        let mut client = self.connect();
        client.shake_hands("/");
        client
    }

    /// Ends the server as a restart does.
    fn end(&mut self) {
        self.server.take().expect("it runs").end(Signal::TERM);
    }

    fn start_again(&mut self) {
        let listen = self.address.to_string();
        self.server = Some(Server::start_in(self.folder.path(), &["--listen", &listen]));
    }
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "nginx",
        Kind::HAProxy => "HAProxy",
        Kind::Caddy => "Caddy",
        Kind::Apache => "Apache",
    }
}

/// Where the page's proxy listens.
fn listen(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "443",
        Kind::HAProxy => ":443",
        Kind::Caddy => "bugzfeed.example.org",
        Kind::Apache => "*:443",
    }
}

/// What the page names, and what it is here.
fn places(kind: Kind, folder: &Path, server: SocketAddr) -> Vec<(&'static str, String)> {
    let file = |name: &str| certificate(name).display().to_string();
    let mut places = vec![("127.0.0.1:8844", server.to_string())];
    if kind == Kind::HAProxy {
        let both = ["server.pem", "server.key"].map(|name| fs::read(certificate(name)).unwrap());
        fs::write(folder.join("both.pem"), both.concat()).unwrap();
        places.push(("/etc/ssl/bugzfeed-and-key.pem", "both.pem".to_owned()));
    } else {
        places.push(("/etc/ssl/bugzfeed.pem", file("server.pem")));
        places.push(("/etc/ssl/bugzfeed.key", file("server.key")));
    }
    match kind {
        Kind::Nginx | Kind::HAProxy => places.push(("90s", "2s".to_owned())),
        Kind::Apache => places.push(("Timeout 90", "Timeout 2".to_owned())),
        // It waits for ever.
        Kind::Caddy => {}
    }
    places
}

/// Answers pings, so many.
fn answer_pings(client: &mut Client, pings: usize) {
    for _ in 0..pings {
        let ping = client.frame();
        assert_eq!(ping.first, FIN | PING, "{ping:?}");
        client.send(frame(FIN | PONG, &ping.payload));
    }
}

/// Expects a close with 1001. What comes behind it is the proxy's affair: Apache ends without TLS's
/// own farewell.
fn expect_going_away(client: &mut Client) {
    let close = client.frame();
    assert_eq!(close.first, FIN | CLOSE, "{close:?}");
    assert_eq!(close.payload[..2], 1001_u16.to_be_bytes());
}

fn a_client_gets_updates(kind: Kind) {
    let site = Site::start(kind, "30s");
    let mut client = site.open();
    let reply = client.ask(r#"{"command":"subscribe","bugs":[7]}"#);
    assert!(reply.contains(r#""result":"ok""#), "{reply}");
    site.server().record(&[(7, WHEN)]);
    assert!(client.hear().contains(r#""bug":7"#));
    let mut page = site.connect();
    page.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(page.head().starts_with("HTTP/1.1 200 "));
}

fn pings_keep_a_silent_client_for_longer_than_the_proxy_waits(kind: Kind) {
    let site = Site::start(kind, "500ms");
    let mut client = site.open();
    answer_pings(&mut client, 10);
    assert!(client.ask(r#"{"command":"version"}"#).contains("version"));
}

/// A proxy may put the stream into chunks of its own.
fn events_come_at_once_and_comments_keep_a_silent_stream(kind: Kind) {
    let site = Site::start(kind, "500ms");
    let mut client = site.connect();
    client.send("GET /events?bugs=7 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.until(r#""bugs":[7]"#);
    for _ in 0..10 {
        client.until(":\n\n");
    }
    site.server().record(&[(7, WHEN)]);
    client.until(r#""bug":7"#);
}

fn without_pings_the_proxy_ends_a_silent_client(kind: Kind) {
    let site = Site::start(kind, "1h");
    let mut client = site.open();
    assert_eq!(client.rest_of_frames(), []);
}

fn clients_are_told_of_a_restart_and_come_back_at_once(kind: Kind) {
    let mut site = Site::start(kind, "30s");
    let mut client = site.open();
    site.end();
    expect_going_away(&mut client);
    // Who comes meanwhile is refused, and must not be remembered as the server's fault.
    let mut early = site.connect();
    early.send(UPGRADE);
    let head = early.head();
    assert!(head.starts_with("HTTP/1.1 50"), "{head}");
    site.start_again();
    site.open();
}

fn a_reload_of_the_proxy_keeps_clients(kind: Kind) {
    let site = Site::start(kind, "500ms");
    let mut client = site.open();
    client.ask(r#"{"command":"subscribe","bugs":[7]}"#);
    site.proxy.reload();
    wait_until("the new configuration is in use", || {
        let mut newcomer = site.connect();
        newcomer.send(UPGRADE);
        newcomer.head().starts_with("HTTP/1.1 101 ").then_some(())
    });
    answer_pings(&mut client, 2);
    site.server().record(&[(7, WHEN)]);
    let update = loop {
        let frame = client.frame();
        if frame.first != FIN | PING {
            break frame;
        }
    };
    assert!(String::from_utf8_lossy(&update.payload).contains(r#""bug":7"#));
}

#[test]
#[ignore = "needs Caddy: run tests/run"]
fn a_reload_of_caddy_tells_clients_to_come_back() {
    let site = Site::start(Kind::Caddy, "30s");
    let mut client = site.open();
    site.proxy.reload();
    expect_going_away(&mut client);
    site.open();
}

/// From another address of this machine than others, as if from elsewhere.
fn let_in_from(site: &Site, host: u8) -> Option<Client> {
    let from = SocketAddr::from(([127, 0, 0, host], 0));
    let mut client = Client::connect_tls_from(from, site.proxy.address, &certificate("ca.pem"));
    client.send(UPGRADE);
    client.head().starts_with("HTTP/1.1 101 ").then_some(client)
}

fn each_client_is_known_by_its_own_address(kind: Kind) {
    let options = [
        "--trusted-proxy",
        "127.0.0.1",
        "--connections-per-address",
        "1",
    ];
    let site = Site::start_with(kind, "30s", &options);
    let _one = let_in_from(&site, 2).expect("the first is let in");
    assert!(let_in_from(&site, 2).is_none(), "it has one already");
    let _other = let_in_from(&site, 3).expect("another one is let in");
}

/// One test for each proxy.
macro_rules! each {
    ($($name:ident: $behaviour:ident($kind:ident);)*) => {
        $(
            #[test]
            #[ignore = "needs nginx, HAProxy, Caddy and Apache: run tests/run"]
            fn $name() {
                $behaviour(Kind::$kind);
            }
        )*
    };
}

each! {
    a_client_behind_nginx_gets_updates: a_client_gets_updates(Nginx);
    a_client_behind_haproxy_gets_updates: a_client_gets_updates(HAProxy);
    a_client_behind_caddy_gets_updates: a_client_gets_updates(Caddy);
    a_client_behind_apache_gets_updates: a_client_gets_updates(Apache);
    pings_keep_a_silent_client_behind_nginx: pings_keep_a_silent_client_for_longer_than_the_proxy_waits(Nginx);
    pings_keep_a_silent_client_behind_haproxy: pings_keep_a_silent_client_for_longer_than_the_proxy_waits(HAProxy);
    pings_keep_a_silent_client_behind_caddy: pings_keep_a_silent_client_for_longer_than_the_proxy_waits(Caddy);
    pings_keep_a_silent_client_behind_apache: pings_keep_a_silent_client_for_longer_than_the_proxy_waits(Apache);
    events_pass_nginx: events_come_at_once_and_comments_keep_a_silent_stream(Nginx);
    events_pass_haproxy: events_come_at_once_and_comments_keep_a_silent_stream(HAProxy);
    events_pass_caddy: events_come_at_once_and_comments_keep_a_silent_stream(Caddy);
    events_pass_apache: events_come_at_once_and_comments_keep_a_silent_stream(Apache);
    nginx_ends_a_silent_client_without_pings: without_pings_the_proxy_ends_a_silent_client(Nginx);
    haproxy_ends_a_silent_client_without_pings: without_pings_the_proxy_ends_a_silent_client(HAProxy);
    apache_ends_a_silent_client_without_pings: without_pings_the_proxy_ends_a_silent_client(Apache);
    clients_behind_nginx_survive_a_restart: clients_are_told_of_a_restart_and_come_back_at_once(Nginx);
    clients_behind_haproxy_survive_a_restart: clients_are_told_of_a_restart_and_come_back_at_once(HAProxy);
    clients_behind_caddy_survive_a_restart: clients_are_told_of_a_restart_and_come_back_at_once(Caddy);
    clients_behind_apache_survive_a_restart: clients_are_told_of_a_restart_and_come_back_at_once(Apache);
    nginx_says_who_its_clients_are: each_client_is_known_by_its_own_address(Nginx);
    haproxy_says_who_its_clients_are: each_client_is_known_by_its_own_address(HAProxy);
    caddy_says_who_its_clients_are: each_client_is_known_by_its_own_address(Caddy);
    apache_says_who_its_clients_are: each_client_is_known_by_its_own_address(Apache);
    clients_behind_nginx_survive_its_reload: a_reload_of_the_proxy_keeps_clients(Nginx);
    clients_behind_haproxy_survive_its_reload: a_reload_of_the_proxy_keeps_clients(HAProxy);
    clients_behind_apache_survive_its_reload: a_reload_of_the_proxy_keeps_clients(Apache);
}
