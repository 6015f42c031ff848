//! Cluster IPs and node ports of Services: filled in before validation, taken back when the write fails.
//!
//! Follows `pkg/registry/core/service/storage/alloc.go`. Free addresses and ports are known in memory, from the Services
//! there are at start. What makes an address ours, also against another API server on the same store, is its IPAddress
//! object, which only one can create.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, meta, time};
use skiff_net::allocator::{AllocationError, IpAllocator, PortAllocator};
use skiff_storage::{ListOptions, Storage, StorageError};

use super::service::{needs_cluster_ip, needs_health_check, needs_node_port};
use crate::registry::draft::draft;
use crate::registry::hook::{Hook, Reservation};

const SERVICES: &str = "/registry/services/";
const IP_ADDRESSES: &str = "/registry/networking.k8s.io/ipaddresses/";
/// Addresses that are tried when others turn out to be another server's.
const MAX_ATTEMPTS: usize = 64;

/// See the module.
pub struct ServiceAllocation {
    free: Arc<Mutex<Free>>,
    storage: Arc<dyn Storage>,
}

struct Free {
    ips: IpAllocator,
    ports: PortAllocator,
}

/// What one write took and what it no longer needs.
#[derive(Default)]
struct Changes {
    taken_ips: Vec<Ipv4Addr>,
    taken_ports: Vec<u16>,
    given_up_ips: Vec<Ipv4Addr>,
    given_up_ports: Vec<u16>,
}

impl ServiceAllocation {
    /// Reads the Services there are. Objects that record addresses without a Service are removed, missing ones made.
    pub async fn load(
        storage: Arc<dyn Storage>,
        net: Ipv4Net,
        ports: RangeInclusive<u16>,
    ) -> Result<Arc<Self>, StorageError> {
        let mut free = Free { ips: IpAllocator::new(net), ports: PortAllocator::new(ports) };
        let mut owners = Vec::new();
        for entry in storage.list(SERVICES, ListOptions::default()).await?.entries {
            let Ok(service) = json::parse(&entry.object.json) else {
                continue;
            };
            for ip in ips_of(&service) {
                let _ = free.ips.take(ip);
                owners.push((ip, meta::namespace(&service).to_owned(), meta::name(&service).to_owned()));
            }
            for port in ports_of(&service) {
                let _ = free.ports.take(port);
            }
        }
        let this = Arc::new(Self { free: Arc::new(Mutex::new(free)), storage });
        this.repair_records(&owners).await?;
        Ok(this)
    }

