//! `watch` over TLS. The certificates in `tls/` were made for these tests: an authority, and one
//! for localhost and 127.0.0.1.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bugzfeed::client::Connector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::Message;

use crate::feed::{Connection, Feed, update};
use crate::program::Program;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/watch/tls")
        .join(name)
}

fn server_side() -> ServerConnection {
    let certificates = CertificateDer::pem_file_iter(file("server.pem"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

#[test]
fn a_feed_is_watched_by_tls_with_the_certificates_of_a_file() {
    let cacert = file("ca.pem");
    for host in ["localhost", "127.0.0.1"] {
        let feed = Feed::open();
        let url = format!("https://{host}:{}/dev/", feed.port());
        let options = [
            "--cacert",
            cacert.to_str().unwrap(),
            "--count",
            "1",
            "--silence-max",
            "1s",
        ];
        let watch = Program::start(["watch", &url, "1234"].iter().chain(&options));
        let mut client = Connection::over(StreamOwned::new(server_side(), feed.accept_tcp()));
        let (subscribe, ok) = (
            r#"{"command":"subscribe","bugs":[1234]}"#,
            r#"{"command":"subscribe","result":"ok","bugs":[1234]}"#,
        );
        client.subscribed(subscribe, ok, &[]);
        assert!(matches!(client.read(), Message::Ping(_)));
        client.send(&update(1234, "2014-04-03T21:13:45"));
        assert_eq!(watch.line(), "2014-04-03T21:13:45 bug 1234");
        assert_eq!(watch.ends().0, Some(0));
    }
}

#[test]
fn a_certificate_of_a_stranger_is_no_connection() {
    let feed = Feed::open();
    let url = format!("wss://localhost:{}/", feed.port());
    let watch = Program::start([
        "watch",
        "--cacert",
        file("stranger.pem").to_str().unwrap(),
        "--no-retry",
        &url,
        "1234",
    ]);
    let mut stream = StreamOwned::new(server_side(), feed.accept_tcp());
    assert!(stream.conn.complete_io(&mut stream.sock).is_err());
    let (code, _, said) = watch.ends();
    assert!(
        code == Some(69)
            && said.contains(
                "issued by nobody who is trusted here; --cacert FILE names a certificate to trust"
            ),
        "{said}"
    );
}

#[test]
fn a_host_that_takes_the_connection_but_does_not_answer_is_given_up_by_tls_too() {
    let feed = Feed::open();
    let url = format!("wss://localhost:{}/", feed.port()).parse().unwrap();
    let connector = Connector::new(url, Some(&file("ca.pem")), Duration::from_millis(100)).unwrap();
    assert_eq!(
        connector.connect().unwrap_err().to_string(),
        "the server does not answer"
    );
}

#[test]
fn a_file_without_certificates_is_a_wrong_setting() {
    for name in ["server.key", "missing.pem"] {
        let name = file(name);
        let (code, _, said) = Program::start([
            "watch",
            "--cacert",
            name.to_str().unwrap(),
            "wss://localhost/",
            "1234",
        ])
        .ends();
        assert!(
            code == Some(78) && said.contains(name.to_str().unwrap()) && said.contains("--cacert"),
            "{said}"
        );
    }
}
