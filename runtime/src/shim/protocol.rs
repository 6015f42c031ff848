//! What the runtime and its shims say to each other: files at the start and the end, and a socket in between.
//!
//! A connection to the socket carries one request, a line of JSON, and is then answered by a line of JSON. An attach
//! goes on with frames in both directions: one byte of channel, four bytes of length (big endian), the bytes.
//! Shims outlive upgrades of the runtime: fields are only ever added, and unknown ones are ignored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest request line, and longest frame, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes of channel and length before a frame.
pub(crate) const FRAME_HEADER: usize = 5;

pub(crate) const CHANNEL_STDIN: u8 = 0;
pub(crate) const CHANNEL_STDOUT: u8 = 1;
pub(crate) const CHANNEL_STDERR: u8 = 2;

/// Names of files in the state folder of a container.
pub(crate) const LAUNCH_FILE: &str = "launch.json";
pub(crate) const SOCKET_FILE: &str = "shim.sock";
pub(crate) const LOCK_FILE: &str = "shim.lock";
pub(crate) const STARTED_FILE: &str = "started.json";
pub(crate) const CONSOLE_FILE: &str = "console.sock";
/// Errors that libcontainer reports by tracing only.
pub(crate) const TRACE_FILE: &str = "create.log";

/// What a container shim is to do. Written by the runtime before it starts the shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) id: String,
    /// OCI bundle with `config.json`.
    pub(crate) bundle: PathBuf,
    /// libcontainer's state folder.
    pub(crate) oci_root: PathBuf,
    /// Where the exit is written.
    pub(crate) exit_file: PathBuf,
    /// CRI log, if one is wanted.
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) cgroup: String,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
}

/// The shim's first and only line on standard output: whether the container runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Started {
    Running(Process),
    Error(String),
}

/// The container's first process. Also kept in [`STARTED_FILE`], for a runtime that was killed before it heard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Nanoseconds since the epoch.
    pub(crate) started_at: i64,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Exit code, or 128 plus the signal.
    pub(crate) code: i32,
    /// Nanoseconds since the epoch.
    pub(crate) finished_at: i64,
    pub(crate) oom_killed: bool,
}

/// A request on the shim's socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Answered with [`Response::Exit`] when the container has ended.
    Wait,
    /// Sends a signal to the container's first process.
    Kill { signal: i32 },
    /// Opens the log file again after a rotation.
    ReopenLog,
    /// Changes the size of the terminal.
    Resize { width: u16, height: u16 },
    /// Connects to the streams of the container.
    Attach { stdin: bool, stdout: bool, stderr: bool },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Response {
    Ok,
    Error(String),
    Exit(Exit),
}

/// A command to run in a container. Written by the runtime; the shim is started with its path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    pub(crate) container_id: String,
    /// Process id of the container's first process.
    pub(crate) pid: i32,
    /// The bundle's `config.json`, from which limits and identity are taken.
    pub(crate) config: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) args: Vec<String>,
    pub(crate) tty: bool,
    /// Where a failure to run the command is written, as text.
    pub(crate) error_file: PathBuf,
}

/// Exit code of an exec shim that could not run the command; the error file says why.
pub(crate) const EXEC_FAILED: u8 = 126;
