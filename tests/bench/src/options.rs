//! Command line flags.

use std::path::PathBuf;

use clap::Parser;

/// Measures API servers.
#[derive(Parser)]
pub struct Options {
    /// The `skiff` that is started and measured.
    #[arg(long)]
    pub program: PathBuf,
    /// URL of another API server to measure in the same run; by default the one in --kubeconfig.
    #[arg(long)]
    pub server: Option<String>,
    /// Kubeconfig of the other API server.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Processes of the other API server and its store on this machine, for their CPU.
    #[arg(long, value_delimiter = ',')]
    pub server_pids: Vec<u32>,
    /// Folder of the images of the sample application.
    #[arg(long, requires = "manifest")]
    pub images: Option<PathBuf>,
    /// Manifest of the sample application.
    #[arg(long, requires = "images")]
    pub manifest: Option<PathBuf>,
    /// Seconds that each load counts.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Pairs of runs when another server is measured too.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Only rows of these numbers.
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Pods that are read and patched one by one.
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Pods that are listed, and with which the server is restarted.
    #[arg(long, default_value_t = 100_000)]
    pub many: usize,
    /// Seed of the objects' contents.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// File whose table is replaced.
    #[arg(long)]
    pub write: Option<PathBuf>,
    /// Threads of the load generator; by default half of the cores, the others are the server's.
    #[arg(long)]
    pub threads: Option<usize>,
}
