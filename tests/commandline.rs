//! What the user of the command line sees: the start-up line, where one can listen, and the
//! error text and the exit code of each wrong setting.

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;
use support::client::Client;
use support::server::{Program, Server, wait_until};

const SUBSCRIPTIONS: &str = r#"{"command":"subscriptions"}"#;
const NONE_SUBSCRIBED: &str = r#"{"command":"subscriptions","result":"ok","bugs":[]}"#;

/// Runs the program to its end; its exit code, and what it wrote to stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (status, log) = Program::start(folder.path(), arguments).wait();
    (status.code(), log)
}

#[track_caller]
fn check_end(arguments: &[&str], code: i32, texts: &[&str]) {
    let (status, log) = run(arguments);
    assert_eq!(status, Some(code), "{arguments:?}: {log}");
    for text in texts {
        assert!(
            log.contains(text),
            "{arguments:?} does not say '{text}': {log}"
        );
    }
    assert!(
        !log.contains("panicked") && !log.contains("RUST_BACKTRACE"),
        "{log}"
    );
}

/// The addresses of the start-up line.
fn addresses(server: &Server) -> Vec<SocketAddr> {
    let line = server.program().wait_for_line(" listens on ");
    line.split("ws://")
        .skip(1)
        .map(|rest| rest.split('/').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn the_first_line_says_all_that_one_needs_to_know() {
    let server = Server::start(&["--feed", "/dev/=sqlite:dev.db", "--connections", "123"]);
    let line = server.program().wait_for_line(" listens on ");
    let address = server.address;
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        line.starts_with(&format!(
            "bugzfeed {version} listens on ws://{address}/ (page: http://{address}/)"
        )),
        "{line}"
    );
    for part in [
        "/ from sqlite:bugzfeed.db",
        "/dev/ from sqlite:dev.db",
        "up to 123 connections",
    ] {
        assert!(line.contains(part), "no '{part}' in {line}");
    }
}

#[test]
fn one_server_listens_on_several_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let listen = [
        "127.0.0.1:0",
        "[::1]:0",
        "unix:first.sock",
        "127.0.0.1:0,unix:second.sock",
    ]
    .map(|address| ["--listen", address]);
    let server = Server::start_in(folder.path(), &listen.concat());
    let tcp = addresses(&server);
    assert!(
        tcp.len() == 3 && tcp[1].is_ipv6() && tcp[0] != tcp[2],
        "{tcp:?}"
    );
    let mut clients: Vec<Client> = tcp
        .iter()
        .map(|&address| Client::open(address, "/"))
        .collect();
    for name in ["first.sock", "second.sock"] {
        let mut client = Client::connect_unix(&folder.path().join(name));
        client.shake_hands("/");
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(
            client.ask(r#"{"command":"subscribe","bugs":7}"#),
            r#"{"command":"subscribe","result":"ok","bugs":[7]}"#
        );
    }
    server.record(&[(7, "2030-01-01T00:00:00")]);
    for client in &mut clients {
        assert_eq!(
            client.hear(),
            r#"{"command":"update","bug":7,"when":"2030-01-01T00:00:00"}"#
        );
    }
    server.program().signal(Signal::TERM);
    clients
        .iter_mut()
        .for_each(|client| client.expect_close(Some(1001)));
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(
        !folder.path().join("first.sock").exists(),
        "the file of the Unix socket is left behind"
    );
}

/// What the C library reads is what the program was started with.
#[cfg(target_env = "gnu")]
#[test]
fn freed_memory_goes_back_to_the_kernel_unless_the_administrator_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--history", "none"];
    for (given, expected) in [(None, "131072"), (Some("1000000"), "1000000")] {
        let variable = "MALLOC_MMAP_THRESHOLD_";
        let environment: Vec<(&str, &str)> =
            given.map(|given| (variable, given)).into_iter().collect();
        let program = Program::start_with(folder.path(), &arguments, &environment);
        program.wait_for_line(" listens on ");
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", program.id())).unwrap();
        let setting = format!("{variable}={expected}");
        assert!(
            read("environ").split('\0').any(|line| line == setting),
            "{}",
            read("environ")
        );
        assert_eq!(read("comm").trim(), "bugzfeed", "it has kept its name");
        assert!(
            read("cmdline")
                .split('\0')
                .skip(1)
                .take(arguments.len())
                .eq(arguments),
            "and its arguments"
        );
    }
}

