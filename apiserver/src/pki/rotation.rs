//! Certificates stay valid in a server that is never restarted.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::{Pki, SERVING};
use crate::authentication::Clock;

/// How often expiry is looked at: a leaf has months left when its last third begins.
const PERIOD: Duration = Duration::from_secs(12 * 3600);

/// Renews what is about to expire until shutdown, and gives new connections the new serving certificate.
pub async fn keep_current(pki: Arc<Pki>, tls: Arc<ArcSwap<ServerConfig>>, clock: Clock, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let (pki, tls, now) = (pki.clone(), tls.clone(), clock());
        // Files are synced to disk on the way.
        let renewed = tokio::task::spawn_blocking(move || {
            let renewed = pki.renew(now)?;
            if renewed.iter().any(|stem| stem == SERVING) {
                tls.store(Arc::new(pki.server_config()?));
            }
            Ok::<_, super::PkiError>(renewed)
        });
        match renewed.await {
            Ok(Ok(renewed)) if renewed.is_empty() => {}
            Ok(Ok(renewed)) => tracing::info!(certificates = ?renewed, "renewed certificates"),
            // The old ones are good for months; the next round tries again.
            Ok(Err(error)) => tracing::error!(%error, "cannot renew certificates"),
            Err(error) => tracing::error!(%error, "cannot renew certificates"),
        }
    }
}
