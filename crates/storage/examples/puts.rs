//! Durable writes per second of the embedded engine: `cargo run --release -p skiff-storage --example puts [FOLDER [ETCD]]`.
//!
//! Prints, for 1 and 64 clients and values of 2 KB, the rate, latencies, syncs per write and CPU time per write; then
//! the same for overwriting a fixed set of keys, where the log is cleaned all the time, and the time of a restart.
#![allow(clippy::print_stdout, reason = "the example's output")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use skiff_storage::embedded::{self, Config};
use skiff_storage::{Draft, HistoryLimits, LocalStorage, Storage, etcd, memory};

const SECONDS: u64 = 4;

fn draft(name: &str, bytes: usize) -> Draft {
    let head = format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":""#);
    let rv_at = head.len() as u32;
    Draft { json: format!(r#"{head}"}},"value":"{}"}}"#, "v".repeat(bytes)).into_bytes(), rv_at }
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime, in ticks of 10 ms.
    (ticks(11) + ticks(12)) / 100.0
}

struct Case {
    name: &'static str,
    clients: usize,
    bytes: usize,
    /// 0: every write is a new key.
    keys: usize,
}

async fn run(storage: Arc<dyn Storage>, case: &Case) {
    let counter = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let cpu = cpu_seconds();
    let mut tasks = Vec::new();
    for client in 0..case.clients {
        let (storage, counter) = (storage.clone(), counter.clone());
        let (bytes, keys, clients) = (case.bytes, case.keys, case.clients);
        let label = case.name;
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut n = 0;
            while start.elapsed() < Duration::from_secs(SECONDS) {
                let number = match keys {
                    0 => counter.fetch_add(1, Ordering::Relaxed),
                    // Each client has its own keys, so that nobody waits for anybody.
                    keys => client + n % (keys / clients) * clients,
                };
                n += 1;
                let name = format!("{number:08}");
                let key = format!("/registry/{label}/default/{name}");
                let draft = draft(&name, bytes);
                let current = if keys == 0 { None } else { storage.get(&key).await.expect("get").0 };
                let before = Instant::now();
                match current {
                    Some(entry) => storage.update(&key, entry.revision, draft, None).await.expect("update"),
                    None => storage.create(&key, draft, None).await.expect("create"),
                };
                latencies.push(before.elapsed());
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for client in tasks {
        latencies.extend(client.await.expect("a client"));
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    latencies.sort();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let count = latencies.len() as f64;
    println!(
        "{:<28} {:>9.0}/s  p50 {:>7.0} us  p99 {:>8.0} us  max {:>8.0} us  cpu {:>6.1} us/op",
        case.name,
        count / elapsed,
        at(0.5),
        at(0.99),
        at(1.0),
        cpu / count * 1e6
    );
}

fn open(folder: &Path) -> LocalStorage {
    embedded::open(&Config::new(folder)).expect("a store")
}

fn file_size(folder: &Path) -> f64 {
    std::fs::metadata(folder.join(embedded::DATABASE_FILE)).map_or(0.0, |meta| meta.len() as f64 / 1e6)
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("skiff-puts"), PathBuf::from);
    let cases = [
        Case { name: "create-1-client", clients: 1, bytes: 2000, keys: 0 },
        Case { name: "create-64-clients", clients: 64, bytes: 2000, keys: 0 },
        Case { name: "create-64-clients-4800", clients: 64, bytes: 4800, keys: 0 },
        Case { name: "update-64-clients", clients: 64, bytes: 2000, keys: 20_000 },
        Case { name: "update-1000-clients-512", clients: 1000, bytes: 512, keys: 64_000 },
    ];
    println!("memory engine");
    for case in &cases[..2] {
        run(Arc::new(memory::open(HistoryLimits::default()).expect("a store")), case).await;
    }
    if let Some(url) = std::env::args().nth(2) {
        println!("etcd at {url}");
        for case in &cases[..2] {
            let storage = etcd::open(&etcd::Config::new(vec![url.clone()])).await.expect("an empty etcd");
            run(Arc::new(storage), case).await;
        }
    }
    println!("embedded engine in {}", folder.display());
    for case in &cases {
        let _ = std::fs::remove_dir_all(&folder);
        run(Arc::new(open(&folder)), case).await;
        println!("{:<28} database {:.0} MB", "", file_size(&folder));
    }

    let _ = std::fs::remove_dir_all(&folder);
    let storage = Arc::new(open(&folder));
    let names: Vec<String> = (0..100_000).map(|i| format!("{i:08}")).collect();
    for names in names.chunks(1000) {
        let writes = names.iter().map(|name| {
            let storage = storage.clone();
            async move {
                let key = format!("/registry/pods/default/{name}");
                storage.create(&key, draft(name, 2000), None).await.expect("create");
            }
        });
        futures::future::join_all(writes).await;
    }
    drop(storage);
    let start = Instant::now();
    let storage = open(&folder);
    println!("restart with 100 000 objects of 2 KB: {:?}", start.elapsed());
    drop(storage);
    let _ = std::fs::remove_dir_all(&folder);
}
