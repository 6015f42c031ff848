//! The sockets: UDP and TCP on one port. What the index knows is answered on the spot; what must be asked elsewhere
//! waits in a task of its own, of which there is a bounded number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use parking_lot::RwLock;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::answer::{Outcome, Responder, Transport, respond_to};
use crate::forward::{Error, Forwarder};
use crate::index::Index;
use crate::metrics::Metrics;

/// TCP connections at a time; more wait in the kernel's queue.
const MAX_STREAMS: usize = 256;
/// How long a TCP connection may rest between queries, and how long a client may take to read an answer.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest query over UDP that is read whole.
const MAX_QUERY_BYTES: usize = 4096;
/// What waits in the kernel to be read: many pods may ask at once, and what does not fit is asked again after seconds.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Tasks that read the UDP socket.
const READERS: usize = 2;
/// How often another port is tried when one is free for UDP but not for TCP.
const PORT_TRIES: usize = 16;
/// How long to wait after a failed read or accept.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// The index and whether it is complete.
#[derive(Default)]
pub struct Known {
    /// What is in the zone.
    pub index: Index,
    /// Whether everything has been seen once.
    pub complete: bool,
}

/// What answers queries. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Server {
    /// The index, written by informers.
    pub known: Arc<RwLock<Known>>,
    /// Makes responses.
    pub responder: Arc<Responder>,
    /// Asks elsewhere.
    pub forwarder: Forwarder,
    /// Counts.
    pub metrics: Metrics,
}

/// The bound sockets.
pub struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds UDP and TCP to the first of `ports` that is free for both; 0 is any port.
    pub async fn bind(address: std::net::IpAddr, ports: &[u16]) -> std::io::Result<Self> {
        let mut last = None;
        for port in ports {
            for _ in 0..if *port == 0 { PORT_TRIES } else { 1 } {
                match Self::bind_one((address, *port).into()).await {
                    Ok(sockets) => return Ok(sockets),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| std::io::ErrorKind::InvalidInput.into()))
    }

    async fn bind_one(address: SocketAddr) -> std::io::Result<Self> {
        let udp = UdpSocket::bind(address).await?;
        // Beyond the machine's limit only with privileges; what the kernel grants is fine.
        let forced = sockopt::set_socket_recv_buffer_size_force(&udp, RECEIVE_BUFFER_BYTES);
        if forced.is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&udp, RECEIVE_BUFFER_BYTES);
        }
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        Ok(Self { udp: Arc::new(udp), tcp })
    }

    /// Where they are.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

/// Tasks that hold sockets: they end with the server, which waits for them.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Tasks {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = work => {}
            }
        });
    }
}

impl Server {
    /// Serves until shutdown. When it returns, the sockets are closed: the port can be taken again at once.
    pub async fn run(self, sockets: Sockets, shutdown: CancellationToken) {
        let tasks = Tasks { tracker: TaskTracker::new(), shutdown };
        for _ in 0..READERS {
            tasks.spawn(self.clone().read_udp(sockets.udp.clone(), tasks.clone()));
        }
        tasks.spawn(self.accept_tcp(sockets.tcp, tasks.clone()));
        tasks.shutdown.cancelled().await;
        tasks.tracker.close();
        tasks.tracker.wait().await;
    }

