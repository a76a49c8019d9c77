//! TLS in the loop, against other people's clients: OpenSSL, curl, Python's ssl and Node; and what
//! an administrator does: certificates by name, read anew, and wrong ones. The certificates are
//! those of `tests/watch/tls`; others are made by openssl.

mod support;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use rustix::process::Signal;
use support::browser::Browser;
use support::server::{PATIENCE, Program, Server, wait_until};

/// Whether the page gets updates.
const LIVE: &str = "document.querySelector('[role=status]').textContent === 'Live'";

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/watch/tls");
    folder.join(name).display().to_string()
}

/// Options for a server with TLS on a free port.
fn options() -> Vec<String> {
    [
        "--listen",
        "127.0.0.1:0,tls:127.0.0.1:0",
        "--tls-cert",
        &file("server.pem"),
        "--tls-key",
        &file("server.key"),
        "--log",
        "debug",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A server with TLS in a folder, and where it listens for it.
fn start_in(folder: &Path, options: &[String]) -> (Server, SocketAddr) {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::start_in(folder, &options);
    let line = server.program().wait_for_line(" listens on ");
    let address = line
        .split("wss://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("{line}"));
    assert!(
        line.contains(&format!("(page: https://{address}/)")),
        "{line}"
    );
    (server, address)
}

/// Runs a program with this input; it must have ended by then.
fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that has ended already takes no input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What OpenSSL's client prints that asks for the page.
fn s_client(address: SocketAddr, options: &[&str]) -> String {
    let address = address.to_string();
    let ca = file("ca.pem");
    let mut arguments = vec!["s_client", "-connect", &address, "-CAfile", &ca];
    arguments.extend([
        "-servername",
        "localhost",
        "-verify_return_error",
        "-ign_eof",
    ]);
    arguments.extend(options);
    let output = run("openssl", &arguments, REQUEST);
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn openssl_reads_the_page_by_each_suite_and_version() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = start_in(folder.path(), &options());
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ] {
        let said = s_client(address, &["-tls1_3", "-ciphersuites", suite]);
        assert!(said.contains(&format!("Cipher is {suite}")), "{said}");
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        // What ends without a close_notify is an error to it.
        assert!(!said.contains("unexpected eof"), "{said}");
    }
    for suite in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        let said = s_client(address, &["-tls1_2", "-cipher", suite]);
        assert!(said.contains(&format!("Cipher is {suite}")), "{said}");
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        assert!(!said.contains("unexpected eof"), "{said}");
    }
    let said = s_client(address, &["-alpn", "h2,http/1.1"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
}

/// Sends `K` and `k`, which OpenSSL's client makes key updates of, with and without the question
/// for one, and then asks for the page.
#[test]
fn openssl_changes_keys_and_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = start_in(folder.path(), &options());
    let script = r#"
import os, subprocess, sys
address, ca, suite = sys.argv[1:]
child = subprocess.Popen(
    ["openssl", "s_client", "-connect", address, "-CAfile", ca, "-ciphersuites", suite, "-crlf"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
said = b""
def until(text):
    global said
    while text not in said:
        read = os.read(child.stdout.fileno(), 65536)
        if not read:
            sys.exit(f"{text!r} did not come: {said!r}")
        said += read
until(b"verify return:1")
for command in b"K", b"k", b"K":
    said = b""
    child.stdin.write(command + b"\n")
    until(b"KEYUPDATE")
child.stdin.write(b"GET / HTTP/1.1\nHost: a\n\n")
until(b"200 OK")
"#;
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ] {
        let arguments = ["-c", script, &address.to_string(), &file("ca.pem"), suite];
        let output = run("python3", &arguments, "");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn curl_reads_the_page_and_is_answered_at_the_wrong_port_too() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start_in(folder.path(), &options());
    let url = format!("https://localhost:{}/", address.port());
    let output = run("curl", &["-sS", "--cacert", &file("ca.pem"), &url], "");
    assert!(text(&output.stdout).contains("<html"), "{output:?}");
    let output = run("curl", &["-sS", &format!("http://{address}/")], "");
    assert_eq!(
        text(&output.stdout),
        "Here is TLS: the address begins with https:// or wss://.\n"
    );
    let output = run(
        "curl",
        &["-sSk", &format!("https://{}/", server.address)],
        "",
    );
    let error = text(&output.stderr);
    assert!(error.contains("handshake failure"), "{error}");
}

#[test]
fn a_connection_with_tls_takes_one_post_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.extend(["--source", "webhook:?header=X-Key&key=secret"].map(str::to_owned));
    let (_server, address) = start_in(folder.path(), &options);
    let url = format!("https://localhost:{}/webhook", address.port());
    let post = |url| {
        let body = r#"{"bug":{"id":1},"event":{"time":"2014-04-03T21:13:45"}}"#;
        ["-H", "X-Key: secret", "-d", body, url]
    };
    let ca = file("ca.pem");
    let shown = [
        "-sS",
        "--cacert",
        &ca,
        "-w",
        "%{http_code} %{num_connects}\n",
    ];
    let arguments = [&shown[..], &post(&url), &["--next"], &shown, &post(&url)].concat();
    let output = run("curl", &arguments, "");
    // The second one has needed no new connection.
    assert_eq!(text(&output.stdout), "200 1\n200 0\n", "{output:?}");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_browser_has_the_page_by_https_and_the_feed_by_wss_over_a_reload_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start_in(folder.path(), &options());
    let mut browser = Browser::start();
    browser.trust_everybody();
    let rows =
        |count: usize| format!("document.querySelectorAll('#updates li').length === {count}");
    browser.open(&format!("https://localhost:{}/#1234", address.port()));
    browser.wait_for(LIVE);
    assert_eq!(browser.evaluate("location.protocol"), "https:");
    server.record(&[(1234, "2014-04-03 21:13:45")]);
    browser.wait_for(&rows(1));

    server.program().signal(Signal::HUP);
    server
        .program()
        .wait_for_line("certificates were read anew");
    server.record(&[(1234, "2014-04-03 21:13:46")]);
    browser.wait_for(&rows(2));

    assert!(server.end(Signal::TERM).success());
    browser.wait_for(&format!("!({LIVE})"));
    let listen = format!("tls:{address},127.0.0.1:0");
    let options: Vec<String> = options()
        .into_iter()
        .map(|option| match option.contains("tls:") {
            true => listen.clone(),
            false => option,
        })
        .collect();
    let (server, _) = start_in(folder.path(), &options);
    browser.evaluate("dispatchEvent(new Event('online'))");
    browser.wait_for(LIVE);
    server.record(&[(1234, "2014-04-03 21:13:47")]);
    // The last one of before comes again, and is known.
    browser.wait_for(&rows(3));
}

/// A client of the feed, in Python: subscribes to bug 1 and prints each message.
const PYTHON_CLIENT: &str = r#"
import base64, os, socket, ssl, struct, sys
port, ca, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
stream = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
received = b""
def take(bytes):
    global received
    while len(received) < bytes:
        read = stream.recv(65536)
        if not read:
            sys.exit("the server has closed")
        received += read
    taken, received = received[:bytes], received[bytes:]
    return taken
while b"\r\n\r\n" not in received:
    received += stream.recv(65536)
received = received.split(b"\r\n\r\n", 1)[1]
command = b'{"command":"subscribe","bugs":[1]}'
stream.sendall(bytes([0x81, 0x80 | len(command), 0, 0, 0, 0]) + command)
def frame():
    first, length = take(2)
    if length == 126:
        length, = struct.unpack(">H", take(2))
    return first, take(length)
for _ in range(count):
    print(frame()[1].decode(), flush=True)
stream.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))
while frame()[0] != 0x88:
    pass
# Waits for the server's close_notify.
stream.unwrap()
"#;

/// The same in Node.
const NODE_CLIENT: &str = r#"
const [port, ca, count] = process.argv.slice(1);
let left = Number(count);
const stream = require("tls").connect(
  { port, host: "127.0.0.1", servername: "localhost", ca: require("fs").readFileSync(ca) },
  () => stream.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"));
let received = Buffer.alloc(0), isOpen = false;
stream.on("data", (data) => {
  received = Buffer.concat([received, data]);
  const end = received.indexOf("\r\n\r\n");
  if (!isOpen && end >= 0) {
    isOpen = true;
    received = received.subarray(end + 4);
    const command = Buffer.from('{"command":"subscribe","bugs":[1]}');
    stream.write(Buffer.concat([Buffer.from([0x81, 0x80 | command.length, 0, 0, 0, 0]), command]));
  }
  while (isOpen && received.length >= 2 && received.length >= 2 + received[1]) {
    const length = received[1];
    console.log(received.subarray(2, 2 + length).toString());
    received = received.subarray(2 + length);
    if (--left === 0) { stream.end(); }
  }
});
"#;

/// The same by Python's websockets.
const WEBSOCKETS_CLIENT: &str = r#"
import asyncio, ssl, sys, websockets
async def main():
    context = ssl.create_default_context(cafile=sys.argv[2])
    async with websockets.connect(f"wss://localhost:{sys.argv[1]}/", ssl=context) as socket:
        await socket.send('{"command":"subscribe","bugs":[1]}')
        for _ in range(int(sys.argv[3])):
            print(await socket.recv(), flush=True)
asyncio.run(main())
"#;

/// Runs a client until it has got the reply to its command and an update.
fn gets_an_update(server: &Server, address: SocketAddr, client: [&str; 3]) {
    let [program, flag, script] = client;
    let child = Command::new(program)
        .args([
            flag,
            script,
            &address.port().to_string(),
            &file("ca.pem"),
            "2",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Before the client has subscribed, an update is for nobody.
    let mut second = 0;
    let output = thread::scope(|scope| {
        let waiting = scope.spawn(|| child.wait_with_output().unwrap());
        wait_until("the update", || {
            let (minute, rest) = (second / 60, second % 60);
            server.record(&[(1, &format!("2014-04-03T21:{minute:02}:{rest:02}"))]);
            second += 1;
            waiting.is_finished().then_some(())
        });
        waiting.join().unwrap()
    });
    let said = text(&output.stdout);
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some(r#"{"command":"subscribe","result":"ok","bugs":[1]}"#),
        "{program}"
    );
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with(r#"{"command":"update","bug":1,"#)),
        "{program}: {said}"
    );
    assert!(output.status.success(), "{program}");
}

#[test]
fn clients_in_python_and_node_get_updates() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start_in(folder.path(), &options());
    for client in [
        ["python3", "-c", PYTHON_CLIENT],
        ["node", "-e", NODE_CLIENT],
    ] {
        gets_an_update(&server, address, client);
    }
}

#[test]
#[ignore = "needs Python's websockets: run tests/run"]
fn a_client_by_pythons_websockets_gets_updates() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start_in(folder.path(), &options());
    let client = ["/usr/bin/python3", "-c", WEBSOCKETS_CLIENT];
    gets_an_update(&server, address, client);
}

/// Opens a WebSocket, and ends the connection with TLS's close_notify or without it.
const LEAVING_CLIENT: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
stream = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="localhost")
stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
assert b" 101 " in stream.recv(65536)
if sys.argv[3] == "announced":
    stream.unwrap()
stream.close()
"#;

#[test]
fn an_end_without_close_notify_is_told_apart_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start_in(folder.path(), &options());
    for (how, reason) in [("cut", "(CutOff)"), ("announced", "(Gone)")] {
        let arguments = [
            "-c",
            LEAVING_CLIENT,
            &address.port().to_string(),
            &file("ca.pem"),
            how,
        ];
        let output = run("python3", &arguments, "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        server.program().wait_for_line(reason);
    }
}

/// Makes a certificate with its key for some names.
fn make_certificate(folder: &Path, name: &str, key: &str) -> (PathBuf, PathBuf) {
    let (certificate, key_file) = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name}");
    let mut arguments = vec!["req", "-x509", "-nodes", "-days", "5", "-subj", &subject];
    arguments.extend(["-addext", &names, "-newkey"]);
    arguments.extend(key.split(' '));
    let (certificate_text, key_text) = (certificate.to_str().unwrap(), key_file.to_str().unwrap());
    arguments.extend(["-keyout", key_text, "-out", certificate_text]);
    let output = run("openssl", &arguments, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    (certificate, key_file)
}

/// The subject of the certificate that is shown to a client which asks for `name`.
fn shown(address: SocketAddr, name: &str) -> String {
    let address = address.to_string();
    let arguments = ["s_client", "-connect", &address, "-servername", name];
    let said = text(&run("openssl", &arguments, "").stdout);
    let line = said.lines().find(|line| line.starts_with("subject="));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn certificates_are_chosen_by_name_and_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let made = tempfile::tempdir().unwrap();
    let (certificate, key) = make_certificate(made.path(), "bugs.example.org", "rsa:2048");
    let mut options = options();
    for (option, file) in [("--tls-cert", &certificate), ("--tls-key", &key)] {
        options.extend([option.to_owned(), file.display().to_string()]);
    }
    let (server, address) = start_in(folder.path(), &options);
    server
        .program()
        .wait_for_line("bugs.example.org.pem expires soon: ");
    assert_eq!(shown(address, "localhost"), "subject=CN = localhost");
    assert_eq!(
        shown(address, "bugs.example.org"),
        "subject=CN = bugs.example.org"
    );
    assert_eq!(
        shown(address, "elsewhere.example.org"),
        "subject=CN = localhost"
    );

    let mut connected = server.connect();
    fs::write(&key, "").unwrap();
    server.program().signal(Signal::HUP);
    server
        .program()
        .wait_for_line("the settings stay what they were: cannot use ");
    assert_eq!(
        shown(address, "bugs.example.org"),
        "subject=CN = bugs.example.org"
    );
    let (new, new_key) = make_certificate(made.path(), "new.example.org", "rsa:2048");
    fs::copy(new, &certificate).unwrap();
    fs::copy(new_key, &key).unwrap();
    server.program().signal(Signal::HUP);
    server
        .program()
        .wait_for_line("certificates were read anew");
    assert_eq!(
        shown(address, "new.example.org"),
        "subject=CN = new.example.org"
    );
    assert!(
        connected
            .ask(r#"{"command":"version"}"#)
            .contains("version")
    );
}

#[test]
fn a_client_resumes_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_3", "-tls1_2"] {
        let (server, address) = start_in(folder.path(), &options());
        let said = s_client(address, &[version, "-sess_out", session]);
        assert!(said.contains("New, TLSv1."), "{said}");
        assert!(server.end(Signal::TERM).success());
        let (_server, address) = start_in(folder.path(), &options());
        let said = s_client(address, &[version, "-sess_in", session]);
        assert!(said.contains("Reused, TLSv1."), "{said}");
    }
}

