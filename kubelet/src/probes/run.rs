//! One run of a probe (upstream: `pkg/kubelet/prober/prober.go`).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};

use super::{grpc, http};
use crate::env::expand::expand;
use crate::runtime::Runtime;

/// Tries when the probe itself could not be carried out.
const TRIES: usize = 3;

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// It succeeded, but something is odd.
    Warning(String),
    Failure(String),
    /// It could not be carried out.
    Error(String),
}

/// Where and how to probe.
pub(crate) struct ProbeRun<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) container: &'a Container,
    pub(crate) container_id: &'a str,
    pub(crate) pod_ip: &'a str,
}

impl ProbeRun<'_> {
    pub(crate) async fn run(&self, probe: &Probe) -> Outcome {
        let limit = Duration::from_secs(probe.timeout_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(1).max(1));
        let mut outcome = self.run_once(probe, limit).await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
            outcome = self.run_once(probe, limit).await;
        }
        outcome
    }

    async fn run_once(&self, probe: &Probe, limit: Duration) -> Outcome {
        if let Some(exec) = &probe.exec {
            return self.exec(exec.command.as_deref().unwrap_or(&[]), limit).await;
        }
        if let Some(action) = &probe.http_get {
            let request = match http::Get::new(action, self.container, self.pod_ip, "probe") {
                Ok(request) => request,
                Err(error) => return Outcome::Error(error),
            };
            return judge_http(request.send_following(limit).await);
        }
        if let Some(action) = &probe.tcp_socket {
            let port = match http::resolve_port(&action.port, self.container) {
                Ok(port) => port,
                Err(error) => return Outcome::Error(error),
            };
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(self.pod_ip);
            return match tokio::time::timeout(limit, http::connect(host, port)).await {
                Ok(Ok(_)) => Outcome::Success,
                Ok(Err(error)) => Outcome::Failure(error),
                Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
            };
        }
        if let Some(action) = &probe.grpc {
            let Ok(port) = u16::try_from(action.port) else {
                return Outcome::Error(format!("invalid port number: {}", action.port));
            };
            let service = action.service.as_deref().unwrap_or_default();
            return match grpc::check(self.pod_ip, port, service, limit).await {
                Ok(()) => Outcome::Success,
                Err(error) => Outcome::Failure(error),
            };
        }
        Outcome::Error(format!("missing probe handler for container {}", self.container.name))
    }

    async fn exec(&self, command: &[String], limit: Duration) -> Outcome {
        // Only variables with a literal value are seen here, as upstream has it.
        let lookup = |name: &str| {
            let variable = self.container.env.iter().flatten().find(|variable| variable.name == name)?;
            variable.value.as_deref()
        };
        let command = command.iter().map(|word| expand(word, lookup)).collect();
        match self.runtime.exec_sync(self.container_id, command, limit).await {
            Ok(result) if result.exit_code == 0 => Outcome::Success,
            Ok(result) => Outcome::Failure(shortened(&result.output)),
            Err(error) if error.is_timeout() => Outcome::Failure(format!("command timed out: {error}")),
            Err(error) => Outcome::Error(error.to_string()),
        }
    }
}

/// Output is shown in events: the first 10 KiB are enough.
fn shortened(output: &[u8]) -> String {
    const OUTPUT_MAX: usize = 10 * 1024;
    String::from_utf8_lossy(&output[..output.len().min(OUTPUT_MAX)]).into_owned()
}

fn judge_http(answer: Result<http::Answer, String>) -> Outcome {
    match answer {
        Ok(answer) if (300..400).contains(&answer.status) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
        }
        Ok(answer) if (200..300).contains(&answer.status) => Outcome::Success,
        Ok(answer) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
        Err(error) => Outcome::Failure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use skiff_cri::fake::{ExecOutcome, FakeRuntime};

    async fn run(probe: Value, exec: impl Fn(&[String]) -> ExecOutcome + Send + Sync + 'static) -> Outcome {
        let fake = FakeRuntime::new();
        fake.on_exec(move |_, command| exec(command));
        let runtime = Runtime::new(fake.connect().await.expect("a client"));
        let id = started_container(&fake, &runtime).await;
        let container =
            serde_json::from_value(json!({"name": "c", "env": [{"name": "A", "value": "x"}]})).expect("a container");
        let run = ProbeRun { runtime: &runtime, container: &container, container_id: &id, pod_ip: "127.0.0.1" };
        run.run(&serde_json::from_value(probe).expect("a probe")).await
    }

    async fn started_container(fake: &FakeRuntime, runtime: &Runtime) -> String {
        fake.add_image("i");
        let sandbox = runtime.run_sandbox(Default::default(), "").await.expect("a sandbox");
        let config = config();
        let id = runtime.create_container(&sandbox, config, Default::default()).await.expect("a container");
        runtime.start_container(&id).await.expect("started");
        id
    }

    fn config() -> skiff_cri::v1::ContainerConfig {
        skiff_cri::v1::ContainerConfig {
            image: Some(skiff_cri::v1::ImageSpec { image: "i".into(), ..Default::default() }),
            ..Default::default()
        }
    }

    fn exits(code: i32) -> ExecOutcome {
        ExecOutcome { exit_code: code, stdout: b"out".to_vec(), stderr: b"err".to_vec(), ..Default::default() }
    }

    #[tokio::test]
    async fn commands() {
        let probe = json!({"exec": {"command": ["test", "$(A)"]}});
        let outcome = run(probe.clone(), |command| exits(i32::from(command != ["test", "x"]))).await;
        assert_eq!(outcome, Outcome::Success);
        assert_eq!(run(probe, |_| exits(1)).await, Outcome::Failure("outerr".into()));
    }

    #[tokio::test]
    async fn sockets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let probe = json!({"tcpSocket": {"port": port}});
        assert_eq!(run(probe.clone(), |_| exits(0)).await, Outcome::Success);
        drop(listener);
        let expected = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(run(probe, |_| exits(0)).await, Outcome::Failure(expected));
    }

    #[tokio::test]
    async fn a_probe_without_an_action_cannot_be_carried_out() {
        assert!(matches!(run(json!({}), |_| exits(0)).await, Outcome::Error(_)));
    }

    #[test]
    fn http_answers() {
        let judge = |status| judge_http(Ok(http::Answer { status, headers: Default::default(), body: "b".into() }));
        assert_eq!(judge(200), Outcome::Success);
        assert_eq!(judge(302), Outcome::Warning("Probe terminated redirects, Response body: b".into()));
        assert_eq!(judge(500), Outcome::Failure("HTTP probe failed with statuscode: 500".into()));
    }
}
