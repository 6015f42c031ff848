//! exec, attach and port-forward through every protocol that clients speak.

mod common;

use common::stream::{Url, drain, open, send, spdy, text, upgrade, websocket};
use common::{DEADLINE, Node, shell};
use skiff_cri::v1;
use skiff_streaming::spdy::{Connection, Headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tonic::Code;

async fn exec_url(node: &mut Node, id: &str, command: &str, stdin: bool, tty: bool) -> Url {
    let request = v1::ExecRequest {
        container_id: id.into(),
        cmd: vec!["sh".into(), "-c".into(), command.into()],
        tty,
        stdin,
        stdout: true,
        stderr: !tty,
    };
    let url = node.client.runtime.exec(request).await.expect("exec").into_inner().url;
    Url { url, namespace: node.netns() }
}

async fn status(mut error: skiff_streaming::spdy::Stream) -> serde_json::Value {
    serde_json::from_str(&text(&mut error).await).expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_over_spdy() {
    let mut node = Node::start("spdy").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;

    let url = exec_url(&mut node, &id, "cat; echo done >&2; exit 4", true, false).await;
    let connection = spdy(&url, "v4.channel.k8s.io").await;
    let error = open(&connection, "error").await;
    let mut stdin = open(&connection, "stdin").await;
    let (mut stdout, mut stderr) = (open(&connection, "stdout").await, open(&connection, "stderr").await);
    let sent = vec![b'x'; 300_000];
    let writing = async {
        stdin.write_all(&sent).await.expect("write");
        stdin.shutdown().await.expect("half close");
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(writing, stdout.read_to_end(&mut received));
    read.expect("read");
    assert_eq!(received, sent);
    assert_eq!(text(&mut stderr).await, "done\n");
    let status_4 = status(error).await;
    assert_eq!(status_4["details"]["causes"][0]["message"], "4");
    assert_eq!(status_4["reason"], "NonZeroExitCode");

    // A ticket is good once.
    let (head, _) = upgrade(&url, "Upgrade: SPDY/3.1").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");

    // Older protocols say it in words.
    let url = exec_url(&mut node, &id, "exit 4", false, false).await;
    let connection = spdy(&url, "v2.channel.k8s.io").await;
    let mut error = open(&connection, "error").await;
    let (_stdout, _stderr) = (open(&connection, "stdout").await, open(&connection, "stderr").await);
    assert_eq!(text(&mut error).await, "command terminated with non-zero exit code: exit status 4");

    let request =
        v1::ExecRequest { container_id: id.clone(), cmd: vec!["nosuch".into()], stdout: true, ..Default::default() };
    let url = node.client.runtime.exec(request).await.expect("exec").into_inner().url;
    let url = Url { url, namespace: node.netns() };
    let connection = spdy(&url, "v4.channel.k8s.io").await;
    let error = open(&connection, "error").await;
    let _stdout = open(&connection, "stdout").await;
    let status = status(error).await;
    assert_eq!(status["reason"], "InternalError");
    assert!(status["message"].as_str().is_some_and(|m| m.contains("executable file not found in $PATH")), "{status}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_with_a_terminal() {
    let mut node = Node::start("tty").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;
    let url = exec_url(
        &mut node,
        &id,
        "until [ \"$(stty size)\" = '45 123' ]; do sleep 0.02; done; tty; read line; echo got $line; stty size; exit 7",
        true,
        true,
    )
    .await;
    let connection = spdy(&url, "v4.channel.k8s.io").await;
    let error = open(&connection, "error").await;
    let mut stdin = open(&connection, "stdin").await;
    let mut stdout = open(&connection, "stdout").await;
    let mut resize = open(&connection, "resize").await;
    resize.write_all(b"{\"Width\":123,\"Height\":45}").await.expect("resize");
    stdin.write_all(b"hello\n").await.expect("type");
    let output = timeout(DEADLINE, text(&mut stdout)).await.expect("in time");
    for expected in ["/dev/pts/0\r\n", "hello\r\n", "got hello\r\n", "45 123\r\n"] {
        assert!(output.contains(expected), "{expected:?} in {output:?}");
    }
    assert_eq!(status(error).await["details"]["causes"][0]["message"], "7");

    // A client that goes away hangs up.
    let url = exec_url(&mut node, &id, "sleep 555", true, true).await;
    let connection = spdy(&url, "v4.channel.k8s.io").await;
    let streams = [
        open(&connection, "error").await,
        open(&connection, "stdin").await,
        open(&connection, "stdout").await,
        open(&connection, "resize").await,
    ];
    let running = async |node: &mut Node| node.shell(&id, "ps").await.0.contains("sleep 555");
    node.wait_until("the command runs", running).await;
    drop(streams);
    connection.close().await;
    node.wait_until("the command ends with its terminal", async |node: &mut Node| !running(node).await).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_over_websockets() {
    let mut node = Node::start("ws").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;

    // v5 can close the input alone.
    let url = exec_url(&mut node, &id, "cat; echo end >&2; exit 2", true, false).await;
    let mut socket = websocket(&url, "v5.channel.k8s.io").await;
    send(&mut socket, 0, b"some input").await;
    send(&mut socket, 255, &[0]).await;
    let [_, stdout, stderr, error, _] = timeout(DEADLINE, drain(&mut socket)).await.expect("in time");
    assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"some input"[..], &b"end\n"[..]));
    let error: serde_json::Value = serde_json::from_slice(&error).expect("a status");
    assert_eq!(error["details"]["causes"][0]["message"], "2");

    for (protocol, success) in
        [("v4.channel.k8s.io", "{\"metadata\":{},\"status\":\"Success\"}"), ("channel.k8s.io", ""), ("", "")]
    {
        let url = exec_url(&mut node, &id, "echo hi", false, false).await;
        let mut socket = websocket(&url, protocol).await;
        let [_, stdout, _, error, _] = timeout(DEADLINE, drain(&mut socket)).await.expect("in time");
        assert_eq!(stdout, b"hi\n", "{protocol}");
        assert_eq!(String::from_utf8_lossy(&error), success, "{protocol}");
    }
    let url = exec_url(&mut node, &id, "true", false, false).await;
    let headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v9";
    let (head, _) = upgrade(&url, headers).await;
    assert!(head.starts_with("http/1.1 400 "), "{head}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_sees_output_and_gives_input() {
    let mut node = Node::start("attach").await;
    let pod = node.pod("web").await;
    let mut config = shell("app", "while read line; do echo \"got $line\"; echo \"err $line\" >&2; done; exit 8");
    (config.stdin, config.stdin_once) = (true, true);
    let id = node.container(&pod, config).await;
    let request = v1::AttachRequest { container_id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let url = node.client.runtime.attach(request.clone()).await.expect("attach").into_inner().url;
    let url = Url { url, namespace: node.netns() };
    let connection = spdy(&url, "v4.channel.k8s.io").await;
    let error = open(&connection, "error").await;
    let mut stdin = open(&connection, "stdin").await;
    let (mut stdout, mut stderr) = (open(&connection, "stdout").await, open(&connection, "stderr").await);
    stdin.write_all(b"one\ntwo\n").await.expect("write");
    let mut first = [0; 8];
    timeout(DEADLINE, stdout.read_exact(&mut first)).await.expect("in time").expect("read");
    assert_eq!(&first, b"got one\n");
    stdin.shutdown().await.expect("half close");
    assert_eq!(text(&mut stdout).await, "got two\n");
    assert_eq!(text(&mut stderr).await, "err one\nerr two\n");
    assert_eq!(status(error).await["status"], "Success");
    // stdin_once: the end of the first client's input is the end of the container's.
    assert_eq!(node.ended(&id).await.exit_code, 8);
    let log = node.log_lines(&id).await;
    assert!(log.contains(&"stdout F got one".to_owned()) && log.contains(&"stderr F err two".to_owned()), "{log:?}");
    let late = node.client.runtime.attach(request).await.expect_err("it has ended");
    assert_eq!(late.code(), Code::FailedPrecondition);

    let mut config = shell(
        "tty",
        "tty; until [ \"$(stty size)\" = '33 99' ]; do sleep 0.02; done; read line; echo got $line; stty size; exit 0",
    );
    (config.stdin, config.tty) = (true, true);
    let id = node.container(&pod, config).await;
    let request = v1::AttachRequest { container_id: id.clone(), stdin: true, tty: true, stdout: true, stderr: false };
    let url = node.client.runtime.attach(request).await.expect("attach").into_inner().url;
    let url = Url { url, namespace: node.netns() };
    let mut socket = websocket(&url, "v5.channel.k8s.io").await;
    send(&mut socket, 4, b"{\"Width\":99,\"Height\":33}").await;
    send(&mut socket, 0, b"typed\n").await;
    let [_, stdout, ..] = timeout(DEADLINE, drain(&mut socket)).await.expect("in time");
    let output = String::from_utf8_lossy(&stdout);
    assert!(output.contains("got typed\r\n") && output.contains("33 99\r\n"), "{output:?}");
    assert_eq!(node.ended(&id).await.exit_code, 0);
    assert!(node.log_lines(&id).await.iter().any(|line| line.starts_with("stdout F /dev/pts/0")), "a tty has a name");
    node.finish().await;
}

/// Reads everything over one forwarded connection.
async fn forwarded(connection: &Connection, port: u16, request: &str) -> Result<String, String> {
    forwarded_by(connection, port, request, true).await
}

/// The same by a client that may wait for the pod to end before it ends itself, as kubectl up to 1.31 does.
async fn forwarded_by(connection: &Connection, port: u16, request: &str, half_close: bool) -> Result<String, String> {
    let headers = |kind: &str| -> Headers {
        let port = port.to_string();
        [("streamType", kind), ("port", &port), ("requestID", request)].into_iter().collect()
    };
    let mut error = connection.open(headers("error")).await.expect("error stream");
    error.shutdown().await.expect("half close");
    let mut data = connection.open(headers("data")).await.expect("data stream");
    data.write_all(b"ping\n").await.expect("write");
    if half_close {
        data.shutdown().await.expect("half close");
    }
    let (mut answer, mut failure) = (String::new(), String::new());
    let read = data.read_to_string(&mut answer).await;
    error.read_to_string(&mut failure).await.expect("error stream");
    if failure.is_empty() { read.map(|_| answer).map_err(|e| e.to_string()) } else { Err(failure) }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded() {
    let mut node = Node::start("forward").await;
    let pod = node.pod("web").await;
    let server = "exec nc -ll -p 8080 -e sh -c 'read x; echo pong $x'";
    let id = node.container(&pod, shell("app", server)).await;
    let url = async |node: &mut Node, port: Vec<i32>| {
        let request = v1::PortForwardRequest { pod_sandbox_id: pod.id.clone(), port };
        let url = node.client.runtime.port_forward(request).await.expect("port-forward").into_inner().url;
        Url { url, namespace: node.netns() }
    };
    let listening =
        async |node: &mut Node| node.shell(&id, "cat /proc/net/tcp /proc/net/tcp6").await.0.contains(":1F90");
    node.wait_until("the server listens", listening).await;

    let connection = spdy(&url(&mut node, vec![]).await, "portforward.k8s.io").await;
    for request in ["0", "1", "2"] {
        let answer = timeout(DEADLINE, forwarded(&connection, 8080, request)).await.expect("in time");
        assert_eq!(answer.as_deref(), Ok("pong ping\n"));
    }
    let answer = timeout(DEADLINE, forwarded_by(&connection, 8080, "open", false))
        .await
        .expect("the end of the pod's side is the end");
    assert_eq!(answer.as_deref(), Ok("pong ping\n"));
    let refused = timeout(DEADLINE, forwarded(&connection, 9, "3")).await.expect("in time").expect_err("closed port");
    assert!(refused.contains("error forwarding port 9 to pod") && refused.contains("refused"), "{refused}");

    // kubectl's way: SPDY within a WebSocket.
    let socket = websocket(&url(&mut node, vec![]).await, "SPDY/3.1+portforward.k8s.io").await;
    let connection = Connection::client(tunnelled(socket)).expect("connection");
    let answer = timeout(DEADLINE, forwarded(&connection, 8080, "0")).await.expect("in time");
    assert_eq!(answer.as_deref(), Ok("pong ping\n"));

    // The Python client's way: two channels per port, each beginning with the port.
    let mut socket = websocket(&url(&mut node, vec![8080]).await, "v4.channel.k8s.io").await;
    send(&mut socket, 0, b"ping\n").await;
    let [data, error, ..] = timeout(DEADLINE, drain_until(&mut socket, b"pong ping\n")).await.expect("in time");
    assert_eq!(data, [&8080_u16.to_le_bytes()[..], b"pong ping\n"].concat());
    assert_eq!(error, 8080_u16.to_le_bytes());
    node.finish().await;
}

/// The client's side of a tunnel.
fn tunnelled(socket: tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>) -> tokio::io::DuplexStream {
    use futures::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (mut inside_read, mut inside_write) = tokio::io::split(theirs);
    let (mut sink, mut messages) = socket.split();
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if let Message::Binary(bytes) = message {
                inside_write.write_all(&bytes).await.expect("write");
            }
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = inside_read.read(&mut buffer).await {
            sink.send(Message::Binary(buffer[..count].to_vec().into())).await.expect("send");
        }
    });
    ours
}

async fn drain_until(
    socket: &mut tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>,
    end: &[u8],
) -> [Vec<u8>; 5] {
    use futures::StreamExt;
    let mut channels: [Vec<u8>; 5] = Default::default();
    while !channels[0].ends_with(end) {
        let message = socket.next().await.expect("a message").expect("a good one").into_data();
        if let Some((channel, bytes)) = message.split_first() {
            channels[usize::from(*channel)].extend_from_slice(bytes);
        }
    }
    channels
}
