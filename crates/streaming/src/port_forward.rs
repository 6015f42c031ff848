//! Port-forward: connections to ports of a pod, whatever the client speaks.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::channels::{self, Closer, Codec, Use};
use crate::negotiate::{
    TextResponse, UpgradeKind, not_an_upgrade, refusal, spdy_protocol, spdy_switch, upgrade_kind, websocket_protocol,
    websocket_switch,
};
use crate::spdy::{Connection, Stream};
use crate::tunnel::tunnel;
use crate::{BoxDuplex, BoxWrite, Error, STREAM_CREATION_TIMEOUT, websocket};

const SPDY_PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
const WEBSOCKET_PROTOCOLS: [&str; 3] = [TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// Most ports of one legacy WebSocket: two channels each, and a channel number is a byte.
const MAX_PORTS: usize = 100;
/// Connections of which only one of two streams has arrived; the oldest goes first.
const MAX_HALF_OPEN: usize = 64;

/// A client that forwards ports.
pub struct PortForward {
    source: Source,
}

enum Source {
    Spdy(Pairs),
    Channels { forwards: std::vec::IntoIter<Forward>, open: Option<Arc<Closing>> },
}

/// One connection to a port of the pod.
pub struct Forward {
    /// The port.
    pub port: u16,
    /// The connection's bytes.
    pub data: BoxDuplex,
    /// For a failure.
    pub error: ErrorWriter,
}

/// Tells the client why a connection failed. Dropping it says that all is well.
pub struct ErrorWriter {
    stream: BoxWrite,
    _open: Option<Arc<Closing>>,
}

/// Ends a legacy connection when the last forward over it is gone.
struct Closing(Mutex<Option<Closer>>);

/// Streams of a SPDY connection that still lack their partner.
struct Pairs {
    connection: Connection,
    half_open: HashMap<String, HalfOpen>,
}

struct HalfOpen {
    stream: Stream,
    since: Instant,
}

/// An accepted request, whose connection is there once the response has been sent.
pub struct Pending {
    upgrade: OnUpgrade,
    protocol: Protocol,
}

enum Protocol {
    Spdy,
    Tunnel,
    Channels(Codec, Vec<u16>),
}

/// Accepts a request to forward ports. `ports` are those that the request named, which only the legacy WebSocket
/// protocol needs. The response must be sent as it is; then [`Pending::connect`] gives the connections.
pub fn accept<B>(request: &mut Request<B>, ports: &[u16]) -> Result<(TextResponse, Pending), Box<TextResponse>> {
    let headers = request.headers();
    let (response, protocol) = match upgrade_kind(headers) {
        Some(UpgradeKind::Spdy) => (spdy_switch(spdy_protocol(headers, &SPDY_PROTOCOLS)?), Protocol::Spdy),
        Some(UpgradeKind::WebSocket) => {
            let name = websocket_protocol(headers, &WEBSOCKET_PROTOCOLS)?;
            let protocol = match name {
                TUNNEL_PROTOCOL => Protocol::Tunnel,
                _ if ports.is_empty() || ports.len() > MAX_PORTS => {
                    let text = format!("between 1 and {MAX_PORTS} ports are required");
                    return Err(Box::new(refusal(http::StatusCode::BAD_REQUEST, text)));
                }
                "v4.base64.channel.k8s.io" => Protocol::Channels(Codec::Base64, ports.to_vec()),
                _ => Protocol::Channels(Codec::Binary, ports.to_vec()),
            };
            (websocket_switch(headers, name)?, protocol)
        }
        None => return Err(Box::new(not_an_upgrade())),
    };
    Ok((response, Pending { upgrade: hyper::upgrade::on(request), protocol }))
}

// === impl Pending ===

impl Pending {
    /// Waits for the connection.
    pub async fn connect(self) -> Result<PortForward, Error> {
        let io = TokioIo::new(self.upgrade.await?);
        let spdy = |connection: Result<Connection, _>| {
            let connection = connection.map_err(|error: crate::spdy::SpdyError| Error::Protocol(error.to_string()))?;
            Ok(Source::Spdy(Pairs { connection, half_open: HashMap::new() }))
        };
        let source = match self.protocol {
            Protocol::Spdy => spdy(Connection::server(io)),
            Protocol::Tunnel => {
                let inner: DuplexStream = tunnel(websocket::server(io).await);
                spdy(Connection::server(inner))
            }
            Protocol::Channels(codec, ports) => over_channels(io, codec, &ports).await,
        }?;
        Ok(PortForward { source })
    }
}

/// Channels `2i` and `2i+1` are data and error of port `i`, and both begin with the port (little endian).
async fn over_channels(io: websocket::Upgraded, codec: Codec, ports: &[u16]) -> Result<Source, Error> {
    let uses: Vec<Use> = ports.iter().flat_map(|_| [Use::Both, Use::Write]).collect();
    let channels::Channels { mut readers, mut writers, closer } =
        channels::serve(websocket::server(io).await, codec, &uses);
    let open = Arc::new(Closing(Mutex::new(Some(closer))));
    let mut forwards = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (data, error) = (2 * index, 2 * index + 1);
        let (Some(reader), Some(mut writer), Some(mut error)) =
            (readers[data].take(), writers[data].take(), writers[error].take())
        else {
            return Err(Error::Protocol("a channel is missing".to_owned()));
        };
        writer.write_all(&port.to_le_bytes()).await?;
        error.write_all(&port.to_le_bytes()).await?;
        forwards.push(Forward {
            port: *port,
            data: Box::new(tokio::io::join(reader, writer)),
            error: ErrorWriter { stream: Box::new(error), _open: Some(Arc::clone(&open)) },
        });
    }
    Ok(Source::Channels { forwards: forwards.into_iter(), open: Some(open) })
}

