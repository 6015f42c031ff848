//! What the kernel can do: tried on threads that end afterwards, in namespaces of their own, so that nothing stays.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use skiff_netlink::{link, nft};

use super::Finding;
use crate::Settings;

/// Controllers that limits of containers need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Runs work on a thread in new namespaces, which end with it.
fn apart<T: Send + 'static>(
    namespaces: CloneFlags,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let inside = move || {
        unshare(namespaces).map_err(|error| error.desc().to_owned())?;
        work()
    };
    let thread = std::thread::spawn(inside);
    thread.join().unwrap_or_else(|_| Err("the check itself failed".to_owned()))
}

fn finding<T>(tried: Result<T, String>, advice: &str) -> Finding {
    match tried {
        Ok(_) => Finding::Fine,
        Err(error) => Finding::Missing(format!("{error}; {advice}")),
    }
}

pub(super) fn overlay(_: &Settings) -> Finding {
    let tried = apart(CloneFlags::CLONE_NEWNS, || {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).map_err(|error| error.desc().to_owned())?;
        // Upper folders must not be on an overlay, as /tmp may be.
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), none)
            .map_err(|error| format!("tmpfs: {}", error.desc()))?;
        let of = |name: &str| folder.path().join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(of(name)).map_err(|error| error.to_string())?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            of("lower").display(),
            of("upper").display(),
            of("work").display()
        );
        let tried = mount(Some("overlay"), &of("merged"), Some("overlay"), MsFlags::empty(), Some(options.as_str()));
        // Uncovers the folder, so that it can be removed.
        let _ = nix::mount::umount2(&of("merged"), nix::mount::MntFlags::MNT_DETACH);
        let _ = nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH);
        tried.map_err(|error| format!("an overlay cannot be mounted ({})", error.desc()))
    });
    finding(tried, "load the module (`modprobe overlay`), or boot a kernel with CONFIG_OVERLAY_FS")
}

pub(super) fn network_namespaces(_: &Settings) -> Finding {
    let tried = apart(CloneFlags::CLONE_NEWNET, || Ok(()));
    finding(tried, "boot a kernel with CONFIG_NET_NS, and check user.max_net_namespaces")
}

pub(super) fn veth(_: &Settings) -> Finding {
    let tried = apart(CloneFlags::CLONE_NEWNET, || {
        link::blocking(|links| async move { links.add_veth("doctor0", "doctor1", 1500, "skiff doctor").await })
            .map_err(|error| format!("a pair of veth links cannot be made ({error})"))
    });
    finding(tried, "load the module (`modprobe veth`), or boot a kernel with CONFIG_VETH")
}

pub(super) fn nftables(_: &Settings) -> Finding {
    if !on_path("nft") {
        return Finding::Missing("there is no `nft` program; install it (`apt-get install nftables`)".to_owned());
    }
    let tried = apart(CloneFlags::CLONE_NEWNET, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        // What pod network and proxy use: address translation, random choice, local addresses, masquerading.
        let rules = "table ip doctor {\n chain pre {\n  type nat hook prerouting priority dstnat\n  fib daddr type \
                     local tcp dport 1 dnat to numgen random mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }\n }\n chain \
                     post {\n  type nat hook postrouting priority srcnat\n  ct status dnat masquerade\n }\n}\n";
        let applied = runtime.block_on(nft::apply(rules));
        applied.map_err(|error| format!("address translation rules cannot be loaded ({error})"))
    });
    finding(tried, "load the modules nft_chain_nat, nft_fib_ipv4, nft_masq and nft_numgen, or boot a kernel with them")
}

pub(super) fn forwarding(_: &Settings) -> Finding {
    let path = Path::new("/proc/sys/net/ipv4/ip_forward");
    let on = fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    if on || fs::File::options().write(true).open(path).is_ok() {
        return Finding::Fine;
    }
    Finding::Missing(format!("{} is 0 and cannot be written; set it to 1", path.display()))
}

pub(super) fn seccomp(_: &Settings) -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        return Finding::Fine;
    }
    Finding::Missing("system calls cannot be filtered; boot a kernel with CONFIG_SECCOMP_FILTER".to_owned())
}

pub(super) fn cgroups(_: &Settings) -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let unified = |path: &str| fs::read_to_string(Path::new(path).join("cgroup.controllers")).unwrap_or_default();
    let missing = missing_controllers(&mounts, unified);
    if missing.is_empty() {
        return Finding::Fine;
    }
    Finding::Missing(format!(
        "no controller for {} is mounted; mount cgroup2 on /sys/fs/cgroup, or check the kernel's command line for \
         cgroup_disable",
        missing.join(", ")
    ))
}

/// Controllers that neither a version 1 hierarchy nor the unified one has.
fn missing_controllers(mounts: &str, unified: impl Fn(&str) -> String) -> Vec<&'static str> {
    let mut there: Vec<String> = Vec::new();
    for mount in mounts.lines() {
        let fields: Vec<&str> = mount.split(' ').collect();
        match fields.as_slice() {
            [_, _, "cgroup", options, ..] => there.extend(options.split(',').map(str::to_owned)),
            [_, path, "cgroup2", ..] => there.extend(unified(path).split_whitespace().map(str::to_owned)),
            _ => {}
        }
    }
    CONTROLLERS.into_iter().filter(|wanted| !there.iter().any(|known| known == wanted)).collect()
}

fn on_path(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Not on every user's PATH, and added by those who start the program.
    let usual = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&folders).chain(usual).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_both_versions_count() {
        let none = |_: &str| String::new();
        let first = "cgroup /c/memory cgroup rw,memory 0 0\ncgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n";
        assert_eq!(missing_controllers(first, none), ["pids"]);
        let hybrid = format!("{first}cgroup2 /c/unified cgroup2 rw 0 0\n");
        assert_eq!(missing_controllers(&hybrid, |_| "hugetlb pids".to_owned()), [""; 0]);
        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(missing_controllers(second, |_| "cpuset cpu io memory pids".to_owned()), [""; 0]);
        assert_eq!(missing_controllers("", none), CONTROLLERS);
    }
}
