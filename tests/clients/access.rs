//! What a client shows to a server that is not open to everybody, and what it tells of the answer.

use serde_json::{Value, json};

use crate::driver::{Driver, Language};
use crate::promises::{Place, at, for_each_client};
use crate::support::stock::{ALICE_KEY, BOB_KEY, Stock};

/// A server that asks this Bugzilla who sees what.
fn place(stock: &Stock) -> Place {
    let options = ["--access", "bugzilla,login", "--bugzilla", &stock.url];
    Place::with(&[&options[..], &["--access-interval", "20ms"]].concat())
}

/// The values of this kind of line.
fn told(client: &Driver, kind: &str) -> Vec<Value> {
    let lines = client.lines().into_iter();
    let values = lines.map(|line| line[kind].clone());
    values.filter(|value| !value.is_null()).collect()
}

for_each_client! {
    fn a_token_is_shown_on_each_connection(language: Language) {
        let stock = Stock::start();
        let place = place(&stock);
        let settings = json!({"token": ALICE_KEY});
        let mut client = Driver::start_with(language, place.proxy.address, settings);
        client.subscribe(&[5, 6]);
        assert_eq!(told(&client, "lacks"), [json!([])]);
        place.proxy.cut();
        client.wait_for_state("live", 2);
        let when = at(0);
        place.record(&[(6, &when)]);
        assert_eq!(client.wait_for_updates(1), [format!("6 {when}")]);
        assert_eq!(client.count("denied"), 0);
    }

    fn what_is_denied_is_told_and_the_rest_goes_on(language: Language) {
        let stock = Stock::start();
        let place = place(&stock);
        let settings = json!({"token": BOB_KEY});
        let mut client = Driver::start_with(language, place.proxy.address, settings);
        client.subscribe(&[5, 6, 9999]);
        assert_eq!(told(&client, "denied"), [json!([6, 9999])]);
        assert_eq!(told(&client, "lacks"), [json!([6, 9999])]);
        let when = at(0);
        place.record(&[(6, &when), (5, &when)]);
        assert_eq!(client.wait_for_updates(1), [format!("5 {when}")]);
        place.proxy.cut();
        client.wait_for("denied", 2);
    }

    fn without_a_token_and_with_what_is_none_it_goes_on_trying(language: Language) {
        let stock = Stock::start();
        let place = place(&stock);
        for token in [Value::Null, json!("wrong"), json!("no\r\ntoken: at all")] {
            let settings = json!({"token": token});
            let client = Driver::start_with(language, place.proxy.address, settings);
            client.wait_for_state("waiting", 3);
            assert_eq!(client.lines().iter().filter(|line| line["state"] == "live").count(), 0);
        }
    }
}
