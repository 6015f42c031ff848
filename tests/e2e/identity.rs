//! Names, tokens and rights as a process in a pod meets them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use skiff_tests::application::{self, NAMESPACE};
use skiff_tests::cluster::text;
use skiff_tests::kubectl::{self, Kubectl};
use skiff_tests::network::NODE_IP;
use skiff_tests::{Cluster, eventually, eventually_within, nameserver, with_cluster, with_cluster_of};

/// How long a token may work after its pod is gone.
const TOKEN_OUTLIVES: Duration = Duration::from_secs(10);

/// Where a pod finds its credentials.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where it finds a client that nobody here wrote.
const PROGRAMS: &str = "/programs";

#[test]
fn a_pod_finds_services_by_name() {
    with_cluster("dns", async |cluster| {
        let kubectl = kubectl::newest();
        application::apply(cluster, &kubectl).await;
        tools_pod(cluster, &kubectl).await;
        let service: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(cluster.client(), NAMESPACE);
        let address = service.get("web").await.expect("web").spec.and_then(|spec| spec.cluster_ip).expect("an IP");
        let found = eventually("the name is found", async || {
            let output = exec(cluster, &kubectl, &["nslookup", "web.demo.svc.cluster.local"]);
            if output.contains(&address) { Ok(output) } else { Err(output) }
        })
        .await;
        assert!(found.contains("10.96.0.10"), "not asked of the cluster's DNS: {found}");
        let nobody = exec(cluster, &kubectl, &["nslookup", "nobody.demo.svc.cluster.local"]);
        assert!(nobody.contains("NXDOMAIN"), "{nobody}");
        for name in ["web", "web.demo", "web.demo.svc", "web.demo.svc.cluster.local"] {
            let url = format!("http://{name}/");
            let body = exec(cluster, &kubectl, &["wget", "-q", "-O", "-", &url]);
            assert!(body.contains("v1"), "{url}: {body}");
        }
    });
}

#[test]
fn a_pod_finds_outside_names_by_the_hosts_servers() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("nameserver {NODE_IP}\n")).expect("written");
    let flags = ["--resolv-conf", &file.path().to_string_lossy()];
    with_cluster_of("outside", &flags, async |cluster| {
        let outside = "198.51.100.7".parse().expect("an address");
        nameserver::serve(&format!("{NODE_IP}:53"), "www.outside.example.", outside).await.expect("a name server");
        let kubectl = kubectl::newest();
        application::apply(cluster, &kubectl).await;
        tools_pod(cluster, &kubectl).await;
        let found = exec(cluster, &kubectl, &["nslookup", "www.outside.example"]);
        assert!(found.contains("10.96.0.10") && found.contains(&outside.to_string()), "{found}");
        let nobody = exec(cluster, &kubectl, &["nslookup", "nobody.outside.example"]);
        assert!(nobody.contains("NXDOMAIN"), "{nobody}");
    });
}

#[test]
fn a_token_gives_what_its_role_allows_until_its_pod_is_gone() {
    with_cluster("token", async |cluster| {
        let kubectl = kubectl::newest();
        application::apply(cluster, &kubectl).await;
        tools_pod(cluster, &kubectl).await;
        let inside = |arguments: &[&str]| {
            let program = format!("{PROGRAMS}/kubectl");
            exec(cluster, &kubectl, &[&[program.as_str(), "--namespace=demo"], arguments].concat())
        };
        let allowed = inside(&["get", "configmap", "web-config", "--output=name"]);
        assert_eq!(allowed.trim(), "configmap/web-config");
        let refused = inside(&["get", "secret", "web-secret"]);
        assert!(refused.contains("(Forbidden)") && refused.contains("system:serviceaccount:demo:web"), "{refused}");
        assert_eq!(answer_to(None).await, 403, "what anonymous gets");

        let token = exec(cluster, &kubectl, &["cat", &format!("{CREDENTIALS}/token")]);
        assert_eq!(answer_to(Some(&token)).await, 200);
        let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
        pods.delete("tools", &DeleteParams::default().grace_period(1)).await.expect("deleted");
        eventually("the pod is gone", async || match pods.get_opt("tools").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        eventually_within(TOKEN_OUTLIVES, "the token is refused", async || match answer_to(Some(&token)).await {
            401 => Ok(()),
            code => Err(code),
        })
        .await;
    });
}

/// A pod with a shell, under the identity of the application.
async fn tools_pod(cluster: &Cluster, kubectl: &Kubectl) {
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    namespaces.get(NAMESPACE).await.expect("the namespace");
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "tools"},
        "spec": {
            "serviceAccountName": "web",
            "containers": [{
                "name": "tools",
                "image": "skiff.local/tools:v1",
                "command": ["sleep", "3600"],
                "volumeMounts": [{"name": "programs", "mountPath": PROGRAMS, "readOnly": true}],
            }],
            "volumes": [{"name": "programs", "hostPath": {"path": kubectl.path.parent()}}],
        },
    }));
    pods.create(&PostParams::default(), &pod.expect("a pod")).await.expect("created");
    eventually("the pod with a shell is ready", async || match pods.get("tools").await {
        Ok(pod) if application::is_ready(&pod) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// What a command in the pod says, however it ends.
fn exec(cluster: &Cluster, kubectl: &Kubectl, command: &[&str]) -> String {
    let arguments = ["--namespace=demo", "exec", "tools", "--"];
    text(&kubectl.output(cluster, &arguments.iter().chain(command).copied().collect::<Vec<_>>()))
}

/// The status code that somebody with or without a token gets at the API server's Service address.
async fn answer_to(token: Option<&str>) -> u16 {
    let mut config = kube::Config::new("https://10.96.0.1".parse().expect("a URL"));
    config.auth_info.token = token.map(|token| token.to_owned().into());
    config.accept_invalid_certs = true;
    let client = kube::Client::try_from(config).expect("a client");
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    match pods.list(&kube::api::ListParams::default()).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}
