//! Where a request for a pod, node or Service goes.
//!
//! Follows `pkg/registry/core/{pod/strategy.go,node/strategy.go,service/proxy.go}`.

use rand::RngExt;
use skiff_apimachinery::json;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::transport::Address;
use crate::cacher::ObjectReader;
use crate::query::Query;

/// Where kubelets listen when their node does not say.
const KUBELET_PORT: u16 = 10250;
/// Kinds of node addresses, best first.
const ADDRESS_TYPES: [&str; 5] = ["InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname"];

/// `[scheme:]name[:port]`, as proxy paths name objects.
#[derive(Debug, PartialEq, Eq)]
pub struct ObjectName<'a> {
    /// Whether `https:` was asked for.
    pub https: bool,
    /// Name of the object.
    pub name: &'a str,
    /// Port by number or name; empty for none.
    pub port: &'a str,
}

impl<'a> ObjectName<'a> {
    /// Parses; 400 for what is no such name.
    pub fn parse(text: &'a str) -> Result<Self, Status> {
        let parts = text.split(':').collect::<Vec<_>>();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => ("?", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(status::bad_request(format!("invalid request {text:?}")));
        }
        Ok(Self { https: scheme == "https", name, port })
    }
}

/// Reads an object from the cache; 404 when it is not there.
pub fn object(reader: &dyn ObjectReader, resource: &str, namespace: &str, name: &str) -> Result<Value, Status> {
    match reader.get("", resource, namespace, name) {
        Some(bytes) => json::parse(&bytes).map_err(|error| status::internal_error(error.to_string())),
        None => Err(status::not_found("", resource, name)),
    }
}

/// The kubelet of a node.
pub fn kubelet(reader: &dyn ObjectReader, node_name: &str) -> Result<Address, Status> {
    let node = object(reader, "nodes", "", node_name)?;
    let addresses = node.array_at(&["status", "addresses"]);
    let address = ADDRESS_TYPES.iter().find_map(|wanted| {
        let found = addresses.iter().find(|a| a.str_at(&["type"]) == Some(wanted))?;
        found.str_at(&["address"]).filter(|a| !a.is_empty())
    });
    let Some(host) = address else {
        return Err(status::internal_error(format!(
            "no preferred addresses found; known addresses: {}",
            addresses.len()
        )));
    };
    let port = node.i64_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0).unwrap_or(KUBELET_PORT);
    Ok(Address { host: host.to_owned(), port })
}

/// The container that a request means: the one it names, or the only one.
pub fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let pod_name = skiff_apimachinery::meta::name(pod);
    let names = |list: &str| {
        let containers = pod.array_at(&["spec", list]).iter();
        containers.filter_map(|c| c.str_at(&["name"])).map(str::to_owned).collect::<Vec<_>>()
    };
    let (regular, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if asked.is_empty() {
        return match regular.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
            _ => {
                let mut choices = format!("choose one of: [{}]", regular.join(" "));
                if !init.is_empty() {
                    choices.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(status::bad_request(format!("a container name must be specified for pod {pod_name}, {choices}")))
            }
        };
    }
    if [regular, init, ephemeral].iter().flatten().any(|name| name == asked) {
        Ok(asked.to_owned())
    } else {
        Err(status::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
    }
}

/// The kubelet's query for exec and attach.
pub fn stream_query(query: &Query) -> String {
    let mut out = Vec::new();
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(ours) {
            out.push(format!("{theirs}=1"));
        }
    }
    for command in query.all("command") {
        out.push(format!("command={}", encode(command)));
    }
    out.join("&")
}

