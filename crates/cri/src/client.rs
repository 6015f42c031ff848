//! Connecting to a CRI server over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::MAX_MESSAGE_SIZE;
use crate::extension::image_import_client::ImageImportClient;
use crate::extension::{ImportRequest, ImportedImage};
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;

/// How long one attempt to open the socket may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an archive per message, and messages on their way.
const CHUNK: usize = 1 << 20;
const QUEUED_CHUNKS: usize = 4;

/// Clients of every service on one CRI socket. Cheap to clone; all clones share one HTTP/2 connection, which is
/// opened again on the next call after the server went away.
#[derive(Clone, Debug)]
pub struct Client {
    /// Pods, containers, exec and stats.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub images: ImageServiceClient<Channel>,
    /// Import of image archives; only skiff-runtime serves it.
    pub import: ImageImportClient<Channel>,
}

/// Why a CRI endpoint could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Only unix sockets are spoken.
    #[error("unsupported CRI endpoint {0:?}: expected an absolute path or unix:///absolute/path")]
    Endpoint(String),
    /// The socket is missing or nobody answers on it.
    #[error("cannot connect to the container runtime at {path}: {source}")]
    Transport {
        /// The socket that was tried.
        path: PathBuf,
        /// What the transport said.
        source: tonic::transport::Error,
    },
}

/// The socket behind a `--container-runtime-endpoint` value: `unix:///path` or a bare absolute path.
pub fn socket_path(endpoint: &str) -> Result<PathBuf, ConnectError> {
    let path = Path::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    if !path.is_absolute() {
        return Err(ConnectError::Endpoint(endpoint.to_owned()));
    }
    Ok(path.to_owned())
}

// === impl Client ===

impl Client {
    /// Connects to `endpoint` and fails if nothing listens there.
    pub async fn connect(endpoint: &str) -> Result<Self, ConnectError> {
        let path = socket_path(endpoint)?;
        let connector = unix_connector(path.clone());
        let channel = base_endpoint()
            .connect_with_connector(connector)
            .await
            .map_err(|source| ConnectError::Transport { path, source })?;
        Ok(Self::from_channel(channel))
    }

    /// Like [`Client::connect`], but opens the socket on the first call. The runtime may start later.
    pub fn connect_lazy(endpoint: &str) -> Result<Self, ConnectError> {
        let connector = unix_connector(socket_path(endpoint)?);
        Ok(Self::from_channel(base_endpoint().connect_with_connector_lazy(connector)))
    }

    /// Sends an image archive (OCI layout or `docker save`, also compressed) to skiff-runtime. An image without a name
    /// in the archive gets `default_name`, if that is not empty.
    pub async fn import_archive(
        &self,
        mut archive: impl AsyncRead + Send + Unpin + 'static,
        default_name: &str,
    ) -> Result<Vec<ImportedImage>, Status> {
        let (chunks, sent) = mpsc::channel(QUEUED_CHUNKS);
        let default_name = default_name.to_owned();
        let reading = tokio::spawn(async move {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                (&mut archive).take(CHUNK as u64).read_to_end(&mut chunk).await?;
                let last = chunk.is_empty();
                let request = ImportRequest { chunk, default_name: default_name.clone() };
                // The server answers early if it does not like what it got; its answer tells why.
                if last || chunks.send(request).await.is_err() {
                    return Ok::<_, std::io::Error>(());
                }
            }
        });
        let answer = self.import.clone().import(ReceiverStream::new(sent)).await;
        if let Ok(Err(error)) = reading.await {
            return Err(Status::invalid_argument(format!("cannot read the archive: {error}")));
        }
        Ok(answer?.into_inner().images)
    }

    /// Clients over a channel that the caller made, for example in memory.
    pub fn from_channel(channel: Channel) -> Self {
        Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_SIZE)
                .max_encoding_message_size(MAX_MESSAGE_SIZE),
            images: ImageServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_SIZE)
                .max_encoding_message_size(MAX_MESSAGE_SIZE),
            import: ImageImportClient::new(channel).max_encoding_message_size(MAX_MESSAGE_SIZE),
        }
    }
}

/// The URI is never resolved: it only becomes the `:authority` of the requests.
pub(crate) fn base_endpoint() -> Endpoint {
    Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT)
}

fn unix_connector(
    path: PathBuf,
) -> impl tower::Service<
    Uri,
    Response = TokioIo<UnixStream>,
    Error = std::io::Error,
    Future = impl Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send,
> + Send
+ Clone
+ 'static {
    service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (input, expected) in [
            ("unix:///run/skiff/skiff/cri.sock", Some("/run/skiff/skiff/cri.sock")),
            ("/run/containerd/containerd.sock", Some("/run/containerd/containerd.sock")),
            ("tcp://127.0.0.1:1", None),
            ("cri.sock", None),
            ("", None),
        ] {
            assert_eq!(socket_path(input).ok(), expected.map(PathBuf::from), "{input}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let error = Client::connect("/nonexistent/cri.sock").await.expect_err("nobody listens");
        assert!(error.to_string().contains("/nonexistent/cri.sock"), "{error}");
    }
}
