//! The bench and TLS: a server of its own, and anybody's.

use crate::support::server::Server;
use crate::{bench, said, verified};

#[test]
fn full_and_resumed_handshakes_are_counted_apart() {
    for version in ["1.2", "1.3"] {
        let said = verified(&format!(
            "churn -n 10 --cycles 50 --tls --tls-version {version}"
        ));
        assert!(said.contains("55 full, 50 resumed"), "{said}");
        assert!(said.contains("[resumed_cycle]"), "{said}");
    }
}

#[test]
fn those_who_are_in_get_updates_while_a_storm_lasts() {
    let said = verified("storm -n 20 --present 5 --updates 3 --tls");
    for key in [
        "[beside_p50]",
        "[beside_p99]",
        "[beside_max]",
        "[beside_resume_max]",
    ] {
        assert!(said.contains(key), "{said}");
    }
    assert!(said.contains("84 full, 20 resumed"), "{said}");
}

#[test]
fn a_server_by_tls_is_believed_by_its_certificate_or_not_asked_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("{}/tests/watch/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let options = [
        "--listen",
        "127.0.0.1:0,tls:127.0.0.1:0",
        "--tls-cert",
        &certificate,
    ];
    let options = [&options[..], &["--tls-key", &key, "--history", "none"]].concat();
    let server = Server::start_in(folder.path(), &options);
    drop(server.table());
    let line = server.program().wait_for_line("wss://");
    let port = line.split("wss://127.0.0.1:").nth(1).unwrap();
    let url = format!("wss://localhost:{}/", port.split('/').next().unwrap());
    let table = format!("sqlite:{}", folder.path().join("bugzfeed.db").display());
    let measure = |more: &[&str]| {
        let more = [&[&url, "--publish", &table], more].concat();
        bench("fanout -n 20 --updates 3", &more)
    };
    for more in [&["--cacert", &ca][..], &["--insecure"]] {
        let said = said(&measure(more));
        assert!(
            said.contains("100 deliveries, 0 missing: all there"),
            "{said}"
        );
    }
    // Whoever has patience is told at once, too.
    let output = measure(&["--patience", "1h"]);
    assert_ne!(output.status.code(), Some(0));
    let said = said(&output);
    assert!(
        said.contains("TLS with localhost: invalid peer certificate: UnknownIssuer; --cacert FILE"),
        "{said}"
    );
}

#[test]
#[ignore = "takes four seconds: run tests/run"]
fn a_server_with_tls_is_filled_until_it_refuses_and_keeps_those_who_are_in() {
    let said = said(&bench(
        "fill -n 80 --updates 40 --tls --serve-arg=--connections --serve-arg=50",
        &["--assert", "held<=50,refused<=60,missing=0"],
    ));
    assert!(said.contains("wss: "), "{said}");
    assert!(said.contains("all there, each once, in order"), "{said}");
    assert!(!said.contains("could not connect"), "{said}");
}
