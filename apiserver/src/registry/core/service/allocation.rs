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
use skiff_apimachinery::field::{Error, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, meta, time};
use skiff_net::allocator::{AllocationError, IpAllocator, PortAllocator};
use skiff_storage::{ListOptions, Storage, StorageError};

use super::node_ports::{self, Ports};
use super::{families, needs_cluster_ip};
use crate::registry::draft::draft;
use crate::registry::hook::{Hook, Reservation};

const SERVICES: &str = "/registry/services/";
const ENDPOINTS: &str = "/registry/endpoints/";
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
    given_up_ips: Vec<Ipv4Addr>,
    ports: Ports,
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
            for port in node_ports::of(&service) {
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
            "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}}
        });
        self.storage.create(&format!("{IP_ADDRESSES}{ip}"), draft(&object), None).await.map(drop)
    }

    /// Gives a Service its cluster IP when it comes to need one, and notes what it gives up.
    async fn cluster_ip(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
        changes: &mut Changes,
    ) -> Result<(), Status> {
        let had = old.is_some_and(|old| needs_cluster_ip(kind_of(old)));
        match (had, needs_cluster_ip(kind_of(new))) {
            (false, true) => {}
            (true, false) => {
                changes.given_up_ips = old.map(ips_of).unwrap_or_default();
                return Ok(());
            }
            _ => return Ok(()),
        }
        let (name, namespace) = (meta::name(new).to_owned(), meta::namespace(new).to_owned());
        let asked = new.str_at(&["spec", "clusterIP"]).unwrap_or("").to_owned();
        if asked == "None" {
            return Ok(());
        }
        let ip = if asked.is_empty() {
            let ip = self.any_ip(&namespace, &name, dry_run).await?;
            changes.taken_ips.push(ip);
            ip
        } else {
            // What is no address is left to validation.
            let Ok(ip) = asked.parse::<Ipv4Addr>() else {
                return Ok(());
            };
            if self.certain_ip(ip, &namespace, &name, dry_run).await? {
                changes.taken_ips.push(ip);
            }
            ip
        };
        let spec = new.object_at_mut(&["spec"]);
        spec.insert("clusterIP", ip.to_string());
        spec.insert("clusterIPs", vec![ip.to_string()]);
        Ok(())
    }

    async fn any_ip(&self, namespace: &str, name: &str, dry_run: bool) -> Result<Ipv4Addr, Status> {
        let full = |error: AllocationError| {
            status::internal_error(format!("failed to allocate a serviceIP for Service {name:?}: {error}"))
        };
        for _ in 0..MAX_ATTEMPTS {
            let ip = self.free.lock().ips.take_any().map_err(full)?;
            if dry_run {
                return Ok(ip);
            }
            match self.record(ip, namespace, name).await {
                Ok(()) => return Ok(ip),
                // Another server has it; it stays marked as taken here.
                Err(StorageError::Exists { .. }) => {}
                Err(error) => {
                    self.free.lock().ips.release(ip);
                    return Err(status::service_unavailable(error.to_string()));
                }
            }
        }
        Err(full(AllocationError::Full))
    }

    /// Takes an address that a client asks for. Says whether it was taken: in a dry run it may be another's.
    async fn certain_ip(&self, ip: Ipv4Addr, namespace: &str, name: &str, dry_run: bool) -> Result<bool, Status> {
        let (taken, net) = {
            let mut free = self.free.lock();
            (free.ips.take(ip), free.ips.net())
        };
        match taken {
            Ok(()) => {}
            Err(AllocationError::OutOfRange) => {
                let message = if dry_run {
                    format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {net}")
                } else {
                    "the provided network does not match the current range".to_owned()
                };
                return Err(ip_error(name, &ip.to_string(), &message));
            }
            // Upstream does not look whether it is free.
            Err(_) if dry_run => return Ok(false),
            Err(_) => {
                return Err(ip_error(name, &ip.to_string(), "provided IP is already allocated"));
            }
        }
        if dry_run {
            return Ok(true);
        }
        match self.record(ip, namespace, name).await {
            Ok(()) => Ok(true),
            Err(StorageError::Exists { .. }) => {
                Err(ip_error(name, &ip.to_string(), "provided IP is already allocated"))
            }
            Err(error) => {
                self.free.lock().ips.release(ip);
                Err(status::service_unavailable(error.to_string()))
            }
        }
    }

    /// Gives back, in the store and then in memory.
    async fn give_back(free: Arc<Mutex<Free>>, storage: Arc<dyn Storage>, ips: Vec<Ipv4Addr>, ports: Vec<u16>) {
        for ip in &ips {
            let key = format!("{IP_ADDRESSES}{ip}");
            if let Ok((Some(entry), _)) = storage.get(&key).await
                && let Err(error) = storage.delete(&key, entry.revision).await
            {
                tracing::warn!(%ip, %error, "the record of a free cluster IP stays until the next start");
            }
        }
        Self::give_back_unrecorded(&free, ips, ports);
    }

    fn give_back_unrecorded(free: &Mutex<Free>, ips: Vec<Ipv4Addr>, ports: Vec<u16>) {
        let mut free = free.lock();
        for ip in ips {
            free.ips.release(ip);
        }
        for port in ports {
            free.ports.release(port);
        }
    }

    fn reservation(&self, changes: Changes, dry_run: bool) -> Reservation {
        let Changes { taken_ips, given_up_ips, ports: Ports { taken: taken_ports, given_up: given_up_ports, .. } } =
            changes;
        let (free, storage) = (self.free.clone(), self.storage.clone());
        let (free_again, storage_again) = (self.free.clone(), self.storage.clone());
        Reservation::new(
            async move { Self::give_back(free, storage, given_up_ips, given_up_ports).await },
            async move {
                if dry_run {
                    Self::give_back_unrecorded(&free_again, taken_ips, taken_ports);
                } else {
                    Self::give_back(free_again, storage_again, taken_ips, taken_ports).await;
                }
            },
        )
    }
}

