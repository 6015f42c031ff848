//! `echo`: the application of samples and tests. A small HTTP server that says who it is and what it was given, ends as
//! a server should, and fails when it is told to.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | `NAME VERSION` |
//! | `GET /env`, `/env/NAME` | the environment, or one variable |
//! | `GET /file/PATH` | a file, such as a mounted one |
//! | `GET /client` | address of the caller |
//! | `GET /startupz`, `/readyz`, `/healthz` | 200, or 503 while told to fail |
//! | `POST /fail/PROBE?seconds=N` | from now on `PROBE` (`startupz`, `readyz`, `healthz`) fails, for N seconds or for good |
//! | `POST /recover` | all probes succeed again |
//! | `POST /exit/CODE` | ends with this code at once |
//! | `POST /eat/MEGABYTES` | takes memory and keeps it |
//! | `GET /slow/SECONDS` | answers later |
//!
//! After SIGTERM it goes on accepting for a moment, since others may not know yet, closes every connection with its
//! answer, and ends when none is left.

mod connection;
mod server;
mod state;

use std::io::Write;
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use state::State;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None | Some("serve") => match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "echo: {error}");
                ExitCode::FAILURE
            }
        },
        Some("hello") => {
            let state = State::from_environment();
            let whom = arguments.next().unwrap_or_else(|| "everybody".to_owned());
            let _ = writeln!(std::io::stdout(), "hello, {whom}, from {} {}", state.name, state.version);
            ExitCode::SUCCESS
        }
        Some(other) => {
            let _ = writeln!(std::io::stderr(), "echo: {other:?} is neither `serve` nor `hello`");
            ExitCode::from(2)
        }
    }
}

fn serve() -> std::io::Result<()> {
    let state = std::sync::Arc::new(State::from_environment());
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let server = server::Server::start(port, &state)?;
    // As the first process of a container it gets no signal that it does not ask for.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    signals.forever().next();
    let _ = writeln!(std::io::stdout(), "ending");
    state.drain();
    server.finish();
    Ok(())
}
