//! The feed as clients reach it: certificates, proxies that forget something, and a silent
//! connection.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::files::expired;
use crate::support::proxy::{Kind, Proxy};
use crate::support::rabbitmq::free_ports;
use crate::support::server::Server;
use crate::support::unprivileged::certificate;
use crate::{Findings, doctor};

/// What lets a WebSocket through nginx.
const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";

fn ask(url: &str, more: &[&str]) -> Findings {
    let folder = tempfile::tempdir().unwrap();
    doctor(folder.path(), &[&["--url", url], more].concat())
}

/// A server by TLS with this certificate.
fn start_tls(folder: &Path, pair: &Path, key: &Path) -> (Server, SocketAddr) {
    let [port] = free_ports();
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let listen = format!("127.0.0.1:0,tls:{address}");
    let (pair, key) = (pair.to_str().unwrap(), key.to_str().unwrap());
    let options = [
        "--listen",
        &listen,
        "--tls-cert",
        pair,
        "--tls-key",
        key,
        "--ping",
        "200ms",
    ];
    (Server::start_in(folder, &options), address)
}

#[test]
fn a_feed_by_tls_that_pings_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = start_tls(
        folder.path(),
        &certificate("server.pem"),
        &certificate("server.key"),
    );
    let url = format!("wss://localhost:{}/", address.port());
    let ca = certificate("ca.pem");
    let found = ask(&url, &["--cacert", ca.to_str().unwrap()]);
    found.expect_ok("handshake");
    found.expect_ok("certificate");
    found.expect_ok("idle connection");
    found.expect_well();
}

#[test]
fn certificates_that_clients_do_not_believe_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = start_tls(
        folder.path(),
        &certificate("server.pem"),
        &certificate("server.key"),
    );
    let url = format!("wss://localhost:{}/", address.port());
    let (ca, stranger) = (certificate("ca.pem"), certificate("stranger.pem"));
    ask(&url, &["--cacert", stranger.to_str().unwrap()]).expect(
        "certificate",
        "issued by nobody who is trusted here",
        "ssl_certificate /etc/letsencrypt/live/localhost/fullchain.pem;",
    );
    let other_name = format!("wss://127.0.0.2:{}/", address.port());
    let found = ask(&other_name, &["--cacert", ca.to_str().unwrap()]);
    found.expect(
        "certificate",
        "another host name",
        "certbot certonly -d 127.0.0.2",
    );
}

#[test]
fn a_certificate_that_has_ended_is_found_at_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, key) = expired(folder.path()).expect("openssl is needed");
    let (_server, address) = start_tls(folder.path(), &pair, &key);
    let url = format!("wss://localhost:{}/", address.port());
    ask(&url, &[]).expect("certificate", "", "certbot renew");
}

#[test]
fn an_address_where_nobody_listens_is_found() {
    let [port] = free_ports();
    ask(&format!("ws://127.0.0.1:{port}/"), &[]).expect("address", "refused", "ss -ltn");
}

#[test]
fn a_path_without_a_feed_is_found() {
    let server = Server::start(&[]);
    let url = format!("ws://{}/elsewhere/", server.address);
    ask(&url, &[]).expect("handshake", "404", "proxy_pass http://127.0.0.1:8844/;");
}

#[test]
fn a_ping_that_does_not_come_is_found() {
    let server = Server::start(&["--ping", "1h"]);
    let url = format!("ws://{}/", server.address);
    let found = ask(&url, &["--hold", "2s", "--", "--ping", "1s"]);
    found.expect("idle connection", "no ping in 2 s", "ping = \"1s\"");
}

/// A feed behind an nginx with these lines beside `proxy_pass`.
fn behind_nginx(lines: &str, ping: &str) -> (Server, Proxy, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&["--ping", ping]);
    let configuration =
        format!("server {{ listen PORT; location / {{ proxy_pass http://SERVER; {lines} }} }}");
    let places = [("SERVER", server.address.to_string())];
    let proxy = Proxy::start(Kind::Nginx, folder.path(), &configuration, "PORT", &places);
    (server, proxy, folder)
}

