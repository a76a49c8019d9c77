//! The feed as clients reach it, through whatever stands before it: certificates, the handshake, and
//! a connection that is silent for longer than a ping.

use std::time::{Duration, Instant};

use super::{Findings, Public, Setup};
use crate::certificate;
use crate::client::{Client, ConnectError, Connector, Heard, Lost, Rejection};
use crate::work::unix_now;

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a proxy may take beside the pings.
const SPARE: Duration = Duration::from_secs(5);

/// So many pings in a row show that nothing cuts a silent connection.
const PINGS: u32 = 2;

/// What lets a handshake through.
const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;    # nginx; other proxies: docs/proxies.md";

pub(super) fn examine(public: &Public, setup: &Setup, findings: &mut Findings) {
    let (url, ping) = (&public.url, setup.ping);
    real_address(url.port(), setup, findings);
    let mut connector = match Connector::new(url.clone(), public.ca_file.as_deref(), TIMEOUT) {
        Ok(connector) => connector,
        Err(error) => {
            findings.mend(
                "certificate",
                error.to_string(),
                "apt install ca-certificates    # or --cacert FILE, with those of your own authority",
            );
            return;
        }
    };
    if public.token.is_some() && !url.keeps_secrets() {
        findings.mend(
            "token",
            format!("{url} would show the token to all on the way"),
            format!("wss://{}{}", url.authority(), url.path()),
        );
        return;
    }
    let shown = public.token.iter().map(|token| connector.show_token(token));
    if let Err(why) = shown.collect::<Result<(), _>>() {
        findings.mend("token", why, "bugzfeed token --help");
        return;
    }
    match connector.connect() {
        Ok(client) => {
            findings.ok("handshake", format!("{url} speaks WebSocket"));
            if url.is_encrypted() {
                expiry(&client, findings);
            }
            hold(
                client,
                public.hold.unwrap_or(ping * PINGS + SPARE),
                ping,
                findings,
            );
        }
        Err(ConnectError::Rejected(rejection)) => {
            let (text, mend) = rejected(&rejection, url.is_encrypted());
            findings.mend(
                "handshake",
                format!("{url} answers {rejection}: {text}"),
                mend,
            );
        }
        Err(error) => cannot_connect(&connector, &error, findings),
    }
}

/// Whether the server can know who its clients are: what comes from another port comes by a proxy.
fn real_address(port: u16, setup: &Setup, findings: &mut Findings) {
    const CHECK: &str = "real address";
    let mend = "trusted-proxy = [\"127.0.0.1\"]    # or where the proxy is: docs/proxies.md";
    if setup.ports.contains(&port) {
        return;
    }
    if setup.trusts_proxy {
        findings.ok(CHECK, "a proxy is believed about who its clients are");
    } else if setup.counts_addresses {
        findings.mend(
            CHECK,
            "all clients have the proxy's address, and connections-per-address bounds them together",
            mend,
        );
    } else {
        findings.note(
            CHECK,
            "all clients have the proxy's address, in the log, too",
            Some(mend.to_owned()),
        );
    }
}

/// What a status means that is no agreement, and what mends it.
fn rejected(rejection: &Rejection, is_encrypted: bool) -> (&'static str, &'static str) {
    match rejection.status {
        200 | 426 => ("the handshake's Upgrade is lost on its way", UPGRADE),
        300..=399 => (
            "the feed is elsewhere",
            "bugzfeed doctor --url URL    # as the browser shows it after the redirect, and clients need it, too",
        ),
        400 if rejection.words.contains("No PROXY header is expected") => (
            "the proxy sends a PROXY header, and is not trusted with it",
            "proxy-protocol = true    # and trusted-proxy = [\"127.0.0.1\"], where the proxy is; or no send-proxy there",
        ),
        400 if rejection.words.contains("PROXY header is expected first") => (
            "the proxy sends no PROXY header",
            "server bugzfeed 127.0.0.1:8844 send-proxy-v2    # HAProxy; or proxy-protocol = false",
        ),
        400 if !is_encrypted => (
            "what is behind the proxy, or this address itself, speaks TLS",
            "wss://…    # or, in the proxy, proxy_pass https://…",
        ),
        401 if rejection.words.contains("token") => (
            "the server lets in only those who hold a token",
            "bugzfeed doctor --token-file FILE    # with one that the server knows; clients need one, too: docs/security.md",
        ),
        401 => (
            "the proxy asks for a password, which no client of a feed can give",
            "auth_basic off;    # nginx, in the feed's location",
        ),
        403 => (
            "who may come is bounded",
            "origin = []    # or the list of those that may; else the proxy's own rules (deny)",
        ),
        404 => (
            "no feed is at this path",
            "proxy_pass http://127.0.0.1:8844/;    # nginx below a path: with the slash at the end; or feed = [\"/PATH/=SOURCE\"]",
        ),
        502 | 504 => (
            "the proxy does not reach the server",
            "systemctl start bugzfeed && ss -ltnp | grep bugzfeed    # the proxy must name this address",
        ),
        503 => (
            "the server is full, or the proxy does not reach it",
            "systemctl status bugzfeed; journalctl -u bugzfeed -n 20    # bugzfeed doctor --clients N says what more clients need",
        ),
        _ => (
            "that is no agreement",
            "journalctl -u bugzfeed -n 20    # and the proxy's own log",
        ),
    }
}

