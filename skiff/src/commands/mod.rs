//! The subcommands, a file each.

mod down;
mod image;
mod kubeconfig;
mod logs;
mod server;
mod status;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{doctor, terminal};

/// Kubernetes in one small program.
#[derive(Debug, Parser)]
#[command(name = "skiff", version, propagate_version = true, arg_required_else_help = true)]
pub struct Skiff {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster in the background and wait until it is ready
    Up(Box<up::Up>),
    /// Stop a cluster and its pods; its data stays
    Down(Box<down::Down>),
    /// Run a cluster in the foreground
    Server(Box<server::Server>),
    /// Say how a cluster is
    Status(Box<status::Status>),
    /// Print the log of a cluster's server
    Logs(Box<logs::Logs>),
    /// Print the kubeconfig, or add it to yours
    Kubeconfig(Box<kubeconfig::Kubeconfig>),
    /// Load, pull and list the images of this node
    Image(Box<image::Image>),
    /// Check whether this machine can run a cluster
    Doctor(Box<doctor::Doctor>),
    /// Print the version
    Version,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let skiff = Skiff::parse();
    match run(skiff) {
        Ok(code) => code,
        Err(error) => {
            terminal::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(skiff: Skiff) -> anyhow::Result<ExitCode> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Command::Server(server) = skiff.command {
        return server.run().map(|()| ExitCode::SUCCESS);
    }
    skiff_component_base::logging::to_stderr(skiff_component_base::logging::COMMAND_FILTER);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match skiff.command {
            Command::Up(up) => up.run().await?,
            Command::Down(down) => down.run().await?,
            Command::Status(status) => return status.run().await,
            Command::Logs(logs) => logs.run().await?,
            Command::Kubeconfig(kubeconfig) => kubeconfig.run()?,
            Command::Image(image) => image.run().await?,
            Command::Doctor(doctor) => return doctor.run().await,
            Command::Version => {
                terminal::line(format_args!("skiff {}", env!("CARGO_PKG_VERSION")));
                terminal::line(format_args!("Kubernetes {}", skiff_apiserver::routes::version::git_version()));
            }
            Command::Server(_) => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
