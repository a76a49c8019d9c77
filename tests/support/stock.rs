//! A stand-in that answers as a stock Bugzilla 5.2 did: to whom it shows which bugs, by the cookies of a
//! login and by an API key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What alice, bob and carol show.
pub const ALICE_COOKIES: &str = "Bugzilla_login=2; Bugzilla_logincookie=alice2cookie";
pub const CAROL_COOKIES: &str = "Bugzilla_login=4; Bugzilla_logincookie=carol4cookie";
pub const ALICE_KEY: &str = "alice00000000000000000000000000000000000";
pub const BOB_KEY: &str = "bob0000000000000000000000000000000000000";

/// How it treats whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Answers,
    /// It takes its time.
    Slow(Duration),
    /// It takes the question, and says nothing.
    Hangs,
    /// It hangs up.
    Gone,
}

/// What its readers may do.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    pub alice_is_logged_in: bool,
    pub bob_is_in_group: bool,
    pub bob_is_enabled: bool,
    pub carol_is_enabled: bool,
}

/// What they may do at first.
pub const AT_FIRST: Rights = Rights {
    alice_is_logged_in: true,
    bob_is_in_group: false,
    bob_is_enabled: true,
    carol_is_enabled: true,
};

/// A running stand-in; each sixth bug is in a group, in which alice and carol are and bob is not.
pub struct Stock {
    pub url: String,
    /// All that it was asked.
    asked: Arc<Mutex<Vec<String>>>,
    manner: Arc<Mutex<Manner>>,
    rights: Arc<Mutex<Rights>>,
}

impl Stock {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let manner = Arc::new(Mutex::new(Manner::Answers));
        let rights = Arc::new(Mutex::new(AT_FIRST));
        let (own, seen) = (url.clone(), Arc::clone(&asked));
        let (used, counting) = (Arc::clone(&manner), Arc::clone(&rights));
        thread::spawn(move || {
            let mut hung = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let manner = *used.lock().unwrap();
                match manner {
                    Manner::Answers => {}
                    Manner::Slow(time) => thread::sleep(time),
                    Manner::Hangs | Manner::Gone => seen.lock().unwrap().push(String::new()),
                }
                match manner {
                    // A client that hangs up is none of its business.
                    Manner::Answers | Manner::Slow(_) => {
                        let rights = *counting.lock().unwrap();
                        drop(serve(stream, &own, &seen, rights));
                    }
                    Manner::Hangs => hung.push(stream),
                    Manner::Gone => {}
                }
            }
        });
        Self {
            url,
            asked,
            manner,
            rights,
        }
    }

    /// Treats whoever asks from now on like this.
    pub fn treat(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Gives readers other rights.
    pub fn set_rights(&self, rights: Rights) {
        *self.rights.lock().unwrap() = rights;
    }

    /// All that it was asked since the last call: request lines, cookies, bodies.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(
    mut stream: TcpStream,
    url: &str,
    asked: &Mutex<Vec<String>>,
    rights: Rights,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut path, mut cookies, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            _ if path.is_empty() => line.split(' ').nth(1).unwrap_or("").clone_into(&mut path),
            "cookie" => value.trim().clone_into(&mut cookies),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    asked
        .lock()
        .unwrap()
        .push(format!("{path} [{cookies}] {body}"));
    let (kind, answer) = match path.as_str() {
        "/show_bug.cgi" => ("application/xml", show_bug(url, &cookies, &body, rights)),
        "/jsonrpc.cgi" => ("application/json", search(&body, rights)),
        _ => ("text/html", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=UTF-8\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn is_there(bug: u64) -> bool {
    (1..=30).contains(&bug) || (424_200..424_230).contains(&bug)
}

fn is_seen(bug: u64, is_in_group: bool) -> bool {
    is_there(bug) && (is_in_group || !bug.is_multiple_of(6))
}

fn show_bug(url: &str, cookies: &str, form: &str, rights: Rights) -> String {
    let exporter = match cookies {
        ALICE_COOKIES if rights.alice_is_logged_in => "          exporter=\"alice@example.org\"\n",
        CAROL_COOKIES if rights.carol_is_enabled => "          exporter=\"carol@example.org\"\n",
        _ => "",
    };
    let is_in_group = !exporter.is_empty();
    let ids = form.split('&').filter_map(|pair| pair.strip_prefix("id="));
    let bugs = ids.map(|id| match id.parse().unwrap() {
        bug if !is_there(bug) => refused("InvalidBugId", id),
        bug if is_seen(bug, is_in_group) => {
            format!("    <bug>\n          <bug_id>{id}</bug_id>\n\n      \n\n    </bug>\n")
        }
        _ => refused("NotPermitted", id),
    });
    let bugs: String = bugs.collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\" ?>\n\
         <!DOCTYPE bugzilla SYSTEM \"{url}page.cgi?id=bugzilla.dtd\">\n\n\
         <bugzilla version=\"5.2+\"\n          urlbase=\"{url}\"\n          \n          \
         maintainer=\"admin@example.org\"\n{exporter}>\n\n{bugs}\n</bugzilla>"
    )
}

fn refused(error: &str, id: &str) -> String {
    format!("    <bug error=\"{error}\">\n      <bug_id>{id}</bug_id>\n    </bug>\n")
}

fn search(body: &str, rights: Rights) -> String {
    let question: Value = serde_json::from_str(body).unwrap();
    assert_eq!(question["method"], "Bug.search");
    let parameters = &question["params"][0];
    let refuse = |code: u32, message: &str| {
        let error = json!({"message": message, "code": code});
        json!({"error": error, "id": 1, "result": null}).to_string()
    };
    let is_in_group = match parameters["Bugzilla_api_key"].as_str() {
        Some(ALICE_KEY) => true,
        Some(BOB_KEY) if !rights.bob_is_enabled => return refuse(301, "test"),
        Some(BOB_KEY) => rights.bob_is_in_group,
        _ => {
            let message =
                "The API key you specified is invalid. Please check that you typed it correctly.";
            return refuse(306, message);
        }
    };
    let ids = parameters["id"].as_array().unwrap();
    let bugs: Vec<Value> = ids
        .iter()
        .filter(|id| is_seen(id.as_u64().unwrap(), is_in_group))
        .map(|id| json!({"id": id}))
        .collect();
    json!({"id": 1, "result": {"bugs": bugs}, "error": null}).to_string()
}
