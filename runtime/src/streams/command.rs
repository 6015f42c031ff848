//! A command run for a client.

use std::sync::Arc;
use std::time::Duration;

use skiff_streaming::remote_command::{Pending, RemoteCommand, TerminalSize};
use skiff_streaming::{BoxRead, BoxWrite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::container::Container;
use crate::engine::{Engine, Exec, ExecStreams, TerminalStream};

/// Bytes copied at a time.
const CHUNK: usize = 16 * 1024;
/// How long the output of an ended command may stay silent: something in the background may hold it open for ever.
const SILENCE: Duration = Duration::from_secs(2);

/// Runs `command` once the client has connected. The command goes on if the client goes away, as with other runtimes;
/// it then reads the end of its input, and its terminal hangs up.
pub(super) async fn run(
    engine: Arc<Engine>,
    container: Arc<Container>,
    command: Vec<String>,
    tty: bool,
    pending: Pending,
) {
    let remote = match pending.connect().await {
        Ok(remote) => remote,
        Err(error) => return tracing::debug!(%error, "an exec did not connect"),
    };
    let RemoteCommand { stdin, stdout, stderr, resize, status } = remote;
    let outcome = match engine.exec(&container, command, tty, stdin.is_some()).await {
        Ok(exec) => serve(exec, stdin, stdout, stderr, resize, status.client_gone()).await,
        Err(error) => Err(error.message().to_owned()),
    };
    status.finish(outcome).await;
}

async fn serve(
    mut exec: Exec,
    stdin: Option<BoxRead>,
    stdout: Option<BoxWrite>,
    stderr: Option<BoxWrite>,
    mut resize: tokio::sync::mpsc::Receiver<TerminalSize>,
    client_gone: impl Future<Output = ()>,
) -> Result<i32, String> {
    let ended = CancellationToken::new();
    let mut outputs = Vec::new();
    let mut output = |from: Box<dyn AsyncRead + Send + Unpin>, to: Option<BoxWrite>| {
        outputs.push(tokio::spawn(copy_output(from, to, ended.clone())));
    };
    let mut inputs = Vec::new();
    match std::mem::replace(&mut exec.streams, ExecStreams::none()) {
        ExecStreams::Pipes { stdin: to, stdout: out, stderr: err } => {
            if let Some(out) = out {
                output(Box::new(out), stdout);
            }
            if let Some(err) = err {
                output(Box::new(err), stderr);
            }
            if let (Some(from), Some(to)) = (stdin, to) {
                inputs.push(tokio::spawn(copy_input(from, to)));
            }
        }
        ExecStreams::Terminal(terminal) => {
            output(Box::new(TerminalStream(Arc::clone(&terminal))), stdout);
            if let Some(from) = stdin {
                inputs.push(tokio::spawn(copy_input(from, TerminalStream(Arc::clone(&terminal)))));
            }
            inputs.push(tokio::spawn(async move {
                while let Some(size) = resize.recv().await {
                    let _ = terminal.resize(size.width, size.height);
                }
            }));
        }
    }
    let gone = async {
        client_gone.await;
        // Lets go of the terminal, which hangs up, or of the pipes, whose next writer is told.
        outputs.iter().chain(&inputs).for_each(JoinHandle::abort);
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = exec.wait() => outcome,
        () = gone => Err("the client went away".to_owned()),
    };
    ended.cancel();
    for task in outputs {
        let _ = task.await;
    }
    // They wait for the client, which has nothing more to say to a command that is gone.
    inputs.iter().for_each(JoinHandle::abort);
    outcome
}

/// Copies until the output ends, or until it is silent after the command has ended. Waiting for a slow client has no
/// limit.
async fn copy_output(mut from: impl AsyncRead + Unpin, to: Option<BoxWrite>, ended: CancellationToken) {
    let mut to = to.unwrap_or_else(|| Box::new(tokio::io::sink()));
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = if ended.is_cancelled() {
            timeout(SILENCE, from.read(&mut chunk)).await.unwrap_or(Ok(0))
        } else {
            tokio::select! {
                read = from.read(&mut chunk) => read,
                () = ended.cancelled() => continue,
            }
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(count) if to.write_all(&chunk[..count]).await.is_err() => return,
            Ok(_) => {}
        }
    }
    let _ = to.shutdown().await;
}

/// Copies until the client's input ends, then closes the command's.
async fn copy_input(mut from: BoxRead, mut to: impl AsyncWrite + Unpin) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
