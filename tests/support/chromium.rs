//! A headless Chromium with one page, driven over the DevTools protocol. Knows nothing of what it
//! shows.
//!
//! Conditions are awaited inside the page, so that nothing here sleeps to be on the safe side. The
//! browser, its children and its files are gone when the value is dropped.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process_group, set_child_subreaper, waitpgid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::support::server::{PATIENCE, wait_until};

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

/// A running browser with one page.
pub struct Chromium {
    process: Child,
    devtools: WebSocket<TcpStream>,
    session: Option<String>,
    commands_sent: u64,
    complaints: Vec<String>,
    _files: TempDir,
}

impl Chromium {
    /// Starts the browser with an empty page.
    pub fn start() -> Chromium {
        let files = TempDir::new().expect("a temporary directory for Chromium");
        let process = spawn(&files);
        let devtools = connect(&files);
        let mut chromium = Chromium {
            process,
            devtools,
            session: None,
            commands_sent: 0,
            complaints: Vec::new(),
            _files: files,
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

    /// Loads an address and waits until its scripts have run.
    pub fn open(&mut self, url: &str) {
        // From a blank page, so that an address that differs in its fragment only is loaded, too.
        self.command("Page.navigate", json!({"url": "about:blank"}));
        let loaded = self.command("Page.navigate", json!({"url": url}));
        assert!(
            loaded["errorText"].is_null(),
            "{url} can't be opened: {}",
            loaded["errorText"]
        );
        self.wait_for("document.readyState === 'complete'");
    }

    /// Runs a script before those of each page that is opened from now on.
    pub fn run_first(&mut self, script: &str) {
        let parameters = json!({"source": script});
        self.command("Page.addScriptToEvaluateOnNewDocument", parameters);
    }

    /// Takes whatever certificate a server has, from now on.
    pub fn trust_everybody(&mut self) {
        self.command(
            "Security.setIgnoreCertificateErrors",
            json!({"ignore": true}),
        );
    }

    /// The value of a JavaScript expression, of the promise's result if it is one.
    pub fn evaluate(&mut self, expression: &str) -> Value {
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

    /// Waits until a JavaScript expression is true, and fails with what the page shows when that
    /// takes too long.
    pub fn wait_for(&mut self, condition: &str) {
        // The answer must come before the socket's timeout.
        let milliseconds = PATIENCE.as_millis() / 2;
        let holds = self.evaluate(&format!(
            "new Promise((resolve) => {{
                const end = performance.now() + {milliseconds};
                (function look() {{
                    if ({condition}) resolve(true);
                    else if (performance.now() > end) resolve(false);
                    else setTimeout(look, 10);
                }})();
            }})"
        ));
        if holds != true {
            panic!(
                "never came true: {condition}\nThe page shows:\n{}",
                self.evaluate("document.body.innerText.slice(0, 2000)")
            );
        }
    }

    /// Types a text where the focus is, one key after the other.
    pub fn type_text(&mut self, text: &str) {
        for character in text.chars() {
            self.key(json!({"key": character.to_string(), "text": character.to_string()}));
        }
    }

    /// Presses a key by its DOM name, such as `Tab` or `Enter`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Space" => (32, " "),
            _ => panic!("no key code is known for {key}"),
        };
        let name = if key == "Space" { " " } else { key };
        self.key(json!({"key": name, "code": key, "windowsVirtualKeyCode": code, "text": text}));
    }

    /// Gives the page the size of a window or, if narrow, of a phone's screen.
    pub fn resize(&mut self, width: u32, height: u32) {
        self.command(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}),
        );
    }

    /// Sets a media feature, such as `prefers-color-scheme` to `dark`.
    pub fn emulate_media(&mut self, feature: &str, value: &str) {
        self.command(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": feature, "value": value}]}),
        );
    }

    /// Sets the device's time zone by its name, such as `Asia/Tokyo`.
    pub fn emulate_timezone(&mut self, name: &str) {
        self.command("Emulation.setTimezoneOverride", json!({"timezoneId": name}));
    }

    /// Uncaught exceptions and broken content security policies since the start. A refused
    /// connection isn't among them.
    pub fn complaints(&mut self) -> &[String] {
        // Events come in order with answers: one more answer, and all events before it have been
        // read.
        self.evaluate("null");
        &self.complaints
    }

    fn key(&mut self, key: Value) {
        let mut down = key.clone();
        down["type"] = json!(if key["text"] == "" {
            "rawKeyDown"
        } else {
            "keyDown"
        });
        let mut up = key;
        up["type"] = json!("keyUp");
        self.command("Input.dispatchKeyEvent", down);
        self.command("Input.dispatchKeyEvent", up);
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

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.process);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.process.wait();
        // Orphans have become our children (see spawn). Once all have ended, nobody writes to the
        // files any more.
        while waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
}

fn spawn(files: &TempDir) -> Child {
    // The browser's processes are known by their group, and those that outlive their parents become
    // our children, so that drop can wait for each of them.
    set_child_subreaper(Some(getpid())).expect("Linux lets a process adopt its grandchildren");
    // A test that is killed can't drop anything: then the kernel ends the browser (--pdeathsig).
    // Everything that it writes, sockets and caches too, goes to the directory that is removed.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "chromium"])
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", files.path().display()))
        .env("HOME", files.path())
        .env("TMPDIR", files.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("Chromium starts; Debian has it in the package chromium")
}

fn connect(files: &TempDir) -> WebSocket<TcpStream> {
    let announcement = files.path().join("DevToolsActivePort");
    let address = wait_until("Chromium announces its DevTools port and path", || {
        let announced = fs::read_to_string(&announcement).ok()?;
        let (port, path) = announced
            .split_once('\n')
            .filter(|(_, path)| !path.is_empty())?;
        Some(format!("127.0.0.1:{port}{path}"))
    });
    let (authority, _) = address.split_once('/').expect("a path begins with a slash");
    let stream = TcpStream::connect(authority).expect("Chromium's DevTools port is open");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket takes a timeout");
    stream.set_nodelay(true).expect("a socket takes the option");
    let (devtools, _) =
        tungstenite::client(format!("ws://{address}"), stream).expect("Chromium speaks WebSocket");
    devtools
}

fn complaint(event: &Value) -> Option<String> {
    let details = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(details["exceptionDetails"].to_string()),
        "Log.entryAdded" if details["entry"]["source"] == "security" => {
            Some(details["entry"]["text"].to_string())
        }
        _ => None,
    }
}
