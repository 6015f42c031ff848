//! Field selectors: which fields a kind lets clients select by, and the words in which it refuses others.

use crate::history::{Engine, History};

/// Path, selector, and the refusal; empty when it is taken.
const CASES: &[(&str, &str, &str)] = &[
    ("/api/v1/configmaps", "metadata.name=a", ""),
    ("/api/v1/configmaps", "foo=1", DEFAULT_FOO),
    ("/api/v1/configmaps", "=b", "\"\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    ("/api/v1/configmaps", "metadata.name=a\\b", "invalid field selector: invalid escape sequence: \\b"),
    ("/api/v1/configmaps", "a>1", "invalid selector: 'a>1'; can't understand 'a>1'"),
    ("/api/v1/pods", "foo=1", FOO),
    ("/api/v1/pods", "spec.hostNetwork=true", ""),
    ("/api/v1/pods", "status.podIPs=1", ""),
    ("/api/v1/nodes", "foo=1", FOO),
    ("/api/v1/nodes", "metadata.namespace=x", NAMESPACE),
    ("/api/v1/namespaces", "foo=1", FOO),
    ("/api/v1/namespaces", "name=1", "field label not supported: name"),
    ("/api/v1/namespaces", "metadata.namespace=x", NAMESPACE),
    ("/api/v1/secrets", "foo=1", FOO),
    ("/api/v1/services", "foo=1", FOO),
    ("/api/v1/events", "foo=1", FOO),
    ("/api/v1/events", "involvedObject.name=x", ""),
    ("/apis/events.k8s.io/v1/events", "foo=1", FOO),
    ("/apis/events.k8s.io/v1/events", "regarding.name=x", ""),
    ("/apis/events.k8s.io/v1/events", "involvedObject.name=x", "field label not supported: involvedObject.name"),
    ("/api/v1/replicationcontrollers", "foo=1", FOO),
    ("/api/v1/replicationcontrollers", "status.replicas=1", ""),
    ("/apis/apps/v1/replicasets", "status.replicas=1", DEFAULT_REPLICAS),
    ("/apis/apps/v1/statefulsets", "foo=1", DEFAULT_FOO),
    ("/apis/apps/v1/deployments", "foo=1", DEFAULT_FOO),
    ("/apis/batch/v1/jobs", "foo=1", "field label \"foo\" not supported for Job"),
    ("/apis/batch/v1/jobs", "status.successful=1", ""),
    ("/apis/batch/v1/cronjobs", "foo=1", DEFAULT_FOO),
    ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "foo=1", FOO),
    ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "metadata.namespace=x", NAMESPACE),
    (
        "/apis/resource.k8s.io/v1/resourceslices",
        "foo=1",
        "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: foo",
    ),
    ("/apis/resource.k8s.io/v1/resourceslices", "spec.driver=d", ""),
    ("/apis/resource.k8s.io/v1/resourceslices", "spec.nodeName=n", ""),
];

const FOO: &str = "field label not supported: foo";
const NAMESPACE: &str = "field label not supported: metadata.namespace";
const DEFAULT_FOO: &str = "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
const DEFAULT_REPLICAS: &str =
    "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";

#[test]
fn fields_are_selectable_as_upstream() {
    let history = History::shared(Engine::Embedded);
    let mut wrong = Vec::new();
    for (path, selector, refusal) in CASES {
        let selector = selector.replace('=', "%3D").replace('>', "%3E").replace('\\', "%5C");
        let answer = history.wait(history.api.get(&format!("{path}?fieldSelector={selector}")));
        let message = answer.json()["message"].as_str().unwrap_or("").to_owned();
        let code = if refusal.is_empty() { 200 } else { 400 };
        if (answer.status.as_u16(), message.as_str()) != (code, refusal) {
            wrong.push(format!("{path} {selector}: {} {message}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
