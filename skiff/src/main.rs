//! `skiff`: everything in one program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A shim is this program started again; it must not start a thread.
    skiff_runtime::shim_main().unwrap_or_else(skiff::commands::main)
}
