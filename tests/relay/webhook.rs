//! Destinations `http:` and `https:`.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, thread};

use serde_json::json;

use crate::program::{Place, terminate};
use crate::receiver::{Posts, certificate, status};
use crate::support::server::{Server, wait_until};

#[test]
fn a_change_is_posted_as_bugzilla_mozilla_org_does_signed_and_with_its_key() {
    let posts = Posts::open(|_, _| status("204 No Content"));
    let place = Place::new();
    fs::write(place.file("secret"), "Tell nobody\n").unwrap();
    fs::write(place.file("key"), "hunter2\n").unwrap();
    let to = format!(
        "http://{}/a/hook?x=1#secret_file=secret&header=X-Bugzilla-Key&key_file=key",
        posts.address
    );
    let relay = place.relay(&[&to]);
    place.table().record([1234]);
    let post = posts.next();
    assert_eq!(post.head, "POST /a/hook?x=1 HTTP/1.1");
    assert_eq!(post.fields["content-type"], "application/json");
    assert_eq!(post.fields["x-bugzilla-key"], "hunter2");
    // Made by another program.
    let signature = "sha256=0c0f94c572d622b9ab5878fd04610b3d97dcc8c290c4c765533bb402b4439857";
    assert_eq!(post.fields["x-hub-signature-256"], signature);
    let event = json!({"action": "modify", "target": "bug", "routing_key": "bug.modify", "time": "2014-04-03T21:13:45"});
    assert_eq!(
        post.json(),
        json!({"webhook_id": 1, "webhook_name": "bugzfeed", "event": event, "bug": {"id": 1234}})
    );
    // Whoever reads the files with the secrets later finds new ones.
    fs::write(place.file("secret"), "Tell somebody").unwrap();
    place.table().record([5]);
    let post = posts.next();
    let signature = "sha256=f5b9ed2d317eece5a17130fb17d11f3d9385a5aa886b679db478d2fbac3ebf37";
    assert_eq!(post.fields["x-hub-signature-256"], signature);
    place.drained();
    let said = place.status() + &terminate(relay);
    assert!(
        !["hunter2", "Tell", "key_file", "hook", "x=1"]
            .iter()
            .any(|secret| said.contains(secret)),
        "{said}"
    );
}

#[test]
fn a_post_is_not_signed_without_a_secret() {
    let posts = Posts::open(|_, _| status("200 OK"));
    let place = Place::new();
    let relay = place.relay(&[&format!("http://{}/", posts.address)]);
    place.table().record([1]);
    let post = posts.next();
    assert!(
        !post.fields.contains_key("x-hub-signature-256") && !post.fields.contains_key("x-api-key"),
        "{post:?}"
    );
    terminate(relay);
}

#[test]
fn our_own_server_understands_the_posts() {
    let place = Place::new();
    fs::write(place.file("key"), "hunter2").unwrap();
    fs::write(place.file("key-of-server"), "hunter2").unwrap();
    let key_file = place.file("key-of-server").display().to_string();
    let server = Server::start(&["--source", &format!("webhook:?key_file={key_file}")]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[1,2]}"#);
    let relay = place.relay(&[&format!("http://{}/webhook#key_file=key", server.address)]);
    place.table().record([1, 3, 2]);
    assert_eq!(
        client.hear(),
        r#"{"command":"update","bug":1,"when":"2014-04-03T21:13:45"}"#
    );
    assert_eq!(
        client.hear(),
        r#"{"command":"update","bug":2,"when":"2014-04-03T21:13:45"}"#
    );
    place.drained();
    // The key is changed on the receiving side first.
    fs::write(place.file("new"), "hunter3").unwrap();
    fs::rename(place.file("new"), place.file("key-of-server")).unwrap();
    wait_until("the relay's key is refused", || {
        place.table().record([1]);
        relay
            .log()
            .contains("the server answered 401")
            .then_some(())
    });
    fs::write(place.file("key"), "hunter3").unwrap();
    place.drained();
    terminate(relay);
}

#[test]
fn our_own_server_keeps_the_connection_of_a_relay() {
    let place = Place::new();
    fs::write(place.file("key"), "hunter2").unwrap();
    let server = Server::start(&["--source", "webhook:?key=hunter2"]);
    let (address, connections) = counted(server.address);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[30]}"#);
    let relay = place.relay(&[&format!("http://{address}/webhook#key_file=key")]);
    place.table().record(1..=30);
    assert!(client.hear().contains(r#""bug":30"#));
    place.drained();
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    terminate(relay);
}

/// An address that leads to a server, and how many connections have come by it.
fn counted(server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let connections = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            count.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(server).unwrap();
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, connections)
}

