//! Containers from start to end: logs, exit codes, stopping, limits, and what is left afterwards.

mod common;

use common::{Node, context, shell};
use skiff_cri::v1::{self, ContainerState};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_ends() {
    let mut node = Node::start("basic").await;
    let pod = node.pod("web").await;
    let id = node
        .container(
            &pod,
            shell(
                "job",
                "echo out; echo err >&2; cat /etc/resolv.conf; hostname; exit 3",
            ),
        )
        .await;
    let status = node.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.finished_at >= status.started_at && status.started_at >= status.created_at);
    let log = node.log_lines(&id).await;
    for line in [
        "stdout F out",
        "stderr F err",
        "stdout F nameserver 10.96.0.10",
        "stdout F web",
    ] {
        assert!(log.iter().any(|l| l == line), "{line:?} in {log:?}");
    }
    let ok = node.container(&pod, shell("ok", "true")).await;
    let status = node.ended(&ok).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    node.remove_pod(&pod).await;
    node.remove_pod(&pod).await;
    node.finish().await;
}
