//! Somebody who stands between the guard and the broker's management API, and can make it slow or
//! wrong. Knows no guard.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a connection's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Honest,
    /// Each part of an answer comes later.
    Slow,
    /// All answers are 500.
    Failing,
    /// All answers are cut off.
    Cutting,
    /// Nothing is answered.
    Silent,
}

/// A port that leads to another, as long as it is in the mood.
pub struct Between {
    pub port: u16,
    mood: Arc<Mutex<Mood>>,
}

impl Between {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let between = Self {
            port: listener.local_addr().unwrap().port(),
            mood: Arc::new(Mutex::new(Mood::Honest)),
        };
        let mood = between.mood.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mood = mood.clone();
                let server = TcpStream::connect(("127.0.0.1", to));
                // Whoever hangs up ends it.
                thread::spawn(move || server.and_then(|server| lead(&client, &server, &mood)));
            }
        });
        between
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

fn lead(client: &TcpStream, server: &TcpStream, mood: &Mutex<Mood>) -> io::Result<()> {
    let (mut there, mut asking) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || io::copy(&mut asking, &mut there));
    let mut answer = [0; 65_536];
    loop {
        let length = { server }.read(&mut answer)?;
        let answer = &answer[..length];
        let mood = *mood.lock().unwrap();
        match mood {
            _ if length == 0 => return client.shutdown(std::net::Shutdown::Both),
            Mood::Honest => { client }.write_all(answer)?,
            Mood::Slow => {
                thread::sleep(Duration::from_millis(200));
                { client }.write_all(answer)?;
            }
            Mood::Failing => { client }
                .write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 16\r\n\r\n{\"reason\":\"why\"}")?,
            Mood::Cutting => {
                { client }.write_all(&answer[..length / 2])?;
                return client.shutdown(std::net::Shutdown::Both);
            }
            Mood::Silent => {}
        }
    }
}
