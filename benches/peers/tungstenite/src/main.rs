//! A server of the protocol's shape as one writes it on tokio-tungstenite: `peer-tungstenite PORT
//! CONTROL`. A task and a channel for each client; updates come as lines "BUG WHEN" at the port
//! CONTROL.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::tungstenite::Message;

type Subscribers = Rc<RefCell<HashMap<u64, HashMap<u64, UnboundedSender<Message>>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>().unwrap());
    let (clients, control) = (listen(ports.next().unwrap())?, listen(ports.next().unwrap())?);
    let subscribers = Subscribers::default();
    LocalSet::new()
        .run_until(async move {
            spawn_local(publish(control, Rc::clone(&subscribers)));
            for id in 0.. {
                let (stream, _) = clients.accept().await?;
                spawn_local(serve(id, stream, Rc::clone(&subscribers)));
            }
            Ok(())
        })
        .await
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

async fn serve(id: u64, stream: TcpStream, subscribers: Subscribers) {
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
