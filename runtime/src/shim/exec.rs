//! Runs one more command in a running container.
//!
//! libcontainer's own way of doing this forgets the seccomp filter, so it is done here: the process joins the
//! container's control groups and namespaces, forks (a pid namespace takes effect in children only), and the child
//! takes on the identity of the container's process and executes the command. This process stays to pass on the exit
//! code, and takes the command along when it is killed.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, Process, Spec};
use libcontainer::syscall::syscall::create_syscall;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Uid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, waitpid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::executor::execve;
use super::process::{Forked, fork, look_up, reset_signals, set_parent_death_signal, variable};
use super::protocol::{EXEC_FAILED, ExecRequest};
use crate::cgroup::Hierarchies;
use crate::files::{at, read_json};

/// Runs the request in the file `path`. The exit code is the command's, or 128 plus its signal.
pub(super) fn run(path: &Path) -> ExitCode {
    let request: ExecRequest = match read_json(path) {
        Ok(request) => request,
        Err(_) => return ExitCode::from(EXEC_FAILED),
    };
    // Opened now: later this process sees the container's files.
    let Ok(mut error_file) = File::create(&request.error_file) else {
        return ExitCode::from(EXEC_FAILED);
    };
    match execute(&request) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = error_file.write_all(error.to_string().as_bytes());
            ExitCode::from(EXEC_FAILED)
        }
    }
}

fn execute(request: &ExecRequest) -> io::Result<u8> {
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let spec: Spec = read_json(&request.config)?;
    let process = spec.process().as_ref().ok_or_else(|| io::Error::other("the container has no process"))?;
    // Root in the container must not look into this process while it is half inside.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let namespaces = open_container(request)?;
    let procs = Hierarchies::detect()?.group(&request.cgroup).open_procs()?;
    if let Some(score) = process.oom_score_adj() {
        std::fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(at("set", Path::new("oom_score_adj")))?;
    }
    let kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(namespaces.as_fd(), kinds)?;

    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match fork()? {
        Forked::Child => {
            drop(read);
            let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
            let error = become_command(request, process, seccomp, &procs);
            let _ = File::from(write).write_all(error.to_string().as_bytes());
            std::process::exit(i32::from(EXEC_FAILED));
        }
        Forked::Parent(child) => {
            drop(write);
            wait_for(child, read)
        }
    }
}

/// A handle on the container's first process, after checking that the id still means it.
fn open_container(request: &ExecRequest) -> io::Result<OwnedFd> {
    let gone = || io::Error::other(format!("container {} is not running", request.container_id));
    let pid = Pid::from_raw(request.pid).ok_or_else(gone)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", request.pid)).map_err(|_| gone())?;
    if !groups.contains(&request.container_id) {
        return Err(gone());
    }
    Ok(handle)
}

fn wait_for(child: Pid, errors: OwnedFd) -> io::Result<u8> {
    // The terminal and the pipes belong to the command now.
    let null = File::options().read(true).write(true).open("/dev/null");
    if let Ok(null) = null.or_else(|_| File::options().read(true).write(true).open("/proc/self/exe")) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let mut message = String::new();
    File::from(errors).read_to_string(&mut message)?;
    let status = end_of(child)?;
    if !message.is_empty() {
        return Err(io::Error::other(message));
    }
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Ok(u8::try_from(code.unwrap_or(255)).unwrap_or(255))
}

/// Waits for the end of the command, and brings it about when this process is asked to end. So whoever sees this
/// process end in time knows that the command is gone, too.
fn end_of(child: Pid) -> io::Result<WaitStatus> {
    let asked = SigSet::from(nix::sys::signal::Signal::SIGTERM);
    asked.thread_block()?;
    let asked = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC)?;
    let command = pidfd_open(child, PidfdFlags::empty())?;
    let mut events = [PollFd::new(&command, PollFlags::IN), PollFd::new(&asked, PollFlags::IN)];
    while let Err(error) = poll(&mut events, None) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    if events[0].revents().is_empty() {
        kill_process(child, Signal::KILL)?;
    }
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Turns this process into the command; returns only an error.
fn become_command(
    request: &ExecRequest,
    process: &Process,
    seccomp: Option<&LinuxSeccomp>,
    procs: &[File],
) -> io::Error {
    match prepare(request, process, seccomp, procs) {
        Ok(path) => {
            let environment = environment(request, process);
            let error = execve(&path, &request.args, &environment);
            io::Error::other(format!("exec {}: {}", path.display(), error.desc().to_lowercase()))
        }
        Err(error) => error,
    }
}

