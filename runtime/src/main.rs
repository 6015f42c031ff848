//! `skiff-runtime`: the container runtime alone, for other kubelets and for its own tests.

use std::process::ExitCode;

use clap::Parser;
use skiff_runtime::Options;

fn main() -> ExitCode {
    if let Some(code) = skiff_runtime::shim_main() {
        return code;
    }
    let options = Options::parse();
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
    let runtime = tokio::runtime::Runtime::new().map_err(anyhow::Error::from);
    match runtime.and_then(|runtime| runtime.block_on(skiff_runtime::run_alone(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
