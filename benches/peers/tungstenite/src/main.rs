//! A server of the protocol's shape as one writes it on tokio-tungstenite: `peer-tungstenite PORT
//! CONTROL [CERTIFICATE KEY]`. A task and a channel for each client; updates come as lines
//! "BUG WHEN" at the port CONTROL. With a certificate, clients come by TLS, by tokio-rustls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::tungstenite::Message;

type Subscribers = Rc<RefCell<HashMap<u64, HashMap<u64, UnboundedSender<Message>>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut port = || arguments.next().unwrap().parse().unwrap();
    let (clients, control) = (listen(port())?, listen(port())?);
    let acceptor = arguments.next().zip(arguments.next()).map(acceptor);
    let subscribers = Subscribers::default();
    LocalSet::new()
        .run_until(async move {
            spawn_local(publish(control, Rc::clone(&subscribers)));
            for id in 0.. {
                let (stream, _) = clients.accept().await?;
                let subscribers = Rc::clone(&subscribers);
                let Some(acceptor) = acceptor.clone() else {
                    spawn_local(serve(id, stream, subscribers));
                    continue;
                };
                spawn_local(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(id, stream, subscribers).await;
                    }
                });
            }
            Ok(())
        })
        .await
}

fn acceptor((certificate, key): (String, String)) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain.collect(), key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    socket.listen(4_096)
}

async fn publish(control: TcpListener, subscribers: Subscribers) {
    let (stream, _) = control.accept().await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (bug, when) = line.split_once(' ').unwrap();
        let bug: u64 = bug.parse().unwrap();
        let text = Message::text(json!({"command": "update", "bug": bug, "when": when}).to_string());
        for client in subscribers.borrow().get(&bug).into_iter().flat_map(HashMap::values) {
            let _ = client.send(text.clone());
        }
    }
}

async fn serve(id: u64, stream: impl AsyncRead + AsyncWrite + Unpin, subscribers: Subscribers) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (sender, mut updates) = mpsc::unbounded_channel();
    let mut bugs = Vec::new();
    loop {
        tokio::select! {
            Some(update) = updates.recv() => {
                if socket.send(update).await.is_err() {
                    break;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let command: Value = serde_json::from_str(&text).unwrap();
                    for bug in command["bugs"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
                        bugs.push(bug);
                        subscribers.borrow_mut().entry(bug).or_default().insert(id, sender.clone());
                    }
                    let _ = socket.send(Message::text(json!({"command": "subscribe", "result": "ok", "bugs": bugs}).to_string())).await;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
    }
    for bug in bugs {
        let mut subscribers = subscribers.borrow_mut();
        if let Some(clients) = subscribers.get_mut(&bug) {
            clients.remove(&id);
            if clients.is_empty() {
                subscribers.remove(&bug);
            }
        }
    }
}
