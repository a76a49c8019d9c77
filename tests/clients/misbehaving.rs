//! What a client does where network or server misbehave.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use crate::driver::{Driver, Language};
use crate::promises::{Place, at, for_each_client};
use crate::proxy::Manner;
use crate::support::server::wait_until;

for_each_client! {
    fn a_connection_that_falls_silent_is_given_up(language: Language) {
        let place = Place::new();
        let settings = json!({"silenceMax": 200, "answerMax": 2000});
        let mut client = Driver::start_with(language, place.proxy.address, settings);
        client.subscribe(&[1]);
        place.proxy.treat_open(Manner::BlackHole);
        let when = at(0);
        place.record(&[(1, &when)]);
        assert_eq!(client.wait_for_updates(1), [format!("1 {when}")]);
        client.wait_for_state("live", 2);
    }

    fn a_server_that_answers_is_not_given_up_however_silent_its_bugs(language: Language) {
        let place = Place::with(&["--ping", "200ms", "--pong", "10s"]);
        let settings = json!({"silenceMax": 50, "answerMax": 10_000});
        let mut client = Driver::start_with(language, place.proxy.address, settings);
        client.subscribe(&[1]);
        thread::sleep(std::time::Duration::from_secs(1));
        let when = at(0);
        place.record(&[(1, &when)]);
        client.wait_for_updates(1);
        assert_eq!(place.proxy.connections(), 1);
    }

    fn a_handshake_without_an_answer_is_given_up(language: Language) {
        let place = Place::new();
        place.proxy.treat_next(Manner::BlackHole);
        let settings = json!({"answerMax": 500});
        let mut client = Driver::start_with(language, place.proxy.address, settings);
        client.tell(json!({"do": "subscribe", "bugs": [1]}));
        wait_until("it tries again", || (place.proxy.connections() > 1).then_some(()));
        place.proxy.treat_next(Manner::Pass);
        client.wait_for("ready", 1);
    }

    fn a_slow_network_only_delays(language: Language) {
        let place = Place::new();
        place.proxy.treat_next(Manner::Slow);
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1]);
        let when = at(0);
        place.record(&[(1, &when)]);
        assert_eq!(client.wait_for_updates(1), [format!("1 {when}")]);
        assert_eq!(place.proxy.connections(), 1);
    }

    fn pauses_are_random_from_nothing_on_and_grow_to_their_limit(language: Language) {
        let place = Place::new();
        place.proxy.treat_next(Manner::CloseAtOnce);
        let settings = json!({"retryFirst": 4, "retryMax": 60});
        let client = Driver::start_with(language, place.proxy.address, settings);
        client.wait_for_state("waiting", 40);
        let pauses: Vec<f64> = client
            .lines()
            .iter()
            .filter(|line| line["state"] == "waiting")
            .filter_map(|line| line["pause"].as_f64())
            .collect();
        // Some milliseconds may have passed, or been rounded, since a pause was chosen.
        assert!(pauses[..3].iter().all(|pause| *pause <= 10.0), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 61.0), "{pauses:?}");
        let late = &pauses[10..];
        assert!(late.iter().any(|pause| *pause > 30.0), "{pauses:?}");
        assert!(late.iter().any(|pause| *pause < 20.0), "{pauses:?}");
    }

    fn what_is_no_message_is_passed_over(language: Language) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Driver::start(language, listener.local_addr().unwrap());
        client.tell(json!({"do": "subscribe", "bugs": [1]}));
        let (stream, _) = listener.accept().unwrap();
        let mut server = tungstenite::accept(stream).unwrap();
        server.read().unwrap();
        for text in [
            "no JSON",
            "null",
            "[]",
            r#"{"command":"feed","state":"down"}"#,
            r#"{"command":"subscribe","result":"ok","bugs":[1],"new":{"key":1}}"#,
            r#"{"command":"update","bug":7,"when":"2014-04-03T21:13:44"}"#,
            r#"{"command":"update","bug":1,"when":"tomorrow"}"#,
            r#"{"command":"update","bug":1,"when":"2014-04-03T21:13:45","who":"x"}"#,
        ] {
            server.send(tungstenite::Message::text(text)).unwrap();
        }
        let updates = client.wait_for_updates(2);
        assert_eq!(updates, ["1 tomorrow", "1 2014-04-03T21:13:45"]);
        drop(server);
        let (stream, _) = listener.accept().unwrap();
        let mut server = tungstenite::accept(stream).unwrap();
        let resume = server.read().unwrap().into_text().unwrap();
        assert!(!resume.contains("tomorrow"), "{resume}");
    }

    fn a_gap_that_is_told_is_answered_by_asking_again(language: Language) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Driver::start(language, listener.local_addr().unwrap());
        client.tell(json!({"do": "subscribe", "bugs": [1]}));
        let (stream, _) = listener.accept().unwrap();
        let mut server = tungstenite::accept(stream).unwrap();
        let mut hear = |reply: &str| {
            let said = server.read().unwrap().into_text().unwrap();
            server.send(tungstenite::Message::text(reply)).unwrap();
            serde_json::from_str::<serde_json::Value>(&said).unwrap()
        };
        let place = "2026-11-20T15:50:32";
        hear(&json!({"command": "subscribe", "result": "ok", "bugs": [1], "watermark": place}).to_string());
        hear(r#"{"command":"version","result":"ok","version":"1"}"#);
        client.wait_for("ready", 1);
        let status = hear(r#"{"command":"status","result":"ok","source":"down","feed":true}"#);
        assert_eq!(status["feed"], true);
        client.wait_for_source("down");
        server.send(tungstenite::Message::text(r#"{"command":"feed","state":"up"}"#)).unwrap();
        client.wait_for_source("up");
        server.send(tungstenite::Message::text(r#"{"command":"feed","state":"gap"}"#)).unwrap();
        let again = server.read().unwrap().into_text().unwrap();
        let again: serde_json::Value = serde_json::from_str(&again).unwrap();
        assert_eq!(again, json!({"command": "subscribe", "bugs": [1], "since": place}));
        let reply = r#"{"command":"subscribe","result":"ok","bugs":[1],"complete":false}"#;
        server.send(tungstenite::Message::text(reply)).unwrap();
        client.wait_for("incomplete", 1);
    }

    fn a_time_far_ahead_is_handed_over_and_not_resumed_from(language: Language) {
        let place = Place::new();
        let mut client = Driver::start(language, place.proxy.address);
        client.subscribe(&[1]);
        let now = at(0);
        place.record(&[(1, "2099-01-01T00:00:00")]);
        client.wait_for_updates(1);
        place.proxy.treat_next(Manner::CloseAtOnce);
        place.proxy.cut();
        client.wait_for_state("waiting", 1);
        place.record(&[(1, &now)]);
        place.wait_until_known(1, &now);
        place.proxy.treat_next(Manner::Pass);
        assert!(client.wait_for_updates(2).contains(&format!("1 {now}")));
    }

    fn an_answer_that_is_no_websocket_is_tried_again(language: Language) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Driver::start(language, listener.local_addr().unwrap());
        client.tell(json!({"do": "subscribe", "bugs": [1]}));
        for answer in ["HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
            client.wait_for("state", 1);
        }
        listener.accept().unwrap();
    }
}
