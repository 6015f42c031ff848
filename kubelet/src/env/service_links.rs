//! Environment variables that name the Services of a pod's namespace, and always the API server
//! (upstream: `pkg/kubelet/envvars/envvars.go`, `kubelet_pods.go` getServiceEnvVarMap).

use std::collections::BTreeMap;

/// What is needed of a Service with a cluster IP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceLink {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) cluster_ip: String,
    /// Never empty: validation demands a port.
    pub(crate) ports: Vec<LinkPort>,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkPort {
    /// Empty if the port has no name.
    pub(crate) name: String,
    /// `TCP`, `UDP` or `SCTP`; empty stands for TCP.
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

/// The variables for a pod in `namespace`. With `all` false only the API server's are given.
pub(crate) fn service_variables(services: &[ServiceLink], namespace: &str, all: bool) -> BTreeMap<String, String> {
    // By name: a Service `kubernetes` of the pod's own namespace hides the API server's.
    let mut chosen: BTreeMap<&str, &ServiceLink> = BTreeMap::new();
    for service in services {
        if service.cluster_ip.is_empty() || service.cluster_ip == "None" || service.ports.is_empty() {
            continue;
        }
        let is_api = service.namespace == "default" && service.name == "kubernetes";
        if is_api {
            chosen.entry(&service.name).or_insert(service);
        } else if all && service.namespace == namespace {
            chosen.insert(&service.name, service);
        }
    }
    let mut variables = BTreeMap::new();
    for service in chosen.values() {
        add_variables(service, &mut variables);
    }
    variables
}

fn add_variables(service: &ServiceLink, variables: &mut BTreeMap<String, String>) {
    let prefix = variable_name(&service.name);
    let ip = &service.cluster_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.clone());
    for (index, port) in service.ports.iter().enumerate() {
        let number = port.port.to_string();
        if index == 0 {
            variables.insert(format!("{prefix}_SERVICE_PORT"), number.clone());
        }
        if !port.name.is_empty() {
            let name = variable_name(&port.name);
            variables.insert(format!("{prefix}_SERVICE_PORT_{name}"), number.clone());
        }
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{host}:{number}");
        if index == 0 {
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        let port_prefix = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        variables.insert(format!("{port_prefix}_PROTO"), lower);
        variables.insert(format!("{port_prefix}_PORT"), number);
        variables.insert(format!("{port_prefix}_ADDR"), ip.clone());
        variables.insert(port_prefix, url);
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, ip: &str, ports: &[(&str, &str, i32)]) -> ServiceLink {
        let ports = ports.iter().map(|(name, protocol, port)| LinkPort {
            name: (*name).into(),
            protocol: (*protocol).into(),
            port: *port,
        });
        ServiceLink { namespace: namespace.into(), name: name.into(), cluster_ip: ip.into(), ports: ports.collect() }
    }

    #[test]
    fn variables_follow_the_names_of_services_and_ports() {
        let services = [
            service("demo", "foo-bar", "1.2.3.4", &[("", "TCP", 8080), ("p-2", "UDP", 53)]),
            service("demo", "headless", "None", &[("", "TCP", 1)]),
            service("other", "x", "1.1.1.1", &[("", "TCP", 1)]),
        ];
        let variables = service_variables(&services, "demo", true);
        let lines: Vec<String> = variables.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            lines,
            [
                "FOO_BAR_PORT=tcp://1.2.3.4:8080",
                "FOO_BAR_PORT_53_UDP=udp://1.2.3.4:53",
                "FOO_BAR_PORT_53_UDP_ADDR=1.2.3.4",
                "FOO_BAR_PORT_53_UDP_PORT=53",
                "FOO_BAR_PORT_53_UDP_PROTO=udp",
                "FOO_BAR_PORT_8080_TCP=tcp://1.2.3.4:8080",
                "FOO_BAR_PORT_8080_TCP_ADDR=1.2.3.4",
                "FOO_BAR_PORT_8080_TCP_PORT=8080",
                "FOO_BAR_PORT_8080_TCP_PROTO=tcp",
                "FOO_BAR_SERVICE_HOST=1.2.3.4",
                "FOO_BAR_SERVICE_PORT=8080",
                "FOO_BAR_SERVICE_PORT_P_2=53",
            ]
        );
    }

    #[test]
    fn the_api_server_is_always_named() {
        let services = [
            service("default", "kubernetes", "10.96.0.1", &[("https", "TCP", 443)]),
            service("demo", "a", "1.1.1.1", &[("", "", 1)]),
        ];
        let variables = service_variables(&services, "demo", false);
        assert_eq!(variables["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
        assert_eq!(variables["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
        assert!(!variables.contains_key("A_SERVICE_HOST"));
        let own = service("demo", "kubernetes", "1.1.1.9", &[("", "", 1)]);
        let both = [services[0].clone(), own];
        assert_eq!(service_variables(&both, "demo", true)["KUBERNETES_SERVICE_HOST"], "1.1.1.9");
    }
}
