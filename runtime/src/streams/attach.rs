//! A client attached to a container: frames of the shim on one side, the client's streams on the other.

use std::io;
use std::sync::Arc;

use skiff_streaming::remote_command::{Pending, RemoteCommand};
use skiff_streaming::{BoxRead, BoxWrite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::container::Container;
use crate::shim::protocol::{CHANNEL_STDERR, CHANNEL_STDIN, CHANNEL_STDOUT, MAX_MESSAGE, Request, Response};
use crate::shim_client;

/// Bytes of input sent at a time.
const CHUNK: usize = 16 * 1024;

/// Attaches once the client has connected; ends with the container or the client.
pub(super) async fn run(container: Arc<Container>, pending: Pending) {
    let remote = match pending.connect().await {
        Ok(remote) => remote,
        Err(error) => return tracing::debug!(%error, "an attach did not connect"),
    };
    let RemoteCommand { stdin, stdout, stderr, mut resize, status } = remote;
    let gone = status.client_gone();
    let (resized, state) = (Arc::clone(&container), container.state_dir());
    let resizing = tokio::spawn(async move {
        while let Some(size) = resize.recv().await {
            let request = Request::Resize { width: size.width, height: size.height };
            let _ = shim_client::call(&resized.state_dir(), &request).await;
        }
    });
    let request = Request::Attach { stdin: stdin.is_some(), stdout: stdout.is_some(), stderr: stderr.is_some() };
    let outcome = tokio::select! {
        outcome = serve(&state, &request, stdin, stdout, stderr) => outcome,
        () = gone => Ok(()),
    };
    resizing.abort();
    status.finish(outcome.map(|()| 0).map_err(|error| error.to_string())).await;
}

async fn serve(
    state: &std::path::Path,
    request: &Request,
    stdin: Option<BoxRead>,
    stdout: Option<BoxWrite>,
    stderr: Option<BoxWrite>,
) -> io::Result<()> {
    let mut stream = shim_client::connect(state, request).await?;
    if let Response::Error(error) = shim_client::response(&mut stream).await? {
        return Err(io::Error::other(error));
    }
    // What the reader has buffered beyond the response are frames already, so it must be kept.
    let (from_shim, to_shim) = tokio::io::split(stream);
    let input = tokio::spawn(send_input(stdin, to_shim));
    let outcome = receive_output(from_shim, stdout, stderr).await;
    input.abort();
    outcome
}

async fn send_input<S: AsyncWrite + Unpin>(stdin: Option<BoxRead>, mut to_shim: S) -> io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = stdin.read(&mut chunk).await?;
        let length = u32::try_from(count).unwrap_or(0);
        to_shim.write_all(&[CHANNEL_STDIN]).await?;
        to_shim.write_all(&length.to_be_bytes()).await?;
        to_shim.write_all(&chunk[..count]).await?;
        to_shim.flush().await?;
        // An empty frame says that the input has ended.
        if count == 0 {
            return Ok(());
        }
    }
}

async fn receive_output(
    mut from_shim: tokio::io::ReadHalf<tokio::io::BufReader<UnixStream>>,
    mut stdout: Option<BoxWrite>,
    mut stderr: Option<BoxWrite>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some((channel, length)) = frame_header(&mut from_shim).await? {
        if length > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of the shim is too large"));
        }
        bytes.resize(length, 0);
        from_shim.read_exact(&mut bytes).await?;
        let stream = match channel {
            CHANNEL_STDOUT => stdout.as_mut(),
            CHANNEL_STDERR => stderr.as_mut(),
            _ => None,
        };
        if let Some(stream) = stream {
            stream.write_all(&bytes).await?;
        }
    }
    for stream in [stdout.as_mut(), stderr.as_mut()].into_iter().flatten() {
        let _ = stream.shutdown().await;
    }
    Ok(())
}

/// Channel and length of the next frame; `None` when the container has ended.
async fn frame_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, usize)>> {
    let channel = match stream.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    Ok(Some((channel, stream.read_u32().await? as usize)))
}
