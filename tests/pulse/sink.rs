//! Somebody who takes mail and posts: Python's aiosmtpd and http.server. Knows no guard.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::rabbitmq::free_ports;
use crate::support::server::wait_until;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/watch/tls");

/// A mail server and a web server, once they run.
pub struct Sink {
    folder: TempDir,
    pub mail_port: u16,
    pub web_port: u16,
    process: Option<Child>,
}

impl Sink {
    /// One that does not run yet.
    pub fn new() -> Self {
        let [mail_port, web_port] = free_ports();
        Self {
            folder: tempfile::tempdir().unwrap(),
            mail_port,
            web_port,
            process: None,
        }
    }

    /// One that runs.
    pub fn start() -> Self {
        let mut sink = Self::new();
        sink.run(false);
        sink
    }

    /// Lets it run; with TLS, nobody sends mail without.
    pub fn run(&mut self, with_tls: bool) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pulse/sink.py");
        let [mail, web] = [self.mail_port, self.web_port].map(|port| port.to_string());
        let certificates = if with_tls { CERTIFICATES } else { "" };
        let mut process = Command::new("/usr/bin/python3")
            .args([script, &mail, &web])
            .arg(self.folder.path().join("taken"))
            .arg(certificates)
            .stdout(Stdio::piped())
            // It says so when a client does not trust it.
            .stderr(Stdio::null())
            .spawn()
            .expect("/usr/bin/python3 with python3-aiosmtpd is needed");
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.process = Some(process);
    }

    /// `--mail` for it.
    pub fn mail(&self) -> String {
        format!(
            "smtp://127.0.0.1:{}/?from=pulse@example.org",
            self.mail_port
        )
    }

    /// What it has taken so far.
    pub fn taken(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("taken")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Receivers and subjects of the mails so far.
    pub fn mails(&self) -> Vec<(String, String)> {
        let of = |mail: &Value, field: &str| mail[field].as_str().unwrap().to_owned();
        let taken = self.taken();
        let mails = taken.iter().filter(|item| item["way"] == "mail");
        mails
            .map(|mail| {
                (
                    mail["to"][0].as_str().unwrap().to_owned(),
                    of(mail, "subject"),
                )
            })
            .collect()
    }

    /// Waits until these mails have come in this order, and no others.
    pub fn expect(&self, mails: &[(&str, &str)]) {
        wait_until(&format!("{mails:?} come: {:?}", self.mails()), || {
            (self.mails().len() >= mails.len()).then_some(())
        });
        let taken = self.mails();
        let taken: Vec<_> = taken
            .iter()
            .map(|(to, subject)| (&**to, &**subject))
            .collect();
        assert_eq!(taken, mails);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
