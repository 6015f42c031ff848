//! Security contexts as CRI takes them (upstream: `pkg/kubelet/kuberuntime/security_context.go`, `pkg/securitycontext`).

use std::path::Path;

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, SELinuxOptions, SeccompProfile};
use skiff_cri::v1;
use skiff_cri::v1::security_profile::ProfileType;

use crate::pod::{PodExt, security};

/// Paths hidden from containers.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that containers cannot write.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageUser {
    Uid(i64),
    Name(String),
}

/// What decides besides the pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults<'a> {
    /// Containers that say nothing about seccomp get the runtime's default profile.
    pub(crate) seccomp_default: bool,
    /// Folder of `Localhost` profiles.
    pub(crate) seccomp_profile_root: &'a Path,
}

/// Which namespaces the pod has of its own.
pub(crate) fn namespaces(pod: &Pod) -> v1::NamespaceOption {
    let spec = pod.pod_spec();
    let own_or_node = |host: Option<bool>| {
        if host == Some(true) { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod }
    };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => v1::NamespaceMode::Node,
        (_, Some(true)) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: own_or_node(spec.host_network).into(),
        ipc: own_or_node(spec.host_ipc).into(),
        pid: pid.into(),
        ..Default::default()
    }
}

/// The security context of a container. `target` is the container whose processes an ephemeral container sees.
pub(crate) fn container_context(
    pod: &Pod,
    container: &Container,
    image_user: &ImageUser,
    target: Option<&str>,
    defaults: Defaults<'_>,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let (own, of_pod) = (security(container), pod.pod_security());
    verify_non_root(pod, container, image_user)?;
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let (uid, username) = match (run_as_user, image_user) {
        (Some(uid), _) | (None, &ImageUser::Uid(uid)) => (Some(uid), String::new()),
        (None, ImageUser::Name(name)) => (None, name.clone()),
    };
    let group = own.run_as_group.or(of_pod.run_as_group);
    let mut namespace_options = namespaces(pod);
    if let Some(target) = target
        && namespace_options.pid() == v1::NamespaceMode::Container
    {
        namespace_options.set_pid(v1::NamespaceMode::Target);
        namespace_options.target_id = target.to_owned();
    }
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    let seccomp = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let apparmor = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref());
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|caps| v1::Capability {
            add_capabilities: caps.add.clone().unwrap_or_default(),
            drop_capabilities: caps.drop.clone().unwrap_or_default(),
            ..Default::default()
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(namespace_options),
        selinux_options: own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref()).map(selinux),
        run_as_user: uid.map(|value| v1::Int64Value { value }),
        run_as_group: group.map(|value| v1::Int64Value { value }),
        run_as_username: username,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod)?.into(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp_profile(seccomp, defaults)?),
        apparmor: apparmor.map(apparmor_profile).transpose()?,
        ..Default::default()
    })
}

/// The security context of a sandbox.
pub(crate) fn sandbox_context(pod: &Pod) -> Result<v1::LinuxSandboxSecurityContext, String> {
    let of_pod = pod.pod_security();
    let mut all = pod.init_containers().iter().chain(pod.regular_containers());
    Ok(v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: of_pod.se_linux_options.as_ref().map(selinux),
        run_as_user: of_pod.run_as_user.map(|value| v1::Int64Value { value }),
        run_as_group: of_pod.run_as_group.map(|value| v1::Int64Value { value }),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod)?.into(),
        privileged: all.any(|c| security(c).privileged == Some(true)),
        seccomp: Some(profile(ProfileType::RuntimeDefault)),
        ..Default::default()
    })
}

fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let of_pod = pod.pod_security();
    let own = of_pod.supplemental_groups.iter().flatten().copied();
    of_pod.fs_group.into_iter().chain(own).collect()
}

fn groups_policy(pod: &Pod) -> Result<v1::SupplementalGroupsPolicy, String> {
    match pod.pod_security().supplemental_groups_policy.as_deref() {
        None | Some("Merge") => Ok(v1::SupplementalGroupsPolicy::Merge),
        Some("Strict") => Ok(v1::SupplementalGroupsPolicy::Strict),
        Some(other) => Err(format!("unsupported supplementalGroupsPolicy: {other}")),
    }
}

fn verify_non_root(pod: &Pod, container: &Container, image_user: &ImageUser) -> Result<(), String> {
    let (own, of_pod) = (security(container), pod.pod_security());
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let subject = format!("(pod: {:?}, container: {})", pod.display(), container.name);
    match (own.run_as_user.or(of_pod.run_as_user), image_user) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {subject}")),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Name(name)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {subject}"
        )),
        (None, ImageUser::Uid(0)) => Err(format!("container has runAsNonRoot and image will run as root {subject}")),
        (None, ImageUser::Uid(_)) => Ok(()),
    }
}

fn profile(kind: ProfileType) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: kind.into(), ..Default::default() }
}

