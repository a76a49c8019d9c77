//! Firefox, driven over WebDriver BiDi, which it speaks by itself.

use std::fs;
use std::net::TcpStream;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::process::Process;
use super::{Engine, connect};
use crate::support::server::wait_until;

/// What it does of its own accord when it starts, beside what remote control turns off.
const PREFERENCES: &str = r#"
user_pref("browser.startup.page", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.enabled", false);
"#;

/// How a browser says that there was no connection, which is no complaint.
const NETWORK_TROUBLE: [&str; 3] = [
    "can’t establish a connection to the server",
    "The connection to ws",
    "Cross-Origin Request Blocked",
];

/// A running Firefox.
pub struct Firefox {
    bidi: WebSocket<TcpStream>,
    /// The page, and the browser's own window around it.
    page: String,
    window: String,
    commands_sent: u64,
    complaints: Vec<String>,
    _process: Process,
}

impl Firefox {
    /// Starts the browser with an empty page.
    pub fn start() -> Firefox {
        let files = TempDir::new().expect("a temporary directory for Firefox");
        fs::write(files.path().join("user.js"), PREFERENCES).expect("preferences can be written");
        let profile = files.path().display().to_string();
        let arguments = [
            "--headless",
            "--no-remote",
            "--remote-debugging-port=0",
            // The colour scheme is a preference of the whole browser.
            "--remote-allow-system-access",
            "--profile",
            &profile,
            "about:blank",
        ];
        let process = Process::start("firefox-esr", &arguments, files);
        let mut firefox = Firefox {
            bidi: connect_to(&process),
            page: String::new(),
            window: String::new(),
            commands_sent: 0,
            complaints: Vec::new(),
            _process: process,
        };
        let trusting = json!({"capabilities": {"alwaysMatch": {"acceptInsecureCerts": true}}});
        firefox.command("session.new", trusting);
        firefox.page = firefox.first_context(json!({}));
        firefox.window = firefox.first_context(json!({"moz:scope": "chrome"}));
        firefox.command("session.subscribe", json!({"events": ["log.entryAdded"]}));
        firefox
    }

    /// The window may be a moment later than the port.
    fn first_context(&mut self, scope: Value) -> String {
        wait_until("Firefox has a window", || {
            let tree = self.command("browsingContext.getTree", scope.clone());
            Some(tree["contexts"][0]["context"].as_str()?.to_owned())
        })
    }

    fn evaluate_in(&mut self, context: &str, expression: &str) -> Value {
        let answer = self.command(
            "script.evaluate",
            json!({"expression": expression, "target": {"context": context}, "awaitPromise": true, "userActivation": true}),
        );
        assert!(
            answer["type"] == "success",
            "{expression}\nfailed with {}",
            answer["exceptionDetails"]["text"]
        );
        plain(&answer["result"])
    }

    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.commands_sent += 1;
        let id = self.commands_sent;
        let command = json!({"id": id, "method": method, "params": parameters});
        self.bidi
            .send(Message::text(command.to_string()))
            .expect("Firefox takes commands");
        loop {
            let message = self
                .bidi
                .read()
                .unwrap_or_else(|error| panic!("no answer to {method}: {error}"));
            let mut answer: Value =
                serde_json::from_slice(&message.into_data()).expect("Firefox answers in JSON");
            if answer["id"] == id {
                assert!(answer["type"] == "success", "{method}: {answer}");
                return answer["result"].take();
            }
            self.complaints.extend(complaint(&answer));
        }
    }
}

impl Engine for Firefox {
    fn open(&mut self, url: &str) {
        // From a blank page, so that an address that differs in its fragment only is loaded, too.
        for url in ["about:blank", url] {
            let page = json!({"context": self.page, "url": url, "wait": "complete"});
            self.command("browsingContext.navigate", page);
        }
        // Not in the field for an address, where it is at first.
        let window = self.window.clone();
        self.evaluate_in(&window, "gBrowser.selectedBrowser.focus()");
        wait_until("the page has the focus", || {
            (self.evaluate("document.hasFocus()") == true).then_some(())
        });
    }

