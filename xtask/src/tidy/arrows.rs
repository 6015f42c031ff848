//! Which crate may know which: dependencies run one way.

use super::dependencies::Package;

/// Every crate of ours and the others of ours that it may depend on. Its tests may know more.
///
/// `apimachinery` and `api` may be known by every component; only the API server knows the store, only the kubelet and
/// the runtime speak CRI, no component knows another, and `skiff` puts them together.
const ARROWS: &[(&str, &[&str])] = &[
    ("skiff-apimachinery", &[]),
    ("skiff-api", &["apimachinery"]),
    ("skiff-component-base", &[]),
    ("skiff-storage", &[]),
    ("skiff-descriptions", &[]),
    ("skiff-net", &[]),
    ("skiff-netlink", &["net"]),
    ("skiff-quota", &["apimachinery"]),
    ("skiff-cel", &["apimachinery"]),
    ("skiff-cri", &[]),
    ("skiff-streaming", &[]),
    ("skiff-client", &["apimachinery", "api", "component-base"]),
    (
        "skiff-apiserver",
        &["apimachinery", "api", "descriptions", "component-base", "storage", "net", "quota", "streaming", "cel"],
    ),
    ("skiff-controller-manager", &["apimachinery", "api", "component-base", "client", "net", "quota", "cel"]),
    ("skiff-scheduler", &["apimachinery", "api", "component-base", "client"]),
    ("skiff-kubelet", &["apimachinery", "api", "component-base", "client", "cri", "streaming"]),
    ("skiff-proxy", &["apimachinery", "api", "component-base", "client", "netlink"]),
    ("skiff-dns", &["apimachinery", "api", "component-base", "client"]),
    ("skiff-runtime", &["component-base", "cri", "netlink", "streaming"]),
    ("skiff-bench", &["storage"]),
    ("skiff-fixture", &["apimachinery", "apiserver", "storage"]),
    ("skiff-contract", &["apimachinery", "api", "fixture"]),
    ("skiff-fuzz", &["api", "apimachinery", "cel", "streaming"]),
    ("skiff-counts", &["fixture"]),
    ("skiff-recorded", &["apiserver", "fixture"]),
    ("echo", &[]),
    ("xtask", &[]),
];

/// Crates that may know all others.
const KNOW_ALL: [&str; 2] = ["skiff", "skiff-tests"];

/// Arrows that are not allowed.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| !KNOW_ALL.contains(&package.name.as_str())) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            problems.push(format!("{}: not in the table of xtask/src/tidy/arrows.rs", package.name));
            continue;
        };
        for known in package.dependencies.iter().filter(|name| ours(name)) {
            let short = known.strip_prefix("skiff-").unwrap_or(known);
            if !package.for_tests.contains(known) && !allowed.contains(&short) {
                problems.push(format!("{} must not depend on {known}", package.name));
            }
        }
    }
    problems
}

fn ours(name: &str) -> bool {
    name == "skiff" || name.starts_with("skiff-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), folder: String::new().into(), dependencies, for_tests: Vec::new() }
    }

    #[test]
    fn components_do_not_know_each_other_or_the_store() {
        let good = [
            package("skiff-kubelet", &["skiff-cri", "anyhow"]),
            Package { for_tests: vec!["skiff-dns".to_owned()], ..package("skiff-proxy", &["skiff-dns"]) },
            package("skiff", &["skiff-kubelet", "skiff-storage"]),
        ];
        assert!(check(&good).is_empty());
        let bad = [package("skiff-kubelet", &["skiff-runtime"]), package("skiff-scheduler", &["skiff-storage"])];
        assert_eq!(check(&bad).len(), 2);
        assert_eq!(check(&[package("skiff-new", &[])]).len(), 1);
    }
}
