//! The OCI runtime specification of a container, as the JSON that libcontainer reads.
//!
//! Written as JSON rather than with oci-spec's builders, whose defaults (capabilities, no_new_privs, masked paths)
//! are not Kubernetes' ones.

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::image::Config as ImageConfig;
use serde_json::{Value, json};
use skiff_cri::v1::{self, NamespaceMode};

use super::capabilities::{Granted, granted, own_bounding_set};
use super::user::User;
use super::{devices, mounts, seccomp};
use crate::files::at;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hidden from unprivileged containers if the kubelet names none (upstream: `pkg/securitycontext/util.go`).
const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container shares with its pod. `None` for a namespace is the node's.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodView {
    pub(crate) network: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    /// The pod's own pid namespace, if its containers share one.
    pub(crate) pid: Option<PathBuf>,
    pub(crate) hostname: String,
    pub(crate) shm: PathBuf,
    pub(crate) hostname_file: Option<PathBuf>,
    pub(crate) hosts_file: Option<PathBuf>,
    pub(crate) resolv_file: Option<PathBuf>,
}

/// Everything a specification is made of.
pub(crate) struct Input<'a> {
    pub(crate) config: &'a v1::ContainerConfig,
    /// The mounts of `config`, those of images as folders of the node.
    pub(crate) mounts: &'a [v1::Mount],
    pub(crate) image: &'a ImageConfig,
    pub(crate) pod: &'a PodView,
    pub(crate) user: &'a User,
    pub(crate) rootfs: &'a Path,
    pub(crate) cgroup: &'a str,
    /// First process of the container whose pid namespace is joined, for [`NamespaceMode::Target`].
    pub(crate) target_pid: Option<i32>,
    /// The machine has cgroup v2 only.
    pub(crate) unified: bool,
    /// The container's folders in the v1 hierarchies, by their names.
    pub(crate) v1_cgroups: &'a [(String, PathBuf)],
}

/// The specification.
pub(crate) fn build(input: &Input<'_>) -> io::Result<Value> {
    let context = security_context(input.config);
    if context
        .namespace_options
        .as_ref()
        .and_then(|o| o.userns_options.as_ref())
        .is_some_and(|userns| userns.mode() == NamespaceMode::Pod)
    {
        return Err(invalid("user namespaces are not supported"));
    }
    let granted = granted(context.privileged, context.capabilities.as_ref(), &own_bounding_set()?).map_err(invalid)?;
    let (mounts, propagation) =
        mounts::all(input.config, input.mounts, input.pod, input.v1_cgroups, context.privileged)?;
    let devices = if context.privileged { devices::all()? } else { devices::requested(&input.config.devices)? };
    let (masked, mut readonly) = hidden_paths(&context);
    if !context.privileged {
        readonly.push(mounts::CGROUPS.to_owned());
    }
    let mut linux = json!({
        "namespaces": namespaces(input, &context)?,
        "cgroupsPath": input.cgroup,
        "resources": resources(input, context.privileged, &devices),
        "devices": devices.iter().map(devices::Device::node).collect::<Vec<_>>(),
        "maskedPaths": masked,
        "readonlyPaths": readonly,
        "rootfsPropagation": propagation,
    });
    if let Some(profile) = seccomp_profile(&context, &granted)? {
        linux["seccomp"] = profile;
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process(input, &context, &granted)?,
        "root": { "path": input.rootfs, "readonly": context.readonly_rootfs },
        "mounts": mounts,
        "annotations": input.config.annotations,
        "linux": linux,
    }))
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

/// The security context of a container, all defaults if it has none.
pub(crate) fn security_context(config: &v1::ContainerConfig) -> v1::LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

fn hidden_paths(context: &v1::LinuxContainerSecurityContext) -> (Vec<String>, Vec<String>) {
    if context.privileged {
        return (Vec::new(), Vec::new());
    }
    let or_default = |given: &[String], default: &[&str]| -> Vec<String> {
        if given.is_empty() { default.iter().map(|path| (*path).to_owned()).collect() } else { given.to_vec() }
    };
    // An unmasked /proc (procMount) comes as a context that names neither; only without any context do ours apply.
    if context == &v1::LinuxContainerSecurityContext::default() {
        return (or_default(&[], &MASKED_PATHS), or_default(&[], &READONLY_PATHS));
    }
    (context.masked_paths.clone(), context.readonly_paths.clone())
}

