//! The protocol by example: what a client says (`>`), what it gets (`<`), and changes of bugs
//! (`+`). Each example is played twice, against the hub by itself and over a WebSocket against the
//! real server, which must agree to the byte.

mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;

use bugzfeed::check::{DIFFERENCES, RECORDED};
use bugzfeed::history::History;
use bugzfeed::hub::{Asked, Hub};
use bugzfeed::promise::Promise;
use bugzfeed::protocol::VERSION;
use bugzfeed::subscriptions::ClientId;
use bugzfeed::update::{BugId, Update, When};
use bugzfeed::work::unix_now;
use serde_json::{Value, json};

use support::client::{BINARY, Client, FIN, PING, PONG, frame};
use support::contract::check_message;
use support::server::{Server, wait_until};

/// One client of a feed.
trait Feed {
    fn say(&mut self, message: &str);
    fn say_binary(&mut self, message: &str);
    /// The next message that comes.
    fn hear(&mut self) -> String;
    /// Records a change, and waits until it has reached all whom it concerns.
    fn change(&mut self, bug: u32, when: &str);
}

/// A hub with one client and nothing between them.
struct Pure {
    hub: Hub,
    messages: VecDeque<String>,
}

const CLIENT: ClientId = ClientId(3);

impl Pure {
    /// A feed that promises nothing about the time up to the year 2020, as a server that started
    /// then would.
    fn new(subscriptions_max: usize, history_max: usize) -> Self {
        let floor = "2020-01-01".parse::<When>().unwrap().unix_seconds();
        let mut hub = Hub::new(History::new(history_max, floor), subscriptions_max);
        hub.promise(Promise::After(floor));
        Self {
            hub,
            messages: VecDeque::new(),
        }
    }

    fn with_firehose(self) -> Self {
        let hub = self.hub.with_firehose(true);
        Self { hub, ..self }
    }
}

impl Feed for Pure {
    fn say(&mut self, message: &str) {
        let messages = &mut self.messages;
        let asked = Asked {
            at: unix_now(),
            may_wait: true,
            clients: 1,
            delay: None,
        };
        let is_answered = self.hub.handle(CLIENT, message.as_bytes(), asked, |text| {
            messages.push_back(String::from_utf8(text.to_vec()).unwrap())
        });
        assert!(is_answered);
        self.hub.check_invariants();
    }

    fn say_binary(&mut self, message: &str) {
        self.say(message);
    }

    fn hear(&mut self) -> String {
        self.messages.pop_front().expect("a message")
    }

    fn change(&mut self, bug: u32, when: &str) {
        let update = Update {
            bug: BugId::new(bug).unwrap(),
            when: when.parse().unwrap(),
        };
        if self
            .hub
            .publish(update, i64::MAX)
            .any(|client| client == CLIENT)
        {
            self.messages.push_back(format!(
                r#"{{"command":"update","bug":{bug},"when":"{when}"}}"#
            ));
        }
    }
}

/// A client of a real server.
struct Real {
    server: Server,
    client: Client,
    /// Another client, which is sent something together with each change.
    witness: Client,
}

/// A bug that no example names.
const WITNESSED: u32 = 2_000_000_001;

