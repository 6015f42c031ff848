//! Node ports of Services, and the port that load balancers ask for health.
//!
//! Follows `initNodePorts`, `updateNodePorts` and `allocHealthCheckNodePort` of
//! `pkg/registry/core/service/storage/alloc.go`.

use std::collections::{HashMap, HashSet};

use skiff_apimachinery::field::{Error, Path};
use skiff_apimachinery::meta;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::{Object, Value};
use skiff_net::allocator::{AllocationError, PortAllocator};

use super::{may_have_node_ports, needs_health_check, needs_node_port};
use crate::registry::defaults::each;

/// What one write takes from the free ports and gives back when it is done.
#[derive(Default)]
pub(super) struct Ports {
    /// Taken.
    pub(super) taken: Vec<u16>,
    /// No longer needed.
    pub(super) given_up: Vec<u16>,
    /// Nothing will be stored.
    dry_run: bool,
}

impl Ports {
    /// Nothing yet, for a write that may be a dry run.
    pub(super) fn of_write(dry_run: bool) -> Self {
        Self { dry_run, ..Self::default() }
    }

    fn take(&mut self, number: i64, free: &mut PortAllocator) -> Result<(), String> {
        let range = free.ports().clone();
        let outside = || {
            let (first, last) = (range.start(), range.end());
            format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
        };
        let port = match u16::try_from(number) {
            Ok(port) => port,
            Err(_) if self.dry_run => return Ok(()),
            Err(_) => return Err(outside()),
        };
        match free.take(port) {
            Ok(()) => self.taken.push(port),
            // Upstream looks only whether somebody has it.
            Err(AllocationError::OutOfRange) if self.dry_run => {}
            Err(AllocationError::OutOfRange) => return Err(outside()),
            Err(_) => return Err("provided port is already allocated".to_owned()),
        }
        Ok(())
    }

    fn take_any(&mut self, free: &mut PortAllocator, what: &str) -> Result<i64, Status> {
        let port =
            free.take_any().map_err(|error| status::internal_error(format!("failed to allocate a {what}: {error}")))?;
        self.taken.push(port);
        Ok(i64::from(port))
    }
}

/// The ports of a Service that are written down in it.
pub(super) fn of(service: &Value) -> Vec<u16> {
    let health = service.i64_at(&["spec", "healthCheckNodePort"]);
    let mut ports = numbers(service).into_iter().chain(health).filter_map(|port| u16::try_from(port).ok());
    let mut ports = ports.by_ref().filter(|port| *port != 0).collect::<Vec<_>>();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn numbers(service: &Value) -> Vec<i64> {
    let ports = service.array_at(&["spec", "ports"]).iter();
    ports.filter_map(|port| port.i64_at(&["nodePort"])).filter(|number| *number != 0).collect()
}

fn kind_of(service: &Value) -> &str {
    service.str_at(&["spec", "type"]).unwrap_or("")
}

fn wants(service: &Value, needs: fn(&str, &Object) -> bool) -> bool {
    service.get("spec").and_then(Value::as_object).is_some_and(|spec| needs(kind_of(service), spec))
}

/// Keeps the ports of a Service whose client did not state them: a port keeps the node port of its name.
pub(super) fn keep(new: &mut Value, old: &Value) {
    if wants(old, needs_node_port) && wants(new, needs_node_port) {
        let before = old.array_at(&["spec", "ports"]).iter();
        let before = before.map(|port| (port.str_at(&["name"]).unwrap_or(""), port.i64_at(&["nodePort"]).unwrap_or(0)));
        let by_name = before.collect::<HashMap<_, _>>();
        let stated = numbers(new);
        let used = numbers(old).into_iter().filter(|number| stated.contains(number)).collect::<Vec<_>>();
        each(new.object_at_mut(&["spec"]), "ports", |port| {
            let name = port.get("name").and_then(Value::as_str).unwrap_or("");
            let number = by_name.get(name).copied().filter(|number| *number != 0 && !used.contains(number));
            if let Some(number) = number
                && port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0
            {
                port.insert("nodePort", number);
            }
        });
    }
    if wants(old, needs_health_check)
        && wants(new, needs_health_check)
        && new.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0) == 0
        && let Some(port) = old.at(&["spec", "healthCheckNodePort"])
    {
        new.set_at(&["spec", "healthCheckNodePort"], port.clone());
    }
}

/// Gives a new or changed Service the ports that it needs.
pub(super) fn allocate(
    new: &mut Value,
    old: Option<&Value>,
    free: &mut PortAllocator,
    changes: &mut Ports,
) -> Result<(), Status> {
    match old {
        None if may_have_node_ports(kind_of(new)) => create(new, free, changes)?,
        Some(old) => {
            if may_have_node_ports(kind_of(new)) {
                update(new, old, free, changes)?;
            } else if may_have_node_ports(kind_of(old)) {
                changes.given_up.extend(numbers(old).into_iter().filter_map(|number| u16::try_from(number).ok()));
            }
        }
        None => {}
    }
    let (needed, needs) = (old.is_some_and(|old| wants(old, needs_health_check)), wants(new, needs_health_check));
    if needs && !needed {
        health_check(new, free, changes)?;
    } else if needed && !needs {
        let port = old.and_then(|old| old.i64_at(&["spec", "healthCheckNodePort"]));
        changes.given_up.extend(port.and_then(|port| u16::try_from(port).ok()));
    }
    Ok(())
}

