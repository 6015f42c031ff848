//! Running commands in containers.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Duration, timeout};
use tonic::Status;

use super::{Engine, blocking, status};
use crate::container::Container;
use crate::files::{create_private_dir, remove_dir, write_json};
use crate::shim::protocol::{EXEC_FAILED, ExecRequest};
use crate::shim::receive_descriptor;
use crate::shim_client;

/// Most output of one ExecSync per stream, in bytes; more is dropped. Both together fit into one CRI message.
const MAX_SYNC_OUTPUT: usize = skiff_cri::MAX_MESSAGE_SIZE / 2 - 64 * 1024;
const CHUNK: usize = 16 * 1024;
/// How long output may go on after the command of an ExecSync has ended: something in the background holds it open.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// A command running in a container. Dropping it kills the command.
pub(crate) struct Exec {
    child: Child,
    folder: ExecFolder,
    pub(crate) streams: ExecStreams,
}

/// The streams of a command.
pub(crate) enum ExecStreams {
    Pipes { stdin: Option<ChildStdin>, stdout: Option<ChildStdout>, stderr: Option<ChildStderr> },
    Terminal(Arc<Terminal>),
}

/// What an ExecSync returns.
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: i32,
}

/// Output that is being collected in the background.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

/// How long a command that took too long may take to be gone after it was killed.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// The runtime's end of a terminal.
pub(crate) struct Terminal(AsyncFd<OwnedFd>);

/// Reads or writes a [`Terminal`].
pub(crate) struct TerminalStream(pub(crate) Arc<Terminal>);

/// The request's files, removed when dropped.
struct ExecFolder(PathBuf);

impl Engine {
    /// Starts a command in a running container.
    pub(crate) async fn exec(
        &self,
        container: &Container,
        args: Vec<String>,
        tty: bool,
        stdin: bool,
    ) -> Result<Exec, Status> {
        if !container.running() {
            let state = container.state().as_str_name();
            return Err(Status::failed_precondition(format!("container {:?} is in state {state}", container.id)));
        }
        let record = container.record();
        let folder = ExecFolder(self.paths.execs().join(uuid::Uuid::new_v4().simple().to_string()));
        let request = ExecRequest {
            container_id: container.id.clone(),
            pid: record.pid,
            config: container.state_dir().join("config.json"),
            cgroup: record.cgroup,
            args,
            tty,
            error_file: folder.0.join("error"),
        };
        self.spawn(request, folder, stdin).await.map_err(status("failed to exec in the container"))
    }

    async fn spawn(&self, request: ExecRequest, folder: ExecFolder, stdin: bool) -> io::Result<Exec> {
        create_private_dir(&folder.0)?;
        let file = folder.0.join("request.json");
        write_json(&file, &request)?;
        let mut command = shim_client::command(&self.shim_program);
        command.arg("exec").arg(&file).kill_on_drop(true);
        if request.tty {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn()?;
            // The command holds the other end; it must be closed here for its death to be noticed.
            drop(command);
            let received = blocking(move || receive_descriptor(ours)).await;
            let mut exec = Exec { child, folder, streams: ExecStreams::none() };
            match received {
                Ok(terminal) => exec.streams = ExecStreams::Terminal(Arc::new(Terminal::new(terminal)?)),
                Err(error) => {
                    return match exec.wait().await {
                        Err(reason) => Err(io::Error::other(reason)),
                        Ok(_) => Err(error),
                    };
                }
            }
            return Ok(exec);
        }
        command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let streams =
            ExecStreams::Pipes { stdin: child.stdin.take(), stdout: child.stdout.take(), stderr: child.stderr.take() };
        Ok(Exec { child, folder, streams })
    }

    /// Runs a command to its end and collects its output. `limit` of zero is none.
    pub(crate) async fn exec_sync(
        &self,
        container: &Container,
        args: Vec<String>,
        limit: Duration,
    ) -> Result<Finished, Status> {
        let text = args.join(" ");
        let mut exec = self.exec(container, args, false, false).await?;
        let ExecStreams::Pipes { stdout, stderr, .. } = std::mem::replace(&mut exec.streams, ExecStreams::none())
        else {
            return Err(Status::internal("an exec without a terminal has one"));
        };
        let stdout = Collected::start(stdout);
        let stderr = Collected::start(stderr);
        let code = if limit.is_zero() {
            exec.wait().await
        } else {
            match timeout(limit, exec.wait()).await {
                Ok(code) => code,
                Err(_) => {
                    exec.end().await;
                    let text = format!("command {text:?} timed out: {}s", limit.as_secs());
                    return Err(Status::deadline_exceeded(text));
                }
            }
        };
        let code = code.map_err(|reason| Status::unknown(format!("failed to exec in the container: {reason}")))?;
        let (stdout, stderr) = tokio::join!(stdout.finish(), stderr.finish());
        Ok(Finished { stdout, stderr, code })
    }
}

// === impl Collected ===

impl Collected {
    fn start(stream: Option<impl AsyncRead + Send + Unpin + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collecting = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            let Some(mut stream) = stream else { return };
            let mut chunk = vec![0; CHUNK];
            while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                let mut bytes = collecting.lock();
                // A command that prints more goes on; the rest is dropped.
                let room = MAX_SYNC_OUTPUT - bytes.len();
                bytes.extend_from_slice(&chunk[..count.min(room)]);
            }
        });
        Self { bytes, task }
    }

    /// What was printed until the end of the stream, or until [`DRAIN_DEADLINE`] from now.
    async fn finish(mut self) -> Vec<u8> {
        if timeout(DRAIN_DEADLINE, &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut *self.bytes.lock())
    }
}

// === impl Exec ===

impl Exec {
    /// Waits for the command; the error says why it could not be run.
    pub(crate) async fn wait(&mut self) -> Result<i32, String> {
        let status = self.child.wait().await.map_err(|error| error.to_string())?;
        let code = status.code().unwrap_or(255);
        if code == i32::from(EXEC_FAILED)
            && let Ok(reason) = std::fs::read_to_string(self.folder.0.join("error"))
            && !reason.is_empty()
        {
            return Err(reason);
        }
        Ok(code)
    }

    /// Ends the command and waits until it is gone. What resists is killed when this is dropped.
    async fn end(&mut self) {
        let process = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(process) = process.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
            let _ = timeout(END_DEADLINE, self.child.wait()).await;
        }
    }
}

impl ExecStreams {
    pub(crate) fn none() -> Self {
        Self::Pipes { stdin: None, stdout: None, stderr: None }
    }
}

impl Drop for ExecFolder {
    fn drop(&mut self) {
        let _ = remove_dir(&self.0);
    }
}

// === impl Terminal ===

impl Terminal {
    #[allow(unsafe_code)]
    fn new(terminal: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&terminal, true)?;
        // SAFETY: an OwnedFd stays open and the same until it is dropped, which happens only after deregistration.
        Ok(Self(unsafe { AsyncFd::register(terminal) }?))
    }

    /// Changes the size, in characters.
    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.0.as_fd(), size)?)
    }
}

impl AsyncRead for TerminalStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = std::task::ready!(self.0.0.poll_read_ready(context))?;
            match ready.try_io(|terminal| Ok(rustix::io::read(terminal, buffer.initialize_unfilled())?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The last user of the terminal is gone.
                Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for TerminalStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = std::task::ready!(self.0.0.poll_write_ready(context))?;
            if let Ok(outcome) = ready.try_io(|terminal| Ok(rustix::io::write(terminal, bytes)?)) {
                return Poll::Ready(outcome);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
