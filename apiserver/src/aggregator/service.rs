//! An APIService, as far as this server acts on it.

use base64::Engine;
use skiff_apimachinery::meta;
use skiff_apimachinery::value::Value;

/// Label of APIServices that this server made itself.
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Port of a Service that names none.
const DEFAULT_PORT: u16 = 443;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiService {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// How the group ranks among groups.
    pub group_priority: i64,
    /// How the version ranks in its group.
    pub version_priority: i64,
    /// Who serves it; `None` for this server.
    pub backend: Option<Backend>,
    /// Whether it is said to be available.
    pub available: bool,
    /// Whether this server made it for a custom resource.
    pub managed: bool,
}

/// What is behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Authorities of its certificate (PEM).
    pub ca_bundle: Vec<u8>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

impl ApiService {
    /// Of a stored object.
    pub fn parse(object: &Value) -> Self {
        let text = |path: &[&str]| object.str_at(path).unwrap_or("").to_owned();
        let number = |field: &str| object.i64_at(&["spec", field]).unwrap_or(0);
        let backend = object.at(&["spec", "service"]).filter(|service| service.as_object().is_some());
        let bundle = object.str_at(&["spec", "caBundle"]).unwrap_or("");
        let conditions = object.array_at(&["status", "conditions"]).iter();
        let mut available = conditions.filter(|c| c.str_at(&["type"]) == Some("Available"));
        Self {
            name: meta::name(object).to_owned(),
            uid: meta::uid(object).to_owned(),
            group: text(&["spec", "group"]),
            version: text(&["spec", "version"]),
            group_priority: number("groupPriorityMinimum"),
            version_priority: number("versionPriority"),
            backend: backend.map(|service| Backend {
                namespace: service.str_at(&["namespace"]).unwrap_or("").to_owned(),
                name: service.str_at(&["name"]).unwrap_or("").to_owned(),
                port: service
                    .i64_at(&["port"])
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port != 0)
                    .unwrap_or(DEFAULT_PORT),
                ca_bundle: base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default(),
                insecure: object.bool_at(&["spec", "insecureSkipTLSVerify"]) == Some(true),
            }),
            available: available.any(|condition| condition.str_at(&["status"]) == Some("True")),
            managed: object.str_at(&["metadata", "labels", MANAGED]) == Some("true"),
        }
    }

    /// Where its group version is found.
    pub fn path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn objects_say_who_serves() {
        let local = ApiService::parse(&value!({"metadata": {"name": "v1."}, "spec": {"version": "v1"}}));
        assert_eq!((local.backend, local.available, local.managed), (None, false, false));
        let remote = ApiService::parse(&value!({
            "metadata": {"name": "v1.a.io"},
            "spec": {"group": "a.io", "version": "v1", "service": {"namespace": "n", "name": "s"}, "insecureSkipTLSVerify": true},
            "status": {"conditions": [{"type": "Available", "status": "True"}]}
        }));
        assert!(remote.available);
        assert_eq!(remote.path(), "/apis/a.io/v1");
        let backend = remote.backend.expect("a Service");
        assert_eq!((backend.name.as_str(), backend.port, backend.insecure), ("s", 443, true));
    }
}
