//! Starting shims and talking to them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::files::{at, short_path, write_json};
use crate::shim::PROGRAM;
use crate::shim::protocol::{
    LAUNCH_FILE, LOCK_FILE, Launch, MAX_MESSAGE, Process, Request, Response, SOCKET_FILE, Started,
};

/// How long creating and starting a container may take.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a shim may take to answer anything but a wait.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Makes mimalloc, the allocator of the `skiff` program, take single pages from the kernel. Otherwise every shim would
/// hold two huge pages, 4 MiB, for some hundred kilobytes of data. Containers get an environment of their own.
const SMALL_HEAP: (&str, &str) = ("MIMALLOC_DISALLOW_ARENA_ALLOC", "1");

/// Starts the shim of a container and waits until the container runs; returns its first process.
pub(crate) async fn start(program: &Path, state: &Path, launch: &Launch) -> io::Result<Process> {
    write_json(&state.join(LAUNCH_FILE), launch)?;
    let mut shim = command(program)
        .arg("container")
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(at("start the shim", program))?;
    let mut output = shim.stdout.take().ok_or_else(|| io::Error::other("the shim has no output"))?;
    // Reaps it; the shim itself lives on when this process ends.
    let mut reaper = tokio::spawn(async move { shim.wait().await });
    let mut line = Vec::new();
    let read = timeout(START_DEADLINE, output.read_to_end(&mut line));
    if read.await.is_err() {
        reaper.abort();
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the container did not start in time"));
    }
    match serde_json::from_slice(&line) {
        Ok(Started::Running(process)) => Ok(process),
        Ok(Started::Error(error)) => {
            // Its cleanup is over when it is gone.
            let _ = timeout(ANSWER_DEADLINE, &mut reaper).await;
            Err(io::Error::other(error))
        }
        Err(_) => Err(io::Error::other("the shim died while starting the container")),
    }
}

/// A command that becomes a shim.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg0(PROGRAM).env_clear().env(SMALL_HEAP.0, SMALL_HEAP.1).stderr(Stdio::null());
    command
}

/// Connects to a container's shim and sends a request.
pub(crate) async fn connect(state: &Path, request: &Request) -> io::Result<BufReader<UnixStream>> {
    let folder = rustix::fs::open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let folder = File::from(folder);
    let mut stream = UnixStream::connect(short_path(&folder, SOCKET_FILE)).await?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(BufReader::with_capacity(MAX_MESSAGE, stream))
}

/// Reads the answer to a request.
pub(crate) async fn response(stream: &mut BufReader<UnixStream>) -> io::Result<Response> {
    let mut line = String::new();
    let mut limited = stream.take(MAX_MESSAGE as u64);
    limited.read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shim closed the connection"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Sends a request that is answered at once.
pub(crate) async fn call(state: &Path, request: &Request) -> io::Result<()> {
    let exchange = async { response(&mut connect(state, request).await?).await };
    match timeout(ANSWER_DEADLINE, exchange).await {
        Ok(Ok(Response::Error(error))) => Err(io::Error::other(error)),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the shim does not answer")),
    }
}

/// True while the shim of the container with this state folder lives.
pub(crate) fn alive(state: &Path) -> bool {
    let Ok(lock) = File::open(state.join(LOCK_FILE)) else {
        return false;
    };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// The program that shims are started from.
pub(crate) fn own_program(configured: Option<&PathBuf>) -> io::Result<PathBuf> {
    match configured {
        Some(program) => std::fs::canonicalize(program).map_err(at("find", program)),
        None => Ok(PathBuf::from("/proc/self/exe")),
    }
}
