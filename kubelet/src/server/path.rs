//! The paths of the kubelet's API.

use http::Method;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Healthz,
    Pods,
    RunningPods,
    Configz,
    Metrics,
    ResourceMetrics,
    ProbeMetrics,
    Summary,
    /// Logs of a container.
    ContainerLogs(Target),
    /// A session in a container.
    Exec(Target),
    Attach(Target),
    /// A command in a container, run to its end.
    Run(Target),
    /// A session with ports of a pod.
    PortForward(Target),
}

impl Route {
    /// Whether the route answers a method, as upstream registers them.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        match self {
            Self::Exec(_) | Self::Attach(_) | Self::PortForward(_) => matches!(*method, Method::GET | Method::POST),
            Self::Run(_) => *method == Method::POST,
            _ => matches!(*method, Method::GET | Method::HEAD),
        }
    }
}

/// A pod, and a container of it unless the whole pod is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// Empty if it was not given.
    pub(crate) uid: String,
    /// Empty for the whole pod.
    pub(crate) container: String,
}

/// Reads a path; `None` if there is nothing at it.
pub(crate) fn route(path: &str) -> Option<Route> {
    let decoded: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let target = |parts: &[&str]| -> Option<Target> {
        let (namespace, pod, uid, container) = match parts {
            [namespace, pod, container] => (namespace, pod, "", container),
            [namespace, pod, uid, container] => (namespace, pod, *uid, container),
            _ => return None,
        };
        Some(Target {
            namespace: (*namespace).to_owned(),
            pod: (*pod).to_owned(),
            uid: uid.to_owned(),
            container: (*container).to_owned(),
        })
    };
    match parts.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => Some(Route::Healthz),
        ["pods"] => Some(Route::Pods),
        ["runningpods"] => Some(Route::RunningPods),
        ["configz"] => Some(Route::Configz),
        ["metrics"] => Some(Route::Metrics),
        ["metrics", "resource"] => Some(Route::ResourceMetrics),
        ["metrics", "probes"] => Some(Route::ProbeMetrics),
        ["stats"] | ["stats", "summary"] => Some(Route::Summary),
        ["containerLogs", rest @ ..] if rest.len() == 3 => target(rest).map(Route::ContainerLogs),
        ["exec", rest @ ..] => target(rest).map(Route::Exec),
        ["attach", rest @ ..] => target(rest).map(Route::Attach),
        ["run", rest @ ..] => target(rest).map(Route::Run),
        ["portForward", namespace, pod, uid @ ..] if uid.len() <= 1 => Some(Route::PortForward(Target {
            namespace: (*namespace).to_owned(),
            pod: (*pod).to_owned(),
            uid: uid.first().copied().unwrap_or_default().to_owned(),
            container: String::new(),
        })),
        _ => None,
    }
}

/// The pairs of a query, in order.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Resolves percent encoding. What is not well-formed stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let code = (bytes[index] == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(namespace: &str, pod: &str, uid: &str, container: &str) -> Target {
        Target { namespace: namespace.into(), pod: pod.into(), uid: uid.into(), container: container.into() }
    }

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/healthz", Some(Route::Healthz)),
            ("/pods/", Some(Route::Pods)),
            ("/metrics/resource", Some(Route::ResourceMetrics)),
            ("/stats/summary", Some(Route::Summary)),
            ("/containerLogs/n/p/c", Some(Route::ContainerLogs(target("n", "p", "", "c")))),
            ("/containerLogs/n/p/u/c", None),
            ("/exec/n/p/u/c", Some(Route::Exec(target("n", "p", "u", "c")))),
            ("/exec/n/p", None),
            ("/attach/n/p/c%2Dd", Some(Route::Attach(target("n", "p", "", "c-d")))),
            ("/portForward/n/p", Some(Route::PortForward(target("n", "p", "", "")))),
            ("/portForward/n/p/u", Some(Route::PortForward(target("n", "p", "u", "")))),
            ("/", None),
            ("/nothing", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn methods() {
        for (path, taken, refused) in [
            ("/pods", Method::GET, Method::POST),
            ("/metrics", Method::HEAD, Method::DELETE),
            ("/exec/n/p/c", Method::POST, Method::PUT),
            ("/exec/n/p/c", Method::GET, Method::DELETE),
            ("/portForward/n/p", Method::GET, Method::PATCH),
            ("/run/n/p/c", Method::POST, Method::GET),
        ] {
            let route = route(path).expect(path);
            assert!(route.takes(&taken) && !route.takes(&refused), "{path}");
        }
    }

    #[test]
    fn queries() {
        let pairs = query("command=sh&command=-c&command=a+b%20c%3D&tty=1&x");
        let text: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(text, ["command=sh", "command=-c", "command=a b c=", "tty=1", "x="]);
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz"), "%zz");
    }
}