#[test]
fn a_refusal_for_good_is_logged_with_the_change_and_blocks_nothing() {
    let posts = Posts::open(|_, post| match post.bug() {
        2 => "400 Bad Request\r\nContent-Length: 15\r\n\r\nno such product".to_owned(),
        3 => status("422 Unprocessable Entity"),
        _ => status("200 OK"),
    });
    let place = Place::new();
    let to = format!("http://{}/", posts.address);
    let relay = place.relay_with(&["--retry", "1h"], &[&to]);
    place.table().record([1, 2, 3, 4]);
    assert_eq!(posts.bugs(4), [1, 2, 3, 4]);
    place.drained();
    assert_eq!(posts.rest(), 0);
    let status = place.status();
    assert!(
        status.contains(
            "last error:    bug 3, 2014-04-03T21:13:45, was refused: the server answered 422 Unprocessable Entity ("
        ),
        "{status}"
    );
    assert!(
        status.contains("  refused:       2 (relay --refused shows the latest)\n"),
        "{status}"
    );
    let refused = place.print(&["--refused"]);
    let refused: Vec<serde_json::Value> = refused
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = refused
        .iter()
        .map(|one| {
            (
                &one["bug"],
                &one["when"],
                &one["reason"],
                &one["destination"],
            )
        })
        .collect();
    let name = json!(to);
    assert_eq!(
        told,
        [
            (
                &json!(2),
                &json!("2014-04-03T21:13:45"),
                &json!("the server answered 400 Bad Request: no such product"),
                &name
            ),
            (
                &json!(3),
                &json!("2014-04-03T21:13:45"),
                &json!("the server answered 422 Unprocessable Entity"),
                &name
            ),
        ]
    );
    let log = terminate(relay);
    let said = "refuses bug 2, 2014-04-03T21:13:45, for good, which it will not get (relay --refused shows it): the server answered 400 Bad Request: no such product";
    assert!(log.contains(said), "{log}");
}

#[test]
fn whatever_may_pass_is_tried_again_in_order() {
    let passing = [
        status("500 Internal Server Error"),
        status("503 Service Unavailable"),
        status("408 Request Timeout"),
        status("425 Too Early"),
        status("429 Too Many Requests"),
        // What is wrong with a key, an address or a route can be mended.
        status("401 Unauthorized"),
        status("403 Forbidden"),
        status("404 Not Found"),
        status("410 Gone"),
        // Redirects are not followed.
        "302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // An answer that is none.
        "\r\n\r\n".to_owned(),
        String::new(),
    ];
    let count = passing.len();
    let posts = Posts::open(move |number, _| {
        passing
            .get(number)
            .cloned()
            .unwrap_or_else(|| status("200 OK"))
    });
    let place = Place::new();
    let relay = place.relay(&[&format!("http://{}/here", posts.address)]);
    place.table().record([1, 2]);
    for _ in 0..=count {
        let post = posts.next();
        assert_eq!((post.bug(), post.head.as_str()), (1, "POST /here HTTP/1.1"));
    }
    assert_eq!(posts.bugs(1), [2]);
    place.drained();
    let log = terminate(relay);
    for said in [
        "the server answered 403 Forbidden (the key may be wrong: no change is dropped for that); trying again until it works",
        "the server answered 404 Not Found (the address may be wrong: no change is dropped for that); trying again until it works",
    ] {
        assert!(log.contains(said), "{log}");
    }
}

#[test]
fn pauses_grow_with_each_failure_and_start_over_after_a_success() {
    // The fourth and the fifth succeed.
    let posts = Posts::open(|number, _| {
        status(if matches!(number, 3 | 4) {
            "200 OK"
        } else {
            "500 Oh"
        })
    });
    let place = Place::new();
    let relay = place.relay_with(
        &["--retry", "100ms,400ms,900ms"],
        &[&format!("http://{}/", posts.address)],
    );
    place.table().record([1, 2, 3]);
    let at: Vec<_> = (0..8).map(|_| posts.next().at).collect();
    let pauses: Vec<u128> = at
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    for (pause, least) in pauses.iter().zip([100, 400, 900, 0, 0, 100, 400]) {
        assert!(*pause >= least, "{pauses:?}");
    }
    // A success is followed at once; so is one after failures.
    assert!(pauses[3] < 900 && pauses[4] < 900, "{pauses:?}");
    // The first pause after a success is the first one again, not the last.
    assert!(pauses[5] < 900, "{pauses:?}");
    terminate(relay);
}

/// The pauses are for a server that has answered.
#[test]
fn a_server_that_refuses_connections_is_tried_again_soon() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let place = Place::new();
    let relay = place.relay_with(&["--retry", "1h"], &[&format!("http://{address}/")]);
    place.table().record([7]);
    relay.wait_for_line("Connection refused");
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    wait_until("it is tried again", || listener.accept().ok());
    terminate(relay);
}

#[test]
fn posts_go_by_tls_to_a_server_that_is_trusted_and_to_no_other() {
    let posts = Posts::open_tls(|_, _| status("200 OK"));
    let place = Place::new();
    let port = posts.address.port();
    let (ca, stranger) = (certificate("ca.pem"), certificate("stranger.pem"));
    let relay = place.relay(&[
        &format!("https://localhost:{port}/trusted#cacert={}", ca.display()),
        &format!(
            "https://localhost:{port}/by-a-stranger#cacert={}",
            stranger.display()
        ),
    ]);
    place.table().record([1, 2]);
    for bug in [1, 2] {
        let post = posts.next();
        assert_eq!(
            (post.bug(), post.head.as_str()),
            (bug, "POST /trusted HTTP/1.1")
        );
    }
    let said = "the server's certificate was issued by nobody who is trusted here; cacert=FILE names a certificate to trust";
    relay.wait_for_line(said);
    assert_eq!(posts.rest(), 0);
    terminate(relay);
}

#[test]
fn a_server_that_never_answers_costs_the_others_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let posts = Posts::open(|_, _| status("200 OK"));
    let place = Place::new();
    let relay = place.relay(&[
        &format!("http://{}/", silent.local_addr().unwrap()),
        &format!("http://{}/", posts.address),
    ]);
    place.table().record([1]);
    let _connection = silent.accept().unwrap();
    place.table().record([2, 3]);
    assert_eq!(posts.bugs(3), [1, 2, 3]);
    terminate(relay);
}
