//! What the levels ask of a pod.
//!
//! Follows `k8s.io/pod-security-admission/policy/check_*.go`; the texts are what users grep for. Checks run in the order
//! of upstream's check ids, the baseline ones first.

use std::collections::BTreeSet;

use skiff_apimachinery::value::{Object, Value};

use super::policy::{Level, LevelVersion};
use super::restricted;

/// What a pod does that its level does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// E.g. `host namespaces`.
    pub(super) reason: &'static str,
    /// E.g. `hostNetwork=true`.
    pub(super) detail: String,
}

/// A pod, or the template of one.
#[derive(Clone, Copy)]
pub(super) struct PodView<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> PodView<'a> {
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| self.spec.array_at(&[list]))
    }

    pub(super) fn is_windows(self) -> bool {
        self.spec.str_at(&["os", "name"]) == Some("windows")
    }

    /// Whether root in the pod is nobody outside.
    pub(super) fn has_user_namespace(self) -> bool {
        self.spec.bool_at(&["hostUsers"]) == Some(false)
    }

    /// Names of the containers for which `bad` holds.
    pub(super) fn containers_that(self, bad: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| bad(container)).map(name).collect()
    }
}

pub(super) fn name(object: &Value) -> &str {
    object.str_at(&["name"]).unwrap_or("")
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", if names.len() == 1 { "container" } else { "containers" }, quoted(names))
}

/// `pod and containers "a", "b"`: who sets something, the pod or its containers.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".into()),
        (false, names) => Some(containers(names)),
        (true, names) => Some(format!("pod and {}", containers(names))),
    }
}

/// All that a pod violates of a level.
pub(super) fn violations(pod: PodView<'_>, policy: LevelVersion) -> Vec<Violation> {
    if policy.level == Level::Privileged {
        return Vec::new();
    }
    let restricted = policy.level == Level::Restricted;
    let since = |minor: u32| policy.version.is_at_least(minor);
    // Each with whether it applies: some baseline checks have a stricter one in their place.
    let baseline: [(bool, Option<Violation>); 12] = [
        (true, app_armor(pod)),
        (!(restricted && since(22)), capabilities(pod)),
        (true, host_namespaces(pod)),
        (!restricted, host_path_volumes(pod)),
        (true, host_ports(pod)),
        (since(34), probe_hosts(pod)),
        (true, privileged(pod)),
        (true, proc_mount(pod, since(35) && !restricted)),
        (true, se_linux(pod, since(31))),
        (!(restricted && since(19)), seccomp(pod, since(19))),
        (true, sysctls(pod, policy)),
        (true, host_process(pod)),
    ];
    let mut all = baseline.into_iter().filter_map(|(applies, violation)| violation.filter(|_| applies)).collect();
    if restricted {
        restricted::violations(pod, policy.version, &mut all);
    }
    all
}

fn app_armor(pod: PodView<'_>) -> Option<Violation> {
    const PATH: [&str; 3] = ["securityContext", "appArmorProfile", "type"];
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad = |profile: &str| !matches!(profile, "RuntimeDefault" | "Localhost");
    let mut values = BTreeSet::new();
    let mut bad_at = |object: &Value| {
        let profile = object.str_at(&PATH).filter(|profile| bad(profile));
        values.extend(profile.map(str::to_owned));
        profile.is_some()
    };
    let of_pod = bad_at(pod.spec);
    let of_containers = pod.containers().filter(|c| bad_at(c)).map(name).collect::<Vec<_>>();
    let annotations = pod.metadata.at(&["annotations"]).and_then(Value::as_object);
    let annotations = annotations.into_iter().flat_map(Object::iter).filter_map(|(key, value)| {
        let value = value.as_str().unwrap_or("");
        let allowed = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        (key.starts_with(ANNOTATION) && !allowed).then(|| format!("{key}={value:?}"))
    });
    let annotations = annotations.collect::<Vec<_>>();
    let mut who = setters(of_pod, &of_containers).into_iter().collect::<Vec<_>>();
    match annotations.len() {
        0 => {}
        1 => who.push("annotation".into()),
        _ => who.push("annotations".into()),
    }
    let values = values.into_iter().chain(annotations).collect::<Vec<_>>();
    (!who.is_empty()).then(|| Violation {
        reason: if values.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" },
        detail: format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)),
    })
}