// === impl PortForward ===

impl PortForward {
    /// The next connection that the client opens; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Forward> {
        match &mut self.source {
            Source::Spdy(pairs) => pairs.next().await,
            Source::Channels { forwards, open } => match forwards.next() {
                Some(forward) => Some(forward),
                None => {
                    // Until the client goes away, for the sake of those still running. The last of them ends the
                    // connection, so it is no longer held open from here.
                    let open = open.take()?;
                    let closed = open.0.lock().await.as_ref().map(|closer| closer.closed.clone());
                    drop(open);
                    if let Some(closed) = closed {
                        closed.cancelled().await;
                    }
                    None
                }
            },
        }
    }
}

// === impl Pairs ===

impl Pairs {
    async fn next(&mut self) -> Option<Forward> {
        loop {
            let oldest = self.half_open.values().map(|half| half.since).min();
            let deadline = oldest.unwrap_or_else(Instant::now) + STREAM_CREATION_TIMEOUT;
            let stream = if oldest.is_some() {
                match timeout_at(deadline, self.connection.accept()).await {
                    Ok(stream) => stream?,
                    Err(_) => {
                        self.expire();
                        continue;
                    }
                }
            } else {
                self.connection.accept().await?
            };
            if let Some(forward) = self.add(stream) {
                return Some(forward);
            }
        }
    }

    /// Puts a stream beside its partner. A stream that makes no sense is dropped, which tells the client.
    fn add(&mut self, stream: Stream) -> Option<Forward> {
        let kind = stream.headers().get("streamtype").unwrap_or_default().to_owned();
        let port: u16 = stream.headers().get("port")?.parse().ok().filter(|port| *port > 0)?;
        if kind != "data" && kind != "error" {
            return None;
        }
        let request = match stream.headers().get("requestid") {
            Some(id) if !id.is_empty() => id.to_owned(),
            // Old clients send no id; their error stream comes right before the data stream.
            _ if kind == "error" => stream.id().to_string(),
            _ => stream.id().saturating_sub(2).to_string(),
        };
        let Some(other) = self.half_open.remove(&request) else {
            if self.half_open.len() >= MAX_HALF_OPEN {
                self.drop_oldest();
            }
            self.half_open.insert(request, HalfOpen { stream, since: Instant::now() });
            return None;
        };
        let other = other.stream;
        let (data, error) = if kind == "data" { (stream, other) } else { (other, stream) };
        if data.headers().get("streamtype") != Some("data") || error.headers().get("streamtype") != Some("error") {
            return None;
        }
        let error = ErrorWriter { stream: Box::new(error), _open: None };
        Some(Forward { port, data: Box::new(data), error })
    }

    fn expire(&mut self) {
        self.half_open.retain(|_, half| half.since.elapsed() < STREAM_CREATION_TIMEOUT);
    }

    fn drop_oldest(&mut self) {
        let oldest = self.half_open.iter().min_by_key(|(_, half)| half.since).map(|(request, _)| request.clone());
        if let Some(oldest) = oldest {
            self.half_open.remove(&oldest);
        }
    }
}

// === impl ErrorWriter ===

impl ErrorWriter {
    /// Reports a failure.
    pub async fn fail(mut self, text: &str) {
        // A client that is gone needs no report.
        let _ = self.stream.write_all(text.as_bytes()).await;
        let _ = self.stream.shutdown().await;
    }

    /// Says that the connection ended well.
    pub async fn finish(mut self) {
        let _ = self.stream.shutdown().await;
    }
}

// === impl Closing ===

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(closer) = self.0.get_mut().take() {
            tokio::spawn(closer.close());
        }
    }
}
