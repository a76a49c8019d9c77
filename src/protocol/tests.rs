//! What each message is understood as.

use super::*;

/// What `message` is understood as: a command in short, or the error reply.
fn understood(message: &str) -> String {
    understood_by(message, false)
}

/// The same, by a feed that offers all bugs or does not.
fn understood_by(message: &str, offers_all: bool) -> String {
    let list = |bugs: Bugs| match bugs {
        Bugs::These(bugs) => bugs
            .iter()
            .map(BugId::to_string)
            .collect::<Vec<_>>()
            .join(","),
        Bugs::All => "all".to_owned(),
    };
    match parse(message.as_bytes(), offers_all) {
        Ok(Command::Subscribe {
            bugs, since: None, ..
        }) => format!("subscribe {}", list(bugs)),
        Ok(Command::Subscribe {
            bugs,
            since: Some(since),
            ..
        }) => format!("subscribe {} since {since}", list(bugs)),
        Ok(Command::Unsubscribe { bugs }) => format!("unsubscribe {}", list(bugs)),
        Ok(Command::Subscriptions) => "subscriptions".to_owned(),
        Ok(Command::Version) => "version".to_owned(),
        Ok(Command::Status { feed: None }) => "status".to_owned(),
        Ok(Command::Status { feed: Some(feed) }) => format!("status feed {feed}"),
        Err(error) => {
            let mut reply = Vec::new();
            write_error(&mut reply, &error);
            String::from_utf8(reply).unwrap()
        }
    }
}

