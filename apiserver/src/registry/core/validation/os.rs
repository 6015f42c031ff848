//! What a pod may set only for one operating system.
//!
//! Follows `validateWindows`, `validateLinux` and the functions for Windows of `pkg/apis/core/validation`.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use crate::registry::at::At;

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const NOT_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_LINUX: &str = "windows options cannot be set for a linux pod";
/// What a Windows pod may not set, in or beside its security context.
const POD_FIELDS: &[(bool, &str)] = &[
    (true, "appArmorProfile"),
    (true, "seLinuxOptions"),
    (false, "hostUsers"),
    (false, "hostPID"),
    (false, "hostIPC"),
    (true, "seccompProfile"),
    (true, "fsGroup"),
    (true, "fsGroupChangePolicy"),
    (true, "sysctls"),
    (false, "shareProcessNamespace"),
    (true, "runAsUser"),
    (true, "runAsGroup"),
    (true, "supplementalGroups"),
    (true, "supplementalGroupsPolicy"),
    (true, "seLinuxChangePolicy"),
];
/// What a container of such a pod may not set in its security context.
const CONTAINER_FIELDS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Validates that nothing is set that the pod's operating system does not have.
pub fn fields(spec: &At<'_>, errors: &mut ErrorList) {
    let os = spec.child("os");
    match os.child("name").text() {
        "windows" => windows(spec, errors),
        "linux" => linux(spec, errors),
        _ => {}
    }
}

fn windows(spec: &At<'_>, errors: &mut ErrorList) {
    let context = spec.child("securityContext");
    for (in_context, field) in POD_FIELDS {
        let at = if *in_context { context.child(field) } else { spec.child(field) };
        if at.is_set() && !(at.is_empty() && *field == "sysctls") {
            at.forbidden(errors, NOT_WINDOWS);
        }
    }
    for list in CONTAINERS {
        for container in spec.child(list).items() {
            let context = container.child("securityContext");
            for field in CONTAINER_FIELDS.iter().filter(|field| context.child(field).is_set()) {
                context.child(field).forbidden(errors, NOT_WINDOWS);
            }
        }
    }
}

fn linux(spec: &At<'_>, errors: &mut ErrorList) {
    let context = spec.child("securityContext");
    if context.child("windowsOptions").is_set() {
        context.child("windowsOptions").forbidden(errors, NOT_LINUX);
    }
    for list in CONTAINERS {
        for container in spec.child(list).items() {
            let context = container.child("securityContext");
            if context.child("windowsOptions").is_set() {
                context.child("windowsOptions").forbidden(errors, NOT_LINUX);
            }
        }
    }
}

/// Validates `windowsOptions`.
pub fn windows_options(at: &At<'_>, errors: &mut ErrorList) {
    const MAX_SPEC: usize = 64 * 1024;
    let name = at.child("gmsaCredentialSpecName");
    if name.is_set() {
        name.messages(errors, names::dns1123_subdomain(name.text()));
    }
    let spec = at.child("gmsaCredentialSpec");
    if spec.is_set() && spec.is_empty() {
        spec.invalid(errors, "gmsaCredentialSpec cannot be an empty string");
    } else if spec.text().len() > MAX_SPEC {
        spec.invalid(errors, "gmsaCredentialSpec size must be under 64 KiB");
    }
    let user = at.child("runAsUserName");
    if user.is_set() {
        user_name(&user, errors);
    }
}

fn user_name(at: &At<'_>, errors: &mut ErrorList) {
    const MAX_DOMAIN: usize = 256;
    const MAX_USER: usize = 104;
    const FORBIDDEN: &str = "\"/\\:;|=,+*?<>@[]";
    let text = at.text();
    let (domain, user) = match text.split_once('\\') {
        _ if text.is_empty() => return at.invalid(errors, "runAsUserName cannot be an empty string"),
        _ if text.chars().any(char::is_control) => {
            return at.invalid(errors, "runAsUserName cannot contain control characters");
        }
        Some((_, rest)) if rest.contains('\\') => {
            return at.invalid(errors, "runAsUserName cannot contain more than one backslash");
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, text),
    };
    if domain.is_some_and(|domain| domain.len() >= MAX_DOMAIN) {
        at.invalid(errors, format!("runAsUserName's Domain length must be under {MAX_DOMAIN} characters"));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_domain(domain)) {
        at.invalid(errors, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        at.invalid(errors, "runAsUserName's User cannot be empty");
    } else if user.len() > MAX_USER {
        at.invalid(errors, format!("runAsUserName's User length must not be longer than {MAX_USER} characters"));
    }
    if user.chars().all(|c| matches!(c, '.' | ' ')) {
        at.invalid(errors, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| FORBIDDEN.contains(c)) {
        at.invalid(errors, format!("runAsUserName's User cannot contain the following characters: {FORBIDDEN}"));
    }
}

fn is_net_bios(domain: &str) -> bool {
    const MAX: usize = 15;
    (1..=MAX).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|c: char| c.is_whitespace() || "\\/:*?\"<>|".contains(c))
}

fn is_domain(domain: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.len() <= 63
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    !domain.is_empty() && domain.split('.').all(part)
}

/// Validates that all containers, or none, run as processes of their host.
pub fn host_process(spec: &At<'_>, errors: &mut ErrorList) {
    let context = spec.child("securityContext");
    let options = context.child("windowsOptions");
    let of_pod = options.child("hostProcess");
    let (mut all, mut of_host) = (0, 0);
    for list in CONTAINERS {
        for container in spec.child(list).items() {
            all += 1;
            let context = container.child("securityContext");
            let options = context.child("windowsOptions");
            let own = options.child("hostProcess");
            if of_pod.is_set() && own.is_set() && of_pod.flag() != own.flag() {
                let was = of_pod.flag();
                own.invalid(
                    errors,
                    format!("pod hostProcess value must be identical if both are specified, was {was}"),
                );
            }
            let decisive = if own.is_set() { own } else { of_pod };
            of_host += usize::from(decisive.flag());
        }
    }
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let message = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(&spec.path(), "", message));
    }
    if !spec.child("hostNetwork").flag() {
        let message = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&spec.child("hostNetwork").path(), false, message));
    }
}
