//! The streaming server: where exec, attach and port-forward connections end.
//!
//! CRI answers Exec, Attach and PortForward with a URL. It leads here, to a port on loopback, and carries a ticket that
//! is good for one use within a minute: knowing the port is not enough.

mod attach;
mod command;
mod forward;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use skiff_cri::v1;
use skiff_streaming::remote_command::Options;
use skiff_streaming::{port_forward, remote_command};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::container::Container;
use crate::engine::Engine;
use crate::sandbox::Sandbox;

/// How long a ticket is good (upstream: `cri-streaming/pkg/streaming/request_cache.go`).
const TICKET_LIFE: Duration = Duration::from_secs(60);
const MAX_TICKETS: usize = 1_000;
/// Pause after a failure to accept a connection, for example for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hands out tickets and serves their holders.
pub(crate) struct StreamServer {
    engine: Arc<Engine>,
    address: SocketAddr,
    tickets: Mutex<HashMap<String, Ticket>>,
}

struct Ticket {
    purpose: Purpose,
    issued: Instant,
}

/// What a ticket admits to.
enum Purpose {
    Exec { container: Arc<Container>, command: Vec<String>, options: Options },
    Attach { container: Arc<Container>, options: Options },
    PortForward { sandbox: Arc<Sandbox>, ports: Vec<u16> },
}

type HttpResponse = Response<Full<Bytes>>;

// === impl StreamServer ===

impl StreamServer {
    /// Listens on a free port of loopback until `shutdown`.
    pub(crate) async fn start(engine: Arc<Engine>, shutdown: CancellationToken) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Arc::new(Self { engine, address: listener.local_addr()?, tickets: Mutex::default() });
        tokio::spawn(Arc::clone(&server).serve(listener, shutdown));
        Ok(server)
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let Ok((socket, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Keystrokes and their echoes are small.
            let _ = socket.set_nodelay(true);
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = server.respond(request);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .with_upgrades();
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a streaming connection failed");
                }
            });
        }
    }

    fn respond(&self, mut request: Request<Incoming>) -> HttpResponse {
        let token = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let Some(purpose) = self.redeem(&token) else {
            let mut response = Response::new(Full::from("this URL has been used or has expired\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let engine = Arc::clone(&self.engine);
        let accepted = match purpose {
            Purpose::Exec { container, command, options } => {
                remote_command::accept(&mut request, options).map(|(response, pending)| {
                    tokio::spawn(command::run(engine, container, command, options.tty, pending));
                    response
                })
            }
            Purpose::Attach { container, options } => {
                remote_command::accept(&mut request, options).map(|(response, pending)| {
                    tokio::spawn(attach::run(container, pending));
                    response
                })
            }
            Purpose::PortForward { sandbox, ports } => {
                port_forward::accept(&mut request, &ports).map(|(response, pending)| {
                    tokio::spawn(forward::run(sandbox, pending));
                    response
                })
            }
        };
        accepted.unwrap_or_else(|refusal| *refusal)
    }

    fn redeem(&self, token: &str) -> Option<Purpose> {
        let ticket = self.tickets.lock().remove(token)?;
        (ticket.issued.elapsed() < TICKET_LIFE).then_some(ticket.purpose)
    }

    fn issue(&self, kind: &str, purpose: Purpose) -> Result<String, Status> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let mut tickets = self.tickets.lock();
        tickets.retain(|_, ticket| ticket.issued.elapsed() < TICKET_LIFE);
        if tickets.len() >= MAX_TICKETS {
            return Err(Status::resource_exhausted("maximum number of in-flight requests exceeded"));
        }
        tickets.insert(token.clone(), Ticket { purpose, issued: Instant::now() });
        Ok(format!("http://{}/{kind}/{token}", self.address))
    }

    /// A URL for running a command.
    pub(crate) fn exec(&self, request: v1::ExecRequest) -> Result<String, Status> {
        let container = self.running(&request.container_id)?;
        let options =
            Options { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, tty: request.tty };
        check(options)?;
        self.issue("exec", Purpose::Exec { container, command: request.cmd, options })
    }

    /// A URL for attaching to a container.
    pub(crate) fn attach(&self, request: v1::AttachRequest) -> Result<String, Status> {
        let container = self.running(&request.container_id)?;
        let options =
            Options { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, tty: request.tty };
        check(options)?;
        self.issue("attach", Purpose::Attach { container, options })
    }

    /// A URL for forwarding ports.
    pub(crate) fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String, Status> {
        let sandbox = self.engine.sandbox(&request.pod_sandbox_id)?;
        if !sandbox.ready() {
            return Err(Status::failed_precondition(format!("sandbox container {:?} is not running", sandbox.id)));
        }
        let ports = request.port.iter().map(|port| u16::try_from(*port).ok().filter(|port| *port > 0));
        let ports = ports.collect::<Option<Vec<u16>>>();
        let ports = ports.ok_or_else(|| Status::invalid_argument(format!("invalid ports {:?}", request.port)))?;
        self.issue("portforward", Purpose::PortForward { sandbox, ports })
    }

    fn running(&self, id: &str) -> Result<Arc<Container>, Status> {
        let container = self.engine.container(id)?;
        if container.running() {
            return Ok(container);
        }
        let state = container.state().as_str_name();
        Err(Status::failed_precondition(format!("container {id:?} is in state {state}")))
    }
}

/// What a client may ask for (upstream: `cri-streaming/pkg/streaming/server.go`, validateExecRequest).
fn check(options: Options) -> Result<(), Status> {
    if options.tty && options.stderr {
        return Err(Status::invalid_argument("tty and stderr cannot both be true"));
    }
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::invalid_argument("one of stdin, stdout, or stderr must be set"));
    }
    Ok(())
}