#[test]
fn a_unix_socket_that_was_left_behind_is_taken_over_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    // Bound and dropped: the file stays, and nobody listens.
    drop(UnixListener::bind(&path).unwrap());
    let server = Server::start_in(folder.path(), &["--listen", "unix:b.sock"]);
    let mut client = Client::connect_unix(&path);
    client.shake_hands("/");
    let (status, log) = Program::start(folder.path(), &["serve", "--listen", "unix:b.sock"]).wait();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(
        log.contains("cannot listen on unix:b.sock (setting --listen)"),
        "{log}"
    );
    assert_eq!(client.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED);
    drop(server);
    // What is no socket is somebody's file.
    std::fs::write(folder.path().join("file"), "precious").unwrap();
    let (status, _) = Program::start(folder.path(), &["serve", "--listen", "unix:file"]).wait();
    assert_eq!(status.code(), Some(69));
    assert_eq!(
        std::fs::read_to_string(folder.path().join("file")).unwrap(),
        "precious"
    );
}

#[test]
fn the_end_of_a_server_leaves_the_unix_socket_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let options = ["--listen", "unix:b.sock", "--history", "none"];
    let first = Server::start_in(folder.path(), &options);
    std::fs::remove_file(&path).unwrap();
    let elsewhere = [&options[..], &["--source", "sqlite:other.db"]].concat();
    let _second = Server::start_in(folder.path(), &elsewhere);
    assert_eq!(first.end(Signal::TERM).code(), Some(0));
    let mut client = Client::connect_unix(&path);
    client.shake_hands("/");
}

#[test]
fn a_unix_socket_has_the_mode_and_the_group_that_its_address_names() {
    let folder = tempfile::tempdir().unwrap();
    let own_group = folder.path().metadata().unwrap().gid();
    for (mode, expected) in [("600", 0o600), ("0666", 0o666)] {
        let address = format!("unix:b.sock?mode={mode}&group={own_group}");
        let _server = Server::start_in(folder.path(), &["--listen", &address]);
        let file = folder.path().join("b.sock").metadata().unwrap();
        assert_eq!((file.mode() & 0o777, file.gid()), (expected, own_group));
    }
}

#[test]
fn a_name_is_listened_on_at_all_its_addresses() {
    let server = Server::start(&["--listen", "localhost:0"]);
    let mut expected: Vec<_> = "localhost:0"
        .to_socket_addrs()
        .unwrap()
        .filter(|&address| TcpListener::bind(address).is_ok())
        .map(|address| address.ip())
        .collect();
    let mut bound: Vec<_> = addresses(&server).iter().map(SocketAddr::ip).collect();
    expected.sort();
    expected.dedup();
    bound.sort();
    assert_eq!(bound, expected);
}

#[test]
fn all_ipv6_interfaces_alone_take_ipv4_and_both_can_be_listened_on() {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::start(&["--listen", "[::]:0"]);
    let port = addresses(&server)[0].port();
    assert_eq!(
        Client::open(at(port), "/").ask(SUBSCRIPTIONS),
        NONE_SUBSCRIBED
    );
    let both = format!("0.0.0.0:{port},[::]:{port}");
    server.end(Signal::TERM);
    let server = Server::start(&["--listen", &both]);
    assert_eq!(addresses(&server).len(), 2);
    assert_eq!(
        Client::open(at(port), "/").ask(SUBSCRIPTIONS),
        NONE_SUBSCRIBED
    );
}

#[test]
fn an_empty_variable_is_not_set_and_zero_switches_off() {
    let folder = tempfile::tempdir().unwrap();
    let start = |reuse_port| {
        let variables = [
            ("BUGZFEED_LISTEN", "unix:b.sock"),
            ("BUGZFEED_REUSE_PORT", reuse_port),
            ("BUGZFEED_HISTORY_SIZE", ""),
            ("BUGZFEED_ORIGIN", ""),
            ("BUGZFEED_PING", ""),
            ("BUGZFEED_WAIT", "off"),
        ];
        Program::start_with(folder.path(), &["serve"], &variables)
    };
    for off in ["", "0", "false"] {
        start(off).wait_for_line(" listens on ");
    }
    let (status, log) = start("1").wait();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("--reuse-port cannot share"), "{log}");
}

