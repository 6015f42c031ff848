//! `skiff image`: the images of this node.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use skiff_cri::v1::{self, ImageSpec, ListImagesRequest, PullImageRequest};

use crate::layout::Layout;
use crate::terminal::{line, table};
use crate::{Settings, endpoint, node};

/// Flags of `skiff image`.
#[derive(Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load image archives (OCI layout or `docker save`, also compressed); `-` is standard input
    Load {
        #[command(flatten)]
        settings: Box<Settings>,
        /// Name for an image that has none in its archive.
        #[arg(long, default_value = "")]
        tag: String,
        /// The archives.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Pull images from their registries
    Pull {
        #[command(flatten)]
        settings: Box<Settings>,
        /// Their names.
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// List the images
    Ls {
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

impl Image {
    /// Does it through the runtime's socket.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Load { settings, tag, files } => {
                let client = connect(&settings).await?;
                for file in files {
                    for image in load(&client, &file, &tag).await? {
                        line(format_args!("{}  {}", image.name, image.id));
                    }
                }
                Ok(())
            }
            Command::Pull { settings, images } => {
                let mut client = connect(&settings).await?;
                for image in images {
                    let image = ImageSpec { image: image.clone(), ..ImageSpec::default() };
                    let request = PullImageRequest { image: Some(image.clone()), ..PullImageRequest::default() };
                    let pulled = client.images.pull_image(request).await;
                    let pulled = pulled.map_err(said).with_context(|| format!("cannot pull {}", image.image))?;
                    line(format_args!("{}  {}", image.image, pulled.into_inner().image_ref));
                }
                Ok(())
            }
            Command::Ls { settings } => list(connect(&settings).await?).await,
        }
    }
}

/// An image that was loaded.
pub(super) struct Loaded {
    /// Its first name, or its id if it has none.
    pub(super) name: String,
    /// Digest of its configuration.
    pub(super) id: String,
    /// It was not there before under this name.
    pub(super) new: bool,
}

/// The runtime of a running cluster.
pub(super) async fn connect(settings: &Settings) -> anyhow::Result<skiff_cri::Client> {
    let settings = endpoint::saved_settings(settings)?;
    let endpoint = node::cri_endpoint(&settings, &Layout::new(&settings));
    let client = skiff_cri::Client::connect(&endpoint).await;
    client.with_context(|| format!("cluster {} does not run; `skiff up` starts it", settings.name))
}

/// Loads an archive; `-` is standard input.
pub(super) async fn load(client: &skiff_cri::Client, file: &Path, tag: &str) -> anyhow::Result<Vec<Loaded>> {
    let failed = || format!("cannot load {}", file.display());
    let before = images(client).await?;
    let imported = if file == Path::new("-") {
        client.import_archive(tokio::io::stdin(), tag).await
    } else {
        client.import_archive(tokio::fs::File::open(file).await.with_context(failed)?, tag).await
    };
    let imported = imported.map_err(said).with_context(failed)?;
    let loaded = imported.into_iter().map(|image| {
        let name = image.names.first().unwrap_or(&image.id).clone();
        let known = |old: &v1::Image| old.id == image.id && image.names.iter().all(|name| old.repo_tags.contains(name));
        Loaded { new: !before.iter().any(known), name, id: image.id }
    });
    Ok(loaded.collect())
}

async fn images(client: &skiff_cri::Client) -> anyhow::Result<Vec<v1::Image>> {
    let listed = client.images.clone().list_images(ListImagesRequest::default()).await.map_err(said)?;
    Ok(listed.into_inner().images)
}

async fn list(client: skiff_cri::Client) -> anyhow::Result<()> {
    let images = images(&client).await?;
    let mut rows = vec![["IMAGE", "ID", "SIZE"].map(str::to_owned).to_vec()];
    for image in images {
        let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let size = format!("{:.1} MB", image.size as f64 / 1e6);
        let names = if image.repo_tags.is_empty() { image.repo_digests } else { image.repo_tags };
        for name in names {
            rows.push(vec![name, id.clone(), size.clone()]);
        }
    }
    table(&rows);
    Ok(())
}

/// What the runtime said, without the transport's words.
fn said(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
