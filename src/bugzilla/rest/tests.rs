use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::*;

const DATE: &str = "Thu, 26 Nov 2026 20:00:00 GMT";
const TIME: &str = "2026-11-26T20:00:00";

fn seconds(time: &str) -> i64 {
    time.parse::<When>().unwrap().unix_seconds()
}

/// A Bugzilla that gives these answers, status and body, one for each connection. Returns its
/// address and what it is asked, head and body.
fn bugzilla(answers: &[(u16, String)]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/bugs", listener.local_addr().unwrap());
    let (asked, questions) = mpsc::channel();
    let answers = answers.to_vec();
    thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut question, mut length) = (String::new(), 0);
            loop {
                let start = question.len();
                reader.read_line(&mut question).unwrap();
                let line = question[start..].to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut content = vec![0; length];
            reader.read_exact(&mut content).unwrap();
            question.push_str(std::str::from_utf8(&content).unwrap());
            let head = format!(
                "HTTP/1.1 {status} X\r\nDate: {DATE}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
            let _ = asked.send(question);
        }
    });
    (address, questions)
}

fn time(db_time: &str) -> (u16, String) {
    (
        200,
        json!({"db_time": format!("{db_time}Z"), "web_time": "x"}).to_string(),
    )
}

/// A page of bugs with these ids, each a second later than the one before.
fn bugs(ids: std::ops::Range<u32>) -> Value {
    let bugs: Vec<_> = ids
        .map(|id| {
            let when = When::from_unix_seconds(seconds(TIME) - 5_000 + i64::from(id));
            json!({"id": id, "last_change_time": format!("{when}Z")})
        })
        .collect();
    json!({"bugs": bugs})
}

fn asker(address: &str) -> Box<dyn Asker> {
    Settings::parse(address).unwrap().asker().unwrap()
}

#[test]
fn bugs_are_asked_for_page_by_page_until_a_short_one() {
    let (address, questions) = bugzilla(&[
        time(TIME),
        (200, bugs(1..1_001).to_string()),
        (200, bugs(1_001..1_050).to_string()),
    ]);
    let found = asker(&address)
        .ask(Since::Time(seconds("2026-11-26T18:00:00")))
        .unwrap();
    assert_eq!(
        (found.updates.len(), found.now, found.is_whole),
        (1_049, seconds(TIME), true)
    );
    let questions: Vec<_> = questions.iter().collect();
    assert!(
        questions[0].starts_with("GET /bugs/rest/time HTTP"),
        "{}",
        questions[0]
    );
    for (question, offset) in questions[1..].iter().zip([0, 1_000]) {
        assert!(question.starts_with("GET /bugs/rest/bug?"), "{question}");
        for part in [
            "last_change_time=2026-11-26T18%3A00%3A00Z",
            "include_fields=id%2Clast_change_time",
            "limit=1000",
            &format!("offset={offset}"),
        ] {
            assert!(question.contains(part), "{part}: {question}");
        }
    }
}

#[test]
fn more_bugs_than_were_asked_for_are_the_newest() {
    let (address, _questions) = bugzilla(&[time(TIME), (200, bugs(1..4).to_string())]);
    let found = asker(&address).ask(Since::Newest(2)).unwrap();
    assert_eq!((found.updates.len(), found.is_whole), (2, false));
}

#[test]
fn a_key_stands_in_the_body_and_in_no_address() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "secret\n").unwrap();
    let answer = |result: Value| {
        (
            200,
            json!({"error": null, "id": 1, "result": result}).to_string(),
        )
    };
    let (address, questions) = bugzilla(&[
        answer(json!({"db_time": "2026-11-26T20:00:03Z"})),
        answer(bugs(1..3)),
    ]);
    let mut asker = asker(&format!("{address}#sees=all&key_file={}", key.display()));
    let found = asker.ask(Since::Time(0)).unwrap();
    assert_eq!((found.updates.len(), found.now), (2, seconds(TIME)));
    for (question, method) in questions.iter().zip(["Bugzilla.time", "Bug.search"]) {
        let (head, body) = question.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /bugs/jsonrpc.cgi HTTP") && !head.contains("secret"),
            "{head}"
        );
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["method"], &body["params"][0]["Bugzilla_api_key"]),
            (&json!(method), &json!("secret"))
        );
    }
}

#[test]
fn a_bug_in_a_group_is_left_out_where_that_is_asked_for() {
    let body = json!({"bugs": [
        {"id": 1, "last_change_time": TIME, "groups": []},
        {"id": 2, "last_change_time": TIME, "groups": ["secret"]},
    ]});
    let (address, questions) = bugzilla(&[time(TIME), (200, body.to_string())]);
    let found = asker(&format!("{address}#bugs=public"))
        .ask(Since::Time(0))
        .unwrap();
    let bugs: Vec<u32> = found
        .updates
        .iter()
        .map(|update| update.bug.get())
        .collect();
    assert_eq!(bugs, [1]);
    let search = questions.iter().nth(1).unwrap();
    assert!(
        search.contains("id%2Clast_change_time%2Cgroups"),
        "{search}"
    );
}

#[test]
fn a_bugzilla_whose_pages_of_private_bugs_never_end_is_not_asked_for_ever() {
    let bug = json!({"id": 1, "last_change_time": TIME, "groups": ["secret"]});
    let body = json!({"bugs": vec![bug; PAGE_BUGS]}).to_string();
    let pages = vec![(200, body); BUGS_MAX / PAGE_BUGS + 1];
    let (address, questions) = bugzilla(&[vec![time(TIME)], pages].concat());
    let found = asker(&format!("{address}#bugs=public"))
        .ask(Since::Newest(100))
        .unwrap();
    assert!(found.updates.is_empty() && !found.is_whole);
    assert_eq!(questions.iter().count(), 1 + BUGS_MAX / PAGE_BUGS + 1);
}

#[test]
fn the_time_is_read_as_the_bugs_are_where_the_database_has_another_zone_than_the_web_server() {
    let (address, _questions) =
        bugzilla(&[time("2026-11-26T18:00:01"), (200, bugs(1..2).to_string())]);
    let found = asker(&address).ask(Since::Time(0)).unwrap();
    assert_eq!(found.now, seconds("2026-11-26T18:00:01"));
}

#[test]
fn what_bugzilla_refuses_is_said_in_its_words() {
    for (status, body, said) in [
        (
            401,
            json!({"error": true, "message": "You must log in."}).to_string(),
            "it refused: You must log in.",
        ),
        (
            200,
            json!({"error": {"message": "No."}, "result": null}).to_string(),
            "it refused: No.",
        ),
        (
            200,
            "<html>".to_owned(),
            "it did not answer as Bugzilla's REST interface does",
        ),
    ] {
        let (address, _questions) = bugzilla(&[time(TIME), (status, body)]);
        let why = asker(&address).ask(Since::Time(0)).unwrap_err().to_string();
        assert!(why.contains(said), "{why}");
    }
}