#[test]
fn each_command_has_a_page_of_the_manual_with_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let (status, log) = run(&["man", &folder.path().display().to_string()]);
    assert_eq!(status, Some(0), "{log}");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for name in ["bugzfeed.1", "bugzfeed-watch.1", "bugzfeed-pulse-guard.1"] {
        assert!(page(name).starts_with(".ie"), "{name}");
    }
    let page = page("bugzfeed-serve.1");
    for text in ["history\\-size", "BUGZFEED_HISTORY_SIZE", "10000"] {
        assert!(page.contains(text), "no {text} in {page}");
    }
}

#[test]
fn completions_are_written_in_the_language_of_the_shell() {
    for (shell, text) in [
        ("bash", "complete -F _bugzfeed"),
        ("zsh", "#compdef bugzfeed"),
        ("fish", "complete -c bugzfeed"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
            .args(["completions", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains(text), "{shell}: {script}");
        assert!(script.contains("history-size"), "{shell}");
    }
    check_end(&["completions", "csh"], 2, &["csh", "bash, zsh, fish"]);
}

#[test]
fn of_a_damaged_history_is_said_what_to_do_and_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("h.db"), "no database at all".repeat(100)).unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--history", "h.db"];
    let (status, log) = Program::start(folder.path(), &arguments).wait();
    assert_eq!(status.code(), Some(78), "{log}");
    for text in [
        "h.db (setting --history)",
        "is damaged",
        "Move it away",
        "what is lost",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
}

#[test]
fn servers_that_agree_share_a_port() {
    let first = Server::start(&["--reuse-port"]);
    let address = first.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let second = Program::start(
        folder.path(),
        &["serve", "--reuse-port", "--listen", &address],
    );
    let both = [first.program(), &second];
    for program in both {
        program.wait_for_line("reading updates from");
    }
    let files_without_clients = both.map(Program::open_files);
    // Which one gets a client is the kernel's choice, by the client's address and port.
    let mut clients = Vec::new();
    wait_until("a client of each of the two", || {
        clients.push(first.connect());
        let has_client = |at: usize| both[at].open_files() > files_without_clients[at];
        (has_client(0) && has_client(1)).then_some(())
    });
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.ask(SUBSCRIPTIONS), NONE_SUBSCRIBED));
    let (status, log) = Program::start(folder.path(), &["serve", "--listen", &address]).wait();
    assert_eq!(status.code(), Some(69), "{log}");
    check_end(
        &["serve", "--reuse-port", "--listen", "unix:b.sock"],
        2,
        &["--reuse-port cannot share unix:b.sock", "HOST:PORT"],
    );
}

#[test]
fn an_address_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_end(
        &["serve", "--listen", &address],
        69,
        &[
            &format!("cannot listen on {address} (setting --listen): "),
            "in use",
        ],
    );
    check_end(
        &["serve", "--listen", "192.0.2.1:8844"],
        69,
        &["cannot listen on 192.0.2.1:8844 (setting --listen): "],
    );
}