fn namespaces(input: &Input<'_>, context: &v1::LinuxContainerSecurityContext) -> io::Result<Vec<Value>> {
    let mut list = vec![json!({ "type": "mount" })];
    let joined = [("network", &input.pod.network), ("ipc", &input.pod.ipc), ("uts", &input.pod.uts)];
    for (kind, path) in joined {
        list.extend(path.as_ref().map(|path| json!({ "type": kind, "path": path })));
    }
    let mode = context.namespace_options.as_ref().map_or(NamespaceMode::Container, |options| options.pid());
    match (mode, &input.pod.pid) {
        (NamespaceMode::Node, _) => {}
        (NamespaceMode::Pod, Some(path)) => list.push(json!({ "type": "pid", "path": path })),
        (NamespaceMode::Pod | NamespaceMode::Container, _) => list.push(json!({ "type": "pid" })),
        (NamespaceMode::Target, _) => {
            let pid = input.target_pid.ok_or_else(|| invalid("the target container is not running"))?;
            list.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
        }
    }
    if input.unified {
        list.push(json!({ "type": "cgroup" }));
    }
    Ok(list)
}

fn process(input: &Input<'_>, context: &v1::LinuxContainerSecurityContext, granted: &Granted) -> io::Result<Value> {
    let config = input.config;
    let none = &granted.ambient;
    let mut process = json!({
        "terminal": config.tty,
        "user": { "uid": input.user.uid, "gid": input.user.gid, "additionalGids": input.user.groups },
        "args": arguments(config, input.image)?,
        "env": environment(input)?,
        "cwd": working_dir(config, input.image),
        "capabilities": {
            "bounding": granted.bounding, "effective": granted.bounding, "permitted": granted.bounding,
            "inheritable": none, "ambient": none,
        },
    });
    // libcontainer takes `false` for "set": the filter would be loaded too late then. Absent is the real "no".
    if context.no_new_privs && !context.privileged {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = apparmor_profile(context)? {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some(resources) = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        process["oomScoreAdj"] = json!(clamped_oom_score(resources.oom_score_adj)?);
    }
    Ok(process)
}

/// Without CAP_SYS_RESOURCE a process cannot be protected better than its parent is.
fn clamped_oom_score(asked: i64) -> io::Result<i64> {
    let path = Path::new("/proc/self/oom_score_adj");
    let own: i64 = std::fs::read_to_string(path).map_err(at("read", path))?.trim().parse().unwrap_or(0);
    if own_bounding_set()?.contains("CAP_SYS_RESOURCE") {
        return Ok(asked.clamp(-1000, 1000));
    }
    Ok(asked.clamp(own, 1000))
}

/// The command line: `command` replaces the image's entrypoint and, with it, the image's arguments.
fn arguments(config: &v1::ContainerConfig, image: &ImageConfig) -> io::Result<Vec<String>> {
    let entrypoint = image.entrypoint().clone().unwrap_or_default();
    let default_arguments = image.cmd().clone().unwrap_or_default();
    let (command, args) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (config.command.clone(), config.args.clone()),
        (true, false) => (entrypoint, config.args.clone()),
        (true, true) => (entrypoint, default_arguments),
    };
    let all: Vec<String> = command.into_iter().chain(args).collect();
    if all.is_empty() { Err(invalid("no command specified")) } else { Ok(all) }
}

fn environment(input: &Input<'_>) -> io::Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut set = |entry: String| {
        let name = entry.split('=').next().unwrap_or_default().to_owned() + "=";
        match all.iter_mut().find(|existing| existing.starts_with(&name)) {
            Some(existing) => *existing = entry,
            None => all.push(entry),
        }
    };
    set(DEFAULT_PATH.to_owned());
    if input.config.tty {
        set("TERM=xterm".to_owned());
    }
    if !input.pod.hostname.is_empty() {
        set(format!("HOSTNAME={}", input.pod.hostname));
    }
    set(format!("HOME={}", input.user.home));
    input.image.env().iter().flatten().cloned().for_each(&mut set);
    for entry in &input.config.envs {
        let value = std::str::from_utf8(&entry.value)
            .map_err(|_| invalid(format!("the value of variable {} is not valid UTF-8", entry.key)))?;
        set(format!("{}={value}", entry.key));
    }
    Ok(all)
}

