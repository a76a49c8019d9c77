//! `pulse init`.

use crate::place::{self, User};

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_bare_broker_becomes_a_pulse_once_and_a_second_run_finds_nothing_to_do() {
    let pulse = place::shared();
    let [look, dry, first, second] = &pulse.birth[..] else {
        panic!("{:?}", pulse.birth);
    };
    assert_eq!(look.code, 1, "{look:?}");
    for difference in [
        "there is still the account guest",
        "there is no exchange exchange/bugzilla/simple",
        "there is no exchange exchange/bugzilla/dev",
        "no operator policy pulse-bound",
    ] {
        assert!(look.out.contains(difference), "{look:?}");
    }
    let steps = [
        "make: the administrator admin",
        "give: all rights in / for admin",
        "make: the exchange exchange/bugzilla/simple (topic, durable)",
        "make: the exchange exchange/bugzilla/dev (topic, durable)",
        r#"set: the operator policy pulse-bound: {"expires":604800000,"max-length":20000,"max-length-bytes":268435456}"#,
        "set: exempt from the bound and the guard: bugzfeed",
        "set: the operator policy pulse-exempt",
        "set: no account guest",
    ];
    for step in steps {
        assert!(dry.out.contains(&format!("would {step}")), "{dry:?}");
        assert!(first.out.contains(step), "{first:?}");
    }
    assert_eq!((dry.code, first.code), (0, 0), "{dry:?} {first:?}");
    // As guest, who is no longer there.
    assert_eq!(second.code, 78, "{second:?}");
    assert!(second.err.contains("does not let guest in"), "{second:?}");

    let again = pulse.does(&["init"]);
    assert!(
        again.lines().all(|line| line.starts_with("is so: ")),
        "{again}"
    );
    let port = pulse.broker.port;
    assert!(User::try_connect(port, "guest", "guest", "/").is_err());
    let rights = pulse
        .broker
        .ctl(&["list_user_permissions", "admin", "--no-table-headers"]);
    assert!(
        rights.lines().any(|line| line == "/\t.*\t.*\t.*"),
        "{rights}"
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn the_bound_can_be_changed_and_what_is_not_named_stays() {
    let pulse = place::shared();
    let vhost = ["--vhost", "bounds"];
    pulse.does(
        &[
            &["init", "--max-length", "5", "--expires", "2h"][..],
            &vhost,
        ]
        .concat(),
    );
    let said = pulse.does(&[&["init", "--max-length", "7"][..], &vhost].concat());
    assert!(
        said.contains(
            r#"set: the operator policy pulse-bound: {"expires":7200000,"max-length":7,"#
        ),
        "{said}"
    );
    assert!(
        said.contains(r#"instead of {"expires":7200000,"max-length":5,"#),
        "{said}"
    );
    let mut admin = pulse.admin("bounds");
    for (queue, kept) in [("queue/u/q", 7), ("queue/bugzfeed/q", 9), ("elsewhere", 9)] {
        admin.call(
            "queue_declare",
            serde_json::json!({"queue": queue, "durable": true}),
        );
        admin.call(
            "publish",
            serde_json::json!({"exchange": "", "key": queue, "count": 9}),
        );
        let found = admin.call(
            "queue_declare",
            serde_json::json!({"queue": queue, "passive": true}),
        );
        assert_eq!(found, kept, "{queue}");
    }
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_cannot_be_reached_or_does_not_let_in_is_named() {
    let pulse = place::shared();
    let (plain, tls) = (
        pulse.broker.management_port,
        pulse.broker.management_tls_port,
    );
    let ca = pulse.broker.ca_file();
    let stranger = ca.with_file_name("stranger.pem");
    let good = format!(
        "https://admin@localhost:{tls}/#password_file=admin.password&cacert={}",
        ca.display()
    );
    let said = place::run(pulse.folder(), &["pulse", "check", "--management", &good]);
    assert_eq!(said.code, 0, "{said:?}");
    for (address, code, why) in [
        (
            good.replace(&*ca.to_string_lossy(), &stranger.to_string_lossy()),
            69,
            "issued by nobody who is trusted here",
        ),
        (good.replace("localhost", "127.0.0.2"), 69, "cannot reach"),
        (
            good.replace("https:", "http:")
                .replace("&cacert", "")
                .split("=/")
                .next()
                .unwrap()
                .to_owned(),
            69,
            "cannot reach",
        ),
        (
            format!("https://admin@localhost:{plain}/#password_file=admin.password"),
            69,
            "cannot reach",
        ),
        (
            format!("http://admin@127.0.0.1:{plain}/#password_file=none"),
            78,
            "cannot read the password from none",
        ),
        (
            format!("http://admin@127.0.0.1:{plain}/"),
            78,
            "BUGZFEED_MANAGEMENT_PASSWORD",
        ),
        (
            format!("http://nobody@127.0.0.1:{plain}/#password_file=admin.password"),
            78,
            "does not know nobody",
        ),
        (
            "http://admin@127.0.0.1:1/#password_file=admin.password".to_owned(),
            69,
            "rabbitmq-plugins enable",
        ),
        (
            format!("http://127.0.0.1:{}/", pulse.broker.port),
            69,
            "cannot reach",
        ),
        (
            "http://u:secret@h/".to_owned(),
            2,
            "does not stand in the address",
        ),
    ] {
        let said = place::run(
            pulse.folder(),
            &["pulse", "check", "--management", &address],
        );
        assert_eq!(said.code, code, "{address}: {said:?}");
        assert!(
            said.err.contains(why) && !said.err.contains("secret"),
            "{address}: {said:?}"
        );
    }
}
