//! Into a running pod: logs, exec, attach, ports.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, DeleteParams, LogParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use skiff_tests::{application, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::errors::code;
use skiff_tests::stage::Stage;

/// How long a stream may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn all(stage: Stage) {
    let pods: Api<Pod> = stage.api();
    let pod = json!({"metadata": {"name": "shell"}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [
        {"name": "shell", "image": "skiff.local/tools:v1", "command": ["sh", "-c", "echo started; trap 'exit 0' TERM; while true; do echo tick; sleep 1; done"]},
        {"name": "web", "image": "skiff.local/echo:v1"},
        {"name": "cat", "image": "skiff.local/tools:v1", "stdin": true, "command": ["cat"]},
    ]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a Pod")).await.expect("created");
    let running = await_condition(pods.clone(), "shell", conditions::is_pod_running());
    tokio::time::timeout(Duration::from_secs(60), running).await.expect("in time").expect("watched");
    eventually("the pod is ready", async || match pods.get("shell").await {
        Ok(pod) if application::is_ready(&pod) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stage.done("running");

    let of = |container: &str| LogParams { container: Some(container.to_owned()), ..LogParams::default() };
    eventually("logs", async || {
        let logs = pods.logs("shell", &of("shell")).await.expect("logs");
        if logs.starts_with("started\ntick\n") { Ok(()) } else { Err(logs) }
    })
    .await;
    let last = LogParams { tail_lines: Some(1), ..of("shell") };
    assert_eq!(pods.logs("shell", &last).await.expect("logs"), "tick\n");
    let follow = LogParams { follow: true, timestamps: true, ..of("shell") };
    let mut lines = pods.log_stream("shell", &follow).await.expect("a stream").lines();
    for _ in 0..3 {
        let line =
            tokio::time::timeout(PATIENCE, lines.try_next()).await.expect("in time").expect("read").expect("a line");
        assert!(line.contains("Z "), "{line}");
    }
    assert_eq!(code(pods.logs("shell", &LogParams::default()).await), 400, "which container?");
    assert_eq!(code(pods.logs("shell", &of("nothing")).await), 400);
    stage.done("logs");

    let params = AttachParams::default().container("shell");
    let mut process = pods.exec("shell", ["sh", "-c", "echo out; echo err >&2; exit 3"], &params).await.expect("exec");
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().expect("output").read_to_string(&mut out).await.expect("read");
    process.stderr().expect("errors").read_to_string(&mut err).await.expect("read");
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    let status = process.take_status().expect("a status").await.expect("its end");
    assert_eq!(status.status.as_deref(), Some("Failure"));
    assert_eq!(
        status.details.and_then(|details| details.causes).map(|causes| causes[0].message.clone()),
        Some(Some("3".to_owned()))
    );
    stage.done("exec");

    let params = AttachParams::default().container("shell").stdin(true).stderr(false);
    let mut process = pods.exec("shell", ["cat"], &params).await.expect("exec");
    let mut stdin = process.stdin().expect("input");
    stdin.write_all(b"typed\n").await.expect("written");
    let mut stdout = process.stdout().expect("output");
    let mut typed = [0; 6];
    tokio::time::timeout(PATIENCE, stdout.read_exact(&mut typed)).await.expect("in time").expect("read");
    assert_eq!(&typed, b"typed\n");
    drop(stdin);
    process.abort();
    let terminal = AttachParams::interactive_tty().container("shell");
    let mut process =
        pods.exec("shell", ["sh", "-c", "stty size; test -t 0 && echo terminal"], &terminal).await.expect("exec");
    let mut size = process.terminal_size().expect("a terminal");
    let _ = futures::SinkExt::send(&mut size, kube::api::TerminalSize { width: 80, height: 24 }).await;
    let mut out = String::new();
    process.stdout().expect("output").read_to_string(&mut out).await.expect("read");
    assert!(out.contains("terminal"), "{out}");
    stage.done("input and terminals");

    let params = AttachParams::default().container("cat").stdin(true).stderr(false);
    let mut attached = pods.attach("shell", &params).await.expect("attached");
    attached.stdin().expect("input").write_all(b"hello\n").await.expect("written");
    let mut back = [0; 6];
    let mut stdout = attached.stdout().expect("output");
    tokio::time::timeout(PATIENCE, stdout.read_exact(&mut back)).await.expect("in time").expect("read");
    assert_eq!(&back, b"hello\n");
    attached.abort();
    stage.done("attach");

    let mut ports = pods.portforward("shell", &[8080]).await.expect("forwarded");
    let mut stream = ports.take_stream(8080).expect("a stream");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("read");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("shell v1"), "{answer}");
    stage.done("ports");

    let deleted = pods.delete("shell", &DeleteParams::default().grace_period(1)).await.expect("deleted").left();
    assert!(deleted.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()));
    eventually("the pod is gone", async || match pods.get_opt("shell").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stage.done("graceful end");
}
