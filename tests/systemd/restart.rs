//! Sockets that outlive the server: who connects while it restarts waits, and is not refused.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::Signal;

use crate::manager::{hold, start_with_sockets};
use crate::support::client::{CLOSE, Client, FIN, UPGRADE, text};
use crate::support::server::{PATIENCE, Program};

const SUBSCRIPTIONS: &str = r#"{"command":"subscriptions"}"#;
const NONE_SUBSCRIBED: &str = r#"{"command":"subscriptions","result":"ok","bugs":[]}"#;

/// Clients whose server is restarted.
const CLIENTS: usize = 2_000;

fn certificate(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/watch/tls");
    folder.join(name).display().to_string()
}

#[test]
fn a_socket_that_is_handed_over_is_served_in_place_of_listen_and_by_tls_where_its_name_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, tls) = (hold(), hold());
    let addresses = [&plain, &tls].map(|socket| socket.local_addr().unwrap());
    let (certificate, key) = (certificate("server.pem"), certificate("server.key"));
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:1",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
    ];
    let sockets = [("bugzfeed.socket", plain.into()), ("tls", tls.into())];
    let program = start_with_sockets(folder.path(), &arguments, &sockets);
    let line = program.wait_for_line(" listens on ");
    let [plain, tls] = addresses;
    assert!(
        line.contains(&format!(
            "listens on ws://{plain}/ (page: http://{plain}/), wss://{tls}/ (page: https://{tls}/);"
        )),
        "{line}"
    );
    program.wait_for_line("systemd hands over the sockets; --listen is not used");
    assert_eq!(Client::open(plain, "/").ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
}

#[test]
fn a_socket_with_the_name_admin_is_for_those_who_run_the_server_and_not_for_clients() {
    let folder = tempfile::tempdir().unwrap();
    let (clients, admin) = (hold(), hold());
    let addresses = [&clients, &admin].map(|socket| socket.local_addr().unwrap());
    let sockets = [("bugzfeed.socket", clients.into()), ("admin", admin.into())];
    let program = start_with_sockets(folder.path(), &["serve"], &sockets);
    let [clients, admin] = addresses;
    let line = program.wait_for_line(" listens on ");
    assert!(
        line.contains(&format!(
            "listens on ws://{clients}/ (page: http://{clients}/);"
        )),
        "{line}"
    );
    assert!(line.ends_with(&format!("; admin: {admin}")), "{line}");
    let mut client = Client::connect(admin);
    client.send("GET /livez HTTP/1.0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(
        Client::open(clients, "/").ask(SUBSCRIPTIONS),
        NONE_SUBSCRIBED
    );
    drop(program);

    // Clients' own addresses are those of --listen then.
    let admin = hold();
    let sockets = [("admin", admin.into())];
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let program = start_with_sockets(folder.path(), &arguments, &sockets);
    program.wait_for_line(" listens on ws://127.0.0.1:");

    let sockets = [("admin", hold().into()), ("admin", hold().into())];
    let (status, log) = start_with_sockets(folder.path(), &["serve"], &sockets).wait();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("two sockets with the name admin"), "{log}");
}

#[test]
fn a_unix_socket_that_is_handed_over_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let sockets = [("bugzfeed.socket", socket.into())];
    for _ in 0..2 {
        let program = start_with_sockets(folder.path(), &["serve"], &sockets);
        program.wait_for_line(&format!(" listens on unix:{}", path.display()));
        let mut client = Client::connect_unix(&path);
        client.shake_hands("/");
        assert_eq!(client.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
        program.signal(Signal::TERM);
        assert_eq!(program.wait().0.code(), Some(0));
    }
}

