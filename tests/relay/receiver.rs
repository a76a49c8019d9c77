//! A server that takes posts and answers as the test says. Written from RFC 9112 alone. Knows
//! nothing of bugzfeed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::server::PATIENCE;

/// A post that has come.
#[derive(Debug)]
pub struct Post {
    pub at: Instant,
    /// Which connection it came by, counted from 0.
    pub connection: usize,
    pub head: String,
    /// Fields by their names in lower case.
    pub fields: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Post {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The bug that it tells of.
    pub fn bug(&self) -> u64 {
        self.json()["bug"]["id"].as_u64().unwrap()
    }
}

/// The server. It lives as long as the test's process.
pub struct Posts {
    pub address: SocketAddr,
    posts: Receiver<Post>,
}

/// What decides the status line of each answer from the post's number, counted from 0, and the
/// post; without one, the connection ends.
type Answer = Box<dyn FnMut(usize, &Post) -> String + Send>;

impl Posts {
    /// A server that answers each post as `answer` says.
    pub fn open(answer: impl FnMut(usize, &Post) -> String + Send + 'static) -> Self {
        Self::open_over(|stream| stream, answer)
    }

    /// The same over TLS, as `localhost`, with a certificate that `tests/watch/tls/ca.pem` has
    /// issued.
    pub fn open_tls(answer: impl FnMut(usize, &Post) -> String + Send + 'static) -> Self {
        Self::open_tls_as(
            &certificate("server.pem"),
            &certificate("server.key"),
            answer,
        )
    }

    /// The same with another certificate.
    pub fn open_tls_as(
        certificates: &Path,
        key: &Path,
        answer: impl FnMut(usize, &Post) -> String + Send + 'static,
    ) -> Self {
        let certificates = CertificateDer::pem_file_iter(certificates)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = Arc::new(
            ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(certificates, key)
                .unwrap(),
        );
        Self::open_over(
            move |stream| {
                StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
            },
            answer,
        )
    }

    fn open_over<S: Read + Write + Send + 'static>(
        over: impl Fn(TcpStream) -> S + Send + 'static,
        answer: impl FnMut(usize, &Post) -> String + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, posts) = channel();
        let state: Arc<Mutex<(usize, Answer)>> = Arc::new(Mutex::new((0, Box::new(answer))));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (stream, sender, state) =
                    (over(stream.unwrap()), sender.clone(), Arc::clone(&state));
                thread::spawn(move || serve(stream, connection, &sender, &state));
            }
        });
        Self { address, posts }
    }

    /// The next post.
    pub fn next(&self) -> Post {
        self.posts.recv_timeout(PATIENCE).expect("no post comes")
    }

    /// The bugs of the next posts.
    pub fn bugs(&self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.next().bug()).collect()
    }

    /// How many posts have come that nobody asked for.
    pub fn rest(&self) -> usize {
        self.posts.try_iter().count()
    }
}

/// Answers post after post on one connection.
fn serve(
    stream: impl Read + Write,
    connection: usize,
    posts: &Sender<Post>,
    state: &Mutex<(usize, Answer)>,
) {
    let mut reader = BufReader::new(stream);
    while let Some(post) = read(&mut reader, connection) {
        let answer = {
            let mut state = state.lock().unwrap();
            let number = state.0;
            state.0 += 1;
            (state.1)(number, &post)
        };
        let hangs_up = answer.is_empty();
        // The test may have ended.
        if posts.send(post).is_err()
            || hangs_up
            || write!(reader.get_mut(), "HTTP/1.1 {answer}").is_err()
        {
            return;
        }
    }
}

fn read(reader: &mut BufReader<impl Read>, connection: usize) -> Option<Post> {
    let mut head = String::new();
    reader.read_line(&mut head).ok()?;
    let mut fields = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        fields.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; fields.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Post {
        at: Instant::now(),
        connection,
        head: head.trim_end().to_owned(),
        fields,
        body,
    })
}

/// A file of certificates.
pub fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/watch/tls")
        .join(name)
}

/// An answer without a body.
pub fn status(status: &str) -> String {
    format!("{status}\r\nContent-Length: 0\r\n\r\n")
}
