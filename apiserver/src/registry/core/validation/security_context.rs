//! Security contexts of pods and containers.

use skiff_apimachinery::field::{Error, ErrorList};
use std::collections::HashSet;

use super::{formats, os};
use crate::registry::at::At;
use crate::registry::internal;

const SECCOMP_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// Longest profile name of AppArmor, in bytes.
const MAX_APPARMOR_PROFILE: usize = 4095;

/// Validates a container's context.
pub fn container(at: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    formats::user_id(&at.child("runAsUser"), errors);
    formats::group_id(&at.child("runAsGroup"), errors);
    let proc_mount = at.child("procMount");
    if proc_mount.is_set() {
        proc_mount.if_set_one_of(errors, &["Default", "Unmasked"]);
        let host_users = spec.child("hostUsers");
        if proc_mount.text() == "Unmasked" && (!host_users.is_set() || host_users.flag()) {
            proc_mount.invalid(errors, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(&at.child("seccompProfile"), errors);
    let escalation = at.child("allowPrivilegeEscalation");
    if escalation.is_set() && !escalation.flag() {
        if at.child("privileged").flag() {
            let message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            at.invalid_as("SecurityContext", errors, message);
        }
        let capabilities = at.child("capabilities");
        let add = capabilities.child("add");
        if add.items().any(|capability| capability.text() == "CAP_SYS_ADMIN") {
            let message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            at.invalid_as("SecurityContext", errors, message);
        }
    }
    app_armor(&at.child("appArmorProfile"), errors);
    os::windows_options(&at.child("windowsOptions"), errors);
}

/// Validates a pod's context.
pub fn pod(at: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    formats::group_id(&at.child("fsGroup"), errors);
    formats::user_id(&at.child("runAsUser"), errors);
    formats::group_id(&at.child("runAsGroup"), errors);
    let groups = at.child("supplementalGroups");
    for group in groups.items() {
        formats::group_id(&group, errors);
    }
    let share = spec.child("shareProcessNamespace");
    if share.flag() && spec.child("hostPID").flag() {
        let path = at.path().child("shareProcessNamespace");
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path, true, message));
    }
    sysctls(&at.child("sysctls"), spec, errors);
    at.child("fsGroupChangePolicy").if_set_one_of(errors, &["Always", "OnRootMismatch"]);
    seccomp(&at.child("seccompProfile"), errors);
    app_armor(&at.child("appArmorProfile"), errors);
    at.child("supplementalGroupsPolicy").if_set_one_of(errors, &["Merge", "Strict"]);
    at.child("seLinuxChangePolicy").if_set_one_of(errors, &["Recursive"]);
    os::windows_options(&at.child("windowsOptions"), errors);
}

fn one_of_types(kind: &At<'_>, of: &str, errors: &mut ErrorList) {
    if kind.is_empty() {
        kind.required(errors, &format!("type is required when {of} is set"));
    } else {
        kind.if_set_one_of(errors, SECCOMP_TYPES);
    }
}

fn seccomp(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    let (kind, profile) = (at.child("type"), at.child("localhostProfile"));
    one_of_types(&kind, "seccompProfile", errors);
    if kind.text() == "Localhost" {
        if profile.is_set() {
            formats::local_descending_path(&profile, errors);
        } else {
            profile.required(errors, "must be set when seccomp type is Localhost");
        }
    } else if profile.is_set() {
        let message = "can only be set when seccomp type is Localhost";
        errors.push(Error::invalid(&profile.path(), internal::shown(at.value(), "SeccompProfile"), message));
    }
}

fn app_armor(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    let (kind, profile) = (at.child("type"), at.child("localhostProfile"));
    one_of_types(&kind, "appArmorProfile", errors);
    match (kind.text() == "Localhost", profile.is_set()) {
        (true, false) => profile.required(errors, "must be set when AppArmor type is Localhost"),
        (true, true) => {
            if profile.text().trim() != profile.text() {
                profile.invalid(errors, "must not be padded with whitespace");
            } else if profile.is_empty() {
                profile.required(errors, "must be set when AppArmor type is Localhost");
            }
            if profile.text().len() > MAX_APPARMOR_PROFILE {
                let error = Error::too_long(&profile.path(), "", MAX_APPARMOR_PROFILE);
                errors.push(error);
            }
        }
        (false, true) => profile.invalid(errors, "can only be set when AppArmor type is Localhost"),
        (false, false) => {}
    }
}

fn sysctls(list: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for sysctl in list.items() {
        let name = sysctl.child("name");
        if !name.require(errors) {
            continue;
        }
        if !is_sysctl_name(name.text()) {
            name.invalid(
                errors,
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name.text().replace('/', ".")) {
            name.duplicate(errors);
        }
        let network = spec.child("hostNetwork").flag() && name.text().replace('/', ".").starts_with("net.");
        let ipc = spec.child("hostIPC").flag() && is_ipc_sysctl(name.text());
        if network {
            name.invalid(errors, "may not be specified when 'hostNetwork' is true");
        }
        if ipc {
            name.invalid(errors, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl_name(name: &str) -> bool {
    const MAX: usize = 253;
    let segment = |s: &str| {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        s.starts_with(ok) && s.ends_with(ok) && s.chars().all(|c| ok(c) || matches!(c, '-' | '_'))
    };
    name.len() <= MAX && name.split(['.', '/']).all(segment)
}

fn is_ipc_sysctl(name: &str) -> bool {
    let name = name.replace('/', ".");
    ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix)) || name == "kernel.sem"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names() {
        for (name, want) in [
            ("kernel.shm_rmid_forced", true),
            ("net/ipv4/conf/eth0.100/x", true),
            ("foo-", false),
            ("kernel.shmmax-", false),
            ("bar..", false),
            ("Kernel.x", false),
        ] {
            assert_eq!(is_sysctl_name(name), want, "{name}");
        }
    }
}