fn capabilities(pod: PodView<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (names, added) = adding_capabilities(pod, &ALLOWED);
    (!names.is_empty()).then(|| Violation {
        reason: "non-default capabilities",
        detail: format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&names),
            quoted(added)
        ),
    })
}

/// The containers that add capabilities other than the allowed ones, and which.
pub(super) fn adding_capabilities<'a>(pod: PodView<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut added = BTreeSet::new();
    let names = pod.containers().filter(|container| {
        let list = container.array_at(&["securityContext", "capabilities", "add"]).iter();
        let bad = list.filter_map(Value::as_str).filter(|c| !allowed.contains(c)).collect::<Vec<_>>();
        added.extend(bad.iter().copied());
        !bad.is_empty()
    });
    let names = names.map(name).collect();
    (names, added)
}

fn host_namespaces(pod: PodView<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|f| pod.spec.bool_at(&[f]) == Some(true));
    let detail = shared.map(|field| format!("{field}=true")).collect::<Vec<_>>().join(", ");
    (!detail.is_empty()).then_some(Violation { reason: "host namespaces", detail })
}

fn host_path_volumes(pod: PodView<'_>) -> Option<Violation> {
    let volumes = pod.spec.array_at(&["volumes"]).iter().filter(|v| v.get("hostPath").is_some()).map(name);
    let volumes = volumes.collect::<Vec<_>>();
    (!volumes.is_empty()).then(|| Violation {
        reason: "hostPath volumes",
        detail: format!("{} {}", if volumes.len() == 1 { "volume" } else { "volumes" }, quoted(volumes)),
    })
}

fn host_ports(pod: PodView<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = pod.containers().filter(|container| {
        let used = container.array_at(&["ports"]).iter().filter_map(|p| p.i64_at(&["hostPort"])).filter(|p| *p != 0);
        let used = used.map(|port| port.to_string()).collect::<Vec<_>>();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    let names = names.map(name).collect::<Vec<_>>();
    let (uses, what) =
        (if names.len() == 1 { "uses" } else { "use" }, if ports.len() == 1 { "hostPort" } else { "hostPorts" });
    let list = ports.into_iter().collect::<Vec<_>>().join(", ");
    (!names.is_empty())
        .then(|| Violation { reason: "hostPort", detail: format!("{} {uses} {what} {list}", containers(&names)) })
}

fn probe_hosts(pod: PodView<'_>) -> Option<Violation> {
    const HANDLERS: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        let handlers = HANDLERS.iter().filter_map(|path| container.at(path));
        let found = handlers.flat_map(|h| ["httpGet", "tcpSocket"].into_iter().filter_map(|a| h.str_at(&[a, "host"])));
        let found = found.filter(|host| !host.is_empty()).collect::<Vec<_>>();
        if !found.is_empty() {
            names.insert(name(container));
            hosts.extend(found);
        }
    }
    let names = names.into_iter().collect::<Vec<_>>();
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let what = if hosts.len() == 1 { "probe or lifecycle host" } else { "probe or lifecycle hosts" };
    (!names.is_empty()).then(|| Violation {
        reason: "probe or lifecycle host",
        detail: format!("{} {uses} {what} {}", containers(&names), quoted(hosts)),
    })
}

fn privileged(pod: PodView<'_>) -> Option<Violation> {
    let names = pod.containers_that(|c| c.bool_at(&["securityContext", "privileged"]) == Some(true));
    (!names.is_empty()).then(|| Violation {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", containers(&names)),
    })
}

fn proc_mount(pod: PodView<'_>, relaxed: bool) -> Option<Violation> {
    if relaxed && pod.has_user_namespace() {
        return None;
    }
    let bad = |container: &Value| {
        let mount = container.str_at(&["securityContext", "procMount"]).filter(|mount| *mount != "Default");
        mount.map(str::to_owned)
    };
    let types = pod.containers().filter_map(bad).collect::<BTreeSet<_>>();
    let names = pod.containers_that(|container| bad(container).is_some());
    (!names.is_empty()).then(|| Violation {
        reason: "procMount",
        detail: format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(types)),
    })
}

