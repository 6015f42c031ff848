//! Which capabilities a container gets.

use std::collections::BTreeSet;

use skiff_cri::v1;

/// Every capability by number (`include/uapi/linux/capability.h`).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has without asking (upstream: containerd `oci/spec.go`, defaultUnixCaps).
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A set of capabilities by name.
pub(crate) type Set = BTreeSet<&'static str>;

/// Capabilities for a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) bounding: Set,
    pub(crate) ambient: Set,
}

/// What this process could pass on at most: its bounding set. Asking for more would fail.
pub(crate) fn own_bounding_set() -> std::io::Result<Set> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).map(str::trim).unwrap_or("0");
    let bits = u64::from_str_radix(bits, 16).map_err(std::io::Error::other)?;
    Ok(ALL.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0).map(|(_, name)| *name).collect())
}

/// Resolves what was asked for, limited to `available`. `ALL` is applied first, then names, drops after adds
/// (upstream: containerd `internal/cri/server/container_create.go`).
pub(crate) fn granted(privileged: bool, asked: Option<&v1::Capability>, available: &Set) -> Result<Granted, String> {
    if privileged {
        return Ok(Granted { bounding: available.clone(), ambient: Set::new() });
    }
    let none = v1::Capability::default();
    let asked = asked.unwrap_or(&none);
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut set: Set = DEFAULT.into_iter().collect();
    if asked.add_capabilities.iter().any(is_all) {
        set = ALL.into_iter().collect();
    }
    if asked.drop_capabilities.iter().any(is_all) {
        set.clear();
    }
    for name in asked.add_capabilities.iter().filter(|name| !is_all(name)) {
        set.insert(known(name)?);
    }
    for name in asked.drop_capabilities.iter().filter(|name| !is_all(name)) {
        set.remove(known(name)?);
    }
    let mut ambient = Set::new();
    for name in &asked.add_ambient_capabilities {
        ambient.insert(known(name)?);
    }
    set.extend(&ambient);
    Ok(Granted { bounding: &set & available, ambient: &ambient & available })
}

/// The canonical name of a capability, given with or without `CAP_`, in any case.
fn known(name: &str) -> Result<&'static str, String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let found = ALL.into_iter().find(|candidate| &candidate["CAP_".len()..] == bare);
    found.ok_or_else(|| format!("unknown capability {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: impl Fn(&Set) -> bool) {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let asked = v1::Capability {
            add_capabilities: strings(add),
            drop_capabilities: strings(drop),
            add_ambient_capabilities: Vec::new(),
        };
        let available: Set = ALL.into_iter().filter(|name| *name != "CAP_SYS_RESOURCE").collect();
        let set = granted(false, Some(&asked), &available).expect("valid").bounding;
        assert!(expected(&set), "+{add:?} -{drop:?} = {set:?}");
    }

    #[test]
    fn adds_and_drops() {
        check(&[], &[], |set| set.len() == 14 && set.contains("CAP_NET_RAW"));
        check(&["NET_ADMIN"], &["net_raw"], |set| set.contains("CAP_NET_ADMIN") && !set.contains("CAP_NET_RAW"));
        check(&[], &["ALL"], |set| set.is_empty());
        check(&["NET_BIND_SERVICE"], &["ALL"], |set| set.len() == 1);
        check(&["ALL"], &["CAP_KILL"], |set| set.len() == 39 && !set.contains("CAP_KILL"));
        // Not in our own bounding set: asking for it must not make the start fail.
        check(&["SYS_RESOURCE"], &[], |set| set.len() == 14);
    }

    #[test]
    fn unknown_names_are_refused() {
        let asked = v1::Capability { add_capabilities: vec!["FLY".into()], ..Default::default() };
        assert_eq!(granted(false, Some(&asked), &Set::new()), Err("unknown capability \"FLY\"".to_owned()));
    }
}
