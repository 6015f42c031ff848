//! Names outside of the cluster: the query goes on to the host's name servers as it came, and their response comes back
//! as it is.
//!
//! Each query has a socket of its own, so its port is random and only the server asked can answer it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::answer::{Response, Transport, question};
use crate::config::Upstream;
use crate::resolv_conf;

/// Queries that are on their way at once; more are answered SERVFAIL (CoreDNS's `max_concurrent`).
pub const MAX_CONCURRENT: usize = 1000;
/// How long one server may take.
pub const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all servers together may take: resolvers in pods give up after 5 s.
pub const TOTAL_TIMEOUT: Duration = Duration::from_millis(4500);
/// How long the list of servers is used before its file is looked at again.
const SERVERS_VALID: Duration = Duration::from_secs(5);
/// Largest response over UDP.
const MAX_UDP_BYTES: usize = 4096;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no servers.
    #[error("no name server for names outside of the cluster")]
    NoServer,
    /// Too many queries wait.
    #[error("{MAX_CONCURRENT} queries wait for name servers already")]
    Busy,
    /// No server gave a usable response in time.
    #[error("no name server answered")]
    NoAnswer,
}

/// Passes queries on.
#[derive(Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Upstream,
    /// Our own addresses: asking them would go round in circles.
    own: Vec<SocketAddr>,
    servers: Mutex<(Option<Instant>, Vec<SocketAddr>)>,
    /// The server that answered last: it is asked first, so that a dead one costs its timeout only once.
    answering: Mutex<Option<SocketAddr>>,
    try_timeout: Duration,
    slots: Arc<Semaphore>,
}

impl Forwarder {
    /// Passes queries on to these servers, but for those among them that are we.
    pub fn new(upstream: Upstream, own: Vec<SocketAddr>) -> Self {
        Self::with_try_timeout(upstream, own, TRY_TIMEOUT)
    }

    fn with_try_timeout(upstream: Upstream, own: Vec<SocketAddr>, try_timeout: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let (servers, answering) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { upstream, own, servers, answering, try_timeout, slots }) }
    }

    /// A place among the queries on their way.
    pub fn slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.shared.slots.clone().try_acquire_owned().map_err(|_| Error::Busy)
    }

    /// Passes a query on as it is and returns the response as it is.
    pub async fn forward(&self, query: &[u8], asked: &Query, transport: Transport) -> Result<Vec<u8>, Error> {
        let mut servers = self.servers();
        if servers.is_empty() {
            return Err(Error::NoServer);
        }
        let answering = *self.shared.answering.lock();
        if let Some(first) = servers.iter().position(|server| Some(*server) == answering) {
            servers.rotate_left(first);
        }
        let deadline = Instant::now() + TOTAL_TIMEOUT;
        let mut last = None;
        for server in servers {
            let left = deadline.saturating_duration_since(Instant::now()).min(self.shared.try_timeout);
            let answer = match transport {
                Transport::Udp => timeout(left, ask_udp(server, query, asked)).await,
                Transport::Tcp => timeout(left, ask_tcp(server, query, asked)).await,
            };
            match answer {
                Ok(Ok(answer)) if is_failure(&answer) => last = Some(answer),
                Ok(Ok(answer)) => {
                    *self.shared.answering.lock() = Some(server);
                    return Ok(answer);
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "name server cannot be asked"),
                Err(_) => tracing::debug!(%server, "name server does not answer"),
            }
        }
        last.ok_or(Error::NoAnswer)
    }

    /// Completes a response that has an alias with what the alias's target says.
    pub async fn resolve(
        &self,
        target: &Name,
        kind: RecordType,
        mut response: Response,
        transport: Transport,
    ) -> Response {
        let query = question(target.clone(), kind, rand::random());
        let asked = query.queries.first().cloned().unwrap_or_default();
        let Ok(bytes) = query.to_vec() else { return response };
        let answer =
            self.forward(&bytes, &asked, transport).await.ok().and_then(|bytes| Message::from_vec(&bytes).ok());
        match answer {
            Some(answer) => {
                response.message.metadata.truncation |= answer.metadata.truncation;
                response.message.metadata.response_code = answer.metadata.response_code;
                response.message.add_answers(answer.answers);
                response
            }
            None => response.code(ResponseCode::ServFail),
        }
    }

    /// The servers now, in the order of the file.
    fn servers(&self) -> Vec<SocketAddr> {
        let path = match &self.shared.upstream {
            Upstream::Servers(servers) => return self.others(servers),
            Upstream::ResolvConf(path) => path,
        };
        let mut known = self.shared.servers.lock();
        if known.0.is_none_or(|read| read.elapsed() > SERVERS_VALID) {
            // A small local file, a few times a minute.
            *known = (Some(Instant::now()), self.others(&resolv_conf::read(path)));
        }
        known.1.clone()
    }

    fn others(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        servers.iter().filter(|server| !self.shared.own.contains(server)).copied().collect()
    }
}

/// SERVFAIL, NOTIMP, REFUSED: another server may know better.
fn is_failure(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|byte| matches!(byte & 0x0f, 2 | 4 | 5))
}

async fn ask_udp(server: SocketAddr, query: &[u8], asked: &Query) -> std::io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let (id, own_id) = ids(query);
    socket.send(&with_id(query, own_id)).await?;
    let mut buffer = vec![0; MAX_UDP_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not answer our question was sent by someone else: wait on.
        if answers(&buffer[..length], own_id, asked) {
            return Ok(with_id(&buffer[..length], id));
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8], asked: &Query) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let (id, own_id) = ids(query);
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), &*with_id(query, own_id)].concat()).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut buffer = vec![0; length];
    stream.read_exact(&mut buffer).await?;
    if answers(&buffer, own_id, asked) {
        Ok(with_id(&buffer, id))
    } else {
        Err(std::io::Error::other("the response does not answer the query"))
    }
}

/// The query's id, and another one to ask with.
fn ids(query: &[u8]) -> ([u8; 2], [u8; 2]) {
    (query.first_chunk().copied().unwrap_or_default(), rand::random())
}

fn with_id(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    [&id, message.get(2..).unwrap_or_default()].concat()
}

/// Whether a message is the response to this question: same id, response bit, same question.
fn answers(message: &[u8], id: [u8; 2], asked: &Query) -> bool {
    message.first_chunk() == Some(&id)
        && Message::from_vec(message).is_ok_and(|message| {
            message.metadata.message_type == hickory_proto::op::MessageType::Response
                && matches!(message.queries.as_slice(), [question] if question == asked)
        })
}

#[cfg(test)]
mod tests;
