//! Noticing that something happened in the runtime: events where it offers them, and comparing lists at intervals
//! (upstream: `pkg/kubelet/pleg`). Only says which pods changed; workers look for themselves.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::labels::POD_UID;
use crate::pod_workers::PodWorkers;
use crate::runtime::Runtime;

/// How often lists are compared without events.
const RELIST: Duration = Duration::from_secs(1);
/// How often they are compared although there are events, in case one was lost.
const RELIST_WITH_EVENTS: Duration = Duration::from_secs(10);
/// Pause before events are asked for again after the stream broke.
const REOPEN: Duration = Duration::from_secs(1);

/// Pod UID and state of everything in the runtime, by id.
type Snapshot = HashMap<String, (String, i32)>;

/// Wakes workers until `shutdown`.
pub(crate) async fn run(runtime: Runtime, workers: PodWorkers, shutdown: CancellationToken) {
    let mut last: Option<Snapshot> = None;
    loop {
        let events = match runtime.events().await {
            Ok(events) => Some(events),
            Err(error) => {
                if !error.is_unimplemented() {
                    tracing::debug!(%error, "no events from the container runtime");
                }
                None
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = follow(&runtime, &workers, events, &mut last) => {}
        }
    }
}

/// Follows one stream of events to its end; without one, compares lists for a while.
async fn follow(
    runtime: &Runtime,
    workers: &PodWorkers,
    events: Option<tonic::Streaming<skiff_cri::v1::ContainerEventResponse>>,
    last: &mut Option<Snapshot>,
) {
    let Some(mut events) = events else {
        for _ in 0..30 {
            relist(runtime, workers, last).await;
            tokio::time::sleep(RELIST).await;
        }
        return;
    };
    let mut ticks = tokio::time::interval(RELIST_WITH_EVENTS);
    loop {
        tokio::select! {
            event = events.message() => match event {
                Ok(Some(event)) => wake_for(workers, &event),
                Ok(None) | Err(_) => {
                    tokio::time::sleep(REOPEN).await;
                    relist(runtime, workers, last).await;
                    return;
                }
            },
            _ = ticks.tick() => relist(runtime, workers, last).await,
        }
    }
}

fn wake_for(workers: &PodWorkers, event: &skiff_cri::v1::ContainerEventResponse) {
    let of_sandbox = event.pod_sandbox_status.as_ref().map(|sandbox| &sandbox.labels);
    let of_containers = event.containers_statuses.iter().map(|container| &container.labels);
    let uids: HashSet<&String> =
        of_sandbox.into_iter().chain(of_containers).filter_map(|labels| labels.get(POD_UID)).collect();
    for uid in uids {
        workers.wake(uid);
    }
}

async fn relist(runtime: &Runtime, workers: &PodWorkers, last: &mut Option<Snapshot>) {
    let (sandboxes, containers) = match tokio::try_join!(runtime.list_sandboxes(), runtime.list_containers()) {
        Ok(lists) => lists,
        Err(error) => {
            tracing::debug!(%error, "cannot list what the container runtime has");
            return;
        }
    };
    let uid = |labels: &HashMap<String, String>| labels.get(POD_UID).cloned().unwrap_or_default();
    let mut now = Snapshot::new();
    now.extend(sandboxes.into_iter().map(|s| (s.id, (uid(&s.labels), s.state))));
    now.extend(containers.into_iter().map(|c| (c.id, (uid(&c.labels), c.state))));
    if let Some(last) = last {
        for uid in changed(last, &now) {
            workers.wake(uid);
        }
    }
    *last = Some(now);
}

/// UIDs of pods for which something appeared, vanished or changed its state.
fn changed<'a>(last: &'a Snapshot, now: &'a Snapshot) -> HashSet<&'a str> {
    let differs = |a: &'a Snapshot, b: &'a Snapshot| {
        a.iter().filter(move |(id, state)| b.get(*id) != Some(state)).map(|(_, (uid, _))| uid.as_str())
    };
    differs(last, now).chain(differs(now, last)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_in_both_directions() {
        let snapshot = |entries: &[(&str, &str, i32)]| -> Snapshot {
            entries.iter().map(|(id, uid, state)| ((*id).to_owned(), ((*uid).to_owned(), *state))).collect()
        };
        let before = snapshot(&[("1", "same", 1), ("2", "changes", 1), ("3", "goes", 1)]);
        let after = snapshot(&[("1", "same", 1), ("2", "changes", 2), ("4", "comes", 0)]);
        let mut uids: Vec<&str> = changed(&before, &after).into_iter().collect();
        uids.sort();
        assert_eq!(uids, ["changes", "comes", "goes"]);
        assert!(changed(&before, &before).is_empty());
    }
}
