//! The shim: the one process beside a container that outlives everything else of Skiff.
//!
//! A shim is this same program, started again. It creates the container, copies its output into the log, keeps its
//! terminal and standard input for attach, reaps its processes, and writes down its exit. The runtime finds it by a
//! socket after a restart; if it finds the socket dead, the exit file tells how the container ended.
//!
//! Promises: an exit is on disk (`exit.json`) before the shim ends or anyone is told, and after the last line of
//! output is in the log; a slow or dead client never stops the log; memory is bounded per client.
//! Not promised: output is not kept for clients that attach later, and a killed shim loses the exit code (the runtime
//! then reports 137).
//!
//! Everything here is single-threaded, because libcontainer forks.

mod client;
mod console;
mod container;
mod exec;
mod executor;
mod launch;
mod log;
mod pause;
mod process;
pub(crate) mod protocol;
mod serve;
mod trace;

pub(crate) use console::receive_descriptor;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// `argv[0]` of a shim; what `ps` shows.
pub(crate) const PROGRAM: &str = "skiff-shim";

/// Takes over if this process was started as a shim, and returns its exit code then. Must be called first in `main`,
/// before any thread is started.
pub fn shim_main() -> Option<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.first().map(|program| program.as_os_str()) != Some(OsStr::new(PROGRAM)) {
        return None;
    }
    let target = arguments.get(2).map(Path::new);
    let code = match (arguments.get(1).and_then(|mode| mode.to_str()), target) {
        (Some("container"), Some(directory)) => container::run(directory),
        (Some("exec"), Some(request)) => exec::run(request),
        (Some("pause"), Some(pin)) => pause::run(pin),
        _ => ExitCode::from(2),
    };
    Some(code)
}
