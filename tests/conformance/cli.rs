//! What sig-cli asks of `kubectl` where no container has to run.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::scene::Scene;

/// The first line of an answer that worked.
const OK: &str = "HTTP/1.1 200 OK";

pub(crate) async fn api_versions(scene: Scene) {
    let said = scene.kubectl_ok(&["api-versions"], "").await;
    assert!(said.lines().any(|line| line == "v1"), "{said}");
    scene.stage.done("v1");
}

pub(crate) async fn cluster_info(scene: Scene) {
    let said = scene.kubectl_ok(&["cluster-info"], "").await;
    assert!(said.contains("Kubernetes control plane") && said.contains("is running at"), "{said}");
    scene.stage.done("running");
}

pub(crate) async fn version(scene: Scene) {
    let said = scene.kubectl_ok(&["version"], "").await;
    for part in ["Client Version: v1.", "Kustomize Version: v", "Server Version: v1.36."] {
        assert!(said.contains(part), "no {part:?}: {said}");
        scene.stage.done("a version");
    }
}

fn deployment(replicas: u32) -> String {
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "httpd"}}, "spec": {{
        "replicas": {replicas}, "selector": {{"matchLabels": {{"app": "httpd"}}}}, "template": {{
        "metadata": {{"labels": {{"app": "httpd"}}}},
        "spec": {{"containers": [{{"name": "httpd", "image": "example/httpd:1"}}]}}}}}}}}"#
    )
}

pub(crate) async fn diff(scene: Scene) {
    scene.kubectl_ok(&["create", "-f", "-"], &deployment(1)).await;
    let output = scene.kubectl_with(&["diff", "-f", "-"], &deployment(3)).await;
    let said = skiff_tests::cluster::text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("-  replicas: 1") && said.contains("+  replicas: 3"), "{said}");
    scene.stage.done("a difference");
}

pub(crate) async fn run_pod(scene: Scene) {
    scene.kubectl_ok(&["run", "e2e-test-httpd-pod", "--restart=Never", "--image=example/httpd:1"], "").await;
    let pod = scene.rest.get(&format!("{}/e2e-test-httpd-pod", scene.core("pods"))).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], "example/httpd:1");
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    scene.stage.done("a pod");
}

pub(crate) async fn server_dry_run(scene: Scene) {
    let run = ["run", "dry", "--image=example/httpd:1", "--labels=run=dry"];
    scene.kubectl_ok(&run, "").await;
    let patch = r#"{"spec": {"containers": [{"name": "dry", "image": "example/busybox:1"}]}}"#;
    let said = scene.kubectl_ok(&["patch", "pod", "dry", "-p", patch, "--dry-run=server"], "").await;
    assert!(said.contains("patched"), "{said}");
    let pod = scene.rest.get(&format!("{}/dry", scene.core("pods"))).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], "example/httpd:1", "nothing was written");
    scene.stage.done("nothing written");
}

/// A running `kubectl proxy`.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a proxy, and what it says when it serves.
fn proxy(scene: &Scene, arguments: &[&str]) -> (Proxy, String) {
    let mut command = Command::new(&scene.kubectl.path);
    command.arg("proxy").args(arguments).env("KUBECONFIG", &scene.kubeconfig).stdout(Stdio::piped());
    let mut child = command.spawn().expect("kubectl proxy");
    let mut line = String::new();
    let said = child.stdout.take().expect("its standard output");
    BufReader::new(said).read_line(&mut line).expect("a line");
    (Proxy(child), line)
}

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

pub(crate) async fn proxy_port_zero(scene: Scene) {
    let (_proxy, said) = proxy(&scene, &["--port=0", "--disable-filter"]);
    let address = said.trim().rsplit(' ').next().expect("an address").to_owned();
    let stream = std::net::TcpStream::connect(&address).unwrap_or_else(|error| panic!("{said}: {error}"));
    let answer = ask(stream);
    assert!(answer.starts_with(OK) && answer.contains("\"versions\""), "{answer}");
    scene.stage.done("answered");
}

pub(crate) async fn proxy_unix_socket(scene: Scene) {
    let path = scene.folder.join(format!("{}.sock", scene.namespace));
    let (_proxy, said) = proxy(&scene, &[&format!("--unix-socket={}", path.display())]);
    let stream = UnixStream::connect(&path).unwrap_or_else(|error| panic!("{said}: {error}"));
    let answer = ask(stream);
    assert!(answer.starts_with(OK) && answer.contains("\"versions\""), "{answer}");
    scene.stage.done("answered");
}
