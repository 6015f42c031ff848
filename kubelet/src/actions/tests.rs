//! Spec and observed state in, plan out.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::observed::ObservedSandbox;

#[derive(Default)]
struct Results {
    liveness: HashMap<String, Verdict>,
    startup: HashMap<String, Verdict>,
}

impl Verdicts for Results {
    fn liveness(&self, id: &str) -> Option<Verdict> {
        self.liveness.get(id).copied()
    }
    fn startup(&self, id: &str) -> Option<Verdict> {
        self.startup.get(id).copied()
    }
}

/// A pod whose spec is `spec`; containers get their name as image unless they have one.
fn pod(mut spec: Value) -> Pod {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let name = container["name"].clone();
            let fields = container.as_object_mut().expect("a container");
            fields.entry("image").or_insert(name);
        }
    }
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
    serde_json::from_value(pod).expect("a pod")
}

/// One sandbox and containers written as `name=state`, where state is `created`, `running`, `unknown`, an exit code or
/// `oom` (OOM-killed with code 0). The id of a container is its name.
fn observed(pod: &Pod, containers: &[&str]) -> ObservedPod {
    let sandbox = ObservedSandbox {
        id: "s0".into(),
        ready: true,
        host_network: pod.is_host_network(),
        ips: vec!["10.0.0.1".into()],
        ..Default::default()
    };
    let containers = containers.iter().map(|text| {
        let (name, state) = text.split_once('=').expect("name=state");
        let (_, spec) = pod.find_container(name).expect("a known container");
        let mut container = ObservedContainer {
            id: name.into(),
            name: name.into(),
            sandbox_id: "s0".into(),
            hash: container_hash(&spec),
            ..Default::default()
        };
        container.state = match state {
            "created" => ContainerState::Created,
            "running" => ContainerState::Running,
            "unknown" => ContainerState::Unknown,
            "oom" => {
                container.reason = "OOMKilled".into();
                ContainerState::Exited
            }
            code => {
                container.exit_code = code.parse().expect("an exit code");
                ContainerState::Exited
            }
        };
        container
    });
    ObservedPod { containers: containers.collect(), sandboxes: vec![sandbox] }
}

/// The plan in one line.
fn text(actions: &PodActions) -> String {
    let mut parts = Vec::new();
    if actions.kill_pod {
        parts.push("kill-pod".to_owned());
    }
    for kill in &actions.kill {
        parts.push(format!("kill {} ({})", kill.id, kill.message));
    }
    if actions.create_sandbox {
        parts.push(format!("sandbox #{}", actions.attempt));
    }
    for (what, list) in
        [("ephemeral", &actions.start_ephemeral), ("init", &actions.start_init), ("start", &actions.start)]
    {
        if !list.is_empty() {
            parts.push(format!("{what} {list:?}"));
        }
    }
    parts.join(", ")
}

fn check(spec: Value, containers: &[&str], expected: &str) {
    check_with(spec, containers, Results::default(), expected);
}

fn check_with(spec: Value, containers: &[&str], results: Results, expected: &str) {
    let pod = pod(spec);
    let observed = observed(&pod, containers);
    let actions = compute_pod_actions(&pod, &observed, &results);
    assert_eq!(text(&actions), expected, "with {containers:?}");
}

fn two(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]})
}

fn inits(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a"}],
        "initContainers": [{"name": "i0"}, {"name": "i1"}]})
}

fn sidecars_pod(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a"}], "initContainers": [
        {"name": "s0", "restartPolicy": "Always"},
        {"name": "i1"},
        {"name": "s2", "restartPolicy": "Always", "startupProbe": {}, "livenessProbe": {}}]})
}

fn failed(map: &str, id: &str) -> Results {
    let one = HashMap::from([(id.to_owned(), Verdict::Failure)]);
    match map {
        "liveness" => Results { liveness: one, ..Default::default() },
        _ => Results { startup: one, ..Default::default() },
    }
}

#[test]
fn a_new_pod_gets_a_sandbox_and_its_containers() {
    let nothing = ObservedPod::default();
    let plan = |spec| text(&compute_pod_actions(&pod(spec), &nothing, &Results::default()));
    assert_eq!(plan(two("Always")), "kill-pod, sandbox #0, start [0, 1]");
    assert_eq!(plan(inits("Always")), "kill-pod, sandbox #0, init [0]");
}

#[test]
fn a_lost_sandbox_is_replaced_unless_the_pod_is_over() {
    let plan = |spec, containers: &[&str]| {
        let pod = pod(spec);
        let mut observed = observed(&pod, containers);
        observed.sandboxes[0].ready = false;
        text(&compute_pod_actions(&pod, &observed, &Results::default()))
    };
    assert_eq!(plan(two("Always"), &["a=0", "b=1"]), "kill-pod, sandbox #1, start [0, 1]");
    assert_eq!(plan(two("OnFailure"), &["a=0", "b=1"]), "kill-pod, sandbox #1, start [1]");
    assert_eq!(plan(two("OnFailure"), &["a=0", "b=0"]), "kill-pod");
    assert_eq!(plan(two("Never"), &["a=1", "b=1"]), "kill-pod");
    assert_eq!(plan(two("Never"), &[]), "kill-pod, sandbox #1, start [0, 1]");
    assert_eq!(plan(inits("Always"), &["i0=0", "i1=0", "a=1"]), "kill-pod, sandbox #1, init [0]");
}

