//! What Prometheus clients tell about their process: time, memory, files.
//!
//! Names are those of `github.com/prometheus/client_golang`'s process collector; the facts come from `/proc/self`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks per second in `/proc`: fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;
/// Size of a page in bytes on the machines we build for.
const PAGE: f64 = 4096.0;

/// Reads `/proc` when it is asked.
#[derive(Debug, Default)]
pub(crate) struct ProcessMetrics {}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(process) = Process::parse(&stat) {
            let seconds = ConstCounter::new(process.cpu_seconds);
            // The encoder adds `_total`.
            let help = "Total user and system CPU time spent in seconds";
            let counter = encoder.encode_descriptor("process_cpu_seconds", help, None, seconds.metric_type())?;
            seconds.encode(counter)?;
            for (name, help, value) in [
                ("process_resident_memory_bytes", "Resident memory size in bytes", process.resident_bytes),
                ("process_virtual_memory_bytes", "Virtual memory size in bytes", process.virtual_bytes),
                ("process_start_time_seconds", "Start of the process in seconds since 1970", started(&process)),
            ] {
                gauge(&mut encoder, name, help, value)?;
            }
        }
        let netstat = std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
        for (name, help, key) in [
            ("process_network_receive_bytes", "Bytes that came over the network", "InOctets"),
            ("process_network_transmit_bytes", "Bytes that went over the network", "OutOctets"),
        ] {
            let bytes = ConstCounter::new(octets(&netstat, key));
            bytes.encode(encoder.encode_descriptor(name, help, None, bytes.metric_type())?)?;
        }
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        gauge(&mut encoder, "process_open_fds", "Number of open file descriptors", open as f64)?;
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        gauge(
            &mut encoder,
            "process_max_fds",
            "Maximum number of open file descriptors",
            limit(&limits, "Max open files"),
        )?;
        let space = limit(&limits, "Max address space");
        gauge(&mut encoder, "process_virtual_memory_max_bytes", "Most virtual memory in bytes", space)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// What `/proc/self/stat` says.
struct Process {
    cpu_seconds: f64,
    /// Since the machine started.
    start_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything; what follows it is the third field.
        let fields = stat.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            start_seconds: field(22)? / TICKS_PER_SECOND,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE,
        })
    }
}

fn started(process: &Process) -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    boot.unwrap_or(0.0) + process.start_seconds
}

/// A limit of the process; what is not limited is as large as a number can be.
fn limit(limits: &str, name: &str) -> f64 {
    let soft = limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    match soft {
        Some("unlimited") => u64::MAX as f64,
        soft => soft.and_then(|soft| soft.parse().ok()).unwrap_or(0.0),
    }
}

/// A number of `/proc/net/netstat`, which has a line of names before each line of values.
fn octets(netstat: &str, key: &str) -> f64 {
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:")).map(str::split_whitespace);
    let (Some(names), Some(mut values)) = (lines.next(), lines.next()) else { return 0.0 };
    let at = names.clone().position(|name| name == key);
    at.and_then(|at| values.nth(at)?.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 9 0 1000 8192000 25 0";
        let process = Process::parse(stat).expect("a process");
        assert_eq!((process.cpu_seconds, process.start_seconds), (2.0, 10.0));
        assert_eq!((process.virtual_bytes, process.resident_bytes), (8_192_000.0, 102_400.0));
        assert!(Process::parse("7 (a) S 1").is_none());
        let limits = "Limit\nMax open files    1024   4096   files\nMax address space   unlimited  unlimited  bytes\n";
        assert_eq!(limit(limits, "Max open files"), 1024.0);
        assert_eq!(limit(limits, "Max address space"), u64::MAX as f64);
        assert_eq!(octets("IpExt: A InOctets\nIpExt: 1 22\n", "InOctets"), 22.0);
    }
}