#[test]
fn a_wrong_setting_is_named_with_what_is_accepted() {
    for (arguments, texts) in [
        (
            &["serve", "--listen", "8844"][..],
            &["--listen", "'8844'", "accepted are"][..],
        ),
        (
            &["serve", "--listen", "127.0.0.1:99999"],
            &["--listen", "accepted are"],
        ),
        (
            &["serve", "--listen", "unix:"],
            &["--listen", "accepted are"],
        ),
        (
            &["serve", "--listen", "no-such-host.invalid:1"],
            &["--listen", "no-such-host.invalid:1"],
        ),
        (
            &["serve", "--source", "csv:file"],
            &["--source", "it is no source", "accepted are sqlite:FILE"],
        ),
        (
            &["serve", "--source", "sqlite:"],
            &["--source", "file's name is missing"],
        ),
        (
            &["serve", "--source", "sqlite:x?pol=1s"],
            &["--source", "pol: there is no such option", "poll=DURATION"],
        ),
        (
            &["serve", "--source", "sqlite:x?poll=1"],
            &["--source", "'1' is no duration", "accepted"],
        ),
        (&["serve", "--feed", "/dev/"], &["--feed", "PATH=SOURCE"]),
        (
            &["serve", "--feed", "dev=sqlite:x"],
            &["--feed", "it has no path of a feed", "/dev/"],
        ),
        (
            &["serve", "--feed", "/=sqlite:x"],
            &["--feed", "it has no path of a feed"],
        ),
        (
            &["serve", "--feed", "/a/=sqlite:x", "--feed", "/a/=sqlite:y"],
            &["--feed names the path /a/ twice"],
        ),
        (
            &["serve", "--proxy-protocol"],
            &["--proxy-protocol", "--trusted-proxy"],
        ),
        (
            &["serve", "--trusted-proxy", "10.0.0.1/8"],
            &["--trusted-proxy", "accepted are 10.0.0.0/8"],
        ),
        (
            &["serve", "--ping", "5"],
            &["--ping", "'5' is no duration", "30s"],
        ),
        (&["serve", "--stall", "9999h"], &["--stall", "too long"]),
        (
            &["serve", "--message-rate", "1001"],
            &["--message-rate", "'1001'", "from 1 to 1000"],
        ),
        (
            &["serve", "--subscriptions", "many"],
            &["--subscriptions", "'many'", "from 1 to"],
        ),
        (&["serve", "--log", "loud"], &["--log", "loud"]),
        (
            &["serve", "--lisen", "127.0.0.1:1"],
            &["--lisen", "--listen"],
        ),
        (&["serv"], &["serv", "serve"]),
        (&["notify"], &["BUG"]),
        (&["notify", "0"], &["'0'", "from 1 to 2147483647"]),
        (&["notify", "1", "x"], &["'x'", "from 1 to 2147483647"]),
        (&[], &["serve", "notify"]),
    ] {
        check_end(arguments, 2, texts);
    }
}

#[test]
fn a_setting_that_cannot_mean_what_it_says_is_refused_with_what_is_accepted() {
    for (option, value, accepted) in [
        ("--origin", "bugzilla.example.org", "https://"),
        (
            "--origin",
            "https://bugzilla.example.org/",
            "without a slash",
        ),
        ("--origin", "foo", "https://"),
        ("--ping", "0s", "from 100ms to 298h"),
        ("--pong", "0s", "from 100ms to 298h"),
        ("--stall", "1ms", "from 100ms to 298h"),
        ("--handshake-timeout", "0ms", "from 100ms to 298h"),
        ("--connections", "0", "from 1 to"),
        ("--subscriptions", "0", "from 1 to"),
        ("--message-size", "0", "from 128 to 1073741824"),
        ("--message-rate", "0", "from 1 to 1000"),
        ("--message-burst", "0", "from 1 to 1000000"),
        (
            "--history-size",
            "18446744073709551615",
            "from 0 to 10000000",
        ),
        ("--history-size", "abc", "from 0 to 10000000"),
        ("--bugzilla", "bugzilla.example.org", "https://"),
        ("--catch-up", "/dev/=none", "at which there is no feed"),
    ] {
        check_end(&["serve", option, value], 2, &[option, accepted]);
    }
    check_end(
        &["serve", "--catch-up", "none", "--catch-up", "/=none"],
        2,
        &["--catch-up", "twice"],
    );
}

#[test]
fn what_this_machine_does_not_have_is_a_wrong_configuration() {
    check_end(
        &["serve", "--connections", "4000000000"],
        78,
        &[
            "--connections 4000000000 needs 4000000128 open files",
            "at most",
        ],
    );
    check_end(
        &[
            "serve",
            "--connections",
            "4000000000",
            "--feed",
            "/a/=sqlite:a.db",
        ],
        78,
        &["--connections 4000000000 needs 4000000144 open files"],
    );
}

#[test]
fn what_cannot_be_written_is_not_available() {
    check_end(
        &["notify", "1", "--source", "sqlite:/nowhere/b.db"],
        69,
        &["cannot record the change in sqlite:/nowhere/b.db: "],
    );
}

