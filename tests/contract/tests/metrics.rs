//! What our server tells Prometheus, against what kube-apiserver v1.36 does. Prints every difference.

use std::process::ExitCode;

use skiff_contract::facts::Facts;
use skiff_contract::metrics;
use skiff_contract::target::Target;

/// Metrics that are not here, each with the reason.
const ABSENT: [(&str, &str); 8] = [
    ("kubernetes_feature_enabled", "there are no feature gates"),
    ("workqueue_adds_total", "the server works without queues"),
    ("workqueue_depth", "the server works without queues"),
    ("workqueue_longest_running_processor_seconds", "the server works without queues"),
    ("workqueue_queue_duration_seconds", "the server works without queues"),
    ("workqueue_retries_total", "the server works without queues"),
    ("workqueue_unfinished_work_seconds", "the server works without queues"),
    ("workqueue_work_duration_seconds", "the server works without queues"),
];

#[tokio::main]
async fn main() -> ExitCode {
    match compare().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn compare() -> anyhow::Result<()> {
    let target = Target::from_environment().await?;
    let mut theirs = Facts::read("metrics")?;
    let mut ours = metrics::condense(&target).await?;
    theirs.0.retain(|name, _| ABSENT.iter().all(|(absent, _)| absent != name));
    // What kube-apiserver had nothing to tell about is no difference.
    ours.0.retain(|name, _| theirs.0.contains_key(name));
    let differences = theirs.differences(&ours);
    println!("{}", differences.join("\n"));
    println!("{} metrics compared, {} differences, {} absent", theirs.0.len(), differences.len(), ABSENT.len());
    anyhow::ensure!(differences.is_empty(), "the metrics are not those of kube-apiserver");
    Ok(())
}
