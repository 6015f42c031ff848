//! Statistics: the summary API and Prometheus metrics (upstream: `pkg/kubelet/server/stats`,
//! `pkg/kubelet/metrics/collectors/resource_metrics.go`). Pure, but for reading /proc.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_cri::v1;

use crate::labels::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};

/// Nanoseconds of one tick of /proc/stat; the kernel's USER_HZ is 100 on every architecture we run on.
const TICK_NANOS: u64 = 10_000_000;

/// What the whole machine uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeUse {
    /// Nanoseconds of CPU since boot.
    pub(super) cpu: u64,
    /// Bytes in use that cannot be given back.
    pub(super) memory: u64,
    /// Bytes still to be had.
    pub(super) available: u64,
    /// Nanoseconds since the epoch.
    pub(super) at: i64,
}

impl NodeUse {
    pub(super) fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        Self::parse(&stat, &memory, now)
    }

    fn parse(stat: &str, memory: &str, at: i64) -> Self {
        let line = stat.lines().find(|line| line.starts_with("cpu ")).unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        // user, nice, system, (idle, iowait,) irq, softirq, steal
        let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum();
        let bytes = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let available = bytes("MemAvailable");
        Self { cpu: busy * TICK_NANOS, memory: bytes("MemTotal").saturating_sub(available), available, at }
    }
}

/// Labels that tell whose a statistic is.
struct Owner<'a> {
    namespace: &'a str,
    pod: &'a str,
    uid: &'a str,
    container: &'a str,
}

fn owner(stats: &v1::ContainerStats) -> Option<Owner<'_>> {
    let labels = &stats.attributes.as_ref()?.labels;
    let get = |key: &str| labels.get(key).map(String::as_str);
    Some(Owner {
        namespace: get(POD_NAMESPACE)?,
        pod: get(POD_NAME)?,
        uid: get(POD_UID)?,
        container: get(CONTAINER_NAME)?,
    })
}

fn value(value: &Option<v1::UInt64Value>) -> u64 {
    value.as_ref().map_or(0, |value| value.value)
}

fn cpu(stats: &v1::ContainerStats) -> u64 {
    stats.cpu.as_ref().map_or(0, |cpu| value(&cpu.usage_core_nano_seconds))
}

fn working_set(stats: &v1::ContainerStats) -> u64 {
    stats.memory.as_ref().map_or(0, |memory| value(&memory.working_set_bytes))
}

/// `/metrics/resource`: what metrics-server reads.
pub(super) fn resource_metrics(stats: &[v1::ContainerStats], node: &NodeUse) -> String {
    let mut pods = BTreeMap::<(&str, &str), (u64, u64)>::new();
    let (mut cpu_lines, mut memory_lines) = (String::new(), String::new());
    let millis = node.at / 1_000_000;
    for (stats, owner) in stats.iter().filter_map(|stats| Some((stats, owner(stats)?))) {
        let (nanos, bytes) = (cpu(stats), working_set(stats));
        let labels = format!("container={:?},namespace={:?},pod={:?}", owner.container, owner.namespace, owner.pod);
        line(&mut cpu_lines, "container_cpu_usage_seconds_total", &labels, &seconds(nanos), millis);
        line(&mut memory_lines, "container_memory_working_set_bytes", &labels, &bytes.to_string(), millis);
        let sum = pods.entry((owner.namespace, owner.pod)).or_default();
        (sum.0, sum.1) = (sum.0 + nanos, sum.1 + bytes);
    }
    let (mut pod_cpu, mut pod_memory) = (String::new(), String::new());
    for ((namespace, pod), (nanos, bytes)) in pods {
        let labels = format!("namespace={namespace:?},pod={pod:?}");
        line(&mut pod_cpu, "pod_cpu_usage_seconds_total", &labels, &seconds(nanos), millis);
        line(&mut pod_memory, "pod_memory_working_set_bytes", &labels, &bytes.to_string(), millis);
    }
    let mut text = String::new();
    family(
        &mut text,
        "container_cpu_usage_seconds_total",
        "counter",
        "CPU time used by the container in core-seconds",
        &cpu_lines,
    );
    family(
        &mut text,
        "container_memory_working_set_bytes",
        "gauge",
        "Working set of the container in bytes",
        &memory_lines,
    );
    let mut lines = String::new();
    line(&mut lines, "node_cpu_usage_seconds_total", "", &seconds(node.cpu), millis);
    family(&mut text, "node_cpu_usage_seconds_total", "counter", "CPU time used by the node in core-seconds", &lines);
    lines.clear();
    line(&mut lines, "node_memory_working_set_bytes", "", &node.memory.to_string(), millis);
    family(&mut text, "node_memory_working_set_bytes", "gauge", "Working set of the node in bytes", &lines);
    family(&mut text, "pod_cpu_usage_seconds_total", "counter", "CPU time used by the pod in core-seconds", &pod_cpu);
    family(&mut text, "pod_memory_working_set_bytes", "gauge", "Working set of the pod in bytes", &pod_memory);
    text
}

/// `/metrics`: the kubelet itself.
pub(super) fn process_metrics(pods: usize) -> String {
    let mut text = String::new();
    let mut lines = String::new();
    let _ = writeln!(lines, "kubelet_running_pods {pods}");
    family(&mut text, "kubelet_running_pods", "gauge", "Number of pods that have a worker", &lines);
    text
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, lines: &str) {
    if !lines.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
    }
}

