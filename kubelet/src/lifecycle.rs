//! Lifecycle hooks of containers (upstream: `pkg/kubelet/lifecycle/handlers.go`).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use crate::pod::PodExt;
use crate::probes::http::Get;
use crate::runtime::Runtime;

/// A hook over HTTP that does not answer ends after this time at the latest; the grace period is usually shorter.
const HTTP_TIMEOUT: Duration = Duration::from_secs(600);

/// The container a hook belongs to.
pub(crate) struct HookTarget<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) container_id: &'a str,
    pub(crate) pod_ip: &'a str,
}

/// Runs a hook to its end. The error is upstream's message.
pub(crate) async fn run_hook(
    runtime: &Runtime,
    target: &HookTarget<'_>,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    let subject = format!("for Container {:?} in Pod {:?} failed - error", target.container.name, target.pod.display());
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        let (error, output) = match runtime.exec_sync(target.container_id, command, Duration::ZERO).await {
            Ok(result) if result.exit_code == 0 => return Ok(()),
            Ok(result) => {
                let output = String::from_utf8_lossy(&result.output).into_owned();
                (format!("command '{shown}' exited with {}: {output}", result.exit_code), output)
            }
            Err(error) => (error.to_string(), String::new()),
        };
        return Err(format!("Exec lifecycle hook ([{shown}]) {subject}: {error}, message: {output:?}"));
    }
    if let Some(action) = &hook.http_get {
        let path = action.path.as_deref().unwrap_or_default();
        return http(target, action).await.map_err(|error| format!("HTTP lifecycle hook ({path}) {subject}: {error}"));
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".to_owned())
}

/// Any answer will do. A server that does not speak TLS is asked again without.
async fn http(target: &HookTarget<'_>, action: &k8s_openapi::api::core::v1::HTTPGetAction) -> Result<(), String> {
    let mut request = Get::new(action, target.container, target.pod_ip, "lifecycle")?;
    let error = match request.send_following(HTTP_TIMEOUT).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let plain_server = request.uri.scheme_str() == Some("https") && error.contains("InvalidContentType");
    if !plain_server {
        return Err(error);
    }
    let text = request.uri.to_string().replacen("https:", "http:", 1);
    request.uri = text.parse().map_err(|error| format!("invalid URL {text:?}: {error}"))?;
    request.headers.remove(http::header::AUTHORIZATION);
    request.send_following(HTTP_TIMEOUT).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use skiff_cri::fake::FakeRuntime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn run(hook: Value) -> Result<(), String> {
        let fake = FakeRuntime::new();
        let runtime = Runtime::new(fake.connect().await.expect("a client"));
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c"}]}}))
        .expect("a pod");
        let target = HookTarget {
            pod: &pod,
            container: &pod.regular_containers()[0],
            container_id: "gone",
            pod_ip: "127.0.0.1",
        };
        run_hook(&runtime, &target, &serde_json::from_value(hook).expect("a hook")).await
    }

    #[tokio::test]
    async fn hooks() {
        assert_eq!(run(json!({"sleep": {"seconds": 0}})).await, Ok(()));
        let error = run(json!({"exec": {"command": ["a", "b"]}})).await.expect_err("no container");
        assert!(
            error.starts_with("Exec lifecycle hook ([a b]) for Container \"c\" in Pod \"p_n(u)\" failed - error: "),
            "{error}"
        );
        assert!(run(json!({})).await.is_err());
    }

    #[tokio::test]
    async fn a_server_without_tls_is_asked_again_without() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut buffer = vec![0; 4096];
                let length = stream.read(&mut buffer).await.expect("a request");
                let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.expect("an answer");
                if buffer[..length].starts_with(b"GET /hook ") {
                    return true;
                }
            }
            false
        });
        run(json!({"httpGet": {"port": port, "path": "/hook", "scheme": "HTTPS"}})).await.expect("done");
        assert!(server.await.expect("a server"));
    }
}
