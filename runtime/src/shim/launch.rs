//! Creating and starting the container with libcontainer, in a helper process.
//!
//! libcontainer leaves marks on the process that calls it: its oom score, its dumpable flag, some megabytes of heap.
//! So the shim forks a helper that builds the container as the helper's sibling, that is, as a child of the shim, and
//! ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{WaitOptions, waitpid};

use super::executor::ContainerExecutor;
use super::process::{Forked, fork};
use super::protocol::{CONSOLE_FILE, Launch, Process, Started, TRACE_FILE};
use super::trace;
use crate::cgroup::Hierarchies;
use crate::device_filter;
use crate::files::read_json;

/// The container's ends of its streams.
pub(super) struct ContainerEnds {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Creates and starts the container; returns the id of its first process, a child of the caller.
pub(super) fn launch(launch: &Launch, state: &Path, ends: ContainerEnds) -> io::Result<Started> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match fork()? {
        Forked::Child => {
            drop(read);
            trace::install(&state.join(TRACE_FILE));
            let outcome = match build(launch, state, ends) {
                Ok(process) => Started::Running(process),
                Err(error) => Started::Error(explain(&error, &state.join(TRACE_FILE))),
            };
            let text = serde_json::to_vec(&outcome).unwrap_or_default();
            let _ = File::from(write).write_all(&text);
            // The shim's own cleanup code must not run twice.
            std::process::exit(0);
        }
        Forked::Parent(helper) => {
            drop((write, ends));
            let mut text = Vec::new();
            File::from(read).read_to_end(&mut text)?;
            let _ = waitpid(Some(helper), WaitOptions::empty());
            serde_json::from_slice(&text).map_err(|_| io::Error::other("the process creating the container died"))
        }
    }
}

fn build(launch: &Launch, state: &Path, ends: ContainerEnds) -> anyhow::Result<Process> {
    let mut builder = ContainerBuilder::new(launch.id.clone(), SyscallType::default())
        .with_root_path(&launch.oci_root)?
        .with_executor(ContainerExecutor)
        .validate_id()?;
    if launch.tty {
        builder = builder.with_console_socket(Some(state.join(CONSOLE_FILE)));
    }
    if let Some(stdin) = ends.stdin {
        builder = builder.with_stdin(high(stdin)?);
    }
    if let Some(stdout) = ends.stdout {
        builder = builder.with_stdout(high(stdout)?);
    }
    if let Some(stderr) = ends.stderr {
        builder = builder.with_stderr(high(stderr)?);
    }
    let mut container =
        builder.as_init(&launch.bundle).with_systemd(false).with_detach(true).as_sibling(true).build()?;
    limit_devices(launch)?;
    // Taken before the program runs: it may have ended by the time anything after this is reached.
    let started_at = super::serve::now();
    container.start()?;
    let pid = container.pid().ok_or_else(|| anyhow::anyhow!("the container has no process"))?.as_raw();
    Ok(Process { pid, started_at })
}

/// On v2 machines libcontainer leaves devices unlimited. The container exists by now but its program does not run yet.
fn limit_devices(launch: &Launch) -> io::Result<()> {
    let hierarchies = Hierarchies::detect()?;
    let Some(folder) = hierarchies.v2_folder(&launch.cgroup) else {
        return Ok(());
    };
    let spec: Spec = read_json(&launch.bundle.join("config.json"))?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    device_filter::attach(&folder, rules)
}

/// libcontainer moves the descriptors to 0, 1 and 2 one after the other, so none may be one of these already.
fn high(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&descriptor, 3)?)
}

/// One line of what went wrong: the chain of errors, and what was only traced if that says more.
fn explain(error: &anyhow::Error, traced: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(|cause| cause.to_string()) {
        if !parts.iter().any(|part| part.contains(&cause)) {
            parts.push(cause);
        }
    }
    // What the container's first process says is wrapped in texts that only repeat that something failed.
    if let Some(found) = parts.iter().find_map(|part| part.find("exec: ").map(|at| part[at..].to_owned())) {
        return found;
    }
    if let Some(first) = trace::first_error(traced) {
        parts.push(first);
    }
    parts.join(": ")
}