fn se_linux(pod: PodView<'_>, with_engine: bool) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |object: &Value| {
        let Some(options) = object.at(&["securityContext", "seLinuxOptions"]) else { return false };
        let text = |field: &str| options.str_at(&[field]).unwrap_or("");
        let allowed = matches!(text("type"), "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (with_engine && text("type") == "container_engine_t");
        if !allowed {
            types.insert(text("type").to_owned());
        }
        user |= !text("user").is_empty();
        role |= !text("role").is_empty();
        !allowed || !text("user").is_empty() || !text("role").is_empty()
    };
    let of_pod = bad(pod.spec);
    let of_containers = pod.containers().filter(|c| bad(c)).map(name).collect::<Vec<_>>();
    let who = setters(of_pod, &of_containers)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", if types.len() == 1 { "type" } else { "types" }, quoted(types)));
    }
    if user {
        what.push("user may not be set".into());
    }
    if role {
        what.push("role may not be set".into());
    }
    Some(Violation {
        reason: "seLinuxOptions",
        detail: format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")),
    })
}

/// The profile type that a pod or container sets, if it is not one of the allowed.
pub(super) fn bad_seccomp(object: &Value) -> Option<&str> {
    let profile = object.str_at(&["securityContext", "seccompProfile", "type"])?;
    (!matches!(profile, "Localhost" | "RuntimeDefault")).then_some(profile)
}

pub(super) fn explicit_seccomp(pod: PodView<'_>) -> Option<Violation> {
    let of_pod = bad_seccomp(pod.spec);
    let types = of_pod.into_iter().chain(pod.containers().filter_map(bad_seccomp)).collect::<BTreeSet<_>>();
    let names = pod.containers_that(|container| bad_seccomp(container).is_some());
    let who = setters(of_pod.is_some(), &names)?;
    Some(Violation {
        reason: "seccompProfile",
        detail: format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(types)),
    })
}

fn seccomp(pod: PodView<'_>, by_field: bool) -> Option<Violation> {
    if by_field {
        return explicit_seccomp(pod);
    }
    let of_containers = pod.containers().map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", name(c)));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(of_containers);
    let forbidden = keys.filter_map(|key| {
        let profile = pod.metadata.str_at(&["annotations", &key])?;
        let allowed = matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/");
        (!allowed).then(|| format!("{key}={profile:?}"))
    });
    let forbidden = forbidden.collect::<BTreeSet<_>>();
    let what = if forbidden.len() == 1 { "annotation" } else { "annotations" };
    let list = forbidden.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| Violation { reason: "seccompProfile", detail: format!("forbidden {what} {list}") })
}

fn sysctls(pod: PodView<'_>, policy: LevelVersion) -> Option<Violation> {
    /// Each with the minor version from which it is allowed.
    const ALLOWED: [(&str, u32); 12] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let allowed =
        |sysctl: &str| ALLOWED.iter().any(|(name, since)| *name == sysctl && policy.version.is_at_least(*since));
    let set = pod.spec.array_at(&["securityContext", "sysctls"]).iter().map(name);
    let detail = set.filter(|sysctl| !allowed(sysctl)).collect::<Vec<_>>().join(", ");
    (!detail.is_empty()).then_some(Violation { reason: "forbidden sysctls", detail })
}

fn host_process(pod: PodView<'_>) -> Option<Violation> {
    let bad = |object: &Value| object.bool_at(&["securityContext", "windowsOptions", "hostProcess"]) == Some(true);
    let who = setters(bad(pod.spec), &pod.containers_that(bad))?;
    Some(Violation {
        reason: "hostProcess",
        detail: format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    })
}
