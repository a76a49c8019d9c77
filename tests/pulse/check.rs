//! `pulse check`.

use serde_json::json;

use crate::place;
use crate::support::server::wait_until;

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn what_is_not_as_a_pulse_is_named_with_the_command_that_mends_it() {
    let pulse = place::shared();
    let (broker, vhost) = (&pulse.broker, ["--vhost", "checked"]);
    let check = || pulse.run(&[&["check"][..], &vhost].concat());
    assert!(check().out.contains("there is no virtual host checked"));
    pulse.does(&[&["init"][..], &vhost].concat());
    assert_eq!(check().code, 0, "{:?}", check());

    pulse.does(&["user", "add", "wide.one"]);
    let mut admin = pulse.admin("checked");
    admin.call(
        "exchange_declare",
        json!({"exchange": "exchange/x/fanout", "exchange_type": "fanout"}),
    );
    // What servers and relays make for themselves is as it must be.
    admin.call(
        "exchange_declare",
        json!({"exchange": "exchange/x/one/bound-to/exchange/y", "exchange_type": "fanout"}),
    );
    admin.call(
        "exchange_declare",
        json!({"exchange": "exchange/x/announce", "exchange_type": "fanout", "durable": true}),
    );
    admin.call(
        "queue_declare",
        json!({"queue": "queue/x/refusing", "arguments": {"x-overflow": "reject-publish"}}),
    );
    admin.call("queue_declare", json!({"queue": "queue/x/free"}));
    for arguments in [
        &[
            "set_permissions",
            "-p",
            "checked",
            "wide.one",
            ".*",
            "^queue/wide.one/.*",
            "^queue/wide\\.one/.*",
        ][..],
        &[
            "set_operator_policy",
            "-p",
            "checked",
            "--priority",
            "5",
            "other",
            "^queue/x/free$",
            r#"{"message-ttl":1000}"#,
        ],
        &["set_user_tags", "wide.one", "policymaker"],
        &["clear_operator_policy", "-p", "checked", "pulse-exempt"],
    ] {
        broker.ctl(arguments);
    }
    // The broker's own list of queues lags behind.
    let said = wait_until("all is noticed", || {
        let said = check();
        said.err.contains("6 differences").then_some(said)
    });
    for (difference, mend) in [
        (
            "wide.one is a policymaker",
            "rabbitmqctl set_user_tags wide.one",
        ),
        (
            "wide.one has more rights",
            r"rabbitmqctl set_permissions -p checked wide.one '^(queue/wide\.one/.*|exchange/wide\.one/.*)$' '^(queue/wide\.one/.*|exchange/wide\.one/.*)$' '^(queue/wide\.one/.*|exchange/.*)$'",
        ),
        (
            "exchange/x/fanout is of the type fanout and not durable",
            "/api/exchanges/checked/exchange%2Fx%2Ffanout",
        ),
        (
            "the operator policy pulse-exempt",
            "bugzfeed pulse init --management",
        ),
        (
            "nothing bounds the queue queue/x/free",
            "rabbitmqctl clear_operator_policy -p checked other",
        ),
        (
            "queue/x/refusing refuses",
            "rabbitmqctl delete_queue -p checked queue/x/refusing",
        ),
    ] {
        let mut lines = said
            .out
            .lines()
            .skip_while(|line| !line.contains(difference));
        assert!(lines.next().is_some(), "{difference}: {said:?}");
        assert!(lines.next().unwrap().contains(mend), "{mend}: {said:?}");
    }
    assert_eq!(said.err.trim(), "bugzfeed: 6 differences from a Pulse.");
    assert_eq!(said.code, 1);
    broker.ctl(&["delete_user", "wide.one"]);
}