    async fn repair_records(&self, owners: &[(Ipv4Addr, String, String)]) -> Result<(), StorageError> {
        for entry in self.storage.list(IP_ADDRESSES, ListOptions::default()).await?.entries {
            let ip = entry.key.rsplit('/').next().and_then(|name| name.parse::<Ipv4Addr>().ok());
            let managed = json::parse(&entry.object.json).is_ok_and(|o| is_ours(&o));
            if managed && !owners.iter().any(|(owned, _, _)| Some(*owned) == ip) {
                match self.storage.delete(&entry.key, entry.revision).await {
                    Ok(_) | Err(StorageError::NotFound { .. } | StorageError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for (ip, namespace, name) in owners {
            match self.record(*ip, namespace, name).await {
                Ok(()) | Err(StorageError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Creates the object that says whose an address is.
    async fn record(&self, ip: Ipv4Addr, namespace: &str, name: &str) -> Result<(), StorageError> {
        let object = value!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {
                "name": (ip.to_string()),
                "uid": (meta::new_uid()),
                "creationTimestamp": (time::format(jiff::Timestamp::now())),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"
                }
            },
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}}
        });
        self.storage.create(&format!("{IP_ADDRESSES}{ip}"), draft(&object), None).await.map(drop)
    }

    /// Fills in what the new Service leaves out and has a right to keep from the old one.
    fn carry_over(new: &mut Value, old: &Value) {
        let (old_kind, kind) = (kind_of(old), kind_of(new));
        let old_spec = old.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        let spec = new.object_at_mut(&["spec"]);
        if needs_cluster_ip(&old_kind) && needs_cluster_ip(&kind) {
            let empty = |spec: &Object, field: &str| {
                spec.get(field).is_none_or(|v| v.as_str() == Some("") || v.as_array().is_some_and(<[_]>::is_empty))
            };
            // Whoever clears the first without touching the others means them all.
            if empty(spec, "clusterIP") && spec.get("clusterIPs") == old.at(&["spec", "clusterIPs"]) {
                spec.remove("clusterIPs");
            }
            if empty(spec, "clusterIP") && empty(spec, "clusterIPs") {
                for field in ["clusterIP", "clusterIPs"] {
                    if let Some(value) = old_spec.get(field) {
                        spec.insert(field, value.clone());
                    }
                }
            }
        }
        if needs_node_port(&old_kind, &old_spec) && needs_node_port(&kind, spec) {
            keep_node_ports(spec, &old_spec);
        }
        if needs_health_check(&old_kind, &old_spec)
            && needs_health_check(&kind, spec)
            && spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0) == 0
            && let Some(port) = old_spec.get("healthCheckNodePort")
        {
            spec.insert("healthCheckNodePort", port.clone());
        }
    }

    async fn allocate(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
        changes: &mut Changes,
    ) -> Result<(), Status> {
        let kind = kind_of(new);
        if needs_cluster_ip(&kind) {
            self.cluster_ip(new, old, dry_run, changes).await?;
        }
        let wants_ports = needs_node_port(&kind, new.object_at_mut(&["spec"]));
        let wants_health = needs_health_check(&kind, new.object_at_mut(&["spec"]));
        let mut kept = old.map(ports_of).unwrap_or_default();
        if wants_ports {
            self.node_ports(new, &mut kept, changes)?;
        }
        if wants_health {
            self.health_port(new, &mut kept, changes)?;
        }
        if let Some(old) = old {
            let (ips, ports) = (ips_of(new), ports_of(new));
            let keeps_ips = needs_cluster_ip(&kind);
            changes.given_up_ips = ips_of(old).into_iter().filter(|ip| !keeps_ips || !ips.contains(ip)).collect();
            let keeps = |port: &u16| (wants_ports || wants_health) && ports.contains(port);
            changes.given_up_ports = ports_of(old).into_iter().filter(|port| !keeps(port)).collect();
        }
        Ok(())
    }

    async fn cluster_ip(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
        changes: &mut Changes,
    ) -> Result<(), Status> {
        let (name, namespace) = (meta::name(new).to_owned(), meta::namespace(new).to_owned());
        let spec = new.object_at_mut(&["spec"]);
        sync_cluster_ips(spec);
        crate::registry::defaults::text(spec, "ipFamilyPolicy", "SingleStack");
        if spec.get("ipFamilies").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
            spec.insert("ipFamilies", vec!["IPv4"]);
        }
        let asked = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
        if asked == "None" {
            return Ok(());
        }
        let ip = if asked.is_empty() {
            self.any_ip(&namespace, &name, dry_run).await.map_err(|error| ip_error(&name, "", &error.to_string()))?
        } else {
            // What is no address is left to validation.
            let Ok(ip) = asked.parse::<Ipv4Addr>() else {
                return Ok(());
            };
            if old.is_some_and(|old| ips_of(old).contains(&ip)) {
                return Ok(());
            }
            self.certain_ip(ip, &namespace, &name, dry_run).await?;
            ip
        };
        changes.taken_ips.push(ip);
        let spec = new.object_at_mut(&["spec"]);
        spec.insert("clusterIP", ip.to_string());
        spec.insert("clusterIPs", vec![ip.to_string()]);
        Ok(())
    }

    async fn any_ip(&self, namespace: &str, name: &str, dry_run: bool) -> Result<Ipv4Addr, StorageError> {
        for _ in 0..MAX_ATTEMPTS {
            let taken = self.free.lock().ips.take_any();
            let ip = taken.map_err(|error| StorageError::Unavailable(error.to_string()))?;
            if dry_run {
                return Ok(ip);
            }
            match self.record(ip, namespace, name).await {
                Ok(()) => return Ok(ip),
                // Another server has it; it stays marked as taken here.
                Err(StorageError::Exists { .. }) => {}
                Err(error) => {
                    self.free.lock().ips.release(ip);
                    return Err(error);
                }
            }
        }
        Err(StorageError::Unavailable("no free cluster IP was found".into()))
    }

    async fn certain_ip(&self, ip: Ipv4Addr, namespace: &str, name: &str, dry_run: bool) -> Result<(), Status> {
        let (taken, net) = {
            let mut free = self.free.lock();
            (free.ips.take(ip), free.ips.net())
        };
        match taken {
            Ok(()) => {}
            Err(AllocationError::OutOfRange) if !net.contains(&ip) => {
                let message = "the provided network does not match the current range";
                return Err(ip_error(name, &ip.to_string(), message));
            }
            Err(AllocationError::OutOfRange) => {
                let message =
                    format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {net}");
                return Err(ip_error(name, &ip.to_string(), &message));
            }
            Err(_) => {
                return Err(ip_error(name, &ip.to_string(), "provided IP is already allocated"));
            }
        }
        if dry_run {
            return Ok(());
        }
        match self.record(ip, namespace, name).await {
            Ok(()) => Ok(()),
            Err(StorageError::Exists { .. }) => {
                Err(ip_error(name, &ip.to_string(), "provided IP is already allocated"))
            }
            Err(error) => {
                self.free.lock().ips.release(ip);
                Err(status::service_unavailable(error.to_string()))
            }
        }
    }

    fn node_ports(&self, new: &mut Value, kept: &mut Vec<u16>, changes: &mut Changes) -> Result<(), Status> {
        let name = meta::name(new).to_owned();
        let mut errors = ErrorList::default();
        let mut by_port: Vec<(i64, u16)> = Vec::new();
        let ports = new.get_mut("spec").and_then(|s| s.get_mut("ports")).and_then(Value::as_array_mut);
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let number = port.i64_at(&["port"]).unwrap_or(0);
            let asked = u16::try_from(port.i64_at(&["nodePort"]).unwrap_or(0)).unwrap_or(0);
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            // The same port for another protocol shares the node port.
            let shared =
                by_port.iter().find(|(n, p)| if asked == 0 { *n == number } else { *p == asked }).map(|(_, p)| *p);
            let taken = match shared {
                Some(port) => Ok(port),
                None => self.node_port(asked, kept, changes),
            };
            match taken {
                Ok(node_port) => {
                    by_port.push((number, node_port));
                    port.set_at(&["nodePort"], i64::from(node_port));
                }
                Err(message) => errors.push(Error::invalid(&path, i64::from(asked), message)),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(status::invalid("", "Service", &name, errors)) }
    }

    fn node_port(&self, asked: u16, kept: &mut Vec<u16>, changes: &mut Changes) -> Result<u16, String> {
        if asked != 0
            && let Some(position) = kept.iter().position(|port| *port == asked)
        {
            kept.swap_remove(position);
            return Ok(asked);
        }
        let mut free = self.free.lock();
        let taken = if asked == 0 { free.ports.take_any() } else { free.ports.take(asked).map(|()| asked) };
        match taken {
            Ok(port) => {
                changes.taken_ports.push(port);
                Ok(port)
            }
            Err(AllocationError::OutOfRange) => {
                let range = free.ports.ports();
                Err(format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    range.start(),
                    range.end()
                ))
            }
            Err(AllocationError::Taken) => Err("provided port is already allocated".to_owned()),
            Err(AllocationError::Full) => Err("range is full".to_owned()),
        }
    }