    async fn read_udp(self, socket: Arc<UdpSocket>, tasks: Tasks) {
        let mut buffer = vec![0; MAX_QUERY_BYTES];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    debug!(%error, "cannot read a query");
                    tokio::time::sleep(FAILURE_PAUSE).await;
                    continue;
                }
            };
            let started = Instant::now();
            match self.decide(&buffer[..length], Transport::Udp) {
                Step::Done(answer) => {
                    self.metrics.answered(Transport::Udp, answer.as_deref(), started.elapsed());
                    send(&socket, from, answer).await;
                }
                Step::Ask(question) => {
                    let (server, socket) = (self.clone(), socket.clone());
                    tasks.spawn(async move {
                        let answer = Some(server.ask(*question, Transport::Udp).await);
                        server.metrics.answered(Transport::Udp, answer.as_deref(), started.elapsed());
                        send(&socket, from, answer).await;
                    });
                }
            }
        }
    }

    async fn accept_tcp(self, listener: TcpListener, tasks: Tasks) {
        let slots = Arc::new(Semaphore::new(MAX_STREAMS));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tasks.spawn(async move {
                        if let Err(error) = server.serve_stream(stream).await {
                            debug!(%error, "a client's stream ended");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// Answers the queries of one connection, one after the other, until the client ends it or rests too long.
    async fn serve_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let length = match timeout(STREAM_TIMEOUT, stream.read_u16()).await {
                Ok(Ok(length)) => usize::from(length),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            let mut query = vec![0; length];
            timeout(STREAM_TIMEOUT, stream.read_exact(&mut query)).await??;
            let started = Instant::now();
            let answer = match self.decide(&query, Transport::Tcp) {
                Step::Done(answer) => answer,
                Step::Ask(question) => Some(self.ask(*question, Transport::Tcp).await),
            };
            self.metrics.answered(Transport::Tcp, answer.as_deref(), started.elapsed());
            let Some(answer) = answer else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
            let frame = [&length.to_be_bytes(), &*answer].concat();
            timeout(STREAM_TIMEOUT, stream.write_all(&frame)).await??;
        }
    }

    /// Answers from the index, or says what must be asked elsewhere.
    fn decide(&self, query: &[u8], transport: Transport) -> Step {
        let known = self.known.read();
        let outcome = self.responder.decide(known.complete.then_some(&known.index), query, transport);
        drop(known);
        match outcome {
            Outcome::Respond(response) => Step::Done(Some(response.into_bytes())),
            Outcome::Ignore => Step::Done(None),
            elsewhere => match self.forwarder.slot() {
                Ok(slot) => Step::Ask(Box::new(Question { outcome: elsewhere, bytes: query.to_vec(), _slot: slot })),
                Err(error) => {
                    debug!(%error, "cannot pass a query on");
                    Step::Done(failed(&elsewhere, transport, ResponseCode::ServFail))
                }
            },
        }
    }

    /// Asks elsewhere.
    async fn ask(&self, question: Question, transport: Transport) -> Vec<u8> {
        let Question { outcome, bytes, _slot } = question;
        match outcome {
            Outcome::Resolve(query, target, response) => {
                let kind = query.queries.first().map_or(RecordType::A, |asked| asked.query_type());
                self.forwarder.resolve(&target, kind, *response, transport).await.into_bytes()
            }
            Outcome::Forward(ref query) => {
                // A query that is passed on has exactly one question.
                let asked = query.queries.first().cloned().unwrap_or_default();
                match self.forwarder.forward(&bytes, &asked, transport).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        debug!(name = %asked.name(), %error, "cannot ask elsewhere");
                        // Without a server to ask, nothing but the cluster's names can ever be answered here.
                        let none = matches!(error, Error::NoServer);
                        let code = if none { ResponseCode::Refused } else { ResponseCode::ServFail };
                        failed(&outcome, transport, code).unwrap_or_default()
                    }
                }
            }
            Outcome::Respond(_) | Outcome::Ignore => Vec::new(),
        }
    }
}

/// What to do with a query.
enum Step {
    Done(Option<Vec<u8>>),
    Ask(Box<Question>),
}

/// A query that must be asked elsewhere, with its place among those on their way.
struct Question {
    outcome: Outcome,
    bytes: Vec<u8>,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

fn failed(outcome: &Outcome, transport: Transport, code: ResponseCode) -> Option<Vec<u8>> {
    let (Outcome::Forward(query) | Outcome::Resolve(query, ..)) = outcome else { return None };
    Some(respond_to(query, transport).code(code).into_bytes())
}

async fn send(socket: &UdpSocket, to: SocketAddr, answer: Option<Vec<u8>>) {
    if let Some(answer) = answer.filter(|answer| !answer.is_empty())
        && let Err(error) = socket.send_to(&answer, to).await
    {
        debug!(%error, %to, "cannot send an answer");
    }
}
