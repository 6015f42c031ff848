//! Pods, workloads and namespaces at each level.

use skiff_apimachinery::value;

use super::super::testing::{Case, Fixture};
use super::policy::Version;
use super::*;

const BASELINE: LevelVersion = LevelVersion { level: Level::Baseline, version: Version::Latest };
const RESTRICTED: LevelVersion = LevelVersion { level: Level::Restricted, version: Version::Latest };

/// A pod that every level allows.
fn good() -> Value {
    value!({
        "metadata": {"name": "p", "namespace": "demo"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "a", "image": "i",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}
            }],
            "volumes": [{"name": "v", "emptyDir": {}}]
        }
    })
}

fn with(path: &[&str], value: Value) -> Value {
    let mut pod = good();
    pod.set_at(path, value);
    pod
}

/// The good pod with fields of its container set.
fn with_container(path: &[&str], value: Value) -> Value {
    let mut pod = good();
    if let Some(container) = pod.get_mut("spec").and_then(|s| s.get_mut("containers")).and_then(Value::as_array_mut) {
        container[0].set_at(path, value);
    }
    pod
}

fn check(pod: &Value, policy: LevelVersion) -> String {
    details(&violations(pod_of(pod).expect("a pod"), policy))
}

#[test]
fn the_baseline_keeps_pods_from_the_host() {
    assert_eq!(check(&good(), BASELINE), "");
    let cases = [
        (with(&["spec", "hostNetwork"], true.into()), "host namespaces (hostNetwork=true)"),
        (
            with(&["spec", "volumes"], value!([{"name": "v", "hostPath": {"path": "/"}}])),
            "hostPath volumes (volume \"v\")",
        ),
        (
            with_container(&["securityContext", "privileged"], true.into()),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            with_container(&["securityContext", "capabilities", "add"], value!(["NET_RAW", "CHOWN"])),
            "non-default capabilities (container \"a\" must not include \"NET_RAW\" in securityContext.capabilities.add)",
        ),
        (
            with_container(&["ports"], value!([{"hostPort": 80}, {"hostPort": 443}, {"hostPort": 0}])),
            "hostPort (container \"a\" uses hostPorts 443, 80)",
        ),
        (
            with_container(&["livenessProbe", "httpGet", "host"], "example.com".into()),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"example.com\")",
        ),
        (
            with_container(&["securityContext", "procMount"], "Unmasked".into()),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            with(&["spec", "securityContext", "seLinuxOptions"], value!({"type": "spc_t", "user": "u"})),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            with_container(&["securityContext", "seccompProfile", "type"], "Unconfined".into()),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            with(
                &["spec", "securityContext", "sysctls"],
                value!([{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]),
            ),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            with(&["spec", "securityContext", "appArmorProfile", "type"], "Unconfined".into()),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            with(&["spec", "securityContext", "windowsOptions", "hostProcess"], true.into()),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(check(&pod, BASELINE), expected);
    }
}

#[test]
fn the_restricted_level_wants_it_said() {
    assert_eq!(check(&good(), RESTRICTED), "");
    let bare = value!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    assert_eq!(
        check(&bare, RESTRICTED),
        "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let cases = [
        (
            with(&["spec", "volumes"], value!([{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}])),
            "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            with_container(&["securityContext", "runAsUser"], 0.into()),
            "runAsUser=0 (container \"a\" must not set runAsUser=0)",
        ),
        (
            with(&["spec", "securityContext", "runAsNonRoot"], false.into()),
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
        ),
        (
            with_container(&["securityContext", "capabilities", "add"], value!(["CHOWN"])),
            "unrestricted capabilities (container \"a\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(check(&pod, RESTRICTED), expected);
    }
    // Root in a user namespace is nobody outside.
    let mut own_users = with_container(&["securityContext", "runAsUser"], 0.into());
    own_users.set_at(&["spec", "hostUsers"], false);
    assert_eq!(check(&own_users, RESTRICTED), "");
    let older = LevelVersion { level: Level::Restricted, version: Version::Minor(34) };
    assert_eq!(check(&own_users, older), "runAsUser=0 (container \"a\" must not set runAsUser=0)");
}

fn namespace(fixture: &Fixture, labels: Value) {
    fixture.put("", "namespaces", value!({"metadata": {"name": "demo", "labels": labels}}));
}

fn label(mode: &str) -> String {
    format!("pod-security.kubernetes.io/{mode}")
}

fn labels(pairs: &[(&str, &str)]) -> Value {
    let mut labels = value!({});
    for (mode, text) in pairs {
        labels.set_at(&[&label(mode)], *text);
    }
    labels
}

#[tokio::test]
async fn pods_are_refused_and_workloads_warned_about() {
    let fixture = Fixture::new();
    let plugin = PodSecurity::new(fixture.objects());
    let bad = with(&["spec", "hostNetwork"], true.into());
    namespace(&fixture, labels(&[]));
    assert!(Case::create("", "pods", "demo", bad.clone()).admit(&plugin).await.is_ok());
    namespace(&fixture, labels(&[("enforce", "baseline"), ("enforce-version", "v1.30")]));
    let refused =
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true)";
    assert_eq!(Case::create("", "pods", "demo", bad.clone()).admit(&plugin).await, Err((403, refused.into())));
    assert!(Case::create("", "pods", "demo", good()).admit(&plugin).await.is_ok());
    // What was let in may change its labels, not its images.
    let mut relabeled = bad.clone();
    relabeled.set_at(&["metadata", "labels"], value!({"a": "b"}));
    assert!(Case::update("", "pods", "demo", bad.clone(), relabeled).admit(&plugin).await.is_ok());
    let mut reimaged = bad.clone();
    reimaged.set_at(&["spec", "containers"], value!([{"name": "a", "image": "other"}]));
    assert!(Case::update("", "pods", "demo", bad.clone(), reimaged).admit(&plugin).await.is_err());
    // Whoever enforces is warned about workloads, too.
    let deployment = value!({"metadata": {"name": "d"}, "spec": {"template": (bad)}});
    let mut case = Case::create("apps", "deployments", "demo", deployment);
    case.run(&plugin, true).await.expect("only a warning");
    assert_eq!(case.warnings, ["would violate PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true)"]);
}

#[tokio::test]
async fn namespaces_have_valid_levels() {
    let fixture = Fixture::new();
    let plugin = PodSecurity::new(fixture.objects());
    let object = |labels: Value| value!({"metadata": {"name": "demo", "labels": labels}});
    let create = |labels: Value| Case::create("", "namespaces", "", object(labels));
    assert!(create(labels(&[("enforce", "restricted"), ("warn-version", "latest")])).admit(&plugin).await.is_ok());
    let bad = labels(&[("enforce", "strict"), ("audit-version", "v1.05")]);
    let refused = create(bad.clone()).admit(&plugin).await;
    let message = "Namespace \"demo\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \
                   \"strict\": must be one of privileged, baseline, restricted, \
                   metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.05\": must be \
                   \"latest\" or \"v1.x\"]";
    assert_eq!(refused, Err((422, message.into())));
    // What was wrong before may stay, or nobody could delete it.
    let unchanged = Case::update("", "namespaces", "", object(bad.clone()), object(bad));
    assert!(unchanged.admit(&plugin).await.is_ok());

    for (name, network) in [("p1", true), ("p2", true), ("p3", false)] {
        let mut pod = with(&["spec", "hostNetwork"], network.into());
        pod.set_at(&["metadata", "name"], name);
        fixture.put("", "pods", pod);
    }
    let mut tighten =
        Case::update("", "namespaces", "", object(labels(&[])), object(labels(&[("enforce", "baseline")])));
    tighten.run(&plugin, true).await.expect("only warnings");
    assert_eq!(
        tighten.warnings,
        [
            "existing pods in namespace \"demo\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "p1 (and 1 other pod): host namespaces"
        ]
    );
}