#[test]
fn settings_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let (stranger, none) = (file("stranger.pem"), file("none.pem"));
    for (options, code, why) in [
        (
            vec!["--listen", "tls:127.0.0.1:0"],
            2,
            "needs --tls-cert and --tls-key",
        ),
        (
            vec!["--tls-cert", &certificate, "--tls-key", &key],
            2,
            "no --listen names an address with TLS",
        ),
        (
            vec!["--listen", "tls:127.0.0.1:0", "--tls-cert", &certificate],
            2,
            "accepted are pairs",
        ),
        (
            vec![
                "--listen",
                "tls:127.0.0.1:0",
                "--tls-cert",
                &none,
                "--tls-key",
                &key,
            ],
            78,
            "No such file",
        ),
        (
            vec![
                "--listen",
                "tls:127.0.0.1:0",
                "--tls-cert",
                &stranger,
                "--tls-key",
                &key,
            ],
            78,
            "it is not the key of the certificate in ",
        ),
        (
            vec![
                "--listen",
                "tls:127.0.0.1:0",
                "--tls-cert",
                &certificate,
                "--tls-key",
                &key,
                "--tls-tickets",
                "no/such/folder",
            ],
            78,
            "setting --tls-tickets",
        ),
    ] {
        let arguments: Vec<&str> = [&["serve"], options.as_slice()].concat();
        let (status, said) = Program::start(folder.path(), &arguments).wait();
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
