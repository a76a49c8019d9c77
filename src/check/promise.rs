//! What docs/protocol.md promises beyond the original.

use serde_json::{Value, json};

use super::script::{Awaited, Script, from_now, invented_bug};
use super::wire::{BINARY, FIN, TEXT, announced, frame, text, unmasked};
use super::{Check, Group};

pub(super) fn checks() -> Vec<Check> {
    let all = [commands(), errors(), transport(), events(), updates()].concat();
    all.into_iter()
        .map(|(name, script)| Check::new(Group::Promise, name, script))
        .collect()
}

fn ok(command: &str, bugs: &[u32]) -> Value {
    json!({"command": command, "result": "ok", "bugs": bugs})
}

/// A command with these arguments besides.
fn command(name: &str, arguments: Value) -> String {
    let mut command = json!({"command": name});
    if let (Some(command), Some(arguments)) = (command.as_object_mut(), arguments.as_object()) {
        command.extend(arguments.clone());
    }
    command.to_string()
}

fn subscribe(bugs: &[u32]) -> String {
    command("subscribe", json!({ "bugs": bugs }))
}

fn update(bug: u32, when: &str) -> Value {
    json!({"command": "update", "bug": bug, "when": when})
}

fn commands() -> Vec<(&'static str, Script)> {
    let like = |message: Value, keys| Awaited::Like { message, keys };
    let since = |since: &str| command("subscribe", json!({"bugs": [7], "since": since}));
    let status = json!({"command": "status", "result": "ok"});
    let states = &["source", "watermark", "delay", "clients"];
    let mut following = status.clone();
    following["feed"] = json!(true);
    vec![
        (
            "commands: bugs are listed ascending, each once",
            Script::open()
                .say(subscribe(&[9, 7, 9]))
                .say(subscribe(&[8]))
                .hear(ok("subscribe", &[7, 9]))
                .hear(ok("subscribe", &[7, 8, 9]))
                .rest(),
        ),
        (
            "commands: replies come in the order of the commands",
            Script::open()
                .send(
                    [
                        text(subscribe(&[7])),
                        text(r#"{"command":"version"}"#),
                        text(r#"{"command":"subscriptions"}"#),
                    ]
                    .concat(),
                )
                .hear(ok("subscribe", &[7]))
                .wait_for(like(
                    json!({"command": "version", "result": "ok"}),
                    &["version"],
                ))
                .hear(ok("subscriptions", &[7]))
                .rest(),
        ),
        (
            "commands: unsubscribe lists what remains",
            Script::open()
                .say(subscribe(&[7, 8]))
                .say(command("unsubscribe", json!({"bugs": [8, 9]})))
                .hear(ok("subscribe", &[7, 8]))
                .hear(ok("unsubscribe", &[7]))
                .rest(),
        ),
        (
            "commands: each connection has subscriptions of its own",
            Script::open()
                .say(r#"{"command":"subscriptions"}"#)
                .hear(ok("subscriptions", &[]))
                .rest(),
        ),
        (
            "commands: unknown keys are passed over",
            Script::open()
                .say(command(
                    "subscribe",
                    json!({"bugs": [7], "new": {"deep": [[]]}}),
                ))
                .hear(ok("subscribe", &[7]))
                .rest(),
        ),
        (
            "commands: status says how the feed is",
            Script::open()
                .say(r#"{"command":"status"}"#)
                .wait_for(like(status, states))
                .rest(),
        ),
        (
            "the feed itself: a status takes \"feed\":true, and says so",
            Script::open()
                .say(r#"{"command":"status","feed":true}"#)
                .wait_for(like(following, states)),
        ),
        (
            "since: the reply says whether it is complete",
            Script::open()
                .say(since("2014-04-03T21:13:45"))
                .wait_for(like(ok("subscribe", &[7]), &["complete"])),
        ),
        (
            "since: a time so far ahead is not complete",
            Script::open()
                .say(since(&from_now(86_400 * 365)))
                .hear(json!({
                    "command": "subscribe", "result": "ok", "bugs": [7], "complete": false
                })),
        ),
        (
            "since: nothing means none, and then nothing is said of the past",
            Script::open()
                .say(since(""))
                .hear(ok("subscribe", &[7]))
                .rest(),
        ),
        (
            "since: a watermark is told to who wants it",
            Script::open()
                .say(command(
                    "subscribe",
                    json!({"bugs": [7], "watermark": true}),
                ))
                .wait_for(like(ok("subscribe", &[7]), &["watermark"]))
                .rest(),
        ),
    ]
}

fn errors() -> Vec<(&'static str, Script)> {
    let cases = [
        (
            "errors: an unknown command",
            r#"{"command":"Version"}"#,
            json!("Version"),
            "invalid command",
        ),
        (
            "errors: no command",
            "{}",
            json!(null),
            "missing mandatory arg: 'command'",
        ),
        (
            "errors: no bugs",
            r#"{"command":"subscribe"}"#,
            json!("subscribe"),
            "missing mandatory arg: 'bugs'",
        ),
        (
            "errors: an id that is none, and then none counts",
            r#"{"command":"subscribe","bugs":[1,"x"]}"#,
            json!("subscribe"),
            "invalid bug id; must be integer",
        ),
        (
            "errors: bug 0",
            r#"{"command":"subscribe","bugs":[0]}"#,
            json!("subscribe"),
            "invalid bug id; must be integer",
        ),
        (
            "errors: bug 2147483648",
            r#"{"command":"subscribe","bugs":[2147483648]}"#,
            json!("subscribe"),
            "invalid bug id; must be integer",
        ),
        (
            "errors: a since that is no time",
            r#"{"command":"subscribe","bugs":[1],"since":"soon"}"#,
            json!("subscribe"),
            "invalid since; must be YYYY-MM-DDTHH:MM:SS",
        ),
        ("errors: no JSON", "{", json!(null), "invalid JSON"),
        ("errors: two values", "{}{}", json!(null), "invalid JSON"),
        (
            "errors: no object",
            "[]",
            json!(null),
            "message must be a JSON object",
        ),
        (
            "errors: a command is echoed as it came",
            r#"{"command":["subscribe"]}"#,
            json!(["subscribe"]),
            "invalid command",
        ),
    ];
    let script = |said: &str, command: &Value, error: &str| {
        let message = json!({"command": command, "result": "error", "error": error});
        let list = r#"{"command":"subscriptions"}"#;
        Script::open()
            .say(said)
            .hear(message)
            .say(list)
            .hear(ok("subscriptions", &[]))
    };
    cases
        .iter()
        .map(|(name, said, command, error)| (*name, script(said, command, error)))
        .collect()
}

fn transport() -> Vec<(&'static str, Script)> {
    let handshake = super::play::HANDSHAKE;
    let offered = handshake.replace(
        "\r\n\r\n",
        "\r\nSec-WebSocket-Protocol: chat, bugzfeed\r\n\r\n",
    );
    let closed = |codes| Awaited::Closed {
        codes,
        is_needed: true,
    };
    let version = r#"{"command":"subscriptions"}"#;
    let response = |status| Awaited::Response {
        status,
        fields: &[],
    };
    vec![
        (
            "transport: the subprotocol bugzfeed is answered",
            Script::bare().send(offered).wait_for(Awaited::Accepted {
                protocol: Some("bugzfeed"),
            }),
        ),
        (
            "transport: a query is passed over",
            Script::bare()
                .send(handshake.replace("{path}", "{folder}/?x=y"))
                .wait_for(Awaited::Accepted { protocol: None }),
        ),
        (
            "transport: there is nothing at an unknown path",
            Script::bare()
                .send(handshake.replace("{path}", "{folder}/no/such/feed"))
                .wait_for(response(404)),
        ),
        (
            "transport: another method is refused",
            Script::bare()
                .send("DELETE {path} HTTP/1.1\r\n{host}\r\n")
                .wait_for(response(405)),
        ),
        (
            "transport: binary frames that hold JSON are read as text",
            Script::open()
                .send(frame(FIN | BINARY, version.as_bytes()))
                .hear(ok("subscriptions", &[]))
                .rest(),
        ),
        (
            "transport: a fault is closed with 1002",
            Script::open()
                .send(unmasked(FIN | TEXT, b"{}"))
                .wait_for(closed(&[1002])),
        ),
        (
            "transport: text that is no UTF-8 is closed with 1007",
            Script::open().send(text(b"\xff")).wait_for(closed(&[1007])),
        ),
        (
            "transport: a message that is too big is closed with 1009",
            Script::open()
                .send(announced(FIN | TEXT, 1 << 62))
                .wait_for(closed(&[1009])),
        ),
        (
            "transport: what was asked before a fault is answered",
            Script::open()
                .send([text(version), text(b"\xff")].concat())
                .hear(ok("subscriptions", &[]))
                .wait_for(closed(&[1007])),
        ),
    ]
}

fn events() -> Vec<(&'static str, Script)> {
    let get = |query: &str| format!("GET {{folder}}/events{query} HTTP/1.1\r\n{{host}}\r\n");
    let stream = Awaited::Response {
        status: 200,
        fields: &[("Content-Type", "text/event-stream")],
    };
    let refused = Awaited::Response {
        status: 400,
        fields: &[],
    };
    let (bug, when) = (invented_bug(), from_now(0));
    let reply = |bugs| Awaited::Event {
        message: ok("subscribe", bugs),
        but: &["watermark"],
    };
    let event = Awaited::Event {
        message: update(bug, &when),
        but: &[],
    };
    vec![
        (
            "server-sent events: the reply is the first event",
            Script::bare()
                .send(get("?bugs=8,7"))
                .wait_for(stream.clone())
                .wait_for(reply(&[7, 8])),
        ),
        (
            "server-sent events: what cannot be subscribed is refused",
            Script::bare().send(get("?bugs=x")).wait_for(refused),
        ),
        (
            "server-sent events: an update is an event",
            Script::bare()
                .send(get(&format!("?bugs={bug}")))
                .wait_for(stream)
                .wait_for(reply(&[bug]))
                .publish(bug, &when)
                .wait_for(event),
        ),
    ]
}

fn updates() -> Vec<(&'static str, Script)> {
    let [one, two, three, four, five] = [(); 5].map(|()| invented_bug());
    let (earlier, now, ahead) = (from_now(0), from_now(1), from_now(2));
    let since =
        |bug: u32, since: &str| command("subscribe", json!({"bugs": [bug], "since": since}));
    vec![
        (
            "updates: an update has three keys",
            Script::open()
                .say(subscribe(&[one]))
                .hear(ok("subscribe", &[one]))
                .publish(one, &now)
                .hear(update(one, &now))
                .rest(),
        ),
        (
            "updates: none comes of a bug that is not subscribed any more",
            Script::open()
                .say(subscribe(&[one, two]))
                .say(command("unsubscribe", json!({"bugs": [one]})))
                .hear(ok("subscribe", &{
                    let mut both = [one, two];
                    both.sort_unstable();
                    both
                }))
                .hear(ok("unsubscribe", &[two]))
                .publish(one, &now)
                .publish(two, &now)
                .hear(update(two, &now))
                .rest(),
        ),
        (
            "updates: those of one bug come in order",
            Script::open()
                .say(subscribe(&[three]))
                .hear(ok("subscribe", &[three]))
                .publish(three, &earlier)
                .hear(update(three, &earlier))
                .publish(three, &now)
                .hear(update(three, &now))
                .rest(),
        ),
        (
            "since: what was missed is replayed behind the reply, before what comes",
            Script::open()
                .with_repeats()
                .say(subscribe(&[four]))
                .hear(ok("subscribe", &[four]))
                .publish(four, &now)
                .hear(update(four, &now))
                .say(since(four, &now))
                .hear_but(ok("subscribe", &[four]), &["complete"])
                .hear(update(four, &now))
                .publish(four, &ahead)
                .hear(update(four, &ahead)),
        ),
        (
            "updates: a bug that is subscribed twice is sent once",
            Script::open()
                .say(subscribe(&[five]))
                .say(subscribe(&[five]))
                .hear(ok("subscribe", &[five]))
                .hear(ok("subscribe", &[five]))
                .publish(five, &now)
                .hear(update(five, &now))
                .rest(),
        ),
    ]
}