#[async_trait::async_trait]
impl Hook for ServiceAllocation {
    async fn begin(&self, new: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Reservation, Status> {
        if let Some(old) = old {
            families::keep_addresses(new, old);
            node_ports::keep(new, old);
        }
        families::normalize(new, old);
        families::init(new, old)?;
        let mut changes = Changes { ports: Ports::of_write(dry_run), ..Changes::default() };
        let allocated = match self.cluster_ip(new, old, dry_run, &mut changes).await {
            Ok(()) => node_ports::allocate(new, old, &mut self.free.lock().ports, &mut changes.ports),
            error => error,
        };
        let reservation = self.reservation(changes, dry_run);
        match allocated {
            Ok(()) => Ok(reservation),
            Err(error) => {
                // What was taken before the failure.
                reservation.finish(false).await;
                Err(error)
            }
        }
    }

    async fn after_delete(&self, old: &Value) {
        // Endpoints that outlive their Service would be those of the next one of its name.
        let key = format!("{ENDPOINTS}{}/{}", meta::namespace(old), meta::name(old));
        if let Ok((Some(endpoints), _)) = self.storage.get(&key).await
            && let Err(error) = self.storage.delete(&key, endpoints.revision).await
        {
            tracing::warn!(key, %error, "the endpoints of a Service that is gone stay");
        }
        Self::give_back(self.free.clone(), self.storage.clone(), ips_of(old), node_ports::of(old)).await;
    }
}

fn is_ours(record: &Value) -> bool {
    let labels = record.at(&["metadata", "labels"]);
    labels.and_then(|l| l.get("ipaddress.kubernetes.io/managed-by")).and_then(Value::as_str)
        == Some("ipallocator.k8s.io")
}

fn kind_of(service: &Value) -> &str {
    service.str_at(&["spec", "type"]).unwrap_or("")
}

fn ips_of(service: &Value) -> Vec<Ipv4Addr> {
    let listed = service.array_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    listed.filter_map(|ip| ip.parse().ok()).collect()
}

fn ip_error(service: &str, ip: &str, message: &str) -> Status {
    let path = Path::new("spec").child("clusterIPs");
    let error = Error::invalid(&path, vec![ip], format!("failed to allocate IP {ip}: {message}"));
    status::invalid("", "Service", service, vec![error])
}
