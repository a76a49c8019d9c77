//! `pulse user`.

use serde_json::{Value, json};

use crate::place::{self, Pulse, User};
use crate::support::server::wait_until;

/// The line of an account in the list.
fn listed(pulse: &Pulse, name: &str) -> Option<Value> {
    let list: Vec<Value> = serde_json::from_str(&pulse.does(&["user", "list", "--json"])).unwrap();
    list.into_iter().find(|row| row["user"] == name)
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_account_is_made_listed_and_removed_with_what_bears_its_name() {
    let pulse = place::shared();
    let file = pulse.folder().join("life.password");
    let add = [
        "user",
        "add",
        "life",
        "--owner",
        "a@example.org",
        "--owner",
        "b@example.org",
        "--password-file",
        "life.password",
    ];
    assert_eq!(pulse.does(&add), "");
    let password = std::fs::read_to_string(&file).unwrap();
    let mut user = User::connect(pulse.broker.port, "life", password.trim());
    user.call(
        "queue_declare",
        json!({"queue": "queue/life/q", "durable": true}),
    );
    user.call(
        "exchange_declare",
        json!({"exchange": "exchange/life/x", "exchange_type": "topic", "durable": true}),
    );
    user.call(
        "queue_bind",
        json!({"queue": "queue/life/q", "exchange": "exchange/life/x", "routing_key": "#"}),
    );
    user.call(
        "publish",
        json!({"exchange": "exchange/life/x", "key": "k", "count": 3}),
    );
    wait_until("the broker has counted", || {
        (listed(&pulse, "life")
            == Some(json!({"user": "life", "queues": 1, "messages": 3, "connections": 1, "owners": ["a@example.org", "b@example.org"]})))
        .then_some(())
    });
    let table = pulse.does(&["user", "list"]);
    assert!(
        table.lines().any(|line| line.starts_with("life ")
            && line.ends_with("3            1  a@example.org b@example.org")),
        "{table}"
    );
    pulse.does(&["user", "owners", "life", "c@example.org"]);
    assert_eq!(
        listed(&pulse, "life").unwrap()["owners"],
        json!(["c@example.org"])
    );

    let said = pulse.does(&["user", "remove", "life"]);
    assert_eq!(
        said,
        "deleted: the account life\nstays behind: the queue queue/life/q\nstays behind: the exchange exchange/life/x\n"
    );
    assert_eq!(listed(&pulse, "life"), None);
    wait_until("its connection has ended", || {
        user.attempt("is_connected", &json!({}))
            .is_err()
            .then_some(())
    });
    // Whoever has the name next is told.
    std::fs::remove_file(&file).unwrap();
    let said = pulse.run(&add);
    assert!(
        said.err.contains("the queue queue/life/q was there before"),
        "{said:?}"
    );
    let said = pulse.does(&["user", "remove", "life", "--purge"]);
    assert_eq!(
        said,
        "deleted: the account life\ndeleted: the queue queue/life/q\ndeleted: the exchange exchange/life/x\n"
    );
    assert!(
        !pulse
            .broker
            .ctl(&["list_queues", "name"])
            .contains("queue/life/")
    );
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn a_new_password_leaves_connections_and_rights_as_they_are() {
    let pulse = place::shared();
    let mut user = pulse.add("renewed");
    user.call(
        "queue_declare",
        json!({"queue": "queue/renewed/q", "exclusive": true}),
    );
    let password = pulse.does(&["user", "passwd", "renewed"]);
    assert_eq!(user.call("is_connected", json!({})), true);
    assert_eq!(
        user.call(
            "queue_declare",
            json!({"queue": "queue/renewed/q", "passive": true})
        ),
        0
    );
    let mut again = User::connect(pulse.broker.port, "renewed", password.trim());
    again.call("queue_declare", json!({"queue": "queue/renewed/r"}));
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_account_that_is_not_there_or_none_of_the_pulses_is_refused() {
    let pulse = place::shared();
    pulse.add("taken");
    std::fs::write(pulse.folder().join("in-use"), "x").unwrap();
    for (arguments, code, why) in [
        (
            &["user", "add", "taken"][..],
            78,
            "there is an account taken already",
        ),
        (&["user", "add", "guest"], 2, "every RabbitMQ has"),
        (&["user", "add", "admin"], 78, "already"),
        (&["user", "add", "1a"], 2, "no name of an account"),
        (&["user", "add", "a/b"], 2, "no name of an account"),
        (&["user", "add", "x", "--owner", "me"], 2, "no mail address"),
        (
            &["user", "add", "x", "--password-file", "in-use"],
            78,
            "is there already",
        ),
        (
            &["user", "add", "x", "--password-file", "no/such/folder"],
            78,
            "cannot write the password",
        ),
        (
            &["user", "passwd", "nobody"],
            78,
            "there is no account nobody",
        ),
        (
            &["user", "remove", "nobody"],
            78,
            "there is no account nobody",
        ),
        (&["user", "remove", "admin"], 78, "is an administrator"),
        (&["user", "passwd", "admin"], 78, "is an administrator"),
    ] {
        let said = pulse.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.err.contains(why), "{arguments:?}: {said:?}");
    }
    assert_eq!(listed(&pulse, "x"), None);
}
