//! Where a Service is, for callers inside this server.
//!
//! Follows `ResolveCluster` in `k8s.io/apiserver/pkg/util/proxy/proxy.go`: the cluster IP, which the service proxy of
//! this machine leads on to an endpoint.

use std::sync::Arc;

use skiff_apimachinery::value::Value;

use crate::cacher::ObjectReader;
use crate::objects;
use crate::proxy::transport::Address;

/// Finds where to connect for a Service.
pub trait ServiceResolver: Send + Sync + 'static {
    /// The address behind this port of a Service; the error is the one that callers are shown.
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<Address, String>;
}

/// Services by their cluster IPs.
pub struct ClusterIps {
    reader: Arc<dyn ObjectReader>,
    own: Address,
}

impl ClusterIps {
    /// Reads Services from `reader`; `own` is where this server itself is reached (Service `kubernetes`).
    pub fn new(reader: Arc<dyn ObjectReader>, own: Address) -> Self {
        Self { reader, own }
    }
}

impl ServiceResolver for ClusterIps {
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<Address, String> {
        if (namespace, name, port) == ("default", "kubernetes", 443) {
            return Ok(self.own.clone());
        }
        let service = self.reader.get("", "services", namespace, name).and_then(|json| objects::parse(&json));
        let Some(service) = service else {
            return Err(format!("service {name:?} not found"));
        };
        cluster_address(&service, name, port)
    }
}

fn cluster_address(service: &Value, name: &str, port: u16) -> Result<Address, String> {
    let ty = service.str_at(&["spec", "type"]).unwrap_or("ClusterIP");
    let ip = service.str_at(&["spec", "clusterIP"]).unwrap_or("");
    match ty {
        "ClusterIP" if ip == "None" => return Err("cannot route to service with ClusterIP \"None\"".to_owned()),
        "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        "ExternalName" => {
            let host = service.str_at(&["spec", "externalName"]).unwrap_or("").to_owned();
            return if port == 443 {
                Ok(Address { host, port })
            } else {
                Err(format!("unsupported service type {ty:?}"))
            };
        }
        _ => return Err(format!("unsupported service type {ty:?}")),
    }
    let has_port = service.array_at(&["spec", "ports"]).iter().any(|p| p.i64_at(&["port"]) == Some(i64::from(port)));
    if !has_port {
        return Err(format!("no service port {port} found for service {name:?}"));
    }
    Ok(Address { host: ip.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn services_are_where_their_cluster_ip_is() {
        let ip = value!({"spec": {"clusterIP": "10.96.3.4", "ports": [{"port": 443}]}});
        assert_eq!(cluster_address(&ip, "s", 443), Ok(Address { host: "10.96.3.4".into(), port: 443 }));
        assert_eq!(cluster_address(&ip, "s", 444), Err("no service port 444 found for service \"s\"".into()));
        let headless = value!({"spec": {"type": "ClusterIP", "clusterIP": "None"}});
        assert_eq!(cluster_address(&headless, "s", 443), Err("cannot route to service with ClusterIP \"None\"".into()));
        let external = value!({"spec": {"type": "ExternalName", "externalName": "a.example"}});
        assert_eq!(cluster_address(&external, "s", 443), Ok(Address { host: "a.example".into(), port: 443 }));
        assert_eq!(cluster_address(&external, "s", 80), Err("unsupported service type \"ExternalName\"".into()));
    }
}