#[test]
fn sandboxes_that_do_not_fit_are_replaced() {
    let spec = pod(two("Always"));
    let base = observed(&spec, &["a=running", "b=running"]);
    let plan = |change: fn(&mut ObservedPod)| {
        let mut observed = base.clone();
        change(&mut observed);
        text(&compute_pod_actions(&spec, &observed, &Results::default()))
    };
    assert_eq!(plan(|_| {}), "");
    assert_eq!(plan(|o| o.sandboxes[0].host_network = true), "kill-pod, sandbox #1, start [0, 1]");
    assert_eq!(plan(|o| o.sandboxes[0].ips.clear()), "kill-pod, sandbox #1, start [0, 1]");
    let two_ready = plan(|o| o.sandboxes.push(o.sandboxes[0].clone()));
    assert_eq!(two_ready, "kill-pod, sandbox #1, start [0, 1]");
}

#[test]
fn containers_are_restarted_by_policy() {
    check(two("Always"), &["a=running", "b=running"], "");
    check(two("Always"), &["a=0", "b=running"], "start [0]");
    check(two("OnFailure"), &["a=0", "b=running"], "");
    check(two("OnFailure"), &["a=1", "b=running"], "start [0]");
    check(two("Never"), &["a=1", "b=running"], "");
    check(two("Never"), &["a=1", "b=0"], "kill-pod");
    check(two("Always"), &["a=created", "b=running"], "start [0]");
    check(
        two("Always"),
        &["a=unknown", "b=running"],
        "kill a (Container is in \"unknown\" state, try killing it before restart), start [0]",
    );
}

#[test]
fn container_rules_override_the_pod() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a", "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]});
    check(spec.clone(), &["a=42"], "start [0]");
    check(spec, &["a=1"], "kill-pod");
}

#[test]
fn a_deleted_pod_starts_nothing() {
    let mut deleted = pod(two("Always"));
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
    deleted.metadata.deletion_timestamp = Some(now);
    let observed = observed(&deleted, &["a=0", "b=running"]);
    let plan = compute_pod_actions(&deleted, &observed, &Results::default());
    assert_eq!(text(&plan), "");
}

#[test]
fn failed_probes_and_new_images_restart() {
    let running = ["a=running", "b=running"];
    check_with(
        two("Always"),
        &running,
        failed("liveness", "a"),
        "kill a (Container a failed liveness probe, will be restarted), start [0]",
    );
    check_with(two("Never"), &running, failed("startup", "b"), "kill b (Container b failed startup probe)");
    let spec = pod(two("Never"));
    let mut changed = observed(&spec, &running);
    changed.containers[0].hash = 1;
    assert_eq!(
        text(&compute_pod_actions(&spec, &changed, &Results::default())),
        "kill a (Container a definition changed, will be restarted), start [0]"
    );
}

#[test]
fn init_containers_run_one_after_the_other() {
    check(inits("Always"), &[], "init [0]");
    check(inits("Always"), &["i0=running"], "");
    check(inits("Always"), &["i0=0"], "init [1]");
    check(inits("Always"), &["i0=0", "i1=running"], "");
    check(inits("Always"), &["i0=0", "i1=0"], "start [0]");
    check(inits("Always"), &["i1=0", "a=running"], "");
    check(inits("Always"), &["a=running"], "");
    check(inits("Always"), &["i0=1"], "init [0]");
    check(inits("Never"), &["i0=1"], "kill-pod");
    check(inits("Never"), &["i0=oom"], "kill-pod");
    check(inits("OnFailure"), &["i0=0", "i1=3"], "init [1]");
    check(inits("Always"), &["i0=created"], "init [0]");
    check(inits("Never"), &["i0=unknown"], "kill-pod");
}

#[test]
fn sidecars_start_in_order_and_stay() {
    check(sidecars_pod("Always"), &["s0=running"], "init [1]");
    check(sidecars_pod("Always"), &["s0=running", "i1=0"], "init [2]");
    // The last one waits for its startup probe.
    check(sidecars_pod("Always"), &["s0=running", "i1=0", "s2=running"], "");
    let started = || Results { startup: HashMap::from([("s2".to_owned(), Verdict::Success)]), ..Default::default() };
    let up = ["s0=running", "i1=0", "s2=running"];
    check_with(sidecars_pod("Always"), &up, started(), "start [0]");
    check_with(
        sidecars_pod("Always"),
        &up,
        failed("startup", "s2"),
        "kill s2 (Init container s2 failed startup probe), init [2]",
    );
    // A sidecar that ended comes back, also before initialization is over.
    check(sidecars_pod("Always"), &["s0=1", "i1=running"], "init [0]");
    check_with(sidecars_pod("Always"), &["s0=1", "i1=0", "s2=running", "a=running"], started(), "init [0]");
    let both = Results { liveness: HashMap::from([("s2".to_owned(), Verdict::Failure)]), ..started() };
    check_with(
        sidecars_pod("Always"),
        &["s0=running", "i1=0", "s2=running", "a=running"],
        both,
        "kill s2 (Init container s2 failed liveness probe), init [2]",
    );
}

#[test]
fn sidecars_do_not_keep_a_finished_pod() {
    let started = Results { startup: HashMap::from([("s2".to_owned(), Verdict::Success)]), ..Default::default() };
    let containers = ["s0=1", "i1=0", "s2=running", "a=0"];
    check_with(sidecars_pod("Never"), &containers, started, "kill-pod");
}

#[test]
fn ephemeral_containers_start_once() {
    let spec = json!({"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "e"}]});
    check(spec.clone(), &["a=running"], "ephemeral [0]");
    check(spec.clone(), &["a=running", "e=running"], "");
    check(spec, &["a=running", "e=0"], "");
}
