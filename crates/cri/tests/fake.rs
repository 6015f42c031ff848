//! The fake runtime, driven through the CRI client as the kubelet does.

use std::time::Duration;

use skiff_cri::Client;
use skiff_cri::fake::{ExecOutcome, FakeRuntime, OnStop, Script};
use skiff_cri::v1::{self, ContainerState};
use tonic::{Code, Status};

const IMAGE: &str = "docker.io/library/app:v1";

struct Pod {
    client: Client,
    id: String,
    config: v1::PodSandboxConfig,
}

impl Pod {
    async fn run(fake: &FakeRuntime, log_directory: &str) -> Self {
        let mut client = fake.connect().await.expect("in-memory connection");
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "web".into(),
                namespace: "demo".into(),
                uid: "1".into(),
                attempt: 0,
            }),
            log_directory: log_directory.into(),
            ..Default::default()
        };
        let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let id = client.runtime.run_pod_sandbox(request).await.expect("sandbox").into_inner().pod_sandbox_id;
        let spec = v1::ImageSpec { image: IMAGE.into(), ..Default::default() };
        let request = v1::PullImageRequest { image: Some(spec), ..Default::default() };
        client.images.pull_image(request).await.expect("pull");
        Self { client, id, config }
    }

    async fn create(&mut self, name: &str) -> String {
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: IMAGE.into(), ..Default::default() }),
            log_path: format!("{name}/0.log"),
            ..Default::default()
        };
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        self.client.runtime.create_container(request).await.expect("create").into_inner().container_id
    }

    async fn start(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::StartContainerRequest { container_id: id.into() };
        self.client.runtime.start_container(request).await.map(drop)
    }

    async fn stop(&mut self, id: &str, timeout: i64) {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout };
        self.client.runtime.stop_container(request).await.expect("stop");
    }

    async fn status(&mut self, id: &str) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = self.client.runtime.container_status(request).await.expect("status");
        answer.into_inner().status.expect("a status")
    }
}

#[tokio::test(start_paused = true)]
async fn a_script_runs_its_course() {
    let logs = tempfile::tempdir().expect("temp dir");
    let fake = FakeRuntime::new();
    fake.script("job", [Script::exits_after(Duration::from_secs(5), 3).prints("hello")]);
    let mut pod = Pod::run(&fake, logs.path().to_str().expect("utf-8")).await;
    let id = pod.create("job").await;
    assert_eq!(pod.status(&id).await.state(), ContainerState::ContainerCreated);
    pod.start(&id).await.expect("start");
    assert_eq!(pod.status(&id).await.state(), ContainerState::ContainerRunning);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let status = pod.status(&id).await;
    assert_eq!(
        (status.state(), status.exit_code, status.reason.as_str()),
        (ContainerState::ContainerExited, 3, "Error")
    );
    let log = std::fs::read_to_string(&status.log_path).expect("log");
    assert!(log.ends_with(" stdout F hello\n"), "{log}");
    assert_eq!(pod.start(&id).await.expect_err("twice").code(), Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn stopping_follows_the_grace_period() {
    let fake = FakeRuntime::new();
    let on_stop = |on_stop| Script { on_stop, ..Script::runs() };
    for (script, grace, code, seconds) in [
        (Script::runs(), 30, 143, 0),
        (Script::runs(), 0, 137, 0),
        (on_stop(OnStop::ExitsAfter(Duration::from_secs(3))), 30, 0, 3),
        (on_stop(OnStop::ExitsAfter(Duration::from_secs(60))), 30, 137, 30),
        (on_stop(OnStop::Ignores), 2, 137, 2),
    ] {
        fake.script("app", [script.clone()]);
        let mut pod = Pod::run(&fake, "").await;
        let id = pod.create("app").await;
        pod.start(&id).await.expect("start");
        let before = tokio::time::Instant::now();
        pod.stop(&id, grace).await;
        assert_eq!(before.elapsed().as_secs(), seconds, "{script:?}");
        assert_eq!(pod.status(&id).await.exit_code, code, "{script:?}");
        pod.stop(&id, grace).await;
    }
}

#[tokio::test]
async fn failures_exec_and_events_are_scripted() {
    let fake = FakeRuntime::new();
    let failing = Script { start_error: Some(Status::unknown("no such file")), ..Script::runs() };
    fake.script("app", [failing, Script::runs()]);
    fake.on_exec(|container, command| ExecOutcome {
        stdout: format!("{container}: {}", command.join(" ")).into_bytes(),
        exit_code: 7,
        ..Default::default()
    });
    let mut pod = Pod::run(&fake, "").await;
    let mut events =
        pod.client.runtime.get_container_events(v1::GetEventsRequest {}).await.expect("events").into_inner();
    let first = pod.create("app").await;
    assert_eq!(pod.start(&first).await.expect_err("scripted").message(), "no such file");
    let status = pod.status(&first).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    let second = pod.create("app").await;
    pod.start(&second).await.expect("the second script succeeds");
    let request = v1::ExecSyncRequest { container_id: second.clone(), cmd: vec!["ls".into(), "/".into()], timeout: 1 };
    let outcome = pod.client.runtime.exec_sync(request).await.expect("exec").into_inner();
    assert_eq!((outcome.stdout.as_slice(), outcome.exit_code), (&b"app: ls /"[..], 7));
    assert!(fake.exit("app", 137, "OOMKilled"));
    assert_eq!(pod.status(&second).await.reason, "OOMKilled");
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        let event = events.message().await.expect("event").expect("not closed");
        kinds.push(event.container_event_type().as_str_name().to_owned());
    }
    let expected = ["CREATED", "STOPPED", "CREATED", "STARTED", "STOPPED"];
    assert_eq!(kinds, expected.map(|kind| format!("CONTAINER_{kind}_EVENT")));

    fake.fail_next("RunPodSandbox", Status::unavailable("no network"));
    let request = v1::RunPodSandboxRequest { config: Some(pod.config.clone()), ..Default::default() };
    assert_eq!(
        pod.client.runtime.run_pod_sandbox(request.clone()).await.expect_err("scripted").code(),
        Code::Unavailable
    );
    pod.client.runtime.run_pod_sandbox(request).await.expect("only the next call fails");
    assert!(fake.calls().contains(&"ExecSync app ls /".to_owned()), "{:?}", fake.calls());
}

#[tokio::test]
async fn removing_a_sandbox_takes_everything_along() {
    let directory = tempfile::tempdir().expect("temp dir");
    let fake = FakeRuntime::new();
    let socket = directory.path().join("cri.sock");
    let _served = fake.serve(&socket).await.expect("serve");
    let mut pod = Pod::run(&fake, "").await;
    pod.client = Client::connect(&format!("unix://{}", socket.display())).await.expect("connect");
    let id = pod.create("app").await;
    pod.start(&id).await.expect("start");
    for _ in 0..2 {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        pod.client.runtime.remove_pod_sandbox(request).await.expect("remove is idempotent");
    }
    let left = pod.client.runtime.list_containers(v1::ListContainersRequest::default()).await.expect("list");
    assert!(left.into_inner().containers.is_empty());
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    assert_eq!(pod.client.runtime.pod_sandbox_status(request).await.expect_err("gone").code(), Code::NotFound);
}