fn error(command: &str, text: &str) -> String {
    format!(r#"{{"command":{command},"result":"error","error":"{text}"}}"#)
}

#[test]
fn each_command_is_read() {
    for (message, command) in [
        (r#"{"command":"version"}"#, "version"),
        (r#"{"command":"status"}"#, "status"),
        (r#"{"command":"status","feed":true}"#, "status feed true"),
        (r#"{"feed":false,"command":"status"}"#, "status feed false"),
        (r#"{"command":"status","feed":"true"}"#, "status"),
        (
            r#" { "command" : "subscriptions" , "bugs" : ["x"] } "#,
            "subscriptions",
        ),
        (
            r#"{"command":"unsubscribe","bugs":[2,1]}"#,
            "unsubscribe 1,2",
        ),
        (
            r#"{"command":"subscribe","bugs":[1],"unknown":{"deep":[[]]}}"#,
            "subscribe 1",
        ),
        (
            r#"{"command":"version","command":"subscriptions"}"#,
            "subscriptions",
        ),
        (r#"{"\u0063ommand":"\u0076ersion","\ud800":1}"#, "version"),
    ] {
        assert_eq!(understood(message), command, "{message}");
    }
}

#[test]
fn bugs_are_read_as_the_original_read_them() {
    for (bugs, read) in [
        ("1234", "1234"),
        (r#""1234""#, "1234"),
        (r#"[" 56 ","+7","007",3]"#, "3,7,56"),
        ("[5,5,\"5\"]", "5"),
        ("[]", ""),
        ("[ ]", ""),
        ("null", ""),
        ("{\"1\":2}", ""),
        ("1.5", ""),
        ("1e3", ""),
        ("-1.5", ""),
        ("NaN", ""),
        ("-Infinity", ""),
        ("2147483647", "2147483647"),
    ] {
        assert_eq!(
            understood(&format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#)),
            format!("subscribe {read}"),
            "{bugs}"
        );
    }
}

#[test]
fn one_bad_id_refuses_the_whole_request() {
    for bugs in [
        "0",
        "-5",
        "-0",
        "true",
        "false",
        "[true]",
        "[1,false]",
        "[1.0]",
        "[1e3]",
        "[null]",
        "[[1]]",
        "[{}]",
        "\"\"",
        "\"1,2\"",
        "[1,\"x\"]",
        "\"12abc\"",
        "\"0x10\"",
        "\"1.0\"",
        "\"-0\"",
        "\"\u{ff11}\"",
        "\"\\ud800\"",
        "2147483648",
        "[99999999999999999999]",
        "99999999999999999999",
        "[NaN]",
        "[1,-Infinity]",
    ] {
        let message = format!(r#"{{"command":"subscribe","bugs":{bugs},"since":"nonsense"}}"#);
        assert_eq!(
            understood(&message),
            error("\"subscribe\"", "invalid bug id; must be integer"),
            "{bugs}"
        );
    }
}

#[test]
fn an_asterisk_is_all_bugs_where_they_are_offered_and_no_bug_elsewhere() {
    for bugs in [r#""*""#, r#""\u002a""#] {
        for command in ["subscribe", "unsubscribe"] {
            let message = format!(r#"{{"command":"{command}","bugs":{bugs}}}"#);
            assert_eq!(understood_by(&message, true), format!("{command} all"));
            assert_eq!(
                understood_by(&message, false),
                error(&format!("\"{command}\""), "invalid bug id; must be integer")
            );
        }
    }
    for bugs in [r#"["*"]"#, r#"" *""#, r#""**""#, r#""""#, r#"[1,"*"]"#] {
        assert_eq!(
            understood_by(&format!(r#"{{"command":"subscribe","bugs":{bugs}}}"#), true),
            error("\"subscribe\"", "invalid bug id; must be integer"),
            "{bugs}"
        );
    }
    assert_eq!(
        understood_by(
            r#"{"command":"subscribe","bugs":"*","since":"2014-04-03T21:13:45"}"#,
            true
        ),
        "subscribe all since 1396559625"
    );
}

#[test]
fn all_that_python_calls_false_is_no_since() {
    for since in [
        r#""""#, "null", "0", "-0", "0.0", "0e5", "false", "[]", "[ ]", "{}", "{\n}",
    ] {
        assert_eq!(
            understood(&format!(
                r#"{{"command":"subscribe","bugs":1,"since":{since}}}"#
            )),
            "subscribe 1",
            "{since}"
        );
    }
}

#[test]
fn since_is_a_time_or_an_error() {
    let subscribe = |since: &str| {
        understood(&format!(
            r#"{{"command":"subscribe","bugs":1,"since":{since}}}"#
        ))
    };
    assert_eq!(
        subscribe(r#""2014-04-03T21:13:45""#),
        "subscribe 1 since 1396559625"
    );
    assert_eq!(
        subscribe(r#""2014-04-03 23:13:45.9+02:00""#),
        "subscribe 1 since 1396559625"
    );
    assert_eq!(
        subscribe(r#""2014\u002d04-03""#),
        "subscribe 1 since 1396483200"
    );
    for since in [
        "1",
        "true",
        "[0]",
        "{\"a\":1}",
        "\" \"",
        "\"0\"",
        "\"now\"",
        "1396559625",
    ] {
        assert_eq!(
            subscribe(since),
            error(
                "\"subscribe\"",
                "invalid since; must be YYYY-MM-DDTHH:MM:SS"
            ),
            "{since}"
        );
    }
}

#[test]
fn an_unknown_command_comes_back_as_it_came() {
    for command in [
        "null",
        "7",
        "1.50",
        "\"\"",
        "\" subscribe\"",
        "\"Version\"",
        "\"update\"",
        "[\"x\"]",
        "{\"a\": 1}",
        "true",
        "\"caf\u{e9}\"",
        "\"\\ud800\"",
    ] {
        assert_eq!(
            understood(&format!(r#"{{"command":{command},"bugs":[1]}}"#)),
            error(command, "invalid command")
        );
    }
    assert_eq!(
        understood(r#"{"command":NaN}"#),
        error("null", "invalid command")
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        understood(r#"{"command":"subscribe","bug":1}"#),
        error("\"subscribe\"", "missing mandatory arg: 'bugs'")
    );
    assert_eq!(
        understood(r#"{"command":"unsubscribe","since":""}"#),
        error("\"unsubscribe\"", "missing mandatory arg: 'bugs'")
    );
    assert_eq!(
        understood(r#"{"Command":"version"}"#),
        error("null", "missing mandatory arg: 'command'")
    );
    assert_eq!(
        understood("{}"),
        error("null", "missing mandatory arg: 'command'")
    );
}

#[test]
fn what_is_no_object_is_distinguished_from_what_is_no_json() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for message in [
        "[]",
        "null",
        "7",
        " \"command\" ",
        "true",
        "NaN",
        "[NaN]",
        &deep,
    ] {
        assert_eq!(
            understood(message),
            error("null", "message must be a JSON object"),
            "{message:.20}"
        );
    }
    let unclosed = "[".repeat(100_000);
    for message in [
        "",
        " ",
        "{",
        "{'command':'version'}",
        r#"{"command":"version"}{"command":"version"}"#,
        "[] []",
        "nul",
        "{\"command\":NaNa}",
        "\u{feff}{}",
        &unclosed,
    ] {
        assert_eq!(
            understood(message),
            error("null", "invalid JSON"),
            "{message:.20}"
        );
    }
    assert_eq!(
        parse(b"{\"command\":\"\xff\"}", false),
        Err(ErrorReply::without_command(Error::InvalidJson))
    );
}
