//! Forwarded ports: connections made inside the pod's network namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skiff_netlink::netns;
use skiff_streaming::port_forward::{Forward, Pending};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::blocking;
use crate::sandbox::Sandbox;

/// How long a connection within the pod may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may go on sending after the pod's side has ended.
const LINGER: Duration = Duration::from_millis(200);

/// Forwards until the client goes away.
pub(super) async fn run(sandbox: Arc<Sandbox>, pending: Pending) {
    let mut client = match pending.connect().await {
        Ok(client) => client,
        Err(error) => return tracing::debug!(%error, "a port-forward did not connect"),
    };
    while let Some(forward) = client.next().await {
        tokio::spawn(serve(Arc::clone(&sandbox), forward));
    }
}

async fn serve(sandbox: Arc<Sandbox>, forward: Forward) {
    let Forward { port, data, error } = forward;
    let namespace = sandbox.network_namespace();
    let outcome = match blocking(move || connect(namespace, port)).await.and_then(TcpStream::from_std) {
        Ok(connection) => {
            relay(data, connection).await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => error.finish().await,
        Err(failure) => {
            let metadata = sandbox.config.metadata.as_ref();
            let uid = metadata.map(|metadata| metadata.uid.as_str()).unwrap_or_default();
            let id = &sandbox.id;
            error.fail(&format!("error forwarding port {port} to pod {id}, uid {uid}: {failure}")).await;
        }
    }
}

/// Passes bytes both ways until the pod's side has ended. A connection that one side breaks off has still been forwarded.
///
/// A client that has ended may still be answered; but kubectl up to 1.31 ends its side only after it has been told that
/// the pod's side has.
async fn relay<T: AsyncRead + AsyncWrite>(data: T, connection: TcpStream) {
    let (mut from_client, mut to_client) = tokio::io::split(data);
    let (mut from_pod, mut to_pod) = connection.into_split();
    let upload = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_pod).await;
        let _ = to_pod.shutdown().await;
    };
    let download = async {
        let _ = tokio::io::copy(&mut from_pod, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(upload, download);
    tokio::select! {
        () = &mut upload => download.await,
        () = &mut download => drop(tokio::time::timeout(LINGER, upload).await),
    }
}

/// Connects to the pod's loopback, where port-forward leads, from inside its namespace. Blocks.
fn connect(namespace: Option<PathBuf>, port: u16) -> io::Result<StdStream> {
    let dial = || {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let connected = StdStream::connect_timeout(&v4, CONNECT_TIMEOUT)
            .or_else(|first| StdStream::connect_timeout(&v6, CONNECT_TIMEOUT).map_err(|_| first));
        connected.map_err(|error| {
            let text = format!("failed to connect to localhost:{port} inside the pod's network namespace: {error}");
            io::Error::new(error.kind(), text)
        })
    };
    let stream = match namespace {
        Some(namespace) => netns::run_in(&namespace, dial).map_err(io::Error::other)??,
        None => dial()?,
    };
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
