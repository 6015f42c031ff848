//! Requests and limits as the kernel's knobs (upstream: `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`,
//! `pkg/kubelet/cm/helpers_linux.go`).

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use skiff_cri::v1::{HugepageLimit, LinuxContainerResources};

use super::qos::oom_score_adj;
use crate::pod::{PodExt, is_sidecar};
use crate::quantity::{ResourceList, milli_value_of, value_of};

/// Period of the CPU quota, in microseconds.
pub(crate) const QUOTA_PERIOD: i64 = 100_000;
/// Least quota, in microseconds.
const QUOTA_MIN: i64 = 1000;
const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;

/// CPU shares for a request in thousandths of a core.
pub(crate) fn cpu_shares(millicores: i64) -> i64 {
    (millicores * SHARES_PER_CPU / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// The request in thousandths of a core that shares stand for, rounded up.
pub(crate) fn cpu_shares_as_millicores(shares: i64) -> i64 {
    if shares < SHARES_MIN { 0 } else { (shares * 1000 + SHARES_PER_CPU - 1) / SHARES_PER_CPU }
}

/// CPU quota per [`QUOTA_PERIOD`] for a limit in thousandths of a core; 0 is no limit.
pub(crate) fn cpu_quota(millicores: i64) -> i64 {
    if millicores == 0 {
        return 0;
    }
    (millicores * QUOTA_PERIOD / 1000).max(QUOTA_MIN)
}

/// The knobs of one container on a node with `memory_capacity` bytes.
pub(crate) fn container_resources(pod: &Pod, container: &Container, memory_capacity: i64) -> LinuxContainerResources {
    let own = container.resources.clone().unwrap_or_default();
    let of_pod = pod.pod_spec().resources.as_ref().and_then(|r| r.limits.as_ref());
    // Limits of the pod hold for a container that has none.
    let or_pod = |amount: i64, of_pod: i64| if amount == 0 { of_pod } else { amount };
    let cpu_limit = or_pod(milli_value_of(own.limits.as_ref(), "cpu"), milli_value_of(of_pod, "cpu"));
    let memory_limit = or_pod(value_of(own.limits.as_ref(), "memory"), value_of(of_pod, "memory"));
    let request = own.requests.as_ref().filter(|list| list.contains_key("cpu"));
    let mut resources = knobs(request.map(|list| milli_value_of(Some(list), "cpu")), cpu_limit, memory_limit);
    resources.oom_score_adj = oom_score_adj(pod, container, memory_capacity);
    resources.hugepage_limits = hugepage_limits(own.limits.as_ref().or(of_pod));
    resources
}

/// The knobs of the pod as a whole, for the sandbox and the pod's cgroup.
pub(crate) fn pod_resources(pod: &Pod) -> LinuxContainerResources {
    let totals = PodTotals::of(pod);
    knobs(totals.cpu_request, totals.cpu_limit.unwrap_or(0), totals.memory_limit.unwrap_or(0))
}

fn knobs(cpu_request: Option<i64>, cpu_limit: i64, memory_limit: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: QUOTA_PERIOD,
        cpu_quota: cpu_quota(cpu_limit),
        cpu_shares: cpu_shares(cpu_request.unwrap_or(cpu_limit)),
        memory_limit_in_bytes: memory_limit,
        ..Default::default()
    }
}

/// Limits of `hugepages-SIZE` resources, under the kernel's names of the sizes.
fn hugepage_limits(limits: Option<&ResourceList>) -> Vec<HugepageLimit> {
    let sized = limits.into_iter().flatten().filter_map(|(name, _)| {
        let size = name.strip_prefix("hugepages-")?;
        let limit = u64::try_from(value_of(limits, name)).ok()?;
        let page_size = format!("{}B", size.strip_suffix('i')?);
        Some(HugepageLimit { page_size, limit })
    });
    sized.collect()
}

/// Sums over a pod, as the scheduler counts them: regular containers and sidecars together, or the largest init
/// container if that is more, and the overhead of the runtime class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodTotals {
    /// Thousandths of a core; `None` if nobody asks.
    pub(crate) cpu_request: Option<i64>,
    /// Bytes.
    pub(crate) memory_request: i64,
    /// Bytes.
    pub(crate) storage_request: i64,
    /// Thousandths of a core; `None` if a container has no limit.
    pub(crate) cpu_limit: Option<i64>,
    /// Bytes; `None` if a container has no limit.
    pub(crate) memory_limit: Option<i64>,
}

