//! Asks a real kube-apiserver and keeps its answers.

use std::path::PathBuf;

use clap::Parser;
use skiff_recorded::server::Server;
use skiff_recorded::{run, store};

#[derive(Parser)]
#[command(about = "Record what a real kube-apiserver answers to the cases")]
struct Args {
    /// Kubeconfig of an administrator of that server. It should be new: nothing is cleaned up.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Only cases whose name (AREA/FILE/CASE) begins with one of these.
    filters: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let server = Server::real(&args.kubeconfig).await?;
    let (mut recorded, mut failed) = (0, 0);
    for file in store::files(&args.filters)? {
        let whole = args.filters.iter().all(|filter| file.name.starts_with(filter.as_str()));
        let mut answers = if whole { store::Answers::new() } else { file.answers()? };
        for case in &file.cases {
            match run::run(&server, case).await {
                Ok(found) => {
                    recorded += 1;
                    answers.insert(case.name.clone(), found);
                }
                Err(error) => {
                    failed += 1;
                    eprintln!("{}: {error:#}", case.name);
                }
            }
        }
        file.write(&answers)?;
    }
    eprintln!("{recorded} cases recorded, {failed} failed");
    anyhow::ensure!(failed == 0, "not every case could be recorded");
    Ok(())
}
