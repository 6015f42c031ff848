//! `echo`: the application of samples and tests. A small HTTP server that says who it is and what it was given, ends as
//! a server should, and fails when it is told to.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | `NAME VERSION` |
//! | `GET /env`, `/env/NAME` | the environment, or one variable |
//! | `GET /file/PATH` | a file, such as a mounted one, or the names in a folder |
//! | `GET /client` | address of the caller |
//! | any `/request` | the request as it arrived: line, headers, body |
//! | `GET /startupz`, `/readyz`, `/healthz` | 200, or 503 while told to fail; `/readyz` also while the server ends |
//! | `POST /fail/PROBE?seconds=N` | from now on `PROBE` (`startupz`, `readyz`, `healthz`) fails, for N seconds or for good |
//! | `POST /recover` | all probes succeed again |
//! | `POST /exit/CODE` | ends with this code at once |
//! | `POST /eat`, `/eat/MEGABYTES` | takes memory and keeps it; without a number until the kernel ends the process |
//! | `GET /slow/SECONDS` | answers `NAME VERSION` later |
//!
//! `echo hello [WHOM]` prints a line and ends: for Jobs. `PORT` (8080) and `ECHO_VERSION` come from the environment.
//! `cargo xtask images` builds it as one static file.

mod answers;
mod drain;
mod http;
mod probes;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use answers::Identity;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let ran = match arguments.next().as_deref() {
        None | Some("serve") => serve::run(),
        Some("hello") => {
            let Identity { name, version } = Identity::detect();
            let whom = arguments.next().unwrap_or_else(|| "everybody".to_owned());
            writeln!(std::io::stdout(), "hello, {whom}, from {name} {version}")
        }
        Some(other) => {
            let _ = writeln!(std::io::stderr(), "echo: {other:?} is neither `serve` nor `hello`");
            return ExitCode::from(2);
        }
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "echo: {error}");
            ExitCode::FAILURE
        }
    }
}
