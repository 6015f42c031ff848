//! The rows of the table and their floors.

use crate::sample::Metric;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Creates by one client.
    CreateOne,
    /// Creates by many clients.
    CreateMany,
    /// Merge patches by many clients.
    Patch,
    /// Server-side applies by many clients.
    Apply,
    /// Reads of one pod by several clients.
    Get,
    /// Renewals of leases by very many clients.
    Lease,
    /// A list of very many pods in JSON.
    ListJson,
    /// The same in protobuf.
    ListProtobuf,
    /// Several of these lists at once.
    Crowd,
    /// Memory with very many pods.
    Memory,
    /// Ten thousand watchers.
    Storm,
    /// From a write to the last of many watchers.
    Fanout,
    /// From nothing to ready.
    Boot,
    /// API server and store without requests.
    Idle,
    /// Everything on, with the sample application.
    Application,
    /// The shipped file.
    Size,
    /// From being killed with very many pods to ready.
    Restart,
    /// The store alone, one client.
    StoreOne,
    /// The store alone, very many clients.
    StoreMany,
}

/// What a row needs before it can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing; it starts what it measures.
    Nothing,
    /// A server without pods.
    Server,
    /// A server with pods as people write them.
    Pods,
    /// A server with very many small pods.
    ManyPods,
}

impl Row {
    /// Every row, in the table's order.
    pub const ALL: [Row; 19] = [
        Row::CreateOne,
        Row::CreateMany,
        Row::Patch,
        Row::Apply,
        Row::Get,
        Row::Lease,
        Row::ListJson,
        Row::ListProtobuf,
        Row::Crowd,
        Row::Memory,
        Row::Storm,
        Row::Fanout,
        Row::Boot,
        Row::Idle,
        Row::Application,
        Row::Size,
        Row::Restart,
        Row::StoreOne,
        Row::StoreMany,
    ];

    /// Number of the goal that the row belongs to.
    pub fn number(self) -> &'static str {
        match self {
            Row::CreateOne => "1",
            Row::CreateMany => "2",
            Row::Patch => "3",
            Row::Apply => "3b",
            Row::Get => "4",
            Row::Lease => "5",
            Row::ListJson => "6",
            Row::ListProtobuf => "6b",
            Row::Crowd => "7",
            Row::Memory => "8",
            Row::Storm => "9, 10",
            Row::Fanout => "11",
            Row::Boot => "16",
            Row::Idle => "18a",
            Row::Application => "18, 19",
            Row::Size => "20",
            Row::Restart => "27",
            Row::StoreOne => "30",
            Row::StoreMany => "30b",
        }
    }

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Row::CreateOne => "create pod, durable, 1 client",
            Row::CreateMany => "create pod, durable, 64 clients",
            Row::Patch => "merge patch of a pod, 64 clients",
            Row::Apply => "server-side apply to a pod, 64 clients",
            Row::Get => "get pod, 16 clients",
            Row::Lease => "renew lease, 1 000 clients",
            Row::ListJson => "list 100 000 pods of 2 KB, JSON",
            Row::ListProtobuf => "list 100 000 pods of 2 KB, protobuf",
            Row::Crowd => "eight such lists at once, memory added",
            Row::Memory => "API server and store with 100 000 pods of 2 KB, after the lists",
            Row::Storm => "20 events to 10 000 watchers",
            Row::Fanout => "write answered until the last of 1 000 watchers has it",
            Row::Boot => "start on an empty folder until /readyz",
            Row::Idle => "API server and store, idle",
            Row::Application => "everything on, with the sample application, idle",
            Row::Size => "the shipped file, all roles",
            Row::Restart => "kill -9 during writes with 100 000 pods, until /readyz, nothing lost",
            Row::StoreOne => "the store alone, 256 B, durable, 1 client",
            Row::StoreMany => "the store alone, 256 B, durable, 1 000 clients",
        }
    }

    /// kube-apiserver v1.36.2 and etcd 3.6.8 on four cores at 2.5 GHz, measured elsewhere.
    pub fn peer(self) -> &'static str {
        match self {
            Row::CreateOne => "217/s, p50 4.4 ms",
            Row::CreateMany => "764/s, 2.6 ms CPU",
            Row::Patch | Row::Apply => "426/s, 4.5 ms CPU",
            Row::Get => "1 384/s, 1.25 ms CPU",
            Row::Lease => "",
            Row::ListJson => "6.8 s, 9.0 s CPU",
            Row::ListProtobuf => "3.0 s, 5.2 s CPU",
            Row::Crowd => "16.8 s, +2.2 GiB",
            Row::Memory => "3.1 GiB",
            Row::Storm => "29 700/s, 149 µs CPU, 60 KiB per watcher",
            Row::Fanout => "≈ 35 ms",
            Row::Boot => "3.5–4.7 s",
            Row::Idle | Row::Application => "491 MiB, 3.9 % of a core (control plane)",
            Row::Size => "541 MB",
            Row::Restart => "13.8 s",
            Row::StoreOne => "2 000/s",
            Row::StoreMany => "16 400/s",
        }
    }

    /// What the table shows of it.
    pub fn metrics(self) -> &'static [Metric] {
        use Metric::{Bytes, Cores, CpuPerOp, P50, P99, Rate};
        match self {
            Row::CreateOne | Row::CreateMany | Row::Patch | Row::Apply | Row::Get | Row::Lease => {
                &[Rate, P50, P99, CpuPerOp]
            }
            Row::StoreOne | Row::StoreMany => &[Rate, P50, P99, CpuPerOp],
            Row::ListJson | Row::ListProtobuf => &[P50, P99, CpuPerOp, Bytes],
            Row::Crowd => &[P50, P99, Bytes],
            Row::Storm => &[Rate, CpuPerOp, Bytes],
            Row::Fanout => &[P50, P99, CpuPerOp],
            Row::Boot | Row::Restart => &[P50, P99],
            Row::Idle | Row::Application => &[Bytes, Cores],
            Row::Memory | Row::Size => &[Bytes],
        }
    }

    /// What must be there before it is measured.
    pub fn needs(self) -> Needs {
        match self {
            Row::CreateOne | Row::CreateMany | Row::Lease | Row::Storm | Row::Fanout => Needs::Server,
            Row::Patch | Row::Apply | Row::Get => Needs::Pods,
            Row::ListJson | Row::ListProtobuf | Row::Crowd | Row::Memory | Row::Restart => Needs::ManyPods,
            Row::Boot | Row::Idle | Row::Application | Row::Size | Row::StoreOne | Row::StoreMany => Needs::Nothing,
        }
    }
}