fn refused(service: &str, index: usize, number: i64, why: String) -> Status {
    let path = Path::new("spec").child("ports").index(index).child("nodePort");
    status::invalid("", "Service", service, vec![Error::invalid(&path, number, why)])
}

/// Ports of one number share a node port, whatever their protocols.
fn create(new: &mut Value, free: &mut PortAllocator, changes: &mut Ports) -> Result<(), Status> {
    let (name, any) = (meta::name(new).to_owned(), wants(new, needs_node_port));
    let stated = |ports: &[Value], number: i64| {
        let mut same = ports.iter().filter(|port| port.i64_at(&["port"]) == Some(number));
        same.find_map(|port| port.i64_at(&["nodePort"]).filter(|node_port| *node_port != 0))
    };
    let all = new.array_at(&["spec", "ports"]).to_vec();
    let mut by_port: HashMap<i64, i64> = HashMap::new();
    for (index, port) in ports_of(new).enumerate() {
        let number = port.i64_at(&["port"]).unwrap_or(0);
        let asked = port.i64_at(&["nodePort"]).unwrap_or(0);
        if asked == 0 && !any {
            continue;
        }
        let node_port = match (by_port.get(&number).copied(), stated(&all, number)) {
            (Some(shared), _) if asked == 0 || asked == shared => shared,
            (Some(_), _) => {
                changes.take(asked, free).map_err(|why| refused(&name, index, asked, why))?;
                asked
            }
            (None, Some(node_port)) => {
                changes.take(node_port, free).map_err(|why| refused(&name, index, node_port, why))?;
                node_port
            }
            (None, None) => changes.take_any(free, "nodePort")?,
        };
        by_port.entry(number).or_insert(node_port);
        port.set_at(&["nodePort"], node_port);
    }
    Ok(())
}

fn update(new: &mut Value, old: &Value, free: &mut PortAllocator, changes: &mut Ports) -> Result<(), Status> {
    let (name, any) = (meta::name(new).to_owned(), wants(new, needs_node_port));
    let before = numbers(old);
    let (mut taken, mut seen) = (HashSet::new(), HashSet::new());
    for (index, port) in ports_of(new).enumerate() {
        let mut number = port.i64_at(&["nodePort"]).unwrap_or(0);
        if number == 0 && !any {
            continue;
        }
        if number == 0 {
            number = changes.take_any(free, "nodePort")?;
            port.set_at(&["nodePort"], number);
        } else if !before.contains(&number) && taken.insert(number) {
            changes.take(number, free).map_err(|why| refused(&name, index, number, why))?;
        }
        let protocol = port.str_at(&["protocol"]).unwrap_or("").to_owned();
        if !seen.insert((protocol.clone(), number)) {
            return Err(Status::new(500, "", format!("duplicate nodePort: {{{protocol} {number}}}")));
        }
    }
    let now = numbers(new);
    let gone = before.into_iter().filter(|number| !now.contains(number));
    changes.given_up.extend(gone.filter_map(|number| u16::try_from(number).ok()));
    Ok(())
}

fn health_check(new: &mut Value, free: &mut PortAllocator, changes: &mut Ports) -> Result<(), Status> {
    let asked = new.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0);
    if asked != 0 {
        return changes.take(asked, free).map_err(|why| {
            status::internal_error(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
        });
    }
    let port = changes.take_any(free, "HealthCheck NodePort 0")?;
    new.set_at(&["spec", "healthCheckNodePort"], port);
    Ok(())
}

fn ports_of(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    let ports = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
    ports.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn ports_keep_their_node_ports_by_name_and_give_up_the_others() {
        let mut free = PortAllocator::new(30000..=30001);
        let old = value!({"spec": {"type": "NodePort", "ports": [
            {"name": "a", "protocol": "TCP", "port": 1, "nodePort": 30000},
            {"name": "b", "protocol": "TCP", "port": 2, "nodePort": 30001}
        ]}});
        for port in of(&old) {
            free.take(port).expect("free");
        }
        let mut new = value!({"spec": {"type": "NodePort", "ports": [{"name": "b", "protocol": "TCP", "port": 7}]}});
        keep(&mut new, &old);
        let mut changes = Ports::default();
        allocate(&mut new, Some(&old), &mut free, &mut changes).expect("ports");
        assert_eq!(of(&new), [30001]);
        assert_eq!((changes.taken, changes.given_up), (vec![], vec![30000]));
    }

    #[test]
    fn one_node_port_for_one_number() {
        let mut free = PortAllocator::new(30000..=30010);
        let mut new = value!({"spec": {"type": "NodePort", "ports": [
            {"name": "a", "protocol": "TCP", "port": 53},
            {"name": "b", "protocol": "UDP", "port": 53, "nodePort": 30007}
        ]}});
        let mut changes = Ports::default();
        allocate(&mut new, None, &mut free, &mut changes).expect("ports");
        assert_eq!((numbers(&new), changes.taken), (vec![30007, 30007], vec![30007]));
    }
}