fn environment(request: &ExecRequest, process: &Process) -> Vec<String> {
    let mut environment = process.env().clone().unwrap_or_default();
    if request.tty && variable(&environment, "TERM").is_none() {
        environment.push("TERM=xterm".to_owned());
    }
    environment
}

fn prepare(
    request: &ExecRequest,
    process: &Process,
    seccomp: Option<&LinuxSeccomp>,
    procs: &[File],
) -> io::Result<std::path::PathBuf> {
    rustix::process::setsid()?;
    for mut file in procs {
        file.write_all(b"0").map_err(|e| io::Error::new(e.kind(), format!("cannot join the cgroup: {e}")))?;
    }
    if request.tty {
        open_terminal(process)?;
    }
    let cwd = process.cwd();
    rustix::process::chdir(cwd).map_err(io::Error::from).map_err(at("change to", cwd))?;
    let environment = process.env().clone().unwrap_or_default();
    let path =
        look_up(request.args.first().map_or("", String::as_str), variable(&environment, "PATH").unwrap_or_default())
            .map_err(io::Error::other)?;
    if let Some(profile) = process.apparmor_profile() {
        libcontainer::apparmor::apply_profile(profile).map_err(io::Error::other)?;
    }
    take_identity(process, seccomp)?;
    reset_signals();
    // Changing the identity clears it, so it comes last.
    set_parent_death_signal(Some(Signal::KILL));
    Ok(path)
}

/// User, groups, capabilities and filter, in the order runc uses (`libcontainer/setns_init_linux.go`): without
/// no_new_privs the filter needs CAP_SYS_ADMIN, so it comes before the capabilities are dropped.
fn take_identity(process: &Process, seccomp: Option<&LinuxSeccomp>) -> io::Result<()> {
    let no_new_privileges = process.no_new_privileges() == Some(true);
    let filter = || match seccomp {
        Some(seccomp) => libcontainer::seccomp::initialize_seccomp(seccomp).map(drop).map_err(io::Error::other),
        None => Ok(()),
    };
    if no_new_privileges {
        rustix::thread::set_no_new_privs(true)?;
    } else {
        filter()?;
    }
    let user = process.user();
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups)?;
    let syscall = create_syscall();
    if let Some(capabilities) = process.capabilities() {
        rustix::thread::set_keep_capabilities(true)?;
        let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
        libcontainer::capabilities::reset_effective(syscall.as_ref()).map_err(io::Error::other)?;
        libcontainer::capabilities::drop_privileges(capabilities, syscall.as_ref()).map_err(io::Error::other)?;
    }
    if no_new_privileges { filter() } else { Ok(()) }
}

/// Opens a terminal of the container, makes it the controlling one, and sends its other end over standard input,
/// which is a socket to the runtime.
fn open_terminal(process: &Process) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())
        .map_err(io::Error::from)
        .map_err(at("open", Path::new("/dev/pts/ptmx")))?;
    rustix::pty::unlockpt(&master)?;
    let terminal =
        rustix::pty::ioctl_tiocgptpeer(&master, rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
    // The command's user must be able to open its own terminal by name.
    rustix::fs::fchown(&terminal, Some(rustix::fs::Uid::from_raw(process.user().uid())), None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(rustix::stdio::stdin(), &[IoSlice::new(b"t")], &mut ancillary, SendFlags::empty())?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)?;
    Ok(())
}