/// No connection, or no TLS.
fn cannot_connect(connector: &Connector, error: &ConnectError, findings: &mut Findings) {
    let url = connector.url();
    let shown = connector.shown();
    let Some(own) = shown.first() else {
        findings.mend(
            "address",
            format!("{url}: {error}"),
            format!("getent hosts {}; ss -ltn | grep :{}    # name, firewall, and whether anybody listens", url.host(), url.port()),
        );
        return;
    };
    let now = unix_now();
    let has_expired = certificate::ends_at(own).is_some_and(|end| end < now);
    let mend = match error {
        _ if has_expired => {
            "certbot renew --deploy-hook 'systemctl reload nginx bugzfeed'    # and look at the clock: timedatectl"
        }
        ConnectError::Untrusted if shown.len() == 1 => {
            "ssl_certificate /etc/letsencrypt/live/HOST/fullchain.pem;    # the whole chain, not cert.pem; or --cacert FILE for an authority of your own"
        }
        ConnectError::Untrusted => {
            "bugzfeed doctor --cacert FILE    # for an authority of your own, which each client must know, too"
        }
        _ => "certbot certonly -d HOST    # a certificate for the name that clients use",
    };
    findings.mend(
        "certificate",
        format!("{url}: {error}"),
        mend.replace("HOST", url.host()),
    );
}

fn expiry(client: &Client, findings: &mut Findings) {
    let chain = client.certificates();
    let now = unix_now();
    // An issuer's certificate that ends first ends all.
    let end = chain.iter().filter_map(|it| certificate::ends_at(it)).min();
    match end.map(|end| (end, certificate::warning(end, now))) {
        Some((_, Some(warning))) => findings.mend(
            "certificate",
            format!("the certificate {warning}"),
            "certbot renew --deploy-hook 'systemctl reload nginx bugzfeed'",
        ),
        Some((end, None)) => findings.ok(
            "certificate",
            format!(
                "{} in the chain, valid for {} days",
                chain.len(),
                (end - now) / 86_400
            ),
        ),
        None => findings.note(
            "certificate",
            "it does not say until when it is valid",
            None,
        ),
    }
}

/// Says nothing for a while, as a client whose bugs rest.
fn hold(mut client: Client, hold: Duration, ping: Duration, findings: &mut Findings) {
    let start = Instant::now();
    let mut pings = 0;
    let lost = loop {
        match client.read(start + hold) {
            Ok(Heard::SignOfLife) => pings += 1,
            Ok(Heard::Text(_)) => {}
            Ok(Heard::Nothing) => break None,
            Err(lost) => break Some(lost),
        }
        if pings >= PINGS {
            break None;
        }
    };
    let held = start.elapsed().as_secs_f64().round() as u64;
    let half = (held / 2).max(1);
    match (lost, pings) {
        (Some(Lost::Closed { code: Some(1001), .. }), _) => findings.note(
            "idle connection",
            format!("the server, or its proxy, was restarted after {held} s"),
            Some("bugzfeed doctor --url …    # once more".to_owned()),
        ),
        (Some(lost @ Lost::Closed { .. }), _) => findings.mend(
            "idle connection",
            format!("after {held} s: {lost}"),
            "journalctl -u bugzfeed -n 20",
        ),
        (Some(lost), 0) => findings.mend(
            "idle connection",
            format!("what stands before the server cut a silent connection after {held} s, before the first ping, without a word of the server's: {lost}"),
            format!("ping = \"{half}s\"    # or let the proxy wait longer than the ping ({} s): proxy_read_timeout 90s; others: docs/proxies.md", ping.as_secs()),
        ),
        (Some(lost), _) => findings.mend(
            "idle connection",
            format!("cut after {held} s and {pings} pings, which were answered: {lost}"),
            "proxy_send_timeout 90s; proxy_read_timeout 90s;    # nginx; others: docs/proxies.md",
        ),
        (None, 0) if hold > ping => findings.mend(
            "idle connection",
            format!("no ping in {held} s: what stands before the server keeps pings back, or its ping is longer"),
            format!("ping = \"{}s\"", ping.as_secs()),
        ),
        (None, 0) => findings.note("idle connection", format!("it lived for {held} s, which is less than the ping"), None),
        (None, pings) => {
            findings.ok("idle connection", format!("it lived for {held} s, with {pings} pings"));
            client.close();
        }
    }
}
