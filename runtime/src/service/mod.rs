//! CRI over a unix socket: translation between requests and the engine.

mod images;
mod runtime;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use skiff_cri::MAX_MESSAGE_SIZE;
use skiff_cri::extension::image_import_server::ImageImportServer;
use skiff_cri::v1::image_service_server::ImageServiceServer;
use skiff_cri::v1::runtime_service_server::RuntimeServiceServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::config::Config;
use crate::engine::Engine;
use crate::files::{create_private_dir, remove_file};
use crate::options::Options;
use crate::stats::StatsCache;
use crate::streams::StreamServer;

/// How long calls may take to end at a shutdown. Streams of events never end by themselves.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The services of one runtime. Clones share everything.
#[derive(Clone)]
pub(crate) struct Service {
    engine: Arc<Engine>,
    stats: Arc<StatsCache>,
    streams: Arc<StreamServer>,
}

/// Serves CRI until `shutdown`. Containers go on running afterwards, and another run takes them over.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Fails if the program installed one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let socket = config.socket.clone();
    let engine = Engine::open(config).await.context("the container runtime cannot start")?;
    if let Some(parent) = socket.parent() {
        create_private_dir(parent)?;
    }
    // A socket that is left over answers nobody; two runtimes on the same folders are kept apart by a lock.
    remove_file(&socket)?;
    let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    tracing::info!(socket = %socket.display(), "the container runtime serves CRI");

    let streams = StreamServer::start(Arc::clone(&engine), shutdown.clone())
        .await
        .context("the streaming server cannot start")?;
    let service = Service { engine, stats: Arc::default(), streams };
    let serving = Server::builder()
        .add_service(
            RuntimeServiceServer::new(service.clone())
                .max_decoding_message_size(MAX_MESSAGE_SIZE)
                .max_encoding_message_size(MAX_MESSAGE_SIZE),
        )
        .add_service(
            ImageServiceServer::new(service.clone())
                .max_decoding_message_size(MAX_MESSAGE_SIZE)
                .max_encoding_message_size(MAX_MESSAGE_SIZE),
        )
        .add_service(ImageImportServer::new(service).max_decoding_message_size(MAX_MESSAGE_SIZE))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.clone().cancelled_owned());
    let patience = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    let served = tokio::select! {
        served = serving => served,
        () = patience => Ok(()),
    };
    remove_file(&socket)?;
    served.context("the CRI server failed")
}

/// Runs as a program of its own, until SIGTERM or SIGINT.
pub async fn run_alone(options: Options) -> anyhow::Result<()> {
    let cleanup = options.cleanup;
    let config = options.config();
    if cleanup {
        return crate::cleanup_all(&config).await;
    }
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        signalled.cancel();
    });
    run(config, shutdown).await
}
