//! `skiff-bench`: puts an API server under load and says what it took. Exits with 1 if a floor does not hold.

use std::process::ExitCode;

use clap::Parser;
use skiff_bench::options::Options;
use skiff_bench::{process, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let threads = options.threads.unwrap_or((process::cpus() / 2).max(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let broken = runtime.block_on(run::run(&options))?;
    for floor in &broken {
        eprintln!("below the floor: {floor}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