    fn run_first(&mut self, script: &str) {
        let function = format!("() => {{ {script} }}");
        self.command(
            "script.addPreloadScript",
            json!({"functionDeclaration": function}),
        );
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let page = self.page.clone();
        self.evaluate_in(&page, expression)
    }

    fn press(&mut self, key: &str) {
        // WebDriver's codes for keys without a text.
        let value = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            text => text,
        };
        let strokes = ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": value}));
        self.command(
            "input.performActions",
            json!({"context": self.page, "actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}),
        );
    }

    fn resize(&mut self, width: u32, height: u32) {
        let viewport = json!({"width": width, "height": height});
        self.command(
            "browsingContext.setViewport",
            json!({"context": self.page, "viewport": viewport}),
        );
    }

    fn prefer_colours(&mut self, scheme: &str) {
        let window = self.window.clone();
        let value = u8::from(scheme == "light");
        let name = "layout.css.prefers-color-scheme.content-override";
        self.evaluate_in(
            &window,
            &format!("Services.prefs.setIntPref('{name}', {value})"),
        );
        let query = format!("matchMedia('(prefers-color-scheme: {scheme})').matches");
        wait_until("the page is told of its colours", || {
            (self.evaluate(&query) == true).then_some(())
        });
    }

    fn emulate_timezone(&mut self, name: &str) {
        self.command(
            "emulation.setTimezoneOverride",
            json!({"contexts": [self.page], "timezone": name}),
        );
    }

    fn set_offline(&mut self, is_offline: bool) {
        let conditions = is_offline.then(|| json!({"type": "offline"}));
        self.command(
            "emulation.setNetworkConditions",
            json!({"contexts": [self.page], "networkConditions": conditions}),
        );
    }

    fn allow_notifications(&mut self, origin: &str) {
        self.command(
            "permissions.setPermission",
            json!({"descriptor": {"name": "notifications"}, "state": "granted", "origin": origin}),
        );
    }

    fn trust_everybody(&mut self) {
        // It has done so from its start.
    }

    fn screenshot(&mut self) -> String {
        let format = json!({"type": "image/webp", "quality": 0.8});
        let context = json!({"context": self.page, "format": format});
        let picture = self.command("browsingContext.captureScreenshot", context);
        picture["data"].as_str().expect("a picture").to_owned()
    }

    fn complaints(&mut self) -> &[String] {
        // Events come in order with answers.
        self.evaluate("null");
        &self.complaints
    }
}

fn connect_to(process: &Process) -> WebSocket<TcpStream> {
    let announcement = process.folder().join("WebDriverBiDiServer.json");
    let authority = wait_until("Firefox announces its port", || {
        let announced = fs::read_to_string(&announcement).ok()?;
        let place: Value = serde_json::from_str(&announced).ok()?;
        Some(format!("127.0.0.1:{}", place["ws_port"]))
    });
    connect(&authority, "/session")
}

/// A value as JSON has it, of one as the browser sends it.
fn plain(remote: &Value) -> Value {
    let entries = || remote["value"].as_array().into_iter().flatten();
    match remote["type"].as_str() {
        Some("array") => entries().map(plain).collect(),
        Some("object") => entries()
            .map(|entry| {
                (
                    entry[0].as_str().unwrap_or_default().to_owned(),
                    plain(&entry[1]),
                )
            })
            .collect::<Map<_, _>>()
            .into(),
        Some("string" | "number" | "boolean") => remote["value"].clone(),
        _ => Value::Null,
    }
}

fn complaint(event: &Value) -> Option<String> {
    let entry = &event["params"];
    let text = entry["text"].as_str().unwrap_or_default();
    let is_error = event["method"] == "log.entryAdded" && entry["level"] == "error";
    let is_network = NETWORK_TROUBLE.iter().any(|trouble| text.contains(trouble));
    (is_error && !is_network).then(|| entry.to_string())
}
