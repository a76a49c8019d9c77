//! `pulse guard`, each time in a virtual host of its own, with limits that are soon reached: 10
//! messages are warned of, and more than 20 are too many.

use std::path::PathBuf;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::between::{Between, Mood};
use crate::place::{self, Pulse, User};
use crate::sink::Sink;
use crate::support::server::{Program, wait_until};

/// A guard of a virtual host, and the administrator there.
struct Watch<'a> {
    pulse: &'a Pulse,
    vhost: &'static str,
    state: PathBuf,
    admin: User,
}

impl<'a> Watch<'a> {
    fn over(pulse: &'a Pulse, vhost: &'static str) -> Self {
        pulse.does(&["init", "--vhost", vhost]);
        Self {
            pulse,
            vhost,
            state: pulse
                .folder()
                .join(format!("guard-{}.json", vhost.trim_matches('/'))),
            admin: pulse.admin(vhost),
        }
    }

    fn arguments(&self, options: &[&str]) -> Vec<String> {
        let state = self.state.to_str().unwrap();
        let management = match options {
            ["--management", management, ..] => (*management).to_owned(),
            _ => self.pulse.management(),
        };
        let options = options
            .strip_prefix(&["--management", &*management])
            .unwrap_or(options);
        let mut arguments = vec![
            "pulse",
            "guard",
            "--management",
            &management,
            "--vhost",
            self.vhost,
        ];
        for default in [
            ["--state", state],
            ["--warn", "10"],
            ["--delete", "20"],
            ["--grace", "1s"],
            ["--every", "100ms"],
        ] {
            if !options.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        arguments.extend(options);
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn start(&self, options: &[&str]) -> Program {
        let arguments = self.arguments(options);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let guard = Program::start(self.pulse.folder(), &arguments);
        guard.wait_for_line("watching the queues at");
        guard
    }

    fn status(&self) -> Value {
        let said = place::run(
            self.pulse.folder(),
            &[
                "pulse",
                "guard",
                "--status",
                "--json",
                "--state",
                self.state.to_str().unwrap(),
            ],
        );
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    fn declare(&mut self, queue: &str) {
        self.admin
            .call("queue_declare", json!({"queue": queue, "durable": true}));
    }

    fn fill(&mut self, queue: &str, count: u64) {
        self.admin.call(
            "publish",
            json!({"exchange": "", "key": queue, "count": count, "confirm": false}),
        );
    }

    fn take(&mut self, queue: &str, count: u64) {
        self.admin
            .call("take", json!({"queue": queue, "count": count}));
    }

    fn is_there(&mut self, queue: &str) -> bool {
        self.admin
            .attempt("queue_declare", &json!({"queue": queue, "passive": true}))
            .is_ok()
    }
}

fn end(guard: Program) -> String {
    guard.signal(Signal::TERM);
    let (status, log) = guard.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn owners_are_told_when_a_queue_overgrows_is_normal_again_and_is_deleted() {
    let (pulse, sink) = (place::shared(), Sink::start());
    pulse.does(&[
        "user",
        "add",
        "grower",
        "--owner",
        "a@example.org",
        "--owner",
        "b@example.org",
    ]);
    let mut watch = Watch::over(&pulse, "growing");
    let hook = format!(
        "http://127.0.0.1:{}/#secret_file=hook.secret",
        sink.web_port
    );
    std::fs::write(
        pulse.folder().join("hook.secret"),
        "It's a Secret to Everybody",
    )
    .unwrap();
    let guard = watch.start(&["--mail", &sink.mail(), "--webhook", &hook]);
    let queue = "queue/grower/q";
    watch.declare(queue);
    watch.fill(queue, 11);
    let warning = format!("Pulse warning: queue \"{queue}\" is overgrowing");
    let normal = format!("Pulse warning: queue \"{queue}\" is back to normal");
    let deleted = format!("Pulse warning: queue \"{queue}\" has been deleted");
    let mut told = vec![("a@example.org", &*warning), ("b@example.org", &*warning)];
    sink.expect(&told);
    watch.take(queue, 1);
    told.extend([("a@example.org", &*normal), ("b@example.org", &*normal)]);
    sink.expect(&told);
    watch.fill(queue, 30);
    told.extend([("a@example.org", &*warning), ("b@example.org", &*warning)]);
    told.extend([("a@example.org", &*deleted), ("b@example.org", &*deleted)]);
    sink.expect(&told);
    assert!(!watch.is_there(queue));

    let posts = wait_until("all is posted, too", || {
        let taken = sink.taken();
        let posts: Vec<Value> = taken
            .into_iter()
            .filter(|item| item["way"] == "webhook")
            .collect();
        (posts.len() == 4).then_some(posts)
    });
    let bodies: Vec<Value> = posts
        .iter()
        .map(|post| serde_json::from_str(post["body"].as_str().unwrap()).unwrap())
        .collect();
    let events: Vec<&Value> = bodies.iter().map(|body| &body["event"]).collect();
    assert_eq!(events, ["overgrowing", "normal", "overgrowing", "deleted"]);
    assert_eq!(bodies[0]["to"], json!(["a@example.org", "b@example.org"]));
    assert!(
        posts[0]["signature"]
            .as_str()
            .unwrap()
            .starts_with("sha256=")
    );
    let taken = sink.taken();
    let mail = taken.iter().find(|item| item["way"] == "mail").unwrap();
    assert_eq!(mail["from"], "pulse@example.org");
    assert!(
        mail["text"]
            .as_str()
            .unwrap()
            .contains("It holds 11 messages, and has 0 consumers."),
        "{mail}"
    );
    end(guard);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_was_told_is_remembered_over_a_restart_and_there_is_one_guard() {
    let (pulse, sink) = (place::shared(), Sink::start());
    pulse.does(&["user", "add", "keeper", "--owner", "k@example.org"]);
    let mut watch = Watch::over(&pulse, "remembered");
    let options = ["--mail", &sink.mail()];
    let guard = watch.start(&options);
    let queue = "queue/keeper/q";
    watch.declare(queue);
    watch.fill(queue, 11);
    let warning = (
        "k@example.org",
        "Pulse warning: queue \"queue/keeper/q\" is overgrowing",
    );
    sink.expect(&[warning]);
    wait_until("nothing waits", || {
        (watch.status()["waiting"] == 0).then_some(())
    });
    let status = watch.status();
    assert_eq!(status["running"], true);
    assert_eq!(status["overgrowing"], json!({"queue/keeper/q": 11}));
    let arguments = watch.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let second = place::run(pulse.folder(), &arguments);
    assert_eq!(second.code, 69, "{second:?}");
    assert!(
        second.err.contains("another guard uses the file"),
        "{second:?}"
    );

    guard.signal(Signal::KILL);
    drop(guard);
    assert_eq!(watch.status()["running"], false);
    let guard = watch.start(&options);
    watch.take(queue, 5);
    sink.expect(&[
        warning,
        (
            "k@example.org",
            "Pulse warning: queue \"queue/keeper/q\" is back to normal",
        ),
    ]);
    end(guard);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_burst_to_a_live_consumer_deletes_nothing_and_one_to_a_dead_consumer_does() {
    let pulse = place::shared();
    let mut watch = Watch::over(&pulse, "bursts");
    // Longer than the broker takes to count what was acknowledged.
    let guard = watch.start(&["--grace", "3s"]);
    for queue in ["queue/live/q", "queue/dead/q"] {
        watch.declare(queue);
    }
    // It gets what it can, and acknowledges nothing.
    let mut dead = pulse.admin("bursts");
    dead.call("consume", json!({"queue": "queue/dead/q"}));
    let mut live = pulse.admin("bursts");
    let working =
        thread::spawn(move || live.call("work", json!({"queue": "queue/live/q", "count": 1_000})));
    for queue in ["queue/live/q", "queue/dead/q"] {
        watch.fill(queue, 1_000);
    }
    guard.wait_for_line("\"queue/live/q\" is overgrowing");
    guard.wait_for_line("\"queue/dead/q\" has been deleted");
    working.join().unwrap();
    assert!(!watch.is_there("queue/dead/q"));
    assert!(watch.is_there("queue/live/q"));
    guard.wait_for_line("\"queue/live/q\" is back to normal");
    let log = end(guard);
    assert!(!log.contains("\"queue/live/q\" has been deleted"), "{log}");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_is_exempt_or_reserved_stays_what_is_nameless_is_told_and_what_is_exclusive_goes_with_its_connection()
 {
    let (pulse, sink) = (place::shared(), Sink::start());
    let mut watch = Watch::over(&pulse, "exempt");
    let queues = ["queue/bugzfeed/q", "queue/left/q", "odd", "federation: x"];
    for queue in queues {
        watch.declare(queue);
        watch.fill(queue, 30);
    }
    let mut owner = pulse.admin("exempt");
    owner.call(
        "queue_declare",
        json!({"queue": "queue/left/mine", "exclusive": true}),
    );
    watch.fill("queue/left/mine", 30);
    let dry = watch.start(&["--dry-run", "--reserved", "federation:"]);
    for queue in ["queue/left/q", "queue/left/mine"] {
        dry.wait_for_line(&format!(
            "would delete the queue {queue}, which holds 30 messages"
        ));
    }
    assert!(watch.is_there("queue/left/q"));
    end(dry);
    assert!(!watch.state.exists());

    let guard = watch.start(&[
        "--mail",
        &sink.mail(),
        "--administrator",
        "root@example.org",
        "--reserved",
        "federation:",
    ]);
    for said in [
        "\"queue/left/q\" has been deleted",
        "\"queue/left/mine\" has been deleted",
        "\"odd\" has no lawful name",
        "\"odd\" is overgrowing",
    ] {
        guard.wait_for_line(said);
    }
    wait_until("its connection has ended", || {
        owner
            .attempt("is_connected", &json!({}))
            .is_err()
            .then_some(())
    });
    for (queue, stays) in queues.into_iter().zip([true, false, true, true]) {
        assert_eq!(watch.is_there(queue), stays, "{queue}");
    }
    wait_until("nothing waits", || {
        (watch.status()["waiting"] == 0).then_some(())
    });
    let mails = sink.mails();
    assert!(
        mails.iter().all(|(to, _)| to == "root@example.org"),
        "{mails:?}"
    );
    assert_eq!(mails.len(), 6, "{mails:?}");
    let log = end(guard);
    assert!(
        !log.contains("federation:\" ") && !log.contains("queue/bugzfeed/q"),
        "{log}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn mail_that_cannot_go_out_waits_over_a_restart_and_one_that_is_refused_does_not() {
    let (pulse, mut sink) = (place::shared(), Sink::new());
    pulse.does(&[
        "user",
        "add",
        "patient",
        "--owner",
        "refused@example.org",
        "--owner",
        "p@example.org",
    ]);
    let mut watch = Watch::over(&pulse, "waiting");
    let ca = pulse.broker.ca_file();
    let mail = format!("{}&tls=starttls&cacert={}", sink.mail(), ca.display());
    let guard = watch.start(&["--mail", &mail]);
    watch.declare("queue/patient/q");
    watch.fill("queue/patient/q", 11);
    wait_until("it is said that mail does not go out", || {
        let status = watch.status();
        let why = status["last_error"]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (status["waiting"] == 2 && why.contains("refused")).then_some(())
    });
    end(guard);
    sink.run(true);
    let stranger = mail.replace("ca.pem", "stranger.pem");
    let guard = watch.start(&["--mail", &stranger]);
    guard.wait_for_line("issued by nobody who is trusted here");
    end(guard);
    let guard = watch.start(&["--mail", &mail]);
    guard.wait_for_line("refused for good");
    sink.expect(&[(
        "p@example.org",
        "Pulse warning: queue \"queue/patient/q\" is overgrowing",
    )]);
    assert_eq!(sink.taken()[0]["tls"], true);
    wait_until("nothing waits", || {
        (watch.status()["waiting"] == 0).then_some(())
    });
    end(guard);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_broker_that_restarts_is_waited_for_and_administrators_are_told_of_an_outage_once() {
    let (pulse, sink) = (Pulse::make(), Sink::start());
    let watch = Watch::over(&pulse, "/");
    let guard = watch.start(&[
        "--mail",
        &sink.mail(),
        "--administrator",
        "root@example.org",
        "--outage",
        "1s",
    ]);
    pulse.broker.kill();
    let broker = format!("http://admin@127.0.0.1:{}/", pulse.broker.management_port);
    let away = format!("Pulse warning: {broker} cannot be reached");
    guard.wait_for_line("cannot be reached");
    sink.expect(&[("root@example.org", &away)]);
    assert!(
        watch.status()["outage"]["reason"]
            .as_str()
            .unwrap()
            .contains("cannot reach"),
        "{}",
        watch.status()
    );
    pulse.broker.restart();
    let back = format!("Pulse warning: {broker} can be reached again");
    sink.expect(&[("root@example.org", &away), ("root@example.org", &back)]);
    wait_until("it looks again", || {
        watch.status()["outage"].is_null().then_some(())
    });
    end(guard);
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_management_api_that_is_slow_or_wrong_is_borne_and_named() {
    let pulse = place::shared();
    let mut watch = Watch::over(&pulse, "between");
    let between = Between::start(pulse.broker.management_port);
    let management = format!(
        "http://admin@127.0.0.1:{}/#password_file=admin.password&timeout=2s",
        between.port
    );
    let guard = watch.start(&["--management", &management]);
    watch.declare("queue/patience/q");
    watch.fill("queue/patience/q", 11);
    guard.wait_for_line("\"queue/patience/q\" is overgrowing");
    for (mood, said) in [
        (
            Mood::Failing,
            "the broker answered 500 Internal Server Error: why",
        ),
        (Mood::Silent, "did not answer in time"),
        (Mood::Cutting, ""),
    ] {
        between.be(mood);
        guard.wait_for_line(said);
        wait_until("the outage is known", || {
            (!watch.status()["outage"].is_null()).then_some(())
        });
        between.be(Mood::Honest);
        wait_until("it is over", || {
            watch.status()["outage"].is_null().then_some(())
        });
    }
    between.be(Mood::Slow);
    watch.take("queue/patience/q", 11);
    guard.wait_for_line("\"queue/patience/q\" is back to normal");
    let log = end(guard);
    assert_eq!(log.matches("is overgrowing").count(), 1, "{log}");
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn settings_that_make_no_sense_are_named() {
    let pulse = place::shared();
    for (options, code, why) in [
        (
            &["--warn", "10", "--delete", "9"][..],
            2,
            "--delete 9 is less than --warn 10",
        ),
        (
            &["--mail", "smtp://u:secret@h/"],
            2,
            "from: the sender's address is missing",
        ),
        (
            &["--webhook", "http://127.0.0.1:1/#secret_file=none"],
            78,
            "cannot read the password from none",
        ),
        (
            &["--state", "no/such/folder"],
            78,
            "cannot use the file no/such/folder",
        ),
        (
            &["--status", "--state", "none.json"],
            78,
            "no guard has made one",
        ),
        (&["--administrator", "me"], 2, "no mail address"),
    ] {
        let said = pulse.run(&[&["guard"][..], options].concat());
        assert_eq!(said.code, code, "{options:?}: {said:?}");
        assert!(
            said.err.contains(why) && !said.err.contains("secret@"),
            "{options:?}: {said:?}"
        );
    }
}