    fn health_port(&self, new: &mut Value, kept: &mut Vec<u16>, changes: &mut Changes) -> Result<(), Status> {
        let name = meta::name(new).to_owned();
        let asked = u16::try_from(new.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0)).unwrap_or(0);
        match self.node_port(asked, kept, changes) {
            Ok(port) => {
                new.set_at(&["spec", "healthCheckNodePort"], i64::from(port));
                Ok(())
            }
            Err(message) => {
                let path = Path::new("spec").child("healthCheckNodePort");
                let errors = vec![Error::invalid(&path, i64::from(asked), message)];
                Err(status::invalid("", "Service", &name, errors))
            }
        }
    }

    /// Gives back, in memory at once and in the store as soon as it can.
    fn give_back(free: &Mutex<Free>, storage: &Arc<dyn Storage>, ips: Vec<Ipv4Addr>, ports: &[u16], recorded: bool) {
        for port in ports {
            free.lock().ports.release(*port);
        }
        if ips.is_empty() {
            return;
        }
        if !recorded {
            for ip in &ips {
                free.lock().ips.release(*ip);
            }
            return;
        }
        for ip in &ips {
            free.lock().ips.release(*ip);
        }
        let storage = storage.clone();
        tokio::spawn(async move {
            for ip in ips {
                let key = format!("{IP_ADDRESSES}{ip}");
                if let Ok((Some(entry), _)) = storage.get(&key).await
                    && let Err(error) = storage.delete(&key, entry.revision).await
                {
                    tracing::warn!(%ip, %error, "the record of a free cluster IP stays until the next start");
                }
            }
        });
    }

    fn reservation(&self, changes: Changes, dry_run: bool) -> Reservation {
        let Changes { taken_ips, taken_ports, given_up_ips, given_up_ports } = changes;
        let (free, storage) = (self.free.clone(), self.storage.clone());
        let (free_again, storage_again) = (self.free.clone(), self.storage.clone());
        Reservation::new(
            move || Self::give_back(&free, &storage, given_up_ips, &given_up_ports, true),
            move || Self::give_back(&free_again, &storage_again, taken_ips, &taken_ports, !dry_run),
        )
    }
}