#[test]
#[ignore = "needs nginx: run tests/run"]
fn a_proxy_that_forgets_the_upgrade_is_found() {
    let (_server, proxy, _folder) = behind_nginx("", "30s");
    ask(&format!("ws://{}/", proxy.address), &[]).expect("handshake", "Upgrade is lost", UPGRADE);
}

#[test]
#[ignore = "needs nginx: run tests/run"]
fn a_proxy_that_cuts_what_is_silent_is_found_with_a_ping_that_it_bears() {
    let (_server, proxy, _folder) =
        behind_nginx(&format!("{UPGRADE} proxy_read_timeout 2s;"), "1h");
    let found = ask(&format!("ws://{}/", proxy.address), &[]);
    found.expect(
        "idle connection",
        "cut a silent connection after 2 s, before the first ping",
        "ping = \"1s\"",
    );
}

#[test]
#[ignore = "needs nginx: run tests/run"]
fn a_proxy_without_its_server_is_found() {
    let (server, proxy, _folder) = behind_nginx(UPGRADE, "30s");
    server.end(Signal::TERM);
    ask(&format!("ws://{}/", proxy.address), &[]).expect(
        "handshake",
        "502",
        "systemctl start bugzfeed",
    );
}

#[test]
#[ignore = "needs nginx: run tests/run"]
fn a_proxy_that_asks_for_a_password_is_found() {
    let lines = format!("{UPGRADE} auth_basic Feed; auth_basic_user_file /dev/null;");
    let (_server, proxy, _folder) = behind_nginx(&lines, "30s");
    ask(&format!("ws://{}/", proxy.address), &[]).expect("handshake", "401", "auth_basic off;");
}

#[test]
#[ignore = "needs nginx: run tests/run"]
fn a_proxy_behind_which_all_clients_are_one_is_found() {
    let lines = format!("{UPGRADE} proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;");
    let (_server, proxy, _folder) = behind_nginx(&lines, "200ms");
    let url = format!("ws://{}/", proxy.address);
    let options = ["--", "--connections-per-address", "9"];
    ask(&url, &options).expect(
        "real address",
        "bounds them together",
        "trusted-proxy = [\"127.0.0.1\"]",
    );
    let trusting = [
        "--",
        "--connections-per-address",
        "9",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    ask(&url, &trusting).expect_ok("real address");
}

#[test]
#[ignore = "needs HAProxy: run tests/run"]
fn a_proxy_header_on_one_side_alone_is_found() {
    for (sends, options, line) in [
        ("send-proxy-v2", &[][..], "proxy-protocol = true"),
        (
            "",
            &["--trusted-proxy", "127.0.0.1", "--proxy-protocol"][..],
            "send-proxy-v2",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(options);
        let configuration = format!(
            "defaults\n mode http\n timeout connect 9s\n timeout client 9s\n timeout server 9s\nfrontend all\n bind ADDRESS\n default_backend behind\nbackend behind\n server bugzfeed {} {sends}\n",
            server.address
        );
        let proxy = Proxy::start(Kind::HAProxy, folder.path(), &configuration, "ADDRESS", &[]);
        ask(&format!("ws://{}/", proxy.address), &[]).expect("handshake", "400", line);
    }
}

#[test]
fn a_server_that_wants_a_token_is_named_and_can_be_shown_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut add = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    add.args(["token", "add", "doctor", "--file", "tokens"]);
    let token = add.current_dir(folder.path()).output().unwrap();
    fs::write(folder.path().join("token"), token.stdout).unwrap();
    let options = ["--access", "tokens:tokens", "--ping", "200ms"];
    let server = Server::start_in(folder.path(), &options);
    let url = format!("ws://{}/", server.address);
    ask(&url, &[]).expect("handshake", "who hold a token", "--token-file FILE");
    let file = folder.path().join("token");
    let found = ask(&url, &["--token-file", file.to_str().unwrap()]);
    found.expect_ok("handshake");
    let exposed = ["--token-file", file.to_str().unwrap()];
    ask("ws://192.0.2.1/", &exposed).expect("token", "to all on the way", "wss://192.0.2.1/");
}
