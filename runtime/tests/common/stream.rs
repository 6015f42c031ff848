//! Clients of streaming URLs: SPDY and WebSocket, with the upgrade written by hand.

#![allow(missing_docs, unreachable_pub, reason = "shared by test files only")]

use std::path::PathBuf;

use futures::{SinkExt, StreamExt};
use skiff_netlink::netns;
use skiff_streaming::spdy::{Connection, Headers, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A streaming URL, and the network namespace of the runtime that gave it.
#[derive(Clone)]
pub struct Url {
    pub url: String,
    pub namespace: PathBuf,
}

/// Opens `url` with an upgrade and returns the head of the response and the connection after it.
pub async fn upgrade(url: &Url, headers: &str) -> (String, TcpStream) {
    let rest = url.url.strip_prefix("http://").expect("an http URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let connected = netns::run_in(&url.namespace, || std::net::TcpStream::connect(address));
    let connected = connected.expect("enter the namespace").expect("connect");
    connected.set_nonblocking(true).expect("nonblocking");
    let mut stream = TcpStream::from_std(connected).expect("a socket");
    let request = format!("POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n{headers}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.expect("the head of the response");
        head.push(byte);
    }
    (String::from_utf8(head).expect("text").to_ascii_lowercase(), stream)
}

/// A SPDY connection that speaks `protocol`.
pub async fn spdy(url: &Url, protocol: &str) -> Connection {
    let headers = format!("Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}");
    let (head, stream) = upgrade(url, &headers).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains(&format!("x-stream-protocol-version: {protocol}").to_ascii_lowercase()), "{head}");
    Connection::client(stream).expect("a SPDY connection")
}

/// Opens a stream of a command.
pub async fn open(connection: &Connection, kind: &str) -> Stream {
    let headers: Headers = [("streamType", kind)].into_iter().collect();
    connection.open(headers).await.expect("a stream")
}

pub async fn text(stream: &mut Stream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    text
}

/// A WebSocket that speaks `protocol`.
pub async fn websocket(url: &Url, protocol: &str) -> WebSocketStream<TcpStream> {
    let offered = if protocol.is_empty() { String::new() } else { format!("\r\nSec-WebSocket-Protocol: {protocol}") };
    let headers = format!(
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=={offered}"
    );
    let (head, stream) = upgrade(url, &headers).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// Everything that arrives until the server closes, by channel.
pub async fn drain(socket: &mut WebSocketStream<TcpStream>) -> [Vec<u8>; 5] {
    let mut channels: [Vec<u8>; 5] = Default::default();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
        }
    }
    channels
}

pub async fn send(socket: &mut WebSocketStream<TcpStream>, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    socket.send(Message::Binary(message.into())).await.expect("send");
}
