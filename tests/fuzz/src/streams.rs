//! Interactive streams: frames, and whole connections as a client speaks them.

use std::convert::Infallible;

use bytes::BytesMut;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_streaming::remote_command::{self, Options};
use skiff_streaming::spdy::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};

/// Bytes between client and server.
const PIPE: usize = 1 << 20;

/// What a client sends first to run a command, by SPDY.
const SPDY: &str = "POST /exec HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\
    x-stream-protocol-version: v4.channel.k8s.io\r\ncontent-length: 0\r\n\r\n";

/// The same by WebSocket.
const WEBSOCKET: &str = "GET /exec HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";

pub(crate) fn spdy_frames(input: &[u8]) {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::from(input));
    while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
}

pub(crate) fn spdy_exec(input: &[u8]) {
    connect(SPDY, input);
}

pub(crate) fn websocket_exec(input: &[u8]) {
    connect(WEBSOCKET, input);
}

/// Sends the head and then the input, and lets the server answer until both have ended.
fn connect(head: &str, input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (mut client, server) = tokio::io::duplex(PIPE);
        let service = service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(serve(request)) });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).with_upgrades();
        let server = tokio::spawn(connection);
        // Whether it still listens is the server's business.
        let _ = client.write_all(head.as_bytes()).await;
        let _ = client.write_all(input).await;
        let _ = client.shutdown().await;
        let _ = copy(&mut client, &mut sink()).await;
        drop(client);
        let _ = server.await;
    });
}

fn serve(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let options = Options { stdin: true, stdout: true, stderr: true, tty: true };
    let (response, pending) = match remote_command::accept(&mut request, options) {
        Ok(accepted) => accepted,
        Err(refused) => return *refused,
    };
    tokio::spawn(async move {
        let Ok(mut command) = pending.connect().await else { return };
        if let Some(mut stdin) = command.stdin.take() {
            let mut typed = Vec::new();
            let _ = stdin.read_to_end(&mut typed).await;
            if let Some(stdout) = &mut command.stdout {
                let _ = stdout.write_all(&typed).await;
            }
        }
        while command.resize.try_recv().is_ok() {}
        command.status.finish(Ok(0)).await;
    });
    response
}
