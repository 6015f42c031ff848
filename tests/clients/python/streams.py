"""Into a running pod by websocket."""

from kubernetes import client
from kubernetes.stream import portforward, stream
from kubernetes.watch import Watch

from typed import refused

SCRIPT = "echo started; trap 'exit 0' TERM; while true; do echo tick; sleep 1; done"


def pod(stage):
    core, namespace = stage.core, stage.namespace
    shell = client.V1Container(name="shell", image="skiff.local/tools:v1", command=["sh", "-c", SCRIPT])
    web = client.V1Container(name="web", image="skiff.local/echo:v1")
    spec = client.V1PodSpec(containers=[shell, web], termination_grace_period_seconds=1)
    core.create_namespaced_pod(namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="shell"), spec=spec))
    stage.until(lambda: core.read_namespaced_pod("shell", namespace).status.phase == "Running")
    ready = lambda: all(one.ready for one in core.read_namespaced_pod("shell", namespace).status.container_statuses)
    stage.until(ready)
    stage.done("running")

    # What it says takes a moment to be written.
    # (This version of the client shows bytes as `b'...'` unless it is asked for them.)
    logs = lambda: core.read_namespaced_pod_log("shell", namespace, container="shell", _preload_content=False).data
    stage.until(lambda: logs().startswith(b"started\n"))
    lines = []
    follow = Watch()
    for line in follow.stream(core.read_namespaced_pod_log, "shell", namespace, container="shell"):
        lines.append(line)
        if len(lines) == 3:
            follow.stop()
    assert lines == ["started", "tick", "tick"], lines
    assert refused(core.read_namespaced_pod_log, "shell", namespace, container="nothing").status == 400
    stage.done("logs")

    def run(*command, **named):
        return stream(
            core.connect_get_namespaced_pod_exec, "shell", namespace, container="shell", command=list(command),
            stdout=True, stderr=True, stdin=named.pop("stdin", False), tty=named.pop("tty", False), **named,
        )

    assert run("echo", "hello") == "hello\n"
    process = run("sh", "-c", "echo out; echo err >&2; exit 3", _preload_content=False)
    process.run_forever(timeout=30)
    assert (process.read_stdout(), process.read_stderr(), process.returncode) == ("out\n", "err\n", 3)
    stage.done("exec")
    process = run("sh", stdin=True, _preload_content=False)
    process.write_stdin("echo typed\n")
    assert process.readline_stdout(timeout=30) == "typed"
    process.write_stdin("exit\n")
    process.run_forever(timeout=30)
    assert process.returncode == 0
    process.close()
    assert "terminal" in run("sh", "-c", "test -t 1 && echo terminal", tty=True)
    stage.done("input and terminals")
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "shell", namespace, ports="8080")
    socket = forwarded.socket(8080)
    socket.settimeout(30)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    answer = b""
    while True:
        data = socket.recv(4096)
        if not data:
            break
        answer += data
    assert answer.startswith(b"HTTP/1.1 200") and b"shell v1" in answer, answer
    assert forwarded.error(8080) is None
    stage.done("ports")
    answer = core.connect_get_namespaced_pod_proxy("shell:8080", namespace)
    assert "shell v1" in answer, answer
    stage.done("proxy")
