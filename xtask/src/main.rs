//! Chores of the project: `cargo xtask codegen`, and what other tasks join it.

mod bench;
mod codegen;
mod conformance;
mod fuzz;
mod images;
mod record;
mod tidy;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Chores of the project")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile the facts in crates/api/facts to the tables that the server embeds.
    Codegen {
        /// Only fail if the tables are stale.
        #[arg(long)]
        check: bool,
    },
    /// Build the images of samples and tests as OCI archives.
    Images {
        /// Folder of the archives.
        #[arg(long)]
        out: PathBuf,
    },
    /// Check the rules of the project that no compiler checks.
    Tidy,
    /// Measure the release build and write the table in SPECIFICATION.md; fails below a floor.
    Bench {
        /// Passed to the load generator, e.g. --rows 2,4 or --kubeconfig FILE --server URL; see its --help.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed every decoder with what libFuzzer thinks of.
    Fuzz(fuzz::Fuzz),
    /// Run the official conformance tests against a cluster, and keep the list of those that passed.
    Conformance(conformance::Conformance),
    /// Record what a real kube-apiserver answers to the cases in tests/recorded.
    Record {
        /// --kubeconfig FILE, and the beginnings of the names (AREA/FILE/CASE) of the cases to record; all by default.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    match Args::parse().command {
        Command::Codegen { check } => codegen::run(&root, check),
        Command::Images { out } => images::run(&root, &out),
        Command::Tidy => tidy::run(&root),
        Command::Bench { arguments } => bench::run(&root, &arguments),
        Command::Fuzz(options) => fuzz::run(&root, &options),
        Command::Conformance(options) => conformance::run(&root, &options),
        Command::Record { arguments } => record::run(&arguments),
    }
}