#[test]
fn help_and_version_are_no_failures() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["notify", "--help"],
        &["help", "serve"],
    ] {
        assert_eq!(run(arguments), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn a_change_that_was_recorded_by_notify_reaches_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let mut client = server.connect();
    client.ask(r#"{"command":"subscribe","bugs":[1234,77]}"#);
    assert_eq!(
        Program::start(folder.path(), &["notify", "1234", "5", "77"])
            .wait()
            .0
            .code(),
        Some(0)
    );
    for bug in [1234, 77] {
        let update = client.hear();
        assert!(
            update.starts_with(&format!(r#"{{"command":"update","bug":{bug},"when":"20"#)),
            "{update}"
        );
    }
}

#[test]
fn a_file_of_settings_holds_until_the_environment_or_a_flag_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bugzfeed.toml");
    std::fs::write(
        &file,
        "[serve]\nlisten = ['127.0.0.1:0']\nsource = 'mysql://bugs:secret@h/b'\nstall = '5s'\nping = '5s'\npong = '5s'\n[relay]\n",
    )
    .unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(["config", "show", "serve", "--ping", "7s", "--config"])
        .arg(&file)
        .env("BUGZFEED_PONG", "6s")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let file = file.display();
    for line in [
        format!("listen = [\"127.0.0.1:0\"]  # {file}:2"),
        format!("source = \"mysql://bugs:***@h/b\"  # {file}:3"),
        format!("stall = \"5s\"  # {file}:4"),
        "ping = \"7s\"  # the command line".to_owned(),
        "pong = \"6s\"  # BUGZFEED_PONG".to_owned(),
        "drain = \"10s\"  # default".to_owned(),
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}

#[test]
fn a_server_listens_where_its_file_of_settings_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bugzfeed.toml"),
        "[serve]\nlisten = ['127.0.0.1:0', 'unix:here']\nhistory = 'none'\n",
    )
    .unwrap();
    let program = Program::start(
        folder.path(),
        &["serve", "--config", "bugzfeed.toml", "--history", "h.db"],
    );
    program.wait_for_line("the settings are those of bugzfeed.toml, too");
    let line = program.wait_for_line(" listens on ");
    assert!(line.contains("unix:here"), "{line}");
    // A flag wins.
    assert!(folder.path().join("h.db").exists());
}

#[test]
fn a_mistake_in_a_file_of_settings_is_reported_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bugzfeed.toml");
    std::fs::write(&file, "[serve]\npign = '5s'\nping = '5 s'\n").unwrap();
    let name = file.display().to_string();
    for command in [&["serve"][..], &["relay"], &["config", "check"]] {
        check_end(
            &[command, &["--config", &name]].concat(),
            78,
            &[
                &format!("{name}:2:1: unknown setting of [serve] 'pign'; did you mean 'ping'?"),
                &format!("{name}:3:8: invalid value '5 s' for '--ping"),
            ],
        );
    }
    check_end(
        &["serve", "--config", "/nowhere/x"],
        78,
        &["cannot read the settings in /nowhere/x"],
    );
}

#[test]
fn the_file_of_defaults_is_one_that_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(["config", "default"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let file = folder.path().join("bugzfeed.toml");
    // Each setting that has a default, as if somebody had set it.
    let set: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.contains(" = ") && !setting.starts_with(' ') => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(&file, &set).unwrap();
    let (status, log) = run(&["config", "check", "--config", &file.display().to_string()]);
    assert_eq!(status, Some(0), "{log}");
    assert!(set.lines().any(|line| line == "ping = \"30s\""), "{set}");
}

#[test]
fn a_catch_up_that_would_show_what_the_source_leaves_out_is_refused() {
    let says = "would show the private bugs that sqlite:x.db?bugs=public leaves out; it must say bugs=public, too";
    for catch_up in ["sqlite:x.db", "https://bugzilla.example.org/#key_file=key"] {
        check_end(
            &[
                "serve",
                "--source",
                "sqlite:x.db?bugs=public",
                "--catch-up",
                catch_up,
            ],
            2,
            &[says],
        );
    }
}
