//! What the restricted level asks for beyond the baseline.

use std::collections::BTreeSet;

use skiff_apimachinery::value::Value;

use super::checks::{PodView, Violation, adding_capabilities, containers, explicit_seccomp, name, quoted, setters};
use super::policy::Version;

pub(super) fn violations(pod: PodView<'_>, version: Version, all: &mut Vec<Violation>) {
    let since = |minor: u32| version.is_at_least(minor);
    // Pods for Windows cannot set what these ask for.
    let exempt = since(25) && pod.is_windows();
    if since(8) && !exempt {
        all.extend(privilege_escalation(pod));
    }
    if since(22) && !exempt {
        all.extend(capabilities(pod));
    }
    all.extend(volumes(pod));
    let relaxed = since(35) && pod.has_user_namespace();
    if !relaxed {
        all.extend(run_as_non_root(pod));
        if since(23) {
            all.extend(run_as_user(pod));
        }
    }
    if since(19) && !exempt {
        all.extend(seccomp(pod));
    }
}

fn privilege_escalation(pod: PodView<'_>) -> Option<Violation> {
    let names = pod.containers_that(|c| c.bool_at(&["securityContext", "allowPrivilegeEscalation"]) != Some(false));
    (!names.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names)),
    })
}

fn capabilities(pod: PodView<'_>) -> Option<Violation> {
    let drops_all = |container: &Value| {
        let dropped = container.array_at(&["securityContext", "capabilities", "drop"]);
        dropped.iter().any(|capability| capability.as_str() == Some("ALL"))
    };
    let keeping = pod.containers_that(|container| !drops_all(container));
    let (adding, added) = adding_capabilities(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !adding.is_empty() {
        let added = quoted(added);
        details.push(format!("{} must not include {added} in securityContext.capabilities.add", containers(&adding)));
    }
    (!details.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}

fn volumes(pod: PodView<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    const NAMED: [&str; 21] = [
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "gitRepo",
        "glusterfs",
        "hostPath",
        "iscsi",
        "nfs",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
        "vsphereVolume",
    ];
    let has = |volume: &Value, kinds: &[&'static str]| kinds.iter().copied().find(|kind| volume.get(kind).is_some());
    let bad = pod.spec.array_at(&["volumes"]).iter().filter(|volume| has(volume, &ALLOWED).is_none());
    let bad = bad.collect::<Vec<_>>();
    let kinds = bad.iter().map(|volume| has(volume, &NAMED).unwrap_or("unknown")).collect::<BTreeSet<_>>();
    let (volumes, uses) = if bad.len() == 1 { ("volume", "uses") } else { ("volumes", "use") };
    let what = if kinds.len() == 1 { "restricted volume type" } else { "restricted volume types" };
    let names = quoted(bad.iter().map(|volume| name(volume)));
    (!bad.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!("{volumes} {names} {uses} {what} {}", quoted(kinds)),
    })
}

fn run_as_non_root(pod: PodView<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let set = |object: &Value| object.bool_at(&["securityContext", "runAsNonRoot"]);
    let explicit = pod.containers_that(|container| set(container) == Some(false));
    if let Some(who) = setters(set(pod.spec) == Some(false), &explicit) {
        return Some(Violation {
            reason: REASON,
            detail: format!("{who} must not set securityContext.runAsNonRoot=false"),
        });
    }
    let implicit = pod.containers_that(|container| set(container).is_none() && set(pod.spec) != Some(true));
    (!implicit.is_empty()).then(|| Violation {
        reason: REASON,
        detail: format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit)),
    })
}

fn run_as_user(pod: PodView<'_>) -> Option<Violation> {
    let root = |object: &Value| object.i64_at(&["securityContext", "runAsUser"]) == Some(0);
    let who = setters(root(pod.spec), &pod.containers_that(root))?;
    Some(Violation { reason: "runAsUser=0", detail: format!("{who} must not set runAsUser=0") })
}

fn seccomp(pod: PodView<'_>) -> Option<Violation> {
    if let Some(violation) = explicit_seccomp(pod) {
        return Some(violation);
    }
    let set = |object: &Value| object.at(&["securityContext", "seccompProfile"]).is_some();
    let implicit = pod.containers_that(|container| !set(container) && !set(pod.spec));
    (!implicit.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&implicit)
        ),
    })
}
