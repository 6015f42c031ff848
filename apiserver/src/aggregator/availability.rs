//! Whether what an APIService points to can serve. Follows `controllers/status` of `k8s.io/kube-aggregator`.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skiff_apimachinery::meta;
use skiff_apimachinery::value::{Object, Value};

use super::remote::Remote;
use super::service::{ApiService, Backend};
use crate::authentication::UserInfo;
use crate::cacher::ObjectReader;
use crate::objects;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts at once: one success will do.
const ATTEMPTS: usize = 5;

/// What is said in the condition `Available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is available.
    pub available: bool,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }

    /// Of what this server serves itself.
    pub fn local() -> Self {
        let message = "Local APIServices are always available".to_owned();
        Self { available: true, reason: "Local", message }
    }

    fn passed() -> Self {
        Self { available: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    /// Sets the condition; its time is that of the last change of its status.
    pub fn set(&self, object: &mut Value, now: &str) {
        let status = if self.available { "True" } else { "False" };
        let mut conditions = object.array_at(&["status", "conditions"]).to_vec();
        let at = match conditions.iter().position(|c| c.str_at(&["type"]) == Some("Available")) {
            Some(at) => at,
            None => {
                conditions.push(Object::new().into());
                conditions.len() - 1
            }
        };
        let condition = &mut conditions[at];
        if condition.str_at(&["status"]) != Some(status) {
            condition.set_at(&["lastTransitionTime"], now);
        }
        for (field, text) in
            [("type", "Available"), ("status", status), ("reason", self.reason), ("message", &self.message)]
        {
            condition.set_at(&[field], text);
        }
        object.set_at(&["status", "conditions"], conditions);
    }
}

/// This server, as it shows itself to others when it asks on its own account.
pub fn own_identity() -> UserInfo {
    UserInfo {
        name: "system:kube-aggregator".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..UserInfo::default()
    }
}

/// Looks at the Service and its endpoints, then asks for the group version.
pub async fn check(
    service: &ApiService,
    backend: &Backend,
    remote: &Result<std::sync::Arc<Remote>, String>,
    reader: &dyn ObjectReader,
) -> Verdict {
    if let Some(problem) = of_service(backend, reader) {
        return problem;
    }
    let remote = match remote {
        Ok(remote) => remote,
        Err(why) => return Verdict::no("FailedDiscoveryCheck", why.clone()),
    };
    let mut attempts = (0..ATTEMPTS).map(|_| attempt(service, remote)).collect::<FuturesUnordered<_>>();
    let mut last = String::new();
    while let Some(answered) = attempts.next().await {
        match answered {
            Ok(()) => return Verdict::passed(),
            Err(why) => last = why,
        }
    }
    Verdict::no("FailedDiscoveryCheck", last)
}

async fn attempt(service: &ApiService, remote: &Remote) -> Result<(), String> {
    let url = format!("https://{}{}", remote.address()?, service.path());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    match remote.get(&service.path(), "*/*", &own_identity(), TIMEOUT).await {
        Ok(answer) if (200..300).contains(&answer.code) => Ok(()),
        Ok(answer) => Err(failed(format!("bad status from {url}: {}", answer.code))),
        Err(why) => Err(failed(format!("Get {url:?}: {why}"))),
    }
}

/// What is wrong with the Service, if anything is.
fn of_service(backend: &Backend, reader: &dyn ObjectReader) -> Option<Verdict> {
    let Backend { namespace, name, port, .. } = backend;
    let service = reader.get("", "services", namespace, name).and_then(|json| objects::parse(&json));
    let Some(service) = service else {
        return Some(Verdict::no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    if service.str_at(&["spec", "type"]).unwrap_or("ClusterIP") != "ClusterIP" {
        return None;
    }
    let ports = service.array_at(&["spec", "ports"]);
    let Some(found) = ports.iter().find(|p| p.i64_at(&["port"]) == Some(i64::from(*port))) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(Verdict::no("ServicePortError", message));
    };
    let port_name = found.str_at(&["name"]).unwrap_or("");
    let slices = slices(backend, reader);
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(Verdict::no("EndpointsNotFound", message));
    }
    if slices.iter().any(|slice| has_endpoint(slice, port_name)) {
        return None;
    }
    let message =
        format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}");
    Some(Verdict::no("MissingEndpoints", message))
}

fn slices(backend: &Backend, reader: &dyn ObjectReader) -> Vec<Value> {
    let slices = reader.list("discovery.k8s.io", "endpointslices", &backend.namespace);
    let slices = slices.iter().filter_map(|json| objects::parse(json));
    let of_it = |slice: &Value| {
        slice.str_at(&["metadata", "labels", "kubernetes.io/service-name"]) == Some(backend.name.as_str())
    };
    slices.filter(of_it).collect()
}

