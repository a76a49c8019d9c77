//! `--access bugzilla` by its real server, when rights end while their readers are connected: a group that
//! is taken away, a login that ends, an account that is disabled. Against the stand-in, and against a real
//! Bugzilla of the same readers, at `BUGZILLA_URL`, with its administrator's key in `BUGZILLA_ADMIN_KEY`.

use std::sync::PoisonError;

use serde_json::{Value, json};
use ureq::Agent;

use crate::bugzilla::{REAL, bearer, login, open, start};
use crate::support::client::{CLOSE, Client, FIN};
use crate::support::server::{Server, wait_within};
use crate::support::stock::{ALICE_COOKIES, AT_FIRST, BOB_KEY, CAROL_COOKIES, Rights, Stock};
use crate::support::{is_long, not_tested};

/// A right that was lost counts for a minute.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A Bugzilla whose readers' rights can be changed.
trait Bugzilla {
    fn url(&self) -> String;

    /// Adds bob and carol to the group.
    fn prepare(&self);

    /// The cookies of a login of alice's, or of carol's.
    fn log_in(&self, user: &str) -> String;

    /// Takes the group from bob, ends this login of alice's, and disables carol's account.
    fn take_rights(&self, login: &str);

    /// Disables bob's account.
    fn disable_bob(&self);

    /// All is as it was at first.
    fn restore(&self);
}

impl Bugzilla for Stock {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn prepare(&self) {
        self.set_rights(Rights {
            bob_is_in_group: true,
            ..AT_FIRST
        });
    }

    fn log_in(&self, user: &str) -> String {
        let cookies = match user {
            "alice" => ALICE_COOKIES,
            _ => CAROL_COOKIES,
        };
        cookies.to_owned()
    }

    fn take_rights(&self, _: &str) {
        self.set_rights(Rights {
            alice_is_logged_in: false,
            carol_is_enabled: false,
            ..AT_FIRST
        });
    }

    fn disable_bob(&self) {
        self.set_rights(Rights {
            bob_is_enabled: false,
            ..AT_FIRST
        });
    }

    fn restore(&self) {
        self.set_rights(AT_FIRST);
    }
}

/// A real one.
struct Real {
    url: String,
    admin_key: String,
    agent: Agent,
}

impl Real {
    /// The one that the variables name.
    fn find() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("BUGZILLA_{name}")).ok();
        Some(Self {
            url: variable("URL")?,
            admin_key: variable("ADMIN_KEY")?,
            agent: Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .new_agent(),
        })
    }

    fn get(&self, question: &str) -> Value {
        let url = format!("{}rest/{question}", self.url);
        let mut answer = self.agent.get(url).call().unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    /// Sends something as the administrator.
    fn send(&self, method: &str, path: &str, content: &Value) {
        let url = format!(
            "{}rest/{path}?Bugzilla_api_key={}",
            self.url, self.admin_key
        );
        let request = match method {
            "POST" => self.agent.post(url),
            _ => self.agent.put(url),
        };
        let request = request.content_type("application/json");
        request.send(content.to_string().as_bytes()).unwrap();
    }

    fn change_user(&self, user: &str, change: &Value) {
        self.send("PUT", &format!("user/{user}@example.org"), change);
    }
}

impl Bugzilla for Real {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn prepare(&self) {
        // She may be there from the last time.
        let carol = json!({"email": "carol@example.org", "password": "carol-password"});
        self.send("POST", "user", &carol);
        let group = json!({"login_denied_text": "", "groups": {"add": ["secret"]}});
        self.change_user("carol", &group);
        self.change_user("bob", &group);
    }

    /// The token of a login by REST is the account's number and what is in the cookie.
    fn log_in(&self, user: &str) -> String {
        let login = self.get(&format!(
            "login?login={user}@example.org&password={user}-password"
        ));
        let token = login["token"].as_str().unwrap();
        let (number, secret) = token.split_once('-').unwrap();
        format!("Bugzilla_login={number}; Bugzilla_logincookie={secret}")
    }

    fn take_rights(&self, login: &str) {
        // Who has reported a bug sees it without its group: alice all of them, bob none.
        self.change_user("bob", &json!({"groups": {"remove": ["secret"]}}));
        self.change_user("carol", &json!({"login_denied_text": "a test"}));
        let token = login.replace("Bugzilla_login=", "");
        let token = token.replace("; Bugzilla_logincookie=", "-");
        self.get(&format!("logout?Bugzilla_token={token}"));
    }

