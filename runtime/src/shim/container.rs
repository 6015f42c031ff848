//! A container shim from its start to the running container.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::console::accept_terminal;
use super::launch::{ContainerEnds, launch};
use super::log::Log;
use super::protocol::{CONSOLE_FILE, LAUNCH_FILE, LOCK_FILE, Launch, Process, SOCKET_FILE, STARTED_FILE, Started};
use super::serve::{Serving, Streams};
use crate::cgroup::Hierarchies;
use crate::files::{read_json, remove_dir, short_path, write_json};

/// Runs the shim of the container whose state folder is `state`.
pub(super) fn run(state: &Path) -> ExitCode {
    match prepare(state) {
        Ok((serving, process)) => {
            report(&Started::Running(process));
            serving.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&Started::Error(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Tells the runtime how the start went, and lets go of its pipe.
fn report(outcome: &Started) {
    let mut line = serde_json::to_vec(outcome).unwrap_or_default();
    line.push(b'\n');
    let _ = io::stdout().write_all(&line);
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn prepare(state: &Path) -> io::Result<(Serving, Process)> {
    let launch_spec: Launch = read_json(&state.join(LAUNCH_FILE))?;
    become_independent()?;
    let lock = File::create(state.join(LOCK_FILE))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let folder =
        File::from(rustix::fs::open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    let listener = UnixListener::bind(short_path(&folder, SOCKET_FILE))?;
    listener.set_nonblocking(true)?;
    let log = Log::open(launch_spec.log_path.as_deref())?;

    let console = launch_spec.tty.then(|| UnixListener::bind(short_path(&folder, CONSOLE_FILE))).transpose()?;
    let (mut streams, ends) = if launch_spec.tty { (Streams::default(), no_ends()) } else { pipes(&launch_spec)? };
    let process = match start(&launch_spec, state, ends) {
        Ok(process) => process,
        Err(error) => {
            clean_up_failed(&launch_spec);
            return Err(error);
        }
    };
    if let Some(console) = console {
        console.set_nonblocking(true)?;
        let terminal = accept_terminal(&console)?;
        rustix::io::ioctl_fionbio(&terminal, true)?;
        streams = Streams::terminal(terminal)?;
    }
    write_json(&state.join(STARTED_FILE), &process)?;
    let pid = Pid::from_raw(process.pid).ok_or_else(|| io::Error::other("the container has no process"))?;
    let serving = Serving::new(launch_spec, lock, listener, log, streams, pid)?;
    Ok((serving, process))
}

fn start(spec: &Launch, state: &Path, ends: ContainerEnds) -> io::Result<Process> {
    match launch(spec, state, ends)? {
        Started::Running(process) => Ok(process),
        Started::Error(error) => Err(io::Error::other(error)),
    }
}

/// Leaves the session, groups and folder of whoever started this process, and adopts orphans of the container.
fn become_independent() -> io::Result<()> {
    // Fails only for a group leader, which a process just started is not; not worth dying for.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::thread::set_thread_groups(&[])?;
    rustix::process::chdir("/")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

fn no_ends() -> ContainerEnds {
    ContainerEnds { stdin: None, stdout: None, stderr: None }
}

fn pipes(spec: &Launch) -> io::Result<(Streams, ContainerEnds)> {
    let mut ends = no_ends();
    let output = |end: &mut Option<OwnedFd>| -> io::Result<Option<OwnedFd>> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        *end = Some(write);
        Ok(Some(read))
    };
    let stdout = output(&mut ends.stdout)?;
    let stderr = output(&mut ends.stderr)?;
    let mut stdin = None;
    if spec.stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        ends.stdin = Some(read);
        stdin = Some(write);
    }
    Ok((Streams::pipes(stdin, stdout, stderr), ends))
}

/// libcontainer cleans up most of what a failed creation leaves; this takes the rest.
fn clean_up_failed(spec: &Launch) {
    if let Ok(hierarchies) = Hierarchies::detect() {
        let _ = hierarchies.group(&spec.cgroup).remove();
    }
    let _ = remove_dir(&spec.oci_root.join(&spec.id));
}
