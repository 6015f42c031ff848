//! Serving the fake runtime: on a unix socket or through memory.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::service_fn;

use super::FakeRuntime;
use crate::client::base_endpoint;
use crate::v1::image_service_server::ImageServiceServer;
use crate::v1::runtime_service_server::RuntimeServiceServer;
use crate::{Client, MAX_MESSAGE_SIZE};

/// Bytes in flight per direction of the in-memory connection.
const DUPLEX_BUFFER: usize = 64 * 1024;
/// In-memory connections waiting to be accepted.
const PENDING_CONNECTIONS: usize = 8;

/// A fake runtime served on a socket; dropping it stops the server.
pub struct Served {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeRuntime {
    /// Serves CRI on a unix socket at `path` until the answer is dropped.
    pub async fn serve(&self, path: &Path) -> std::io::Result<Served> {
        let incoming = UnixListenerStream::new(UnixListener::bind(path)?);
        let router = self.router();
        let task = tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::warn!(%error, "the fake runtime stopped serving");
            }
        });
        Ok(Served { task })
    }

    /// A client connected through memory. The server lives as long as the client.
    pub async fn connect(&self) -> Result<Client, tonic::transport::Error> {
        let (connections, accept) = mpsc::channel::<DuplexStream>(PENDING_CONNECTIONS);
        let incoming = ReceiverStream::new(accept).map(Ok::<_, std::io::Error>);
        tokio::spawn(self.router().serve_with_incoming(incoming));
        let connector = service_fn(move |_| {
            let connections = connections.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(DUPLEX_BUFFER);
                connections.send(theirs).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        Ok(Client::from_channel(base_endpoint().connect_with_connector(connector).await?))
    }

    fn router(&self) -> Router {
        Server::builder()
            .add_service(
                RuntimeServiceServer::new(self.clone())
                    .max_decoding_message_size(MAX_MESSAGE_SIZE)
                    .max_encoding_message_size(MAX_MESSAGE_SIZE),
            )
            .add_service(
                ImageServiceServer::new(self.clone())
                    .max_decoding_message_size(MAX_MESSAGE_SIZE)
                    .max_encoding_message_size(MAX_MESSAGE_SIZE),
            )
    }
}
