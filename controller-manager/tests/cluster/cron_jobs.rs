//! CronJobs: a Job when it is due, and the history of Jobs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_client::Clock;
use skiff_client::objects::PatchKind;
use skiff_client::types::Job;

use crate::cluster::{CRON_JOBS, Cluster, JOBS, NAMESPACE, eventually};

/// A clock that is ahead of the server's: what is made now and due in a moment is due at once.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now() + self.0
    }
}

/// How far the clock is ahead.
const AHEAD: Duration = Duration::from_secs(240);

/// Due once, halfway between the server's time and the controller's, and then not again for a year: however long the
/// test takes, no second Job comes.
fn tick() -> Value {
    let due = (jiff::Timestamp::now() + AHEAD / 2).to_zoned(jiff::tz::TimeZone::UTC);
    let schedule = format!("{} {} {} {} *", due.minute(), due.hour(), due.day(), due.month());
    json!({"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "timeZone": "Etc/UTC", "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": 0,
        "jobTemplate": {"metadata": {"labels": {"app": "tick"}}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "v1"}]}}}}}})
}

#[tokio::test]
async fn a_cron_job_starts_notes_and_clears_away_its_jobs() {
    let cluster = Cluster::start_with(|config| config.clock = Arc::new(Ahead(AHEAD))).await;
    cluster.create(&CRON_JOBS, tick()).await;
    let status = || async { cluster.get(&CRON_JOBS, "tick").await["status"].clone() };
    eventually("an active job", || async { status().await["active"].as_array().is_some_and(|jobs| jobs.len() == 1) })
        .await;
    let noted = status().await;
    let job = cluster.list::<Job>().await.remove(0);
    assert_eq!(noted["active"][0]["name"], job.metadata.name.as_str());
    assert_eq!(job.metadata.labels.get("app"), Some("tick"));
    let due: jiff::Timestamp = noted["lastScheduleTime"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(job.metadata.name, format!("tick-{}", due.as_second() / 60));

    // The pod succeeds: the Job is complete, is noted, and, as none is to be kept, goes.
    cluster.run_until("a pod", || async { cluster.pods().await.len() == 1 }).await;
    let pod = cluster.pods().await.remove(0).metadata.name;
    let done = json!({"status": {"phase": "Succeeded"}});
    let pods = cluster.json(&<skiff_client::types::Pod as skiff_client::Kind>::RESOURCE, NAMESPACE);
    pods.patch(&pod, "status", PatchKind::Merge, &done).await.expect("a success");
    eventually("no active job, a success, and no job", || async {
        let status = status().await;
        status["active"].is_null()
            && status["lastSuccessfulTime"].is_string()
            && cluster.get(&JOBS, &job.metadata.name).await.is_null()
    })
    .await;
}