impl PodTotals {
    pub(crate) fn of(pod: &Pod) -> Self {
        let requests = |c: &Container, name: &str| {
            let list = requests(c);
            if name == "cpu" { milli_value_of(list.as_ref(), name) } else { value_of(list.as_ref(), name) }
        };
        let limits = |c: &Container, name: &str| {
            let list = c.resources.as_ref().and_then(|r| r.limits.as_ref());
            if name == "cpu" { milli_value_of(list, name) } else { value_of(list, name) }
        };
        let sum = |name: &str| peak(pod, |c| requests(c, name)) + overhead(pod, name);
        let bound = |name: &str| {
            let mut all = pod.regular_containers().iter().chain(pod.init_containers());
            let unlimited = all.any(|c| limits(c, name) == 0);
            (!unlimited).then(|| peak(pod, |c| limits(c, name)) + overhead(pod, name))
        };
        let own = pod.pod_spec().resources.clone().unwrap_or_default();
        let amount = |list: &Option<ResourceList>, name: &str| {
            let list = list.as_ref().filter(|list| list.contains_key(name))?;
            let amount = if name == "cpu" { milli_value_of(Some(list), name) } else { value_of(Some(list), name) };
            Some(amount + overhead(pod, name))
        };
        let cpu = amount(&own.requests, "cpu").unwrap_or_else(|| sum("cpu"));
        Self {
            cpu_request: (cpu > 0).then_some(cpu),
            memory_request: amount(&own.requests, "memory").unwrap_or_else(|| sum("memory")),
            storage_request: sum("ephemeral-storage"),
            cpu_limit: amount(&own.limits, "cpu").or_else(|| bound("cpu")),
            memory_limit: amount(&own.limits, "memory").or_else(|| bound("memory")),
        }
    }
}

/// Requests of a container; where there is only a limit, that is the request.
fn requests(container: &Container) -> Option<ResourceList> {
    let ResourceRequirements { limits, requests, .. } = container.resources.clone()?;
    let mut list = limits.unwrap_or_default();
    list.extend(requests.unwrap_or_default());
    Some(list)
}

fn overhead(pod: &Pod, name: &str) -> i64 {
    let list = pod.pod_spec().overhead.as_ref();
    if name == "cpu" { milli_value_of(list, name) } else { value_of(list, name) }
}

/// The most that is needed at one time. An init container runs beside the sidecars before it.
fn peak(pod: &Pod, amount: impl Fn(&Container) -> i64) -> i64 {
    let (mut sidecars, mut initial) = (0, 0);
    for container in pod.init_containers() {
        if is_sidecar(container) {
            sidecars += amount(container);
            initial = initial.max(sidecars);
        } else {
            initial = initial.max(sidecars + amount(container));
        }
    }
    let regular: i64 = pod.regular_containers().iter().map(&amount).sum();
    initial.max(regular + sidecars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).expect("a pod")
    }

    #[test]
    fn shares_and_quotas() {
        assert_eq!([cpu_shares(0), cpu_shares(100), cpu_shares(2000)], [2, 102, 2048]);
        assert_eq!([1, 2, 214, 1024].map(cpu_shares_as_millicores), [0, 2, 209, 1000]);
        assert_eq!([cpu_quota(0), cpu_quota(5), cpu_quota(500)], [0, 1000, 50_000]);
    }

    #[test]
    fn a_container_gets_its_limits() {
        let pod = pod(json!({"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}},
            {"name": "b"}]}));
        let of = |index: usize| container_resources(&pod, &pod.regular_containers()[index], 1 << 33);
        let a = of(0);
        assert_eq!((a.cpu_shares, a.cpu_quota, a.cpu_period), (512, 50_000, 100_000));
        assert_eq!(a.memory_limit_in_bytes, 64 << 20);
        let b = of(1);
        assert_eq!((b.cpu_shares, b.cpu_quota, b.memory_limit_in_bytes), (2, 0, 0));
    }

    #[test]
    fn the_pods_limits_hold_for_containers_without() {
        let pod = pod(json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "containers": [{"name": "a"}]}));
        let a = container_resources(&pod, &pod.regular_containers()[0], 1 << 33);
        assert_eq!((a.cpu_quota, a.memory_limit_in_bytes), (100_000, 1 << 30));
    }

    #[test]
    fn totals_count_init_containers_and_sidecars() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let pod = pod(json!({
            "containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": cpu("1")}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": cpu("500m")},
                {"name": "i", "resources": cpu("3")}],
            "overhead": {"cpu": "100m"}}));
        assert_eq!(PodTotals::of(&pod).cpu_request, Some(3600));
        assert_eq!(PodTotals::of(&pod).cpu_limit, None);
    }

    #[test]
    fn huge_pages_have_the_kernels_names() {
        let list: ResourceList = serde_json::from_value(json!({"hugepages-2Mi": "4Mi", "cpu": "1"})).expect("a list");
        let limits = hugepage_limits(Some(&list));
        assert_eq!(limits, [HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 }]);
    }
}