#[async_trait::async_trait]
impl Hook for ServiceAllocation {
    async fn begin(&self, new: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Reservation, Status> {
        if let Some(old) = old {
            Self::carry_over(new, old);
        }
        let mut changes = Changes::default();
        let allocated = self.allocate(new, old, dry_run, &mut changes).await;
        // Dropped on failure, it takes back what was taken before the failure.
        let reservation = self.reservation(changes, dry_run);
        allocated.map(|()| reservation)
    }

    async fn after_delete(&self, old: &Value) {
        Self::give_back(&self.free, &self.storage, ips_of(old), &ports_of(old), true);
    }
}

fn is_ours(record: &Value) -> bool {
    let labels = record.at(&["metadata", "labels"]);
    labels.and_then(|l| l.get("ipaddress.kubernetes.io/managed-by")).and_then(Value::as_str)
        == Some("ipallocator.k8s.io")
}

fn kind_of(service: &Value) -> String {
    service.str_at(&["spec", "type"]).unwrap_or("").to_owned()
}

fn ips_of(service: &Value) -> Vec<Ipv4Addr> {
    let listed = service.array_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    listed.filter_map(|ip| ip.parse().ok()).collect()
}

fn ports_of(service: &Value) -> Vec<u16> {
    let node_ports = service.array_at(&["spec", "ports"]).iter().filter_map(|port| port.i64_at(&["nodePort"]));
    let health = service.i64_at(&["spec", "healthCheckNodePort"]);
    let mut ports =
        node_ports.chain(health).filter_map(|p| u16::try_from(p).ok()).filter(|p| *p != 0).collect::<Vec<_>>();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `clusterIP` and the first of `clusterIPs` are one thing; clients may state only the former.
fn sync_cluster_ips(spec: &mut Object) {
    let ip = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    if !ip.is_empty() && spec.get("clusterIPs").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
        spec.insert("clusterIPs", vec![ip]);
    }
}

/// Ports without a node port keep the one they had: the port of the same number and protocol.
fn keep_node_ports(spec: &mut Object, old: &Object) {
    let identity = |port: &Object| {
        (port.get("port").and_then(Value::as_i64), port.get("protocol").and_then(Value::as_str).map(str::to_owned))
    };
    let mut before = Vec::new();
    for port in old.get("ports").and_then(Value::as_array).unwrap_or(&[]).iter().filter_map(Value::as_object) {
        before.push((identity(port), port.get("nodePort").and_then(Value::as_i64).unwrap_or(0)));
    }
    let mut used = Vec::new();
    for port in spec.get("ports").and_then(Value::as_array).unwrap_or(&[]) {
        used.extend(port.i64_at(&["nodePort"]).filter(|p| *p != 0));
    }
    crate::registry::defaults::each(spec, "ports", |port| {
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
            return;
        }
        let own = identity(port);
        let had =
            before.iter().find(|(other, node_port)| *other == own && *node_port != 0 && !used.contains(node_port));
        if let Some((_, node_port)) = had {
            port.insert("nodePort", *node_port);
        }
    });
}

fn ip_error(service: &str, ip: &str, message: &str) -> Status {
    let path = Path::new("spec").child("clusterIPs");
    let detail = if ip.is_empty() {
        format!("failed to allocate a cluster IP: {message}")
    } else {
        format!("failed to allocate IP {ip}: {message}")
    };
    let shown = if ip.is_empty() { Vec::new() } else { vec![ip] };
    status::invalid("", "Service", service, vec![Error::invalid(&path, shown, detail)])
}
