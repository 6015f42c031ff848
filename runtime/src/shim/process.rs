//! Forking, signals and other process attributes, for single-threaded shims only.

use std::io;
use std::path::PathBuf;

use nix::sys::signal::SigSet;
use rustix::process::Pid;

/// Which side of a fork this is.
pub(super) enum Forked {
    Parent(Pid),
    Child,
}

/// Forks. The caller must be single-threaded, which every shim is.
#[allow(unsafe_code)]
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: shims never start a thread, so the child may do anything the parent could.
    match unsafe { nix::unistd::fork() }.map_err(io::Error::from)? {
        nix::unistd::ForkResult::Parent { child } => {
            Pid::from_raw(child.as_raw()).map(Forked::Parent).ok_or_else(|| io::Error::other("fork returned 0"))
        }
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
    }
}

/// The signal that the kernel sends this process when its parent ends.
pub(super) fn set_parent_death_signal(signal: Option<rustix::process::Signal>) {
    let _ = rustix::process::set_parent_process_death_signal(signal);
}

/// Last signal number on Linux.
const LAST_SIGNAL: libc::c_long = 64;

/// Gives every signal the disposition that a new program expects. Rust ignores SIGPIPE, shims block SIGCHLD, and
/// whatever started Skiff may have ignored others, as shells do for jobs in the background.
#[allow(unsafe_code)]
pub(super) fn reset_signals() {
    // The kernel's own structure: handler, flags, restorer and mask, all zero for the default.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the structure is valid and outlives the call, and the default handler runs no code of ours. The C
        // library's call is no help, as it refuses the signals that it reserves for itself. SIGKILL and SIGSTOP
        // answer with an error, which is fine.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// What a program of this name would be executed as, looked up like a shell does, with a clear error.
pub(super) fn look_up(program: &str, path: &str) -> Result<PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |candidate: &PathBuf| -> Result<(), &'static str> {
        match std::fs::metadata(candidate) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err("permission denied"),
            Err(_) => Err("no such file or directory"),
            Ok(metadata) if metadata.is_dir() => Err("is a directory"),
            Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Err("permission denied"),
            Ok(_) => Ok(()),
        }
    };
    if program.is_empty() {
        return Err("exec: no command given".to_owned());
    }
    if program.contains('/') {
        let candidate = PathBuf::from(program);
        return match executable(&candidate) {
            Ok(()) => Ok(candidate),
            Err(reason) => Err(format!("exec: {program:?}: stat {program}: {reason}")),
        };
    }
    let folders = path.split(':').map(|folder| if folder.is_empty() { "." } else { folder });
    let mut candidates = folders.map(|folder| PathBuf::from(folder).join(program));
    candidates
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(|| format!("exec: {program:?}: executable file not found in $PATH"))
}

/// The value of a variable in a `NAME=value` list; the last one wins.
pub(super) fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_explained() {
        assert_eq!(look_up("sh", "/nonexistent:/bin"), Ok(PathBuf::from("/bin/sh")));
        assert_eq!(look_up("/bin/sh", ""), Ok(PathBuf::from("/bin/sh")));
        let cases = [
            ("nope", "exec: \"nope\": executable file not found in $PATH"),
            ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
            ("/etc", "exec: \"/etc\": stat /etc: is a directory"),
            ("/etc/passwd", "exec: \"/etc/passwd\": stat /etc/passwd: permission denied"),
            ("", "exec: no command given"),
        ];
        for (program, expected) in cases {
            assert_eq!(look_up(program, "/bin").expect_err(program), expected);
        }
    }

    #[test]
    fn the_last_variable_wins() {
        let environment = ["PATH=/a".to_owned(), "PATHX=/b".to_owned(), "PATH=/c".to_owned()];
        assert_eq!(variable(&environment, "PATH"), Some("/c"));
        assert_eq!(variable(&environment, "HOME"), None);
    }
}