/// Percent-encodes a query value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Where a pod itself listens: the port asked for, else its first one.
pub fn pod(pod: &Value, name: &ObjectName<'_>) -> Result<Address, Status> {
    let ip = pod.str_at(&["status", "podIP"]).unwrap_or("");
    if ip.is_empty() {
        return Err(status::bad_request("address not allowed"));
    }
    let ports = || {
        let containers = pod.array_at(&["spec", "containers"]).iter();
        containers.flat_map(|c| c.array_at(&["ports"]))
    };
    let port = match name.port {
        "" => ports().find_map(|p| p.i64_at(&["containerPort"])).unwrap_or(80),
        text => match text.parse::<i64>() {
            Ok(port) => port,
            Err(_) => ports()
                .find(|p| p.str_at(&["name"]) == Some(text))
                .and_then(|p| p.i64_at(&["containerPort"]))
                .ok_or_else(|| status::bad_request(format!("invalid pod request {text:?}")))?,
        },
    };
    let port = u16::try_from(port).map_err(|_| status::bad_request(format!("invalid port {port}")))?;
    Ok(Address { host: ip.to_owned(), port })
}

/// One of the ready endpoints behind a Service, at random.
pub fn service(reader: &dyn ObjectReader, namespace: &str, name: &ObjectName<'_>) -> Result<Address, Status> {
    let service = object(reader, "services", namespace, name.name)?;
    let ports = service.array_at(&["spec", "ports"]);
    let port = match name.port {
        "" => ports.first().filter(|_| ports.len() == 1),
        text => ports.iter().find(|p| {
            p.str_at(&["name"]) == Some(text) || text.parse().is_ok_and(|n: i64| p.i64_at(&["port"]) == Some(n))
        }),
    };
    let unavailable = || status::service_unavailable(format!("no endpoints available for service {:?}", name.name));
    // A port that the Service does not list may be a port's name at its endpoints.
    let port_name = match port {
        Some(port) => port.str_at(&["name"]).unwrap_or(""),
        None if name.port.is_empty() => "",
        None => {
            return Err(status::service_unavailable(format!(
                "no service port {:?} found for service {:?}",
                name.port, name.name
            )));
        }
    };
    let mut candidates = Vec::new();
    for slice in reader.list("discovery.k8s.io", "endpointslices", namespace) {
        let Ok(slice) = json::parse(&slice) else {
            continue;
        };
        let owner = slice.at(&["metadata", "labels"]).and_then(|l| l.get("kubernetes.io/service-name"));
        if owner.and_then(Value::as_str) != Some(name.name) {
            continue;
        }
        let slice_port = slice.array_at(&["ports"]).iter().find(|p| p.str_at(&["name"]).unwrap_or("") == port_name);
        let Some(number) = slice_port.and_then(|p| p.i64_at(&["port"])).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        for endpoint in slice.array_at(&["endpoints"]) {
            let ready = endpoint.bool_at(&["conditions", "ready"]).unwrap_or(true);
            let address = endpoint.array_at(&["addresses"]).first().and_then(Value::as_str);
            if let (true, Some(host)) = (ready, address) {
                candidates.push(Address { host: host.to_owned(), port: number });
            }
        }
    }
    if candidates.is_empty() {
        return Err(unavailable());
    }
    let chosen = rand::rng().random_range(0..candidates.len());
    Ok(candidates.swap_remove(chosen))
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn object_names() {
        let name = |https, name, port| ObjectName { https, name, port };
        for (text, want) in [
            ("web", Some(name(false, "web", ""))),
            ("web:80", Some(name(false, "web", "80"))),
            ("https:web:tls", Some(name(true, "web", "tls"))),
            ("http:web:", Some(name(false, "web", ""))),
            ("ftp:web:21", None),
            (":80", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(ObjectName::parse(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn containers() {
        let pod = value!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(container(&pod, "b").as_deref(), Ok("b"));
        let error = container(&pod, "").map_err(|e| e.message);
        assert_eq!(error, Err("a container name must be specified for pod p, choose one of: [a b]".into()));
        assert_eq!(container(&pod, "c").map_err(|e| e.message), Err("container c is not valid for pod p".into()));
    }

    #[test]
    fn queries_for_the_kubelet() {
        let query = Query::parse("stdin=true&stdout=true&tty=false&command=sh&command=-c&command=echo+a%26b");
        assert_eq!(stream_query(&query), "input=1&output=1&command=sh&command=-c&command=echo%20a%26b");
    }
}