    fn disable_bob(&self) {
        self.change_user("bob", &json!({"login_denied_text": "a test"}));
    }

    fn restore(&self) {
        let groups = json!({"remove": ["secret"]});
        self.change_user("bob", &json!({"login_denied_text": "", "groups": groups}));
    }
}

/// Whether a client is closed by now with 1008; what else it hears meanwhile is passed over.
fn is_closed(client: &mut Client) -> bool {
    client.say(r#"{"command":"version"}"#);
    loop {
        let frame = client.frame();
        let text = String::from_utf8_lossy(&frame.payload);
        if frame.first == FIN | CLOSE {
            assert_eq!(frame.payload[..2], 1008_u16.to_be_bytes());
            return true;
        }
        if text.contains("version") {
            return false;
        }
    }
}

/// Times of changes, a second each.
fn times() -> impl Iterator<Item = String> {
    let clock = |at: u32| format!("{:02}:{:02}:{:02}", at / 3_600, at / 60 % 60, at % 60);
    (0..).map(move |at| format!("2026-04-03 {}", clock(at)))
}

fn check(bugzilla: &dyn Bugzilla) {
    bugzilla.prepare();
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &bugzilla.url(), "bugzilla");
    let logins = ["alice", "carol"].map(|user| bugzilla.log_in(user));
    let mut bob = open(&server, &bearer(BOB_KEY));
    let [mut alice, mut carol] = logins
        .each_ref()
        .map(|cookies| open(&server, &login(&bugzilla.url(), cookies)));
    for reader in [&mut bob, &mut alice, &mut carol] {
        let told = reader.ask(r#"{"command":"subscribe","bugs":[5,6]}"#);
        assert!(told.ends_with(r#""bugs":[5,6]}"#), "{told}");
    }
    let mut times = times();
    let mut change = |server: &Server, bug| {
        let when = times.next().unwrap();
        server.record(&[(bug, &when)]);
        when.replace(' ', "T")
    };
    change(&server, 6);
    for reader in [&mut bob, &mut alice, &mut carol] {
        assert!(reader.hear().contains(r#""bug":6"#));
    }
    bugzilla.take_rights(&logins[0]);
    for (who, reader) in [
        ("alice's login", &mut alice),
        ("carol's account", &mut carol),
    ] {
        wait_within(PATIENCE, &format!("{who} ends"), || {
            change(&server, 6);
            // Once a second would do, and thousands of changes would tell nothing more.
            std::thread::sleep(std::time::Duration::from_millis(200));
            is_closed(reader).then_some(())
        });
    }
    // Who has lost the group alone stays, and hears of the rest.
    let secret = change(&server, 6);
    let public = change(&server, 5);
    loop {
        let told = bob.hear();
        assert!(!told.contains(&secret), "{told}");
        if told.contains(&public) {
            break;
        }
    }
    let told = bob.ask(r#"{"command":"subscriptions"}"#);
    assert!(told.ends_with(r#""bugs":[5]}"#), "{told}");
    // An account is looked at when somebody asks for what is not known yet.
    bugzilla.disable_bob();
    bob.say(r#"{"command":"subscribe","bugs":[12]}"#);
    bob.expect_close(Some(1008));
    // The cookies of a login that has ended are nobody's.
    for cookies in &logins {
        let mut nobody = open(&server, &login(&bugzilla.url(), cookies));
        let told = nobody.ask(r#"{"command":"subscribe","bugs":[6]}"#);
        assert!(told.contains(r#""denied":[6]"#), "{told}");
    }
    bugzilla.restore();
}

#[test]
fn a_right_that_ends_while_its_reader_is_connected_shows_nothing_a_minute_later() {
    if is_long("a group, a login and an account that end") {
        check(&Stock::start());
    }
}

#[test]
#[ignore = "needs a real Bugzilla"]
fn a_real_bugzilla_ends_rights_too() {
    let _alone = REAL.lock().unwrap_or_else(PoisonError::into_inner);
    match Real::find() {
        Some(real) => check(&real),
        None => not_tested("a real Bugzilla: BUGZILLA_URL names none"),
    }
}
