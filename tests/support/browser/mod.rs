//! A headless browser with one page, Chromium or Firefox. Knows nothing of what it shows.
//!
//! Conditions are awaited inside the page, so that nothing here sleeps to be on the safe side. The
//! browser, its children and its files are gone when the value is dropped.

mod axe;
mod chromium;
mod firefox;
mod look;
mod process;

use std::net::TcpStream;

use serde_json::Value;
use tungstenite::WebSocket;

use crate::support::server::PATIENCE;

/// What each browser does in its own way.
trait Engine {
    /// Loads an address and waits until its scripts have run.
    fn open(&mut self, url: &str);

    /// Runs a script before those of each page that is opened from now on.
    fn run_first(&mut self, script: &str);

    /// The value of a JavaScript expression, of the promise's result if it is one, as if the user had asked for it.
    fn evaluate(&mut self, expression: &str) -> Value;

    /// Presses a key by its DOM name, which is its text where it has one.
    fn press(&mut self, key: &str);

    /// Gives the page this size, in CSS pixels.
    fn resize(&mut self, width: u32, height: u32);

    /// Asks for light or dark.
    fn prefer_colours(&mut self, scheme: &str);

    /// Sets the device's time zone by its name.
    fn emulate_timezone(&mut self, name: &str);

    /// Takes the network away from the page, or gives it back.
    fn set_offline(&mut self, is_offline: bool);

    /// Lets the pages of an origin show notifications.
    fn allow_notifications(&mut self, origin: &str);

    /// Takes whatever certificate a server has, from now on.
    fn trust_everybody(&mut self);

    /// What the page looks like, as WebP in base64.
    fn screenshot(&mut self) -> String;

    /// Uncaught exceptions, errors in the console and broken content security policies since the
    /// start.
    fn complaints(&mut self) -> &[String];
}

/// A running browser with one page.
pub struct Browser {
    engine: Box<dyn Engine>,
}

impl Browser {
    /// Starts Chromium with an empty page; Firefox where the variable `TESTS_BROWSER` says so.
    pub fn start() -> Browser {
        match std::env::var("TESTS_BROWSER").as_deref() {
            Ok("firefox") => Self::start_firefox(),
            Ok("chromium") | Err(_) => Self::start_chromium(),
            Ok(other) => panic!("TESTS_BROWSER is {other}; known are chromium and firefox"),
        }
    }

    /// Starts Chromium with an empty page.
    pub fn start_chromium() -> Browser {
        let engine = Box::new(chromium::Chromium::start());
        Browser { engine }
    }

    /// Starts Firefox with an empty page.
    pub fn start_firefox() -> Browser {
        let engine = Box::new(firefox::Firefox::start());
        Browser { engine }
    }

    /// Loads an address and waits until its scripts have run.
    pub fn open(&mut self, url: &str) {
        self.engine.open(url);
        self.wait_for("document.readyState === 'complete'");
    }

    /// Runs a script before those of each page that is opened from now on.
    pub fn run_first(&mut self, script: &str) {
        self.engine.run_first(script);
    }

    /// Takes whatever certificate a server has, from now on.
    pub fn trust_everybody(&mut self) {
        self.engine.trust_everybody();
    }

    /// The value of a JavaScript expression, of the promise's result if it is one.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        self.engine.evaluate(expression)
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
            self.engine.press(&character.to_string());
        }
    }

    /// Presses a key by its DOM name, such as `Tab` or `Enter`, or `Space`.
    pub fn press(&mut self, key: &str) {
        self.engine.press(if key == "Space" { " " } else { key });
    }

    /// Gives the page the size of a window or, if narrow, of a phone's screen.
    pub fn resize(&mut self, width: u32, height: u32) {
        self.engine.resize(width, height);
    }

    /// Asks the page for its colours by `light` or by `dark`.
    pub fn prefer_colours(&mut self, scheme: &str) {
        self.engine.prefer_colours(scheme);
    }

    /// Sets the device's time zone by its name, such as `Asia/Tokyo`.
    pub fn emulate_timezone(&mut self, name: &str) {
        self.engine.emulate_timezone(name);
    }

    /// Takes the network away from the page, or gives it back. A WebSocket that is open may survive
    /// that.
    pub fn set_offline(&mut self, is_offline: bool) {
        self.engine.set_offline(is_offline);
    }

    /// Lets the pages of an origin show notifications.
    pub fn allow_notifications(&mut self, origin: &str) {
        self.engine.allow_notifications(origin);
    }

    /// What the page looks like, as WebP.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let encoded = self.engine.screenshot();
        data_encoding::BASE64
            .decode(encoded.as_bytes())
            .expect("a browser sends pictures in base64")
    }

    /// Uncaught exceptions, errors in the console and broken content security policies since the
    /// start. A refused connection isn't among them.
    pub fn complaints(&mut self) -> &[String] {
        self.engine.complaints()
    }
}

/// A connection to a browser's port, whose answers are awaited for as long as a test waits.
fn connect(authority: &str, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(authority).expect("the browser's port is open");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket takes a timeout");
    stream.set_nodelay(true).expect("a socket takes the option");
    let (socket, _) = tungstenite::client(format!("ws://{authority}{path}"), stream)
        .expect("the browser speaks WebSocket");
    socket
}
