//! What a webhook's answers and connections cost, and which certificates it may have.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::program::{Place, terminate};
use crate::receiver::{Posts, status};

#[test]
fn a_server_that_says_when_to_come_back_is_left_alone_until_then_and_no_longer() {
    let posts = Posts::open(|number, _| match number {
        0 => "503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ => status("200 OK"),
    });
    let place = Place::new();
    let relay = place.relay_with(&["--retry", "1h"], &[&format!("http://{}/", posts.address)]);
    place.table().record([1]);
    let (first, second) = (posts.next(), posts.next());
    assert!(second.at - first.at >= Duration::from_secs(1));
    place.drained();
    terminate(relay);
}

#[test]
fn long_answers_keep_the_connection_and_an_endless_one_costs_a_moment_and_is_told() {
    let posts = Posts::open(|number, _| match number {
        // Longer than what is shown of a refusal.
        0 | 1 => format!("200 OK\r\nContent-Length: 5000\r\n\r\n{:5000}", ""),
        2 | 3 => "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n".to_owned(),
        _ => status("200 OK"),
    });
    let place = Place::new();
    let relay = place.relay(&[&format!("http://{}/", posts.address)]);
    place.table().record([1, 2, 3, 4, 5]);
    let came: Vec<_> = (0..5)
        .map(|_| {
            let post = posts.next();
            (post.bug(), post.connection)
        })
        .collect();
    assert_eq!(came, [(1, 0), (2, 0), (3, 0), (4, 1), (5, 2)]);
    place.drained();
    assert_eq!(posts.rest(), 0);
    let log = terminate(relay);
    let told = log.matches("answers do not end within a second or 64 KiB");
    assert_eq!(told.count(), 1, "{log}");
}

#[test]
fn a_kept_connection_that_has_just_ended_costs_one_attempt_anew_and_no_pause() {
    // It hangs up at the second post, then at the fourth and at its repetition.
    let posts = Posts::open(|number, _| match number {
        1 | 4 | 5 => String::new(),
        _ => status("200 OK"),
    });
    let place = Place::new();
    let relay = place.relay(&[&format!("http://{}/", posts.address)]);
    place.table().record([1, 2, 3]);
    let next = || {
        let post = posts.next();
        (
            post.bug(),
            post.connection,
            post.fields["idempotency-key"].clone(),
        )
    };
    let came: Vec<_> = (0..4).map(|_| next()).collect();
    let numbers: Vec<_> = came.iter().map(|(bug, from, _)| (*bug, *from)).collect();
    assert_eq!(numbers, [(1, 0), (2, 0), (2, 1), (3, 1)]);
    // The same at each attempt, and another one for each change.
    assert!(came[1].2 == came[2].2 && came[0].2 != came[1].2, "{came:?}");
    place.drained();
    assert!(!relay.log().contains("trying again until it works"));
    place.table().record([4]);
    let came: Vec<_> = (0..3).map(|_| next()).collect();
    let numbers: Vec<_> = came.iter().map(|(bug, from, _)| (*bug, *from)).collect();
    assert_eq!(numbers, [(4, 1), (4, 2), (4, 3)]);
    place.drained();
    let log = terminate(relay);
    assert_eq!(
        log.matches("trying again until it works").count(),
        1,
        "{log}"
    );
}

#[test]
fn the_status_says_that_a_first_attempt_is_under_way() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    let relay = place.relay(&[&format!("http://{}/", silent.local_addr().unwrap())]);
    place.table().record([1]);
    let _connection = silent.accept().unwrap();
    let status = place.status();
    assert!(status.contains("  waiting:       1\n"), "{status}");
    assert!(status.ends_with("  next attempt:  under way\n"), "{status}");
    terminate(relay);
}

/// Makes `NAME.pem` and `NAME.key` as Bugzilla's administrator would.
fn self_signed(place: &Place, name: &str, options: &[&str]) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=somewhere",
        ])
        .args([
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ])
        .args(options)
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The same, for a year that is over: `openssl req` of Debian 12 has no dates.
fn expired(place: &Place, name: &str) {
    self_signed(place, name, &[]);
    let script = format!(
        "openssl req -new -key {name}.key -subj /CN=somewhere -out {name}.csr &&
         printf '[ca]\ndefault_ca=d\n[d]\ndir=.\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nbasicConstraints=CA:TRUE\n' > ca.cnf &&
         touch index && echo 01 > serial &&
         openssl ca -config ca.cnf -batch -selfsign -keyfile {name}.key -in {name}.csr -notext \
             -startdate 20200101000000Z -enddate 20210101000000Z -out {name}.pem"
    );
    let made = Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_certificate_that_is_its_own_issuer_is_trusted_where_it_is_named_and_as_long_as_it_is_valid() {
    let place = Place::new();
    self_signed(&place, "own", &[]);
    self_signed(&place, "other", &[]);
    expired(&place, "old");
    let open = |name: &str| {
        let file = |end: &str| place.file(&format!("{name}.{end}"));
        Posts::open_tls_as(&file("pem"), &file("key"), |_, _| status("200 OK"))
    };
    let (own, old) = (open("own"), open("old"));
    let to = |posts: &Posts, trusted: &str| {
        format!(
            "https://localhost:{}/#cacert={trusted}.pem",
            posts.address.port()
        )
    };
    let relay = place.relay(&[&to(&own, "own"), &to(&old, "old")]);
    place.table().record([1]);
    assert_eq!(own.bugs(1), [1]);
    relay.wait_for_line("the server's certificate has expired, or this machine's clock is wrong");
    terminate(relay);
    assert_eq!((own.rest(), old.rest()), (0, 0));
    let place = {
        let elsewhere = Place::new();
        for file in ["other.pem", "own.pem"] {
            fs::copy(place.file(file), elsewhere.file(file)).unwrap();
        }
        elsewhere
    };
    let relay = place.relay(&[&to(&own, "other")]);
    place.table().record([2]);
    relay.wait_for_line("cacert=FILE names a certificate to trust");
    terminate(relay);
    assert_eq!(own.rest(), 0);
}
