//! The first process of a pid namespace that all containers of a pod share (`shareProcessNamespace`).
//!
//! Only such pods need one: a pid namespace lives as long as its process 1, which must also reap orphans.

use std::path::Path;
use std::process::ExitCode;

use rustix::process::{WaitOptions, wait};

use super::process::{Forked, fork};

/// Makes a pid namespace, pins it at `pin` (a file that exists), reports the process id on standard output, and stays
/// as its first process until it is killed.
pub(super) fn run(pin: &Path) -> ExitCode {
    match start(pin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::fs::write(pin.with_extension("error"), error.to_string());
            ExitCode::FAILURE
        }
    }
}

#[allow(unsafe_code)]
fn start(pin: &Path) -> std::io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: only affects children that this single-threaded process forks from now on.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWPID)? };
    match fork()? {
        Forked::Parent(child) => {
            let namespace = format!("/proc/{}/ns/pid", child.as_raw_nonzero());
            rustix::mount::mount_bind(namespace.as_str(), pin)?;
            std::fs::write(pin.with_extension("pid"), child.as_raw_nonzero().to_string())?;
            // Nobody needs this process; the child is adopted by init.
            Ok(())
        }
        Forked::Child => reap_forever(),
    }
}

/// SIGTERM and SIGINT are left at their defaults, which the kernel ignores for a first process; the runtime ends it
/// with SIGKILL from outside.
fn reap_forever() -> ! {
    let blocked = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGCHLD);
    let _ = blocked.thread_block();
    loop {
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        let _ = blocked.wait();
    }
}