/// Which Service and endpoints are there for a backend, in which versions: when that changes it is worth a look.
pub fn versions(backend: &Backend, reader: &dyn ObjectReader) -> Vec<(String, String)> {
    let version = |object: &Value| (meta::uid(object).to_owned(), meta::resource_version(object).to_owned());
    let service = reader.get("", "services", &backend.namespace, &backend.name).and_then(|json| objects::parse(&json));
    service.iter().chain(&slices(backend, reader)).map(version).collect()
}

fn has_endpoint(slice: &Value, port_name: &str) -> bool {
    let ready = |endpoint: &Value| endpoint.bool_at(&["conditions", "ready"]).unwrap_or(true);
    let listens = |port: &Value| port.str_at(&["name"]).unwrap_or("") == port_name && port.i64_at(&["port"]).is_some();
    slice.array_at(&["endpoints"]).iter().any(ready) && slice.array_at(&["ports"]).iter().any(listens)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skiff_apimachinery::value;

    use super::*;
    use crate::objects::testing::FakeReader;

    #[test]
    fn services_need_the_port_and_endpoints() {
        let reader = Arc::new(FakeReader::default());
        let backend =
            Backend { namespace: "n".into(), name: "s".into(), port: 443, ca_bundle: Vec::new(), insecure: true };
        let reason =
            |reader: &FakeReader| of_service(&backend, reader).map(|verdict| (verdict.reason, verdict.message));
        assert_eq!(reason(&reader), Some(("ServiceNotFound", "service/s in \"n\" is not present".into())));
        let service = |port: i64| value!({"metadata": {"namespace": "n", "name": "s"}, "spec": {"ports": [{"name": "p", "port": port}]}});
        reader.put("", "services", &service(80));
        assert_eq!(
            reason(&reader),
            Some(("ServicePortError", "service/s in \"n\" is not listening on port 443".into()))
        );
        reader.put("", "services", &service(443));
        assert_eq!(reason(&reader).map(|r| r.0), Some("EndpointsNotFound"));
        let slice = |ready: bool| {
            value!({
                "metadata": {"namespace": "n", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
                "ports": [{"name": "p", "port": 8443}]
            })
        };
        reader.put("discovery.k8s.io", "endpointslices", &slice(false));
        assert_eq!(reason(&reader).map(|r| r.0), Some("MissingEndpoints"));
        reader.put("discovery.k8s.io", "endpointslices", &slice(true));
        assert_eq!(reason(&reader), None);
    }

    #[test]
    fn only_its_own_service_and_endpoints_are_worth_a_look() {
        let reader = FakeReader::default();
        let backend =
            Backend { namespace: "n".into(), name: "s".into(), port: 443, ca_bundle: Vec::new(), insecure: true };
        let object = |name: &str, version: &str, labels: Value| value!({"metadata": {"namespace": "n", "name": name, "uid": name, "resourceVersion": version, "labels": labels}});
        let slice =
            |name: &str, version: &str, of: &str| object(name, version, value!({"kubernetes.io/service-name": of}));
        let seen = || versions(&backend, &reader);
        reader.put("", "services", &object("s", "1", value!({})));
        reader.put("discovery.k8s.io", "endpointslices", &slice("s-1", "2", "s"));
        let before = seen();
        assert_eq!(before.len(), 2);
        reader.put("", "services", &object("other", "3", value!({})));
        reader.put("discovery.k8s.io", "endpointslices", &slice("other-1", "4", "other"));
        assert_eq!(seen(), before);
        reader.put("discovery.k8s.io", "endpointslices", &slice("s-1", "5", "s"));
        assert_ne!(seen(), before);
    }

    #[test]
    fn the_condition_keeps_its_time_while_its_status_does() {
        let mut object = value!({});
        Verdict::no("A", "a".into()).set(&mut object, "t1");
        Verdict::no("B", "b".into()).set(&mut object, "t2");
        let condition = |object: &Value| {
            let condition = &object.array_at(&["status", "conditions"])[0];
            ["status", "reason", "lastTransitionTime"].map(|field| condition.str_at(&[field]).unwrap_or("").to_owned())
        };
        assert_eq!(condition(&object), ["False", "B", "t1"]);
        Verdict::passed().set(&mut object, "t3");
        assert_eq!(condition(&object), ["True", "Passed", "t3"]);
    }
}
