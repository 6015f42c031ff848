//! Takes the facts from a real kube-apiserver.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use skiff_contract::facts::Facts;
use skiff_contract::target::Target;
use skiff_contract::{answers, condense, gnostic, metrics, reads};

#[derive(Parser)]
#[command(about = "Condense what a real kube-apiserver says of itself")]
struct Args {
    /// Kubeconfig of an administrator of that server, which serves what it serves by default and nothing else.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Folder of `github.com/google/gnostic-models`; the messages of OpenAPI's protobuf stay as they are without.
    #[arg(long)]
    gnostic: Option<PathBuf>,
    /// Only the metrics: they do not ask for a new server.
    #[arg(long)]
    metrics: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let target = Target::real(&args.kubeconfig).await?;
    if args.metrics {
        return metrics::condense(&target).await.context("metrics")?.write("metrics");
    }
    condense::discovery(&target).await.context("discovery")?.write("discovery")?;
    let version_3 = condense::version_3(&target).await.context("OpenAPI v3")?;
    version_3.write("openapi")?;
    let version_2 = condense::document_2(&target.get("/openapi/v2").await?).context("OpenAPI v2")?;
    version_2.beyond(&condense::as_version_2(&version_3)).write("openapi-v2")?;
    let target = Arc::new(target);
    reads::condense(&target).await.context("reads")?.write("reads")?;
    answers::condense(&target).await.context("answers")?.write("answers")?;
    metrics::condense(&target).await.context("metrics")?.write("metrics")?;
    if let Some(dir) = args.gnostic {
        let mut facts = Facts::default();
        for (version, file) in [("v2", "openapiv2/OpenAPIv2.proto"), ("v3", "openapiv3/OpenAPIv3.proto")] {
            gnostic::condense(version, &std::fs::read_to_string(dir.join(file))?, &mut facts)?;
        }
        facts.write("gnostic")?;
    }
    Ok(())
}
