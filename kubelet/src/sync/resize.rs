//! Granting changes of a pod's resources and carrying them out (upstream: `kuberuntime_manager.go`, doPodResizeAction).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use skiff_cri::v1;

use super::PodMemory;
use crate::actions::PodActions;
use crate::admission::Resize;
use crate::context::{Context, now};
use crate::labels::{CONTAINER_NAME, POD_UID};
use crate::observed::ObservedPod;
use crate::pod::PodExt;
use crate::resize::conditions::Told;
use crate::resize::plan::{Knobs, Update, is_in_progress};
use crate::spec::resources::pod_resources;

/// Lets the node grant what a pod asks for; answers the pod with what it has been given.
pub(super) fn allocate(ctx: &Context, pod: &Arc<Pod>, observed: &ObservedPod, memory: &mut PodMemory) -> Arc<Pod> {
    if !memory.admitted {
        return pod.clone();
    }
    let (given, outcome) = ctx.admission.resize(pod, &ctx.offer());
    match outcome {
        Resize::None => memory.resize.not_pending(),
        Resize::Granted => tell(ctx, pod, Some(memory.resize.granted(&given, now()))),
        Resize::Deferred(message) => tell(ctx, pod, memory.resize.deferred(pod, &message, now())),
    }
    if is_in_progress(&given, observed) {
        memory.resize.still_in_progress(&given, now());
    } else {
        tell(ctx, pod, memory.resize.completed(&given));
    }
    given
}

fn tell(ctx: &Context, pod: &Pod, told: Option<Told>) {
    match told {
        Some(told) if told.warning => ctx.events.pod_warning(pod, told.reason, told.message),
        Some(told) => ctx.events.pod(pod, told.reason, told.message),
        None => {}
    }
}

/// Whether the pod's cgroup or a container's knobs have to change.
pub(super) fn is_needed(pod: &Pod, actions: &PodActions, memory: &PodMemory) -> bool {
    !actions.resize.is_empty() || memory.cgroup.is_some_and(|knobs| knobs != Knobs::of(&pod_resources(pod)))
}

/// Changes the knobs of the pod and of its containers. The pod's cgroup is made wide enough for both the old and the new
/// ones first, and cut to what was given at the end. An error has been told; the rest is tried again.
pub(super) async fn carry_out(
    ctx: &Context,
    pod: &Arc<Pod>,
    updates: &[Update],
    memory: &mut PodMemory,
) -> Result<(), ()> {
    let done = change(ctx, pod, updates, memory).await;
    done.map_err(|message| {
        tracing::warn!(pod = %pod.display(), %message, "cannot resize the pod, will retry");
        tell(ctx, pod, memory.resize.failed(pod, &message, now()));
    })
}

async fn change(ctx: &Context, pod: &Arc<Pod>, updates: &[Update], memory: &mut PodMemory) -> Result<(), String> {
    let given = Knobs::of(&pod_resources(pod));
    let had = memory.cgroup.unwrap_or(given);
    let takes_memory = had.takes_memory(given) || updates.iter().any(|update| update.from.takes_memory(update.to));
    if takes_memory {
        let stats = ctx
            .runtime
            .container_stats()
            .await
            .map_err(|_| format!("unable to read memory usage for pod {:?}", pod.display()))?;
        check_memory(pod.uid(), had, given, updates, &stats)?;
    }
    set_cgroup(ctx, pod, had.widest(given), memory).await?;
    for update in updates {
        let asked = ctx.runtime.update_resources(&update.id, update.to.request()).await;
        asked.map_err(|error| error.to_string())?;
        memory.asked.insert(update.id.clone(), update.to);
    }
    set_cgroup(ctx, pod, given, memory).await
}

async fn set_cgroup(ctx: &Context, pod: &Arc<Pod>, knobs: Knobs, memory: &mut PodMemory) -> Result<(), String> {
    let Some(cgroups) = ctx.cgroups.clone().filter(|_| memory.cgroup.is_some_and(|had| had != knobs)) else {
        return Ok(());
    };
    let pod = pod.clone();
    let done = tokio::task::spawn_blocking(move || cgroups.ensure_pod(&pod, &knobs.request())).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    memory.cgroup = Some(knobs);
    Ok(())
}

/// Refuses memory limits below what is in use: the kernel would end processes to reach them.
fn check_memory(
    uid: &str,
    had: Knobs,
    given: Knobs,
    updates: &[Update],
    stats: &[v1::ContainerStats],
) -> Result<(), String> {
    let used = |stats: &v1::ContainerStats| {
        stats.memory.as_ref().and_then(|memory| memory.usage_bytes.as_ref()).map_or(0, |usage| usage.value)
    };
    let label = |stats: &v1::ContainerStats, key: &str| {
        stats.attributes.as_ref().and_then(|attributes| attributes.labels.get(key).cloned()).unwrap_or_default()
    };
    let of_pod: Vec<&v1::ContainerStats> = stats.iter().filter(|stats| label(stats, POD_UID) == uid).collect();
    let mut errors = Vec::new();
    let total: u64 = of_pod.iter().map(|stats| used(stats)).sum();
    let limit = |knobs: Knobs| u64::try_from(knobs.memory_limit).unwrap_or(0);
    if had.takes_memory(given) && total >= limit(given) {
        errors.push(format!("attempting to set pod memory limit ({}) below current usage ({total})", limit(given)));
    }
    for update in updates.iter().filter(|update| update.from.takes_memory(update.to)) {
        let Some(stats) = of_pod.iter().find(|stats| label(stats, CONTAINER_NAME) == update.name) else { continue };
        if used(stats) >= limit(update.to) {
            errors.push(format!(
                "attempting to set container {:?} memory limit ({}) below current usage ({})",
                update.name,
                limit(update.to),
                used(stats)
            ));
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("cannot decrease memory limits: {one}")),
        many => Err(format!("cannot decrease memory limits: [{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(uid: &str, name: &str, bytes: u64) -> v1::ContainerStats {
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                labels: [(POD_UID.to_owned(), uid.to_owned()), (CONTAINER_NAME.to_owned(), name.to_owned())].into(),
                ..Default::default()
            }),
            memory: Some(v1::MemoryUsage { usage_bytes: Some(v1::UInt64Value { value: bytes }), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn memory_in_use_is_not_taken() {
        let limit = |bytes| Knobs { memory_limit: bytes, ..Knobs::default() };
        let update = |from, to| Update { id: "i".into(), name: "c".into(), from: limit(from), to: limit(to) };
        let stats = [stats("u", "c", 50), stats("u", "d", 20), stats("other", "c", 1000)];
        let check = |had, given, updates: &[Update]| check_memory("u", limit(had), limit(given), updates, &stats);
        assert_eq!(check(200, 100, &[update(100, 60)]), Ok(()));
        assert_eq!(check(200, 200, &[update(40, 45)]), Ok(()), "it grows");
        assert_eq!(
            check(200, 200, &[update(100, 50)]).expect_err("refused"),
            "cannot decrease memory limits: attempting to set container \"c\" memory limit (50) below current usage (50)"
        );
        let both = check(0, 70, &[update(0, 40)]).expect_err("refused");
        assert!(both.starts_with("cannot decrease memory limits: [attempting to set pod memory limit (70)"), "{both}");
    }
}
