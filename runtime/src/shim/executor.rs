//! The last step of creating a container, inside it: finding and executing the program.

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use super::process::{look_up, reset_signals, variable};

/// Runs the program of the spec with default signal dispositions and upstream's messages if it cannot be found.
#[derive(Clone)]
pub(super) struct ContainerExecutor;

impl Executor for ContainerExecutor {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        program(spec).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let path = program(spec).map_err(ExecutorError::Other)?;
        let process = spec.process().as_ref();
        let args = process.and_then(|p| p.args().as_deref()).unwrap_or_default();
        let environment = process.and_then(|p| p.env().as_deref()).unwrap_or_default();
        reset_signals();
        let error = execve(&path, args, environment);
        // Nobody listens any more but the container's own log, where users look first.
        let message = format!("exec {}: {}\n", path.display(), error.desc().to_lowercase());
        let _ = rustix::io::write(rustix::stdio::stderr(), message.as_bytes());
        Err(ExecutorError::Other(message))
    }
}

fn program(spec: &Spec) -> Result<std::path::PathBuf, String> {
    let process = spec.process().as_ref().ok_or("the container has no process")?;
    let args = process.args().as_deref().unwrap_or_default();
    let environment = process.env().as_deref().unwrap_or_default();
    look_up(args.first().map_or("", String::as_str), variable(environment, "PATH").unwrap_or_default())
}

/// Replaces this process; returns only an error.
pub(super) fn execve(path: &std::path::Path, args: &[String], environment: &[String]) -> nix::errno::Errno {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let strings = |list: &[String]| -> Result<Vec<CString>, std::ffi::NulError> {
        list.iter().map(|text| CString::new(text.as_bytes())).collect()
    };
    match (CString::new(path.as_os_str().as_bytes()), strings(args), strings(environment)) {
        (Ok(path), Ok(args), Ok(environment)) => match nix::unistd::execve(&path, &args, &environment) {
            Err(error) => error,
        },
        _ => nix::errno::Errno::EINVAL,
    }
}