fn line(lines: &mut String, name: &str, labels: &str, value: &str, millis: i64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(lines, "{name}{labels} {value} {millis}");
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn time(nanos: i64) -> String {
    let second = nanos.div_euclid(1_000_000_000);
    Timestamp::from_second(second).map(|time| time.to_string()).unwrap_or_default()
}

/// `/stats/summary`.
pub(super) fn summary(
    node_name: &str,
    containers: &[v1::ContainerStats],
    sandboxes: &[v1::PodSandboxStats],
    node: &NodeUse,
) -> Value {
    let mut pods = BTreeMap::<&str, Value>::new();
    for (stats, owner) in containers.iter().filter_map(|stats| Some((stats, owner(stats)?))) {
        let pod = pods.entry(owner.uid).or_insert_with(|| {
            json!({"podRef": {"name": owner.pod, "namespace": owner.namespace, "uid": owner.uid}, "startTime": null,
                "containers": [], "cpu": {"usageCoreNanoSeconds": 0}, "memory": {"workingSetBytes": 0}})
        });
        let add = |field: &mut Value, amount: u64| *field = json!(field.as_u64().unwrap_or(0) + amount);
        add(&mut pod["cpu"]["usageCoreNanoSeconds"], cpu(stats));
        add(&mut pod["memory"]["workingSetBytes"], working_set(stats));
        if let Some(list) = pod["containers"].as_array_mut() {
            list.push(container_summary(stats, &owner));
        }
    }
    for (sandbox, network) in sandboxes.iter().filter_map(|s| Some((s, network_summary(s)?))) {
        let labels = sandbox.attributes.as_ref().map(|attributes| &attributes.labels);
        let uid = labels.and_then(|labels| labels.get(POD_UID));
        if let Some(pod) = uid.and_then(|uid| pods.get_mut(uid.as_str())) {
            pod["network"] = network;
        }
    }
    let pods: Vec<Value> = pods.into_values().collect();
    json!({
        "node": {
            "nodeName": node_name,
            "cpu": {"time": time(node.at), "usageCoreNanoSeconds": node.cpu},
            "memory": {"time": time(node.at), "availableBytes": node.available, "workingSetBytes": node.memory},
        },
        "pods": pods,
    })
}

fn container_summary(stats: &v1::ContainerStats, owner: &Owner<'_>) -> Value {
    let memory = stats.memory.unwrap_or_default();
    let layer = stats.writable_layer.as_ref();
    let at = stats.cpu.as_ref().map_or(0, |cpu| cpu.timestamp);
    json!({
        "name": owner.container,
        "cpu": {"time": time(at), "usageCoreNanoSeconds": cpu(stats),
            "usageNanoCores": stats.cpu.as_ref().map_or(0, |cpu| value(&cpu.usage_nano_cores))},
        "memory": {"time": time(memory.timestamp), "usageBytes": value(&memory.usage_bytes),
            "workingSetBytes": value(&memory.working_set_bytes), "rssBytes": value(&memory.rss_bytes)},
        "rootfs": {"time": time(layer.map_or(at, |layer| layer.timestamp)),
            "usedBytes": layer.map_or(0, |layer| value(&layer.used_bytes))},
    })
}

fn network_summary(sandbox: &v1::PodSandboxStats) -> Option<Value> {
    let network = sandbox.linux.as_ref()?.network.as_ref()?;
    let default = network.default_interface.as_ref()?;
    Some(json!({"time": time(network.timestamp), "name": default.name,
        "rxBytes": value(&default.rx_bytes), "txBytes": value(&default.tx_bytes),
        "rxErrors": value(&default.rx_errors), "txErrors": value(&default.tx_errors)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> v1::ContainerStats {
        let value = |value| Some(v1::UInt64Value { value });
        let labels = [(POD_NAME, "p"), (POD_NAMESPACE, "n"), (POD_UID, "u"), (CONTAINER_NAME, "c")];
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                ..Default::default()
            }),
            cpu: Some(v1::CpuUsage { usage_core_nano_seconds: value(1_500_000_000), ..Default::default() }),
            memory: Some(v1::MemoryUsage { working_set_bytes: value(2048), ..Default::default() }),
            ..Default::default()
        }
    }

    const NODE: NodeUse = NodeUse { cpu: 2_000_000_000, memory: 4096, available: 8192, at: 5_000_000_000 };

    #[test]
    fn metrics_are_in_prometheus_format() {
        let text = resource_metrics(&[stats(), v1::ContainerStats::default()], &NODE);
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 1.500000000 5000",
            "node_memory_working_set_bytes 4096 5000",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 2048 5000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn the_summary_has_node_pods_and_containers() {
        let summary = summary("node", &[stats()], &[], &NODE);
        assert_eq!(summary["node"]["memory"]["availableBytes"], 8192);
        assert_eq!(summary["pods"][0]["podRef"]["uid"], "u");
        assert_eq!(summary["pods"][0]["cpu"]["usageCoreNanoSeconds"], 1_500_000_000_u64);
        assert_eq!(summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"], 2048);
    }

    #[test]
    fn the_machine_is_read() {
        let stat = "cpu  10 1 5 1000 7 2 3 4 0 0\ncpu0 1 1 1 1\n";
        let memory = "MemTotal: 100 kB\nMemAvailable: 40 kB\n";
        let node = NodeUse::parse(stat, memory, 9);
        assert_eq!(node, NodeUse { cpu: 25 * TICK_NANOS, memory: 60 * 1024, available: 40 * 1024, at: 9 });
    }
}