/// A bound that must hold.
pub struct Floor {
    /// Of which row.
    pub row: Row,
    /// Of which of its values.
    pub metric: Metric,
    bound: f64,
    /// Cores that a machine must have for the bound to apply.
    pub cores: usize,
}

const fn floor(row: Row, metric: Metric, bound: f64) -> Floor {
    Floor { row, metric, bound, cores: 1 }
}

/// Rates are promised on four cores.
const fn rate(row: Row, bound: f64) -> Floor {
    Floor { row, metric: Metric::Rate, bound, cores: 4 }
}

/// The bounds in force. They only ever become stricter.
pub const FLOORS: &[Floor] = &[
    floor(Row::CreateOne, Metric::P50, 0.0011),
    floor(Row::CreateMany, Metric::CpuPerOp, 250e-6),
    rate(Row::CreateMany, 8000.0),
    floor(Row::Patch, Metric::CpuPerOp, 350e-6),
    rate(Row::Patch, 5000.0),
    floor(Row::Apply, Metric::CpuPerOp, 350e-6),
    rate(Row::Apply, 5000.0),
    floor(Row::Get, Metric::CpuPerOp, 110e-6),
    rate(Row::Get, 15_000.0),
    floor(Row::ListJson, Metric::CpuPerOp, 0.6),
    floor(Row::ListProtobuf, Metric::CpuPerOp, 0.35),
    floor(Row::Crowd, Metric::Bytes, 150e6),
    floor(Row::Memory, Metric::Bytes, 700e6),
    rate(Row::Storm, 150_000.0),
    floor(Row::Storm, Metric::Bytes, 10_240.0),
    floor(Row::Fanout, Metric::P99, 0.050),
    floor(Row::Boot, Metric::P99, 0.3),
    floor(Row::Application, Metric::Bytes, 150e6),
    floor(Row::Application, Metric::Cores, 0.01),
    floor(Row::Size, Metric::Bytes, 60e6),
    floor(Row::Restart, Metric::P99, 1.5),
    rate(Row::StoreOne, 2000.0),
    rate(Row::StoreMany, 49_000.0),
];

impl Floor {
    /// Whether a value keeps to the bound.
    pub fn holds(&self, value: f64) -> bool {
        if self.metric.larger_is_better() { value >= self.bound } else { value <= self.bound }
    }

    /// The bound as people write it.
    pub fn show(&self) -> String {
        let sign = if self.metric.larger_is_better() { '≥' } else { '≤' };
        format!("{} {sign} {}", self.metric, self.metric.show(self.bound))
    }
}
