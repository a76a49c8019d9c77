//! Settings that are read anew while the server runs: what takes effect, what takes a restart, and
//! what changes nothing; and what a check of settings finds without starting anything.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::client::{Client, UPGRADE};
use support::server::{Program, Server};

const NEW_AGAIN: &str = "the settings were read anew: ";

/// A server with a file of settings.
struct Configured {
    folder: tempfile::TempDir,
    server: Server,
    /// How many times it was told to read its settings anew.
    lines: usize,
}

impl Configured {
    fn start(settings: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bugzfeed.toml");
        fs::write(&file, settings).unwrap();
        let file = file.display().to_string();
        let options = [&["--config", &file], options].concat();
        let server = Server::start_in(folder.path(), &options);
        Self {
            folder,
            server,
            lines: 0,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("bugzfeed.toml")
    }

    /// Has it read other settings; returns what it says then, from the last reload on.
    fn reload(&mut self, settings: &str, says: &str) -> Vec<String> {
        fs::write(self.file(), settings).unwrap();
        self.server.program().signal(Signal::HUP);
        support::server::wait_until(says, || {
            let log = self.server.program().log();
            let new: Vec<String> = log.lines().skip(self.lines).map(str::to_owned).collect();
            new.iter().any(|line| line.contains(says)).then(|| {
                self.lines += new.len();
                new
            })
        })
    }

    /// The first line of the response to a handshake from an origin.
    fn answer_to(&self, origin: &str) -> String {
        let mut client = Client::connect(self.server.address);
        let request = UPGRADE.replacen("Host:", &format!("Origin: {origin}\r\nHost:"), 1);
        client.send(request);
        client.head().lines().next().unwrap().to_owned()
    }
}

#[test]
fn what_can_change_holds_at_once_and_nobody_is_disconnected() {
    let mut it = Configured::start("[serve]\nsubscriptions = 2\nlog = 'warn'\n", &[]);
    let mut early = it.server.connect();
    let subscribe = r#"{"command":"subscribe","bugs":[1,2,3]}"#;
    assert!(early.ask(subscribe).contains("the limit is 2"));
    let settings = "[serve]\nsubscriptions = 3\norigin = 'https://a.example'\nbugzilla = 'https://b.example'\n";
    it.reload(
        settings,
        "the settings were read anew: --bugzilla, --origin, --subscriptions, --log changed",
    );
    let replied = early.ask(subscribe);
    assert!(replied.contains("[1,2,3]"), "{replied}");
    assert_eq!(
        it.answer_to("https://a.example"),
        "HTTP/1.1 101 Switching Protocols"
    );
    assert_eq!(it.answer_to("https://x.example"), "HTTP/1.1 403 Forbidden");
    let mut page = Client::connect(it.server.address);
    page.send("GET / HTTP/1.0\r\n\r\n");
    let page = String::from_utf8(page.rest()).unwrap();
    assert!(page.contains("https://b.example"), "{page}");
    it.reload(settings, "the settings were read anew; nothing changes");
}

#[test]
fn fewer_connections_hold_for_newcomers() {
    let mut it = Configured::start("[serve]\nconnections = 5\n", &[]);
    let mut early = [it.server.connect(), it.server.connect()];
    it.reload("[serve]\nconnections = 2\n", "--connections changed");
    assert_eq!(
        it.answer_to("https://a.example"),
        "HTTP/1.1 503 Service Unavailable"
    );
    for client in &mut early {
        client.ask(r#"{"command":"version"}"#);
    }
}

#[test]
fn who_is_connected_counts_for_a_new_limit_of_connections_of_an_address_and_stays() {
    let mut it = Configured::start("[serve]\n", &[]);
    let mut early = [it.server.connect(), it.server.connect()];
    let limited = "[serve]\nconnections-per-address = 2\n";
    it.reload(limited, "--connections-per-address changed");
    let origin = "https://a.example";
    assert_eq!(it.answer_to(origin), "HTTP/1.1 429 Too Many Requests");
    for client in &mut early {
        client.ask(r#"{"command":"version"}"#);
    }
    let proxied = format!("{limited}trusted-proxy = ['127.0.0.1']\n");
    it.reload(&proxied, "--trusted-proxy changed");
    assert_eq!(
        it.answer_to(origin),
        "HTTP/1.1 101 Switching Protocols",
        "a proxy itself may have any number"
    );
    it.reload(limited, "--trusted-proxy changed");
    assert_eq!(it.answer_to(origin), "HTTP/1.1 429 Too Many Requests");
    it.reload("[serve]\n", "--connections-per-address changed");
    assert_eq!(it.answer_to(origin), "HTTP/1.1 101 Switching Protocols");
}

#[test]
fn a_ping_that_is_due_sooner_comes_sooner() {
    let mut it = Configured::start("[serve]\nping = '1h'\n", &[]);
    let mut client = it.server.connect();
    it.reload("[serve]\nping = '100ms'\n", "--ping changed");
    assert_eq!(client.frame().first, 0x89);
}

#[test]
fn what_takes_a_restart_is_named_until_it_has_its_old_value_again() {
    let mut it = Configured::start("[serve]\n", &[]);
    let says = "a restart is needed for --history-size";
    it.reload(
        "[serve]\nhistory-size = 5\nwait = true\n",
        "a restart is needed for --wait, --history-size",
    );
    it.reload("[serve]\nhistory-size = 5\n", says);
    let lines = it.reload("[serve]\n", "nothing changes");
    assert!(
        !lines.iter().any(|line| line.contains("restart")),
        "{lines:?}"
    );
}

#[test]
fn a_file_with_a_mistake_changes_nothing() {
    let mut it = Configured::start("[serve]\nsubscriptions = 1\n", &[]);
    let file = it.file().display().to_string();
    for (settings, why) in [
        (
            "[serve]\nsubscriptions = 5\n\n  pign = '1s'\n",
            format!("{file}:4:3: unknown setting of [serve] 'pign'; did you mean 'ping'?"),
        ),
        (
            "[serve]\nsubscriptions = 5\nping = 'soon'\n",
            format!("{file}:3:8: "),
        ),
        ("[serve\n", format!("{file}:1:7: unclosed table")),
        (
            "[serve]\nsubscriptions = 5\nconnections = 4000000000\n",
            "--connections 4000000000 needs".to_owned(),
        ),
        (
            "[serve]\nsubscriptions = 5\ntls-cert = 'x'\n",
            "--tls-cert is given 1 times and --tls-key 0 times".to_owned(),
        ),
        (
            "[serve]\nsubscriptions = 5\ntls-cert = 'x'\ntls-key = 'y'\n",
            "--tls-cert is of no use".to_owned(),
        ),
    ] {
        it.reload(
            settings,
            &format!("the settings stay what they were: {why}"),
        );
        let replied = it
            .server
            .connect()
            .ask(r#"{"command":"subscribe","bugs":[1,2]}"#);
        assert!(replied.contains("the limit is 1"), "{settings}: {replied}");
    }
    fs::remove_file(it.file()).unwrap();
    it.server.program().signal(Signal::HUP);
    it.server
        .program()
        .wait_for_line("the settings stay what they were: cannot read the settings in");
}

#[test]
fn a_flag_wins_over_the_file_at_a_reload_too() {
    let mut it = Configured::start("[serve]\n", &["--subscriptions", "2"]);
    it.reload("[serve]\nsubscriptions = 9\n", "nothing changes");
    let replied = it
        .server
        .connect()
        .ask(r#"{"command":"subscribe","bugs":[1,2,3]}"#);
    assert!(replied.contains("the limit is 2"), "{replied}");
}

#[test]
fn many_requests_at_once_end_with_the_settings_that_stand_in_the_file() {
    let mut it = Configured::start("[serve]\nsubscriptions = 1\n", &[]);
    fs::write(it.file(), "[serve]\nsubscriptions = 2\n").unwrap();
    (0..50).for_each(|_| it.server.program().signal(Signal::HUP));
    it.reload("[serve]\nsubscriptions = 3\n", NEW_AGAIN);
    support::server::wait_until("the last settings", || {
        let mut client = it.server.connect();
        let replied = client.ask(r#"{"command":"subscribe","bugs":[1,2,3]}"#);
        replied.contains("ok").then_some(())
    });
}

/// Runs a command of `bugzfeed` to its end.
fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let (status, log) = Program::start_with(folder, arguments, environment).wait();
    (status.code(), log)
}

#[test]
fn a_server_is_found_by_its_pid_file_and_one_that_has_gone_is_not() {
    let it = Configured::start("[serve]\n", &["--pid-file", "pid"]);
    let folder = it.folder.path().to_owned();
    let reload = ["reload", "--pid-file", "pid"];
    let pid = fs::read_to_string(folder.join("pid")).unwrap();
    assert_eq!(pid, format!("{}\n", it.server.program().id()));
    fs::write(it.file(), "[serve]\nsubscriptions = 2\n").unwrap();
    assert_eq!(run(&folder, &reload, &[]), (Some(0), String::new()));
    it.server
        .program()
        .wait_for_line("the settings were read anew: --subscriptions changed");
    let second = ["serve", "--listen", "127.0.0.1:0", "--pid-file", "pid"];
    let (code, said) = run(&folder, &second, &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("another server has it"), "{said}");
    it.server.program().signal(Signal::TERM);
    it.server.wait();
    let (code, said) = run(&folder, &reload, &[]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("the server has gone"), "{said}");
    let (code, said) = run(&folder, &["reload", "--pid-file", "none"], &[]);
    assert_eq!(code, Some(69), "{said}");
}

#[test]
fn a_unit_is_reloaded_by_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let systemctl = folder.path().join("systemctl");
    fs::write(
        &systemctl,
        "#!/bin/sh\necho \"$@\" >>asked\n[ \"$3\" != broken ]\n",
    )
    .unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&systemctl, executable).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let environment = [("PATH", path.as_str())];
    for (arguments, code) in [
        (&["reload"][..], Some(0)),
        (&["reload", "--unit", "bugzfeed@dev"], Some(0)),
        (&["reload", "--unit", "broken"], Some(69)),
    ] {
        assert_eq!(run(folder.path(), arguments, &environment).0, code);
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("asked")).unwrap(),
        "reload -- bugzfeed\nreload -- bugzfeed@dev\nreload -- broken\n"
    );
}

#[test]
fn a_check_finds_what_a_start_would_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "").unwrap();
    for (options, code, why) in [
        (
            &["--feed", "/a/=sqlite:x", "--feed", "/a/=sqlite:y"][..],
            2,
            "--feed names the path /a/ twice",
        ),
        (&["--tls-cert", "x"], 2, "accepted are pairs"),
        (
            &["--listen", "tls:127.0.0.1:0"],
            2,
            "--listen tls:127.0.0.1:0 needs --tls-cert and --tls-key",
        ),
        (
            &[
                "--listen",
                "tls:127.0.0.1:0",
                "--tls-cert",
                "x",
                "--tls-key",
                "y",
            ],
            78,
            "cannot use x (setting --tls-cert)",
        ),
        (
            &["--source", "webhook:?key_file=none"],
            78,
            "cannot read the password from none",
        ),
        (
            &["--catch-up", "https://b.example/#cacert=none"],
            78,
            "--catch-up https://b.example/",
        ),
        (
            &["--reuse-port", "--listen", "unix:x"],
            2,
            "--reuse-port cannot share unix:x",
        ),
        (&["--connections", "4000000000"], 78, "open files"),
    ] {
        let arguments = [&["config", "check"], options].concat();
        let (status, said) = run(folder.path(), &arguments, &[]);
        assert_eq!(status, Some(code), "{options:?}: {said}");
        assert!(said.contains(why), "{options:?}: {said}");
    }
    let relay = ["config", "check", "relay", "--from", "sqlite:x"];
    let (status, said) = run(folder.path(), &relay, &[]);
    assert_eq!(
        (status, said.contains("--to is missing")),
        (Some(2), true),
        "{said}"
    );
    let whole = [&relay[..], &["--to", "jsonl:out"]].concat();
    assert_eq!(run(folder.path(), &whole, &[]), (Some(0), String::new()));
    assert_eq!(
        run(folder.path(), &["config", "check"], &[]),
        (Some(0), String::new())
    );
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_credential_of_systemd_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("hook"), "secret\n").unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/watch/tls");
    for name in ["server.pem", "server.key"] {
        fs::copy(tests.join(name), credentials.join(name)).unwrap();
    }
    let arguments = [
        "serve",
        "--history",
        "none",
        "--listen",
        "127.0.0.1:0,tls:127.0.0.1:0",
        "--tls-cert",
        "%d/server.pem",
        "--tls-key",
        "%d/server.key",
        "--source",
        "webhook:?key_file=%d/hook",
    ];
    let (status, said) = run(folder.path(), &arguments, &[]);
    assert_eq!(status, Some(78), "{said}");
    assert!(
        said.contains(
            "cannot use %d/server.pem (setting --tls-cert): $CREDENTIALS_DIRECTORY is not set"
        ),
        "{said}"
    );
    let given = credentials.display().to_string();
    let environment = [("CREDENTIALS_DIRECTORY", given.as_str())];
    let program = Program::start_with(folder.path(), &arguments, &environment);
    let line = program.wait_for_line(" listens on ");
    let at = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let post = |key: &str| {
        let url = format!("http://{at}/webhook");
        let body = r#"{"bug":{"id":1},"event":{"time":"2014-04-03T21:13:45"}}"#;
        let key = format!("X-Api-Key: {key}");
        let arguments = [
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &key,
            "-d",
            body,
            &url,
        ];
        let output = Command::new("curl").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        (post("secret"), post("wrong")),
        ("200".to_owned(), "401".to_owned())
    );
}
