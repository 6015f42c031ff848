//! Tasks that are to run as long as the process does.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pause before the first restart; doubled for every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between restarts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A task that ran this long starts with the first pause again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Runs what `make` makes until `shutdown`, and again after a pause whenever it fails or panics.
pub async fn keep_running<F>(name: &str, shutdown: &CancellationToken, mut make: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let problem = match tokio::spawn(make()).await {
            _ if shutdown.is_cancelled() => return,
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic.to_string(),
        };
        if started.elapsed() >= HEALTHY {
            pause = FIRST_PAUSE;
        }
        tracing::error!(component = name, problem, ?pause, "a component failed and is started again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_are_tried_again_with_growing_pauses() {
        let shutdown = CancellationToken::new();
        let runs = Arc::new(AtomicU32::new(0));
        let started = Instant::now();
        keep_running("test", &shutdown, || {
            let (run, shutdown) = (runs.fetch_add(1, Ordering::Relaxed), shutdown.clone());
            async move {
                match run {
                    0 => anyhow::bail!("first"),
                    1 => panic!("second"),
                    2 => Ok(()),
                    _ => {
                        shutdown.cancel();
                        Ok(())
                    }
                }
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 4);
        assert_eq!(started.elapsed(), FIRST_PAUSE * (1 + 2 + 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_forgives() {
        let shutdown = CancellationToken::new();
        let runs = Arc::new(AtomicU32::new(0));
        let mut starts = Vec::new();
        keep_running("test", &shutdown, || {
            starts.push(Instant::now());
            let (run, shutdown) = (runs.fetch_add(1, Ordering::Relaxed), shutdown.clone());
            async move {
                match run {
                    0 | 1 => anyhow::bail!("short"),
                    2 => {
                        tokio::time::sleep(HEALTHY).await;
                        anyhow::bail!("long")
                    }
                    _ => {
                        shutdown.cancel();
                        Ok(())
                    }
                }
            }
        })
        .await;
        assert_eq!(starts[3] - starts[2], HEALTHY + FIRST_PAUSE);
    }
}