fn seccomp_profile(asked: Option<&SeccompProfile>, defaults: Defaults<'_>) -> Result<v1::SecurityProfile, String> {
    let Some(asked) = asked else {
        let kind = if defaults.seccomp_default { ProfileType::RuntimeDefault } else { ProfileType::Unconfined };
        return Ok(profile(kind));
    };
    match asked.type_.as_str() {
        "RuntimeDefault" => Ok(profile(ProfileType::RuntimeDefault)),
        "Localhost" => {
            let name = asked.localhost_profile.as_deref().unwrap_or_default();
            if name.is_empty() {
                return Err("localhostProfile must be set if seccompProfile type is Localhost.".into());
            }
            let path = defaults.seccomp_profile_root.join(name);
            Ok(v1::SecurityProfile { localhost_ref: path.display().to_string(), ..profile(ProfileType::Localhost) })
        }
        _ => Ok(profile(ProfileType::Unconfined)),
    }
}

fn apparmor_profile(asked: &AppArmorProfile) -> Result<v1::SecurityProfile, String> {
    match asked.type_.as_str() {
        "RuntimeDefault" => Ok(profile(ProfileType::RuntimeDefault)),
        "Unconfined" => Ok(profile(ProfileType::Unconfined)),
        "Localhost" => {
            let name = asked.localhost_profile.clone().ok_or("missing localhost apparmor profile name")?;
            Ok(v1::SecurityProfile { localhost_ref: name, ..profile(ProfileType::Localhost) })
        }
        other => Err(format!("unknown apparmor profile type: {other:?}")),
    }
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    v1::SeLinuxOption {
        user: text(&options.user),
        role: text(&options.role),
        r#type: text(&options.type_),
        level: text(&options.level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn context(spec: Value, user: ImageUser) -> Result<v1::LinuxContainerSecurityContext, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}))
        .expect("a pod");
        let defaults = Defaults { seccomp_default: false, seccomp_profile_root: Path::new("/seccomp") };
        container_context(&pod, &pod.regular_containers()[0], &user, None, defaults)
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let spec = json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3,
                "supplementalGroups": [4, 5], "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {"runAsUser": 9, "privileged": false,
                "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}}]});
        let context = context(spec, ImageUser::Uid(0)).expect("a context");
        assert_eq!(context.run_as_user.map(|v| v.value), Some(9));
        assert_eq!(context.run_as_group.map(|v| v.value), Some(2));
        assert_eq!(context.supplemental_groups, [3, 4, 5]);
        assert!(context.readonly_rootfs && context.no_new_privs && !context.privileged);
        let capabilities = context.capabilities.expect("capabilities");
        assert_eq!(
            (capabilities.add_capabilities, capabilities.drop_capabilities),
            (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()])
        );
        assert_eq!(context.seccomp.expect("a profile").profile_type(), ProfileType::RuntimeDefault);
    }

    #[test]
    fn defaults_are_upstreams() {
        let context =
            context(json!({"containers": [{"name": "c"}]}), ImageUser::Name("web".into())).expect("a context");
        assert_eq!((context.run_as_user, context.run_as_username.as_str()), (None, "web"));
        assert!(!context.no_new_privs);
        assert_eq!(context.seccomp.expect("a profile").profile_type(), ProfileType::Unconfined);
        assert!(context.masked_paths.contains(&"/proc/kcore".to_owned()));
        let options = context.namespace_options.expect("namespaces");
        assert_eq!(options.pid(), v1::NamespaceMode::Container);
        assert_eq!(options.network(), v1::NamespaceMode::Pod);
    }

    #[test]
    fn non_root_is_verified() {
        let spec = |user: Value| json!({"securityContext": {"runAsNonRoot": true, "runAsUser": user}, "containers": [{"name": "c"}]});
        assert!(context(spec(json!(7)), ImageUser::Uid(0)).is_ok());
        assert!(context(spec(Value::Null), ImageUser::Uid(7)).is_ok());
        let error = |user, image| context(spec(user), image).expect_err("refused");
        assert!(error(json!(0), ImageUser::Uid(7)).starts_with("container's runAsUser breaks non-root policy"));
        assert!(error(Value::Null, ImageUser::Uid(0)).contains("image will run as root"));
        assert!(error(Value::Null, ImageUser::Name("web".into())).contains("non-numeric user (web)"));
    }

    #[test]
    fn an_ephemeral_container_joins_its_target() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "c"}]}})).expect("a pod");
        let defaults = Defaults { seccomp_default: true, seccomp_profile_root: Path::new("/") };
        let context = container_context(&pod, &pod.regular_containers()[0], &ImageUser::Uid(0), Some("id"), defaults);
        let options = context.expect("a context").namespace_options.expect("namespaces");
        assert_eq!((options.pid(), options.target_id.as_str()), (v1::NamespaceMode::Target, "id"));
    }

    #[test]
    fn profiles_of_the_node_are_under_its_folder() {
        let spec = json!({"containers": [{"name": "c", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}}]});
        let context = context(spec, ImageUser::Uid(0)).expect("a context");
        assert_eq!(context.seccomp.expect("a profile").localhost_ref, "/seccomp/a.json");
    }
}
