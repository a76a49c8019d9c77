//! What an account can do on a broker, tried from outside.

use serde_json::{Value, json};

use crate::place::{self, User};

/// Denied by permission.
const DENIED: u64 = 403;

/// A method of a channel, and its arguments.
type Call = (&'static str, Value);

fn queue(name: &str, arguments: Value) -> Call {
    (
        "queue_declare",
        json!({"queue": name, "arguments": arguments}),
    )
}

fn exchange(name: &str, arguments: Value) -> Call {
    (
        "exchange_declare",
        json!({"exchange": name, "exchange_type": "topic", "durable": true, "arguments": arguments}),
    )
}

fn bind(queue: &str, exchange: &str) -> Call {
    (
        "queue_bind",
        json!({"queue": queue, "exchange": exchange, "routing_key": "#"}),
    )
}

fn join(destination: &str, source: &str) -> Call {
    (
        "exchange_bind",
        json!({"destination": destination, "source": source, "routing_key": "#"}),
    )
}

fn publish(exchange: &str, key: &str) -> Call {
    ("publish", json!({"exchange": exchange, "key": key}))
}

fn of_queue(method: &'static str, name: &str) -> Call {
    (method, json!({"queue": name}))
}

/// What makes a neighbour's queue and exchange.
fn settle(user: &mut User, name: &str) {
    for (method, arguments) in [
        queue(&format!("queue/{name}/q"), json!({})),
        exchange(&format!("exchange/{name}/x"), json!({})),
        bind(&format!("queue/{name}/q"), &format!("exchange/{name}/x")),
    ] {
        user.call(method, arguments);
    }
}

fn none() -> Value {
    json!({})
}

/// Arguments of a queue whose messages go on to an exchange at once.
fn dead(exchange: &str, key: &str) -> Value {
    json!({"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": key, "x-message-ttl": 1})
}

/// Arguments of an exchange that hands on what nobody takes.
fn alternate(exchange: &str) -> Value {
    json!({"alternate-exchange": exchange})
}

/// What the account `u.v` may do, in this order.
fn allowed() -> Vec<Call> {
    vec![
        queue("queue/u.v/q", none()),
        queue("queue/u.v/a/b c", none()),
        exchange("exchange/u.v/x", none()),
        exchange("exchange/u.v/y", alternate("exchange/u.v/x")),
        queue("queue/u.v/dead", dead("exchange/u.v/x", "k")),
        bind("queue/u.v/q", "exchange/u.v/x"),
        bind("queue/u.v/q", "exchange/other/x"),
        bind("queue/u.v/q", "exchange/bugzilla/simple"),
        join("exchange/u.v/x", "exchange/bugzilla/dev"),
        publish("exchange/u.v/x", "k"),
        ("take", json!({"queue": "queue/u.v/q", "count": 1})),
        of_queue("consume", "queue/u.v/q"),
        of_queue("queue_purge", "queue/u.v/q"),
        // RabbitMQ asks nobody's permission for this: how full a queue of a known name is.
        (
            "queue_declare",
            json!({"queue": "queue/other/q", "passive": true}),
        ),
        (
            "exchange_declare",
            json!({"exchange": "amq.topic", "passive": true}),
        ),
    ]
}

/// What it may not do to a neighbour.
fn against(name: &str) -> Vec<Call> {
    let (q, x) = (&*format!("queue/{name}/q"), &*format!("exchange/{name}/x"));
    vec![
        queue(&format!("queue/{name}/new"), none()),
        exchange(&format!("exchange/{name}/new"), none()),
        bind(q, "exchange/u.v/x"),
        bind(q, x),
        (
            "queue_unbind",
            json!({"queue": q, "exchange": x, "routing_key": "#"}),
        ),
        join(x, "exchange/u.v/x"),
        publish(x, "k"),
        publish("", q),
        of_queue("basic_get", q),
        of_queue("consume", q),
        of_queue("queue_purge", q),
        of_queue("queue_delete", q),
        ("exchange_delete", json!({"exchange": x})),
        queue("queue/u.v/dl", dead(x, "k")),
        exchange("exchange/u.v/ae", alternate(x)),
    ]
}

/// What else it may not do.
fn denied() -> Vec<Call> {
    vec![
        queue("queue/u.vv/q", none()),
        queue("queue/u.v", none()),
        queue("queue/U.V/q", none()),
        queue("xqueue/u.v/q", none()),
        queue("my-queue", none()),
        queue("", none()),
        queue("queue/u.v|.*/q", none()),
        queue("queue/.*/q", none()),
        queue("queue/other/q\nqueue/u.v/q", none()),
        exchange("x", none()),
        exchange("exchange/u.v", none()),
        exchange("exchange/bugzilla/new", none()),
        exchange("exchange/bugzilla/simple/announce", none()),
        exchange("amq.mine", none()),
        (
            "exchange_delete",
            json!({"exchange": "exchange/bugzilla/simple"}),
        ),
        ("exchange_delete", json!({"exchange": "amq.topic"})),
        bind("queue/u.v/q", "amq.topic"),
        bind("queue/u.v/q", "amq.rabbitmq.trace"),
        join("exchange/bugzilla/simple", "exchange/u.v/x"),
        join("amq.topic", "exchange/u.v/x"),
        join("exchange/u.v/x", "amq.topic"),
        publish("exchange/bugzilla/simple", "1"),
        publish("amq.topic", "k"),
        publish("amq.fanout", "k"),
        publish("", "queue/u.v/q"),
        exchange("exchange/u.v/ae", alternate("exchange/bugzilla/simple")),
        exchange("exchange/u.v/ae", alternate("amq.topic")),
        queue("queue/u.v/dl", dead("exchange/bugzilla/simple", "1")),
        queue("queue/u.v/dl", dead("amq.direct", "queue/other/q")),
        queue("queue/u.v/dl", dead("", "queue/other/q")),
    ]
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_account_may_do_what_pulse_allows_and_nothing_to_others_in_some_sixty_ways() {
    let pulse = place::shared();
    let mut user = pulse.add("u.v");
    // A dot that was no dot would match the second.
    let neighbours = ["other", "uXv"];
    for name in neighbours {
        settle(&mut pulse.add(name), name);
    }
    for (method, arguments) in allowed() {
        user.call(method, arguments);
    }
    let others = neighbours.into_iter().flat_map(against);
    for (method, arguments) in others.chain(denied()) {
        let said = user.attempt(method, &arguments);
        assert_eq!(said, Err(DENIED), "{method} {arguments}");
    }
    // Under another's name; what RabbitMQ itself checks.
    let forged = json!({"exchange": "exchange/u.v/x", "key": "k", "user_id": "other"});
    assert_eq!(user.attempt("publish", &forged), Err(406));
}

#[test]
#[ignore = "needs RabbitMQ: run tests/run"]
fn an_account_enters_no_other_virtual_host_and_not_the_management() {
    let pulse = place::shared();
    let password = pulse.does(&["user", "add", "outside"]);
    pulse.does(&["init", "--vhost", "elsewhere"]);
    let port = pulse.broker.port;
    assert!(User::try_connect(port, "outside", password.trim(), "elsewhere").is_err());
    assert!(User::try_connect(port, "outside", "wrong", "/").is_err());
    User::try_connect(port, "outside", password.trim(), "/").unwrap();
    std::fs::write(pulse.folder().join("outside.password"), password).unwrap();
    let management = format!(
        "http://outside@127.0.0.1:{}/#password_file=outside.password",
        pulse.broker.management_port
    );
    let said = place::run(
        pulse.folder(),
        &["pulse", "user", "list", "--management", &management],
    );
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("outside may not do this"), "{said:?}");
}