/// The folder a container starts in.
pub(crate) fn working_dir(config: &v1::ContainerConfig, image: &ImageConfig) -> String {
    let from_image = image.working_dir().as_deref().unwrap_or_default();
    let asked = if config.working_dir.is_empty() { from_image } else { &config.working_dir };
    if asked.starts_with('/') { asked.to_owned() } else { format!("/{asked}") }
}

fn seccomp_profile(context: &v1::LinuxContainerSecurityContext, granted: &Granted) -> io::Result<Option<Value>> {
    use v1::security_profile::ProfileType;
    let Some(profile) = context.seccomp.as_ref().filter(|_| !context.privileged) else {
        return Ok(None);
    };
    match profile.profile_type() {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => Ok(Some(seccomp::default_profile(&granted.bounding))),
        ProfileType::Localhost => {
            let path = Path::new(&profile.localhost_ref);
            let text = std::fs::read(path).map_err(at("read the seccomp profile", path))?;
            serde_json::from_slice(&text).map(Some).map_err(io::Error::from).map_err(at("decode", path))
        }
    }
}

/// The AppArmor profile that a container names. The default profile is left to the machine: without AppArmor there is
/// none, and with it containers are unconfined as on most machines.
fn apparmor_profile(context: &v1::LinuxContainerSecurityContext) -> io::Result<Option<&str>> {
    use v1::security_profile::ProfileType;
    let Some(profile) = context.apparmor.as_ref().filter(|_| !context.privileged) else {
        return Ok(None);
    };
    if profile.profile_type() != ProfileType::Localhost {
        return Ok(None);
    }
    // An error only says that the kernel lacks it.
    if !libcontainer::apparmor::is_enabled().unwrap_or(false) {
        return Err(invalid(format!(
            "AppArmor is not enabled on this node, so the profile {:?} cannot be applied",
            profile.localhost_ref
        )));
    }
    Ok(Some(&profile.localhost_ref))
}

