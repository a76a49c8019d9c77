//! Chromium, driven over the DevTools protocol.

use std::fs;
use std::net::TcpStream;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::process::Process;
use super::{Engine, connect};
use crate::support::server::wait_until;

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

/// A running Chromium.
pub struct Chromium {
    devtools: WebSocket<TcpStream>,
    session: Option<String>,
    commands_sent: u64,
    complaints: Vec<String>,
    _process: Process,
}

impl Chromium {
    /// Starts the browser with an empty page.
    pub fn start() -> Chromium {
        let files = TempDir::new().expect("a temporary directory for Chromium");
        let data = format!("--user-data-dir={}", files.path().display());
        let process = Process::start("chromium", &[&FLAGS[..], &[&data]].concat(), files);
        let mut chromium = Chromium {
            devtools: connect_to(&process),
            session: None,
            commands_sent: 0,
            complaints: Vec::new(),
            _process: process,
        };
        let target = chromium.command("Target.createTarget", json!({"url": "about:blank"}));
        let attached = chromium.command(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        chromium.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            chromium.command(domain, json!({}));
        }
        chromium
    }

    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.commands_sent += 1;
        let id = self.commands_sent;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.devtools
            .send(Message::text(command.to_string()))
            .expect("Chromium takes commands");
        loop {
            let message = self
                .devtools
                .read()
                .unwrap_or_else(|error| panic!("no answer to {method}: {error}"));
            let mut answer: Value =
                serde_json::from_slice(&message.into_data()).expect("Chromium answers in JSON");
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.complaints.extend(complaint(&answer));
        }
    }
}

impl Engine for Chromium {
    fn open(&mut self, url: &str) {
        // From a blank page, so that an address that differs in its fragment only is loaded, too.
        self.command("Page.navigate", json!({"url": "about:blank"}));
        let loaded = self.command("Page.navigate", json!({"url": url}));
        assert!(
            loaded["errorText"].is_null(),
            "{url} can't be opened: {}",
            loaded["errorText"]
        );
    }

    fn run_first(&mut self, script: &str) {
        let parameters = json!({"source": script});
        self.command("Page.addScriptToEvaluateOnNewDocument", parameters);
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.command(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}),
        );
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}\nfailed with {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    fn press(&mut self, key: &str) {
        let mut down = match key {
            "Tab" => json!({"code": key, "windowsVirtualKeyCode": 9}),
            "Enter" => json!({"code": key, "windowsVirtualKeyCode": 13, "text": "\r"}),
            " " => json!({"code": "Space", "windowsVirtualKeyCode": 32, "text": key}),
            _ => json!({"text": key}),
        };
        down["key"] = json!(key);
        let mut up = down.clone();
        let has_text = !down["text"].is_null();
        down["type"] = json!(if has_text { "keyDown" } else { "rawKeyDown" });
        up["type"] = json!("keyUp");
        self.command("Input.dispatchKeyEvent", down);
        self.command("Input.dispatchKeyEvent", up);
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.command(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}),
        );
    }

    fn prefer_colours(&mut self, scheme: &str) {
        self.command(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    fn emulate_timezone(&mut self, name: &str) {
        self.command("Emulation.setTimezoneOverride", json!({"timezoneId": name}));
    }

    fn set_offline(&mut self, is_offline: bool) {
        self.command(
            "Network.emulateNetworkConditions",
            json!({"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}),
        );
    }

    fn allow_notifications(&mut self, origin: &str) {
        // A matter of the browser, not of the page.
        let session = self.session.take();
        self.command(
            "Browser.grantPermissions",
            json!({"permissions": ["notifications"], "origin": origin}),
        );
        self.session = session;
    }

    fn trust_everybody(&mut self) {
        self.command(
            "Security.setIgnoreCertificateErrors",
            json!({"ignore": true}),
        );
    }

    fn screenshot(&mut self) -> String {
        let format = json!({"format": "webp", "quality": 80});
        let picture = self.command("Page.captureScreenshot", format);
        picture["data"].as_str().expect("a picture").to_owned()
    }

    fn complaints(&mut self) -> &[String] {
        // Events come in order with answers: one more answer, and all events before it have been
        // read.
        self.evaluate("null");
        &self.complaints
    }
}

fn connect_to(process: &Process) -> WebSocket<TcpStream> {
    let announcement = process.folder().join("DevToolsActivePort");
    let (authority, path) = wait_until("Chromium announces its DevTools port and path", || {
        let announced = fs::read_to_string(&announcement).ok()?;
        let (port, path) = announced
            .split_once('\n')
            .filter(|(_, path)| !path.is_empty())?;
        Some((format!("127.0.0.1:{port}"), path.to_owned()))
    });
    connect(&authority, &path)
}

fn complaint(event: &Value) -> Option<String> {
    let details = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(details["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if details["type"] == "error" => {
            Some(details["args"].to_string())
        }
        // What concerns a connection is of the source "network".
        "Log.entryAdded"
            if details["entry"]["level"] == "error" && details["entry"]["source"] != "network"
                || details["entry"]["source"] == "security" =>
        {
            Some(details["entry"]["text"].to_string())
        }
        _ => None,
    }
}