impl Real {
    fn new(options: &[&str]) -> Self {
        let server = Server::start(options);
        let mut witness = server.connect();
        witness.ask(&format!(r#"{{"command":"subscribe","bugs":{WITNESSED}}}"#));
        Self {
            client: server.connect(),
            witness,
            server,
        }
    }
}

impl Feed for Real {
    fn say(&mut self, message: &str) {
        self.client.say(message);
    }

    fn say_binary(&mut self, message: &str) {
        self.client.send(frame(FIN | BINARY, message.as_bytes()));
    }

    fn hear(&mut self) -> String {
        self.client.hear()
    }

    fn change(&mut self, bug: u32, when: &str) {
        self.server.record(&[(bug, when), (WITNESSED, when)]);
        self.witness.hear();
    }
}

/// Makes sure that nothing has come that nobody asked for.
fn expect_silence(feed: &mut dyn Feed) {
    feed.say("not JSON: the next message must be the answer to this");
    assert_eq!(
        feed.hear(),
        r#"{"command":null,"result":"error","error":"invalid JSON"}"#
    );
}

/// Tomorrow's date, UTC: later than any server's start, and not too far ahead to be believed.
fn tomorrow() -> String {
    let tomorrow = When::from_unix_seconds(unix_now() + 86_400).to_string();
    tomorrow[..10].to_owned()
}

/// Plays the lines of an example, in which VERSION stands for this package's version, and TOMORROW
/// for tomorrow's date.
fn play(feed: &mut dyn Feed, example: &str) {
    for line in example
        .lines()
        .map(|line| line.trim().replace("VERSION", VERSION))
        .map(|line| line.replace("TOMORROW", &tomorrow()))
        .filter(|line| !line.is_empty())
    {
        match line.split_at(2) {
            ("> ", message) => feed.say(message),
            ("< ", message) => assert_eq!(feed.hear(), message, "in {example}"),
            ("+ ", change) => {
                let (bug, when) = change.split_once(' ').unwrap();
                feed.change(bug.parse().unwrap(), when);
            }
            _ => panic!("{line}"),
        }
    }
    expect_silence(feed);
}

/// Plays an example against the hub and against the real server.
#[track_caller]
fn check(example: &str) {
    play(&mut Pure::new(10_000, 10_000), example);
    play(&mut Real::new(&[]), example);
}

// What was recorded of the original.

struct Case {
    id: u64,
    steps: Vec<Value>,
}

fn recorded() -> Vec<Case> {
    let cases = RECORDED
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    cases
        .map(|case| Case {
            id: case["id"].as_u64().unwrap(),
            steps: case["steps"].as_array().unwrap().clone(),
        })
        .collect()
}

/// What must come in this step.
fn expected(step: &Value) -> Vec<Value> {
    let said = step["send"].as_str().unwrap_or_default();
    if let Some((_, reply, _)) = DIFFERENCES
        .iter()
        .find(|(_, _, messages)| messages.contains(&said))
    {
        return vec![serde_json::from_str(reply).unwrap()];
    }
    let mut expected = step["recv"].as_array().unwrap().clone();
    for message in expected
        .iter_mut()
        .filter(|message| message["command"] == "version")
    {
        message["version"] = json!(VERSION);
    }
    expected
}

fn play_recorded(feed: &mut dyn Feed, case: &Case) {
    for step in &case.steps {
        if let Some(message) = step["send"].as_str() {
            feed.say(message);
        } else if let Some(message) = step["send_binary"].as_str() {
            feed.say_binary(message);
        } else {
            feed.change(
                step["feed"]["bug"].as_u64().unwrap() as u32,
                step["feed"]["when"].as_str().unwrap(),
            );
        }
        for expected in expected(step) {
            let mut message: Value = serde_json::from_str(&feed.hear()).unwrap();
            message.as_object_mut().unwrap().remove("complete");
            assert_eq!(message, expected, "case {}: {step}", case.id);
        }
    }
    expect_silence(feed);
}

#[test]
fn the_hub_answers_as_the_original_did() {
    for case in recorded() {
        play_recorded(&mut Pure::new(10_000, 10_000), &case);
    }
}

#[test]
fn the_server_answers_as_the_original_did() {
    let mut shared = Real::new(&[]);
    for case in recorded() {
        if case.steps.iter().any(|step| step["feed"].is_object()) {
            // What is remembered must not come from another case.
            play_recorded(&mut Real::new(&[]), &case);
        } else {
            shared.client = shared.server.connect();
            play_recorded(&mut shared, &case);
        }
    }
}

#[test]
fn each_deliberate_difference_is_one() {
    let cases = recorded();
    for (reason, reply, messages) in DIFFERENCES {
        for message in *messages {
            let step = cases
                .iter()
                .flat_map(|case| &case.steps)
                .find(|step| step["send"] == *message);
            let recorded = &step.unwrap_or_else(|| panic!("{message} was not recorded"))["recv"];
            assert_ne!(
                *recorded,
                json!([serde_json::from_str::<Value>(reply).unwrap()]),
                "{message} is not different: {reason}"
            );
        }
    }
}

// Examples, to the byte.

#[test]
fn the_official_example_starts_with_two_questions_at_once() {
    check(
        r#"
        > {"command":"version"}
        > {"command":"subscriptions"}
        < {"command":"version","result":"ok","version":"VERSION"}
        < {"command":"subscriptions","result":"ok","bugs":[]}
        > {"command":"subscribe","bugs":[null],"since":""}
        < {"command":"subscribe","result":"error","error":"invalid bug id; must be integer"}
        > {"command":"subscribe","bugs":[1234,7],"since":""}
        < {"command":"subscribe","result":"ok","bugs":[7,1234]}
        > {"command":"unsubscribe","bugs":"1234"}
        < {"command":"unsubscribe","result":"ok","bugs":[7]}
        "#,
    );
}

#[test]
fn a_subscribed_bug_that_changes_is_pushed() {
    check(
        r#"
        > {"command":"subscribe","bugs":[1234,77]}
        < {"command":"subscribe","result":"ok","bugs":[77,1234]}
        + 1234 2014-04-03T21:13:45
        < {"command":"update","bug":1234,"when":"2014-04-03T21:13:45"}
        + 1235 2014-04-03T21:13:45
        + 1234 2014-04-03T21:13:45
        < {"command":"update","bug":1234,"when":"2014-04-03T21:13:45"}
        > {"command":"unsubscribe","bugs":1234}
        < {"command":"unsubscribe","result":"ok","bugs":[77]}
        + 1234 2014-04-03T21:13:46
        + 77 2014-04-03T21:13:40
        < {"command":"update","bug":77,"when":"2014-04-03T21:13:40"}
        "#,
    );
}

#[test]
fn all_or_nothing() {
    check(
        r#"
        > {"command":"subscribe","bugs":[5]}
        < {"command":"subscribe","result":"ok","bugs":[5]}
        > {"command":"subscribe","bugs":[6,"x",7]}
        < {"command":"subscribe","result":"error","error":"invalid bug id; must be integer"}
        > {"command":"unsubscribe","bugs":[5,0]}
        < {"command":"unsubscribe","result":"error","error":"invalid bug id; must be integer"}
        > {"command":"subscribe","bugs":[6],"since":"soon"}
        < {"command":"subscribe","result":"error","error":"invalid since; must be YYYY-MM-DDTHH:MM:SS"}
        > {"command":"subscriptions"}
        < {"command":"subscriptions","result":"ok","bugs":[5]}
        + 6 2014-04-03T21:13:45
        + 5 2014-04-03T21:13:45
        < {"command":"update","bug":5,"when":"2014-04-03T21:13:45"}
        "#,
    );
}

#[test]
fn ids_are_read_in_every_form_that_clients_write_them_in() {
    check(
        r#"
        > {"command":"subscribe","bugs":1}
        < {"command":"subscribe","result":"ok","bugs":[1]}
        > {"command":"subscribe","bugs":" 56 "}
        < {"command":"subscribe","result":"ok","bugs":[1,56]}
        > {"command":"subscribe","bugs":["+7","007",2147483647,"\u0038"]}
        < {"command":"subscribe","result":"ok","bugs":[1,7,8,56,2147483647]}
        > {"command":"subscribe","bugs":[2147483648]}
        < {"command":"subscribe","result":"error","error":"invalid bug id; must be integer"}
        > {"command":"unsubscribe","bugs":[99,8]}
        < {"command":"unsubscribe","result":"ok","bugs":[1,7,56,2147483647]}
        > {"command":"unsubscribe","bugs":null}
        < {"command":"unsubscribe","result":"ok","bugs":[1,7,56,2147483647]}
        > {"command":"subscribe","bugs":[]}
        < {"command":"subscribe","result":"ok","bugs":[1,7,56,2147483647]}
        > {"command":"subscribe","bugs":{"5":5}}
        < {"command":"subscribe","result":"ok","bugs":[1,7,56,2147483647]}
        > {"command":"subscribe","bugs":1.5}
        < {"command":"subscribe","result":"ok","bugs":[1,7,56,2147483647]}
        "#,
    );
}

#[test]
fn an_error_echoes_the_command_and_keeps_the_connection() {
    check(
        r#"
        > {"command":"Subscribe","bugs":[1]}
        < {"command":"Subscribe","result":"error","error":"invalid command"}
        > {"command":7,"bugs":[1]}
        < {"command":7,"result":"error","error":"invalid command"}
        > {"command":["x"]}
        < {"command":["x"],"result":"error","error":"invalid command"}
        > {"command":{"a":1}}
        < {"command":{"a":1},"result":"error","error":"invalid command"}
        > {"command":"subscribe"}
        < {"command":"subscribe","result":"error","error":"missing mandatory arg: 'bugs'"}
        > {"command":"unsubscribe","bug":1}
        < {"command":"unsubscribe","result":"error","error":"missing mandatory arg: 'bugs'"}
        > {"bugs":[1]}
        < {"command":null,"result":"error","error":"missing mandatory arg: 'command'"}
        > [1]
        < {"command":null,"result":"error","error":"message must be a JSON object"}
        > {"command":"version"
        < {"command":null,"result":"error","error":"invalid JSON"}
        > {"command":"version","unknown":[{}]}
        < {"command":"version","result":"ok","version":"VERSION"}
        "#,
    );
}

#[test]
fn since_replays_what_was_missed_before_what_comes() {
    check(
        r#"
        + 1 TOMORROWT00:00:01
        + 2 TOMORROWT00:00:02
        + 3 TOMORROWT00:00:02
        + 1 TOMORROWT00:00:03
        > {"command":"subscribe","bugs":[1,2],"since":"TOMORROWT00:00:02"}
        < {"command":"subscribe","result":"ok","bugs":[1,2],"complete":true}
        < {"command":"update","bug":2,"when":"TOMORROWT00:00:02"}
        < {"command":"update","bug":1,"when":"TOMORROWT00:00:03"}
        + 2 TOMORROWT00:00:04
        < {"command":"update","bug":2,"when":"TOMORROWT00:00:04"}
        > {"command":"subscribe","bugs":3,"since":"TOMORROWT01:00:02+01:00"}
        < {"command":"subscribe","result":"ok","bugs":[1,2,3],"complete":true}
        < {"command":"update","bug":3,"when":"TOMORROWT00:00:02"}
        > {"command":"subscribe","bugs":[],"since":"TOMORROW"}
        < {"command":"subscribe","result":"ok","bugs":[1,2,3],"complete":true}
        > {"command":"subscribe","bugs":[3],"since":"TOMORROWT00:00:05"}
        < {"command":"subscribe","result":"ok","bugs":[1,2,3],"complete":true}
        "#,
    );
}

#[test]
fn since_that_reaches_back_too_far_is_not_complete() {
    check(
        r#"
        + 1 2014-04-03T21:13:45
        > {"command":"subscribe","bugs":1,"since":"2014-01-01 00:00:00.5Z"}
        < {"command":"subscribe","result":"ok","bugs":[1],"complete":false}
        < {"command":"update","bug":1,"when":"2014-04-03T21:13:45"}
        "#,
    );
}

#[test]
fn an_edit_that_was_committed_late_is_replayed_to_who_cannot_have_seen_it() {
    check(
        r#"
        + 1 TOMORROWT00:00:09
        + 2 TOMORROWT00:00:05
        > {"command":"subscribe","bugs":[1,2],"since":"TOMORROWT00:00:09"}
        < {"command":"subscribe","result":"ok","bugs":[1,2],"complete":true}
        < {"command":"update","bug":1,"when":"TOMORROWT00:00:09"}
        < {"command":"update","bug":2,"when":"TOMORROWT00:00:05"}
        "#,
    );
}

#[test]
fn what_is_forgotten_is_not_complete() {
    // Of bug 1 the newest update is remembered, so only bug 2 is forgotten.
    let example = r#"
        + 1 TOMORROWT00:00:00
        + 1 TOMORROWT00:00:01
        > {"command":"subscribe","bugs":1,"since":"TOMORROWT00:00:00"}
        < {"command":"subscribe","result":"ok","bugs":[1],"complete":true}
        < {"command":"update","bug":1,"when":"TOMORROWT00:00:01"}
        > {"command":"unsubscribe","bugs":1}
        < {"command":"unsubscribe","result":"ok","bugs":[]}
        + 2 TOMORROWT00:00:02
        + 3 TOMORROWT00:00:03
        > {"command":"subscribe","bugs":3,"since":"TOMORROWT00:00:02"}
        < {"command":"subscribe","result":"ok","bugs":[3],"complete":false}
        < {"command":"update","bug":3,"when":"TOMORROWT00:00:03"}
        > {"command":"subscribe","bugs":3,"since":"TOMORROWT00:00:03"}
        < {"command":"subscribe","result":"ok","bugs":[3],"complete":true}
        < {"command":"update","bug":3,"when":"TOMORROWT00:00:03"}
        "#;
    play(&mut Pure::new(10, 1), example);
    // Each change is followed by the witness's.
    play(&mut Real::new(&["--history-size", "2"]), example);
}

#[test]
fn beyond_the_limit_nothing_is_subscribed() {
    let example = r#"
        > {"command":"subscribe","bugs":[1,2]}
        < {"command":"subscribe","result":"ok","bugs":[1,2]}
        > {"command":"subscribe","bugs":[3,4],"since":"TOMORROW"}
        < {"command":"subscribe","result":"error","error":"too many subscriptions; the limit is 3"}
        > {"command":"subscribe","bugs":[3,1,2]}
        < {"command":"subscribe","result":"ok","bugs":[1,2,3]}
        > {"command":"subscribe","bugs":[4]}
        < {"command":"subscribe","result":"error","error":"too many subscriptions; the limit is 3"}
        > {"command":"unsubscribe","bugs":[1]}
        < {"command":"unsubscribe","result":"ok","bugs":[2,3]}
        > {"command":"subscribe","bugs":[4]}
        < {"command":"subscribe","result":"ok","bugs":[2,3,4]}
        "#;
    play(&mut Pure::new(3, 10), example);
    play(&mut Real::new(&["--subscriptions", "3"]), example);
}

// All bugs at once.

#[test]
fn an_asterisk_subscribes_to_all_bugs_where_the_server_offers_it() {
    let example = r#"
        > {"command":"subscribe","bugs":"*"}
        < {"command":"subscribe","result":"ok","bugs":[],"all":true}
        + 7 TOMORROWT00:00:01
        < {"command":"update","bug":7,"when":"TOMORROWT00:00:01"}
        < {"command":"update","bug":2000000001,"when":"TOMORROWT00:00:01"}
        > {"command":"subscribe","bugs":[7]}
        < {"command":"subscribe","result":"ok","bugs":[7],"all":true}
        + 7 TOMORROWT00:00:02
        < {"command":"update","bug":7,"when":"TOMORROWT00:00:02"}
        < {"command":"update","bug":2000000001,"when":"TOMORROWT00:00:02"}
        > {"command":"unsubscribe","bugs":[7,8]}
        < {"command":"unsubscribe","result":"ok","bugs":[],"all":true}
        > {"command":"subscribe","bugs":[9]}
        < {"command":"subscribe","result":"ok","bugs":[9],"all":true}
        > {"command":"subscriptions"}
        < {"command":"subscriptions","result":"ok","bugs":[9],"all":true}
        > {"command":"unsubscribe","bugs":"*"}
        < {"command":"unsubscribe","result":"ok","bugs":[9]}
        + 7 TOMORROWT00:00:03
        + 9 TOMORROWT00:00:04
        < {"command":"update","bug":9,"when":"TOMORROWT00:00:04"}
        > {"command":"unsubscribe","bugs":"*"}
        < {"command":"unsubscribe","result":"ok","bugs":[9]}
        "#;
    play(
        &mut Pure::new(10, 10).with_firehose(),
        &unwitnessed(example),
    );
    play(&mut Real::new(&["--firehose"]), example);
}

/// An example without what the real server's witness adds to it.
fn unwitnessed(example: &str) -> String {
    let lines = example.lines();
    let lines = lines.filter(|line| !line.contains(&WITNESSED.to_string()));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_bugs_with_since_are_all_that_was_missed() {
    let example = r#"
        + 1 TOMORROWT00:00:00
        + 1 TOMORROWT01:00:00
        + 2 TOMORROWT01:00:00
        > {"command":"subscribe","bugs":"*","since":"TOMORROWT01:00:01"}
        < {"command":"subscribe","result":"ok","bugs":[],"all":true,"complete":true}
        > {"command":"subscribe","bugs":"*","since":"TOMORROWT00:00:01"}
        < {"command":"subscribe","result":"ok","bugs":[],"all":true,"complete":true}
        < {"command":"update","bug":1,"when":"TOMORROWT01:00:00"}
        < {"command":"update","bug":2,"when":"TOMORROWT01:00:00"}
        + 3 TOMORROWT01:00:02
        < {"command":"update","bug":3,"when":"TOMORROWT01:00:02"}
        > {"command":"subscribe","bugs":"*","since":"TOMORROWT01:00:02"}
        < {"command":"subscribe","result":"ok","bugs":[],"all":true,"complete":true}
        < {"command":"update","bug":1,"when":"TOMORROWT01:00:00"}
        < {"command":"update","bug":2,"when":"TOMORROWT01:00:00"}
        < {"command":"update","bug":3,"when":"TOMORROWT01:00:02"}
        > {"command":"subscribe","bugs":"*","since":"2001-01-01"}
        < {"command":"subscribe","result":"ok","bugs":[],"all":true,"complete":false}
        < {"command":"update","bug":1,"when":"TOMORROWT00:00:00"}
        < {"command":"update","bug":1,"when":"TOMORROWT01:00:00"}
        < {"command":"update","bug":2,"when":"TOMORROWT01:00:00"}
        < {"command":"update","bug":3,"when":"TOMORROWT01:00:02"}
        > {"command":"subscribe","bugs":"*","since":"soon"}
        < {"command":"subscribe","result":"error","error":"invalid since; must be YYYY-MM-DDTHH:MM:SS"}
        "#;
    play(&mut Pure::new(10, 10).with_firehose(), example);
}

#[test]
fn all_bugs_are_one_subscription() {
    let example = r#"
        > {"command":"subscribe","bugs":[1,2]}
        < {"command":"subscribe","result":"ok","bugs":[1,2]}
        > {"command":"subscribe","bugs":"*"}
        < {"command":"subscribe","result":"error","error":"too many subscriptions; the limit is 2"}
        > {"command":"unsubscribe","bugs":[1]}
        < {"command":"unsubscribe","result":"ok","bugs":[2]}
        > {"command":"subscribe","bugs":"*"}
        < {"command":"subscribe","result":"ok","bugs":[2],"all":true}
        > {"command":"subscribe","bugs":"*"}
        < {"command":"subscribe","result":"ok","bugs":[2],"all":true}
        > {"command":"subscribe","bugs":[3]}
        < {"command":"subscribe","result":"error","error":"too many subscriptions; the limit is 2"}
        "#;
    play(&mut Pure::new(2, 10).with_firehose(), example);
    play(
        &mut Real::new(&["--firehose", "--subscriptions", "2"]),
        example,
    );
}

#[test]
fn without_the_option_an_asterisk_is_refused_as_the_original_did() {
    check(
        r#"
        > {"command":"subscribe","bugs":"*"}
        < {"command":"subscribe","result":"error","error":"invalid bug id; must be integer"}
        > {"command":"unsubscribe","bugs":"*"}
        < {"command":"unsubscribe","result":"error","error":"invalid bug id; must be integer"}
        + 1 TOMORROWT00:00:00
        "#,
    );
}

#[test]
fn all_bugs_are_those_of_one_feed() {
    let mut real = Real::new(&["--firehose", "--feed", "/dev/=sqlite:dev.db?poll=5ms"]);
    let mut dev = Client::open(real.server.address, "/dev");
    dev.ask(r#"{"command":"subscribe","bugs":"*"}"#);
    real.change(5, "2030-01-01T00:00:00");
    assert_eq!(
        dev.ask(r#"{"command":"subscriptions"}"#),
        r#"{"command":"subscriptions","result":"ok","bugs":[],"all":true}"#
    );
}

// Large messages.

/// So many different ids in no order, as long as ids are.
fn many_bugs(count: u32) -> (String, String) {
    let mut ids: Vec<u32> = (0..count).map(|at| 2_147_483_647 - at * 7).collect();
    let list = |ids: &[u32]| {
        let mut list = String::new();
        ids.iter()
            .for_each(|id| write!(list, "{}{id}", if list.is_empty() { "" } else { "," }).unwrap());
        list
    };
    let said = list(&ids);
    ids.sort_unstable();
    (said, list(&ids))
}

#[track_caller]
fn check_many(count: u32, options: &[&str]) {
    let (said, heard) = many_bugs(count);
    let mut real = Real::new(options);
    let reply = real.client.ask(&format!(
        r#"{{"command":"subscribe","bugs":[{said}],"since":""}}"#
    ));
    assert_eq!(
        reply,
        format!(r#"{{"command":"subscribe","result":"ok","bugs":[{heard}]}}"#)
    );
    real.change(
        2_147_483_647 - 7 * (count - 1),
        &format!("{}T00:00:00", tomorrow()),
    );
    assert!(
        real.client
            .hear()
            .starts_with(r#"{"command":"update","bug":2"#)
    );
    let reply = real
        .client
        .ask(&format!(r#"{{"command":"unsubscribe","bugs":[{said}]}}"#));
    assert_eq!(
        reply,
        r#"{"command":"unsubscribe","result":"ok","bugs":[]}"#
    );
    expect_silence(&mut real);
}

#[test]
fn ten_thousand_ids_fit_one_message_by_default() {
    check_many(10_000, &[]);
}

#[test]
fn fifty_thousand_ids_fit_one_message_when_the_limits_are_raised() {
    check_many(
        50_000,
        &["--subscriptions", "50000", "--message-size", "1000000"],
    );
}

#[test]
fn all_that_is_remembered_can_be_asked_for_at_once() {
    let mut real = Real::new(&[]);
    let when = format!("{}T00:00:00", tomorrow());
    let ids: Vec<u32> = (1..=9_999).collect();
    let changes: Vec<(u32, &str)> = ids
        .iter()
        .map(|&id| (id, &*when))
        .chain([(WITNESSED, &*when)])
        .collect();
    real.server.record(&changes);
    real.witness.hear();
    let list = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let reply = real.client.ask(&format!(
        r#"{{"command":"subscribe","bugs":[{list}],"since":"{when}"}}"#
    ));
    assert_eq!(
        reply,
        format!(r#"{{"command":"subscribe","result":"ok","bugs":[{list}],"complete":true}}"#)
    );
    let replayed: Vec<String> = ids.iter().map(|_| real.hear()).collect();
    let wanted: Vec<String> = ids
        .iter()
        .map(|id| format!(r#"{{"command":"update","bug":{id},"when":"{when}"}}"#))
        .collect();
    assert_eq!(replayed, wanted);
    expect_silence(&mut real);
}

#[test]
fn a_client_of_one_feed_hears_nothing_of_another() {
    let mut server = Real::new(&["--feed", "/dev/=sqlite:dev.db?poll=5ms"]);
    let mut dev = Client::open(server.server.address, "/dev");
    for client in [&mut dev, &mut server.client] {
        assert_eq!(
            client.ask(r#"{"command":"subscribe","bugs":[5]}"#),
            r#"{"command":"subscribe","result":"ok","bugs":[5]}"#
        );
    }
    server.change(5, "2030-01-01T00:00:00");
    assert_eq!(
        server.hear(),
        r#"{"command":"update","bug":5,"when":"2030-01-01T00:00:00"}"#
    );
    expect_silence(&mut server);
    // Its answer is the next thing that the other feed's client hears.
    assert_eq!(
        dev.ask(r#"{"command":"subscriptions"}"#),
        r#"{"command":"subscriptions","result":"ok","bugs":[5]}"#
    );
}

/// Waits until a server says that it reads its source.
fn wait_until_up(client: &mut Client) {
    wait_until("the source is up", || {
        let status = client.ask(r#"{"command":"status"}"#);
        status.contains(r#""source":"up""#).then_some(())
    });
}

#[test]
fn a_status_says_where_the_feed_stands_and_how_long_its_last_update_took() {
    let mut feed = Real::new(&[]);
    let ask = |feed: &mut Real| -> Value {
        serde_json::from_str(&feed.client.ask(r#"{"command":"status"}"#)).unwrap()
    };
    wait_until_up(&mut feed.client);
    let expected = json!({"command": "status", "result": "ok", "source": "up",
        "watermark": null, "delay": null, "clients": 2});
    assert_eq!(ask(&mut feed), expected);
    let when = When::from_unix_seconds(unix_now() - 100);
    feed.change(5, &when.to_string());
    let status = ask(&mut feed);
    assert_eq!(status["watermark"], when.to_string());
    let delay = status["delay"].as_i64().unwrap();
    assert!((100..130).contains(&delay), "{status}");
    // A clock that is ahead makes no time negative.
    feed.change(5, &When::from_unix_seconds(unix_now() + 50).to_string());
    assert_eq!(ask(&mut feed)["delay"], 0);
}

#[test]
fn a_watermark_stands_in_the_reply_to_who_wants_it_and_is_a_since() {
    check(
        r#"
        > {"command":"subscribe","bugs":[5],"watermark":true}
        < {"command":"subscribe","result":"ok","bugs":[5],"watermark":null}
        + 6 TOMORROWT00:00:00
        > {"command":"subscribe","bugs":[],"watermark":true}
        < {"command":"subscribe","result":"ok","bugs":[5],"watermark":"TOMORROWT00:00:00"}
        > {"command":"subscribe","bugs":[],"watermark":1}
        < {"command":"subscribe","result":"ok","bugs":[5]}
        + 5 TOMORROWT00:00:00
        < {"command":"update","bug":5,"when":"TOMORROWT00:00:00"}
        > {"command":"subscribe","bugs":[5],"since":"TOMORROWT00:00:00"}
        < {"command":"subscribe","result":"ok","bugs":[5],"complete":true}
        < {"command":"update","bug":5,"when":"TOMORROWT00:00:00"}
        "#,
    );
}

#[test]
fn only_who_asks_for_the_state_of_the_feed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("bugzfeed.db");
    let server = Server::start_in(folder.path(), &[]);
    let mut clients = [server.connect(), server.connect()];
    wait_until_up(&mut clients[1]);
    let status = clients[0].ask(r#"{"command":"status","feed":true}"#);
    assert!(status.ends_with(r#","feed":true}"#), "{status}");
    rusqlite::Connection::open(&table)
        .and_then(|table| table.execute("DROP TABLE push_notify", []))
        .unwrap();
    assert_eq!(clients[0].hear(), r#"{"command":"feed","state":"down"}"#);
    let status = clients[1].ask(r#"{"command":"status"}"#);
    assert!(
        status.contains(r#""source":"down""#) && !status.contains("feed"),
        "{status}"
    );
}

/// A feed whose broker is out of reach is in doubt: whoever asks with `since` waits for a moment,
/// in which pings are answered and further commands wait, too.
#[test]
fn in_doubt_the_answer_to_since_waits_and_pings_do_not() {
    let server = Server::start(&["--source", "amqp://u:p@127.0.0.1:1/"]);
    let mut client = server.connect();
    client.say(r#"{"command":"subscribe","bugs":[7],"since":"2026-01-01"}"#);
    client.send(frame(FIN | PING, b"still there?"));
    client.say(r#"{"command":"version"}"#);
    let pong = client.frame();
    assert_eq!(
        (pong.first, &*pong.payload),
        (FIN | PONG, &b"still there?"[..])
    );
    assert_eq!(
        client.hear(),
        r#"{"command":"subscribe","result":"ok","bugs":[7],"complete":false}"#
    );
    assert!(client.hear().contains(VERSION));
    // Nobody waits who does not ask.
    assert_eq!(
        client.ask(r#"{"command":"subscribe","bugs":[8]}"#),
        r#"{"command":"subscribe","result":"ok","bugs":[7,8]}"#
    );
}

#[test]
fn the_contract_for_machines_is_served_and_its_examples_are_what_it_allows() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    client.send("GET /asyncapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert!(
        head.contains("\r\nContent-Type: application/json\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: *\r\n"),
        "{head}"
    );
    let document: Value = serde_json::from_slice(&client.rest()).unwrap();
    assert_eq!(document["info"]["version"], VERSION);
    let messages = document["components"]["messages"].as_object().unwrap();
    assert_eq!(messages.len(), 12);
    for (name, message) in messages {
        let example = message["examples"][0]["payload"].to_string();
        let is_sent = name.ends_with("Reply") || ["error", "update", "feed"].contains(&&**name);
        let is_allowed = std::panic::catch_unwind(|| check_message(&example)).is_ok();
        assert_eq!(is_allowed, is_sent, "{name}");
    }
}

#[test]
fn what_the_contract_does_not_know_is_found() {
    for text in [
        r#"{"command":"update","bug":0,"when":"2014-04-03T21:13:45"}"#,
        r#"{"command":"update","bug":5,"when":"soon"}"#,
        r#"{"command":"update","bug":5,"when":"2014-04-03T21:13:45","who":"x"}"#,
        r#"{"command":"feed","state":"sideways"}"#,
        r#"{"command":"status","result":"ok"}"#,
        r#"{"command":"subscriptions","result":"ok","bugs":[5,5]}"#,
        r#"{"command":"subscriptions","result":"ok","bugs":[5],"complete":true}"#,
        r#"{"command":"subscribe","result":"ok","bugs":[5],"new":1}"#,
        r#"{"command":"hello","result":"ok"}"#,
    ] {
        assert!(
            std::panic::catch_unwind(|| check_message(text)).is_err(),
            "{text}"
        );
    }
}