fn resources(input: &Input<'_>, privileged: bool, devices: &[devices::Device]) -> Value {
    let mut rules = vec![json!({ "allow": privileged, "access": "rwm" })];
    if !privileged {
        rules.extend(devices.iter().map(devices::Device::rule));
    }
    let mut all = json!({ "devices": rules });
    let Some(asked) = input.config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
        return all;
    };
    let positive = |value: i64| (value > 0).then_some(value);
    let mut cpu = serde_json::Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            cpu.insert(name.to_owned(), value);
        }
    };
    put("shares", positive(asked.cpu_shares).map(Value::from));
    put("quota", (asked.cpu_quota != 0).then(|| asked.cpu_quota.into()));
    put("period", positive(asked.cpu_period).map(Value::from));
    put("cpus", (!asked.cpuset_cpus.is_empty()).then(|| asked.cpuset_cpus.as_str().into()));
    put("mems", (!asked.cpuset_mems.is_empty()).then(|| asked.cpuset_mems.as_str().into()));
    if !cpu.is_empty() {
        all["cpu"] = cpu.into();
    }
    if let Some(limit) = positive(asked.memory_limit_in_bytes) {
        all["memory"] = json!({ "limit": limit });
        if let Some(swap) = positive(asked.memory_swap_limit_in_bytes) {
            all["memory"]["swap"] = json!(swap);
        }
    }
    let pages = asked.hugepage_limits.iter().filter(|limit| limit.limit > 0);
    let pages: Vec<_> = pages.map(|limit| json!({ "pageSize": limit.page_size, "limit": limit.limit })).collect();
    if !pages.is_empty() {
        all["hugepageLimits"] = pages.into();
    }
    if input.unified && !asked.unified.is_empty() {
        all["unified"] = json!(asked.unified);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfig {
        let mut image = ImageConfig::default();
        image.set_entrypoint(Some(vec!["/entry".into()]));
        image.set_cmd(Some(vec!["default".into()]));
        image.set_env(Some(vec!["PATH=/image".into(), "A=1".into()]));
        image.set_working_dir(Some("/srv".into()));
        image
    }

    fn spec(config: &v1::ContainerConfig) -> Value {
        let input = Input {
            config,
            mounts: &config.mounts,
            image: &image(),
            pod: &PodView { network: Some("/run/netns".into()), hostname: "web".into(), ..Default::default() },
            user: &User { uid: 7, gid: 8, groups: vec![8], home: "/h".into() },
            rootfs: Path::new("/rootfs"),
            cgroup: "/kubepods/pod1/c1",
            target_pid: None,
            unified: false,
            v1_cgroups: &[],
        };
        build(&input).expect("a valid container")
    }

    fn with_context(context: v1::LinuxContainerSecurityContext) -> v1::ContainerConfig {
        let linux = v1::LinuxContainerConfig { security_context: Some(context), resources: None };
        v1::ContainerConfig { linux: Some(linux), ..Default::default() }
    }

    #[test]
    fn command_lines() {
        let check = |command: &[&str], args: &[&str], expected: &[&str]| {
            let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            let config = v1::ContainerConfig { command: strings(command), args: strings(args), ..Default::default() };
            assert_eq!(arguments(&config, &image()).expect("a command"), expected);
        };
        check(&[], &[], &["/entry", "default"]);
        check(&[], &["x"], &["/entry", "x"]);
        check(&["/bin/y"], &[], &["/bin/y"]);
        check(&["/bin/y"], &["z"], &["/bin/y", "z"]);
        let none = arguments(&v1::ContainerConfig::default(), &ImageConfig::default()).expect_err("nothing to run");
        assert_eq!(none.to_string(), "no command specified");
    }

    #[test]
    fn environment_layers() {
        let envs = vec![
            v1::KeyValue { key: "A".into(), value: b"2".to_vec() },
            v1::KeyValue { key: "HOME".into(), value: b"/mine".to_vec() },
        ];
        let spec = spec(&v1::ContainerConfig { envs, ..Default::default() });
        assert_eq!(spec["process"]["env"], json!(["PATH=/image", "HOSTNAME=web", "HOME=/mine", "A=2"]));
        assert_eq!(spec["process"]["cwd"], "/srv");
    }

    #[test]
    fn isolation_by_default_and_privileged() {
        let plain = spec(&v1::ContainerConfig::default());
        assert_eq!(plain["linux"]["maskedPaths"].as_array().map(Vec::len), Some(MASKED_PATHS.len()));
        assert_eq!(
            plain["linux"]["namespaces"],
            json!([
                { "type": "mount" }, { "type": "network", "path": "/run/netns" }, { "type": "pid" },
            ])
        );
        assert_eq!(plain["process"].get("noNewPrivileges"), None);
        assert_eq!(plain["linux"]["resources"]["devices"], json!([{ "allow": false, "access": "rwm" }]));
        let privileged =
            spec(&with_context(v1::LinuxContainerSecurityContext { privileged: true, ..Default::default() }));
        assert_eq!(privileged["linux"]["maskedPaths"], json!([]));
        assert_eq!(privileged["linux"]["resources"]["devices"], json!([{ "allow": true, "access": "rwm" }]));
        let held = privileged["process"]["capabilities"]["bounding"].as_array().map_or(0, Vec::len);
        assert_eq!(held, own_bounding_set().expect("own set").len());
    }

    #[test]
    fn seccomp_only_where_asked() {
        use v1::security_profile::ProfileType;
        let with = |kind: ProfileType, path: &str| {
            let profile = v1::SecurityProfile { profile_type: kind.into(), localhost_ref: path.into() };
            with_context(v1::LinuxContainerSecurityContext { seccomp: Some(profile), ..Default::default() })
        };
        assert!(spec(&with(ProfileType::RuntimeDefault, ""))["linux"]["seccomp"]["syscalls"].is_array());
        assert!(spec(&with(ProfileType::Unconfined, ""))["linux"].get("seccomp").is_none());
        let context = security_context(&with(ProfileType::Localhost, "/nonexistent.json"));
        let granted = Granted { bounding: Default::default(), ambient: Default::default() };
        let error = seccomp_profile(&context, &granted).expect_err("missing profile");
        assert!(error.to_string().contains("/nonexistent.json"), "{error}");
    }
}