#[test]
fn what_is_handed_over_and_is_no_socket_for_clients_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("file")).unwrap();
    let sockets = [("bugzfeed.socket", file.into())];
    let (status, log) = start_with_sockets(folder.path(), &["serve"], &sockets).wait();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(
        log.contains("cannot use a socket that systemd hands over"),
        "{log}"
    );
    // With Accept=yes, systemd hands over the socket of one client.
    let listener = hold();
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let sockets = [("one", listener.accept().unwrap().0.into())];
    let (status, log) = start_with_sockets(folder.path(), &["serve"], &sockets).wait();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("accepted is Accept=no"), "{log}");
}

/// Starts the server, and has it ready.
fn start(folder: &Path, sockets: &[(&str, OwnedFd)]) -> Program {
    let arguments = [
        "serve",
        "--source",
        "sqlite:bugzfeed.db?poll=5ms",
        "--drain",
        "1s",
    ];
    let program = start_with_sockets(folder, &arguments, sockets);
    program.wait_for_line("reading updates from");
    program
}

/// A client that wants one bug of its own, and what has come of it since the year 2030.
fn subscribe(address: SocketAddr, bug: usize) -> Client {
    let mut client = Client::connect(address);
    let message =
        format!(r#"{{"command":"subscribe","bugs":[{bug}],"since":"2030-01-01T00:00:00"}}"#);
    client.send(UPGRADE);
    client.send(text(message));
    client
}

/// Bugs change, one for each client.
pub fn change(database: &Path, clients: usize) {
    let table = rusqlite::Connection::open(database).unwrap();
    table.busy_timeout(PATIENCE).unwrap();
    table
        .execute_batch(&format!(
            "WITH RECURSIVE bug(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM bug WHERE id < {clients})
             INSERT INTO push_notify (bug_id, delta_ts) SELECT id, '2030-01-01T00:00:00' FROM bug"
        ))
        .unwrap();
}

/// Has so many clients connected while the server restarts: `stop` has it end, and `start` has
/// another one begin, before or after bugs have changed. All must be told to come back, and be taken
/// when they do; and they must hear of their bugs.
pub fn expect_no_refusal(
    address: SocketAddr,
    clients: usize,
    stop: impl FnOnce(),
    start: impl FnOnce(),
) {
    let expect_subscribed = |client: &mut Client, bug: usize| {
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "refused: {head}");
        let reply = client.hear();
        assert!(reply.contains(&format!("[{bug}]")), "{reply}");
    };
    let mut clients: Vec<Client> = (1..=clients)
        .map(|bug| {
            let mut client = subscribe(address, bug);
            expect_subscribed(&mut client, bug);
            client
        })
        .collect();
    stop();
    for (at, client) in clients.iter_mut().enumerate() {
        let close = client.frame();
        assert_eq!(close.first, FIN | CLOSE);
        assert_eq!(close.payload[..2], 1001_u16.to_be_bytes());
        *client = subscribe(address, at + 1);
    }
    start();
    for (at, client) in clients.iter_mut().enumerate() {
        let bug = at + 1;
        expect_subscribed(client, bug);
        assert_eq!(
            client.hear(),
            format!(r#"{{"command":"update","bug":{bug},"when":"2030-01-01T00:00:00"}}"#)
        );
    }
}

#[test]
fn a_restart_refuses_nobody_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = hold();
    // As Backlog= of the unit would have it.
    rustix::net::listen(&socket, 4_096).unwrap();
    let address = socket.local_addr().unwrap();
    let sockets = [("bugzfeed.socket", socket.into())];
    let running = RefCell::new(Some(start(folder.path(), &sockets)));
    expect_no_refusal(
        address,
        CLIENTS,
        || {
            running
                .borrow()
                .iter()
                .for_each(|it| it.signal(Signal::TERM))
        },
        || {
            let first = running.take().unwrap();
            assert_eq!(first.wait().0.code(), Some(0));
            // All of them wait in the kernel's queue.
            change(&folder.path().join("bugzfeed.db"), CLIENTS);
            running.replace(Some(start(folder.path(), &sockets)));
        },
    );
}
