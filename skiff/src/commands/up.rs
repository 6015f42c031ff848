//! `skiff up`: a cluster in the background.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use super::image;
use crate::layout::{Layout, write_private};
use crate::settings::Component;
use crate::terminal::{Progress, line, note};
use crate::{Settings, apply, doctor, endpoint, instance, kubeconfig, machine};

/// How often the starting server is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Bytes of the server's error output that are shown when it fails.
const SHOWN_ERRORS: usize = 4096;

/// Flags of `skiff up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    settings: Settings,
    /// Kubeconfig that gets the context [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Leave every kubeconfig alone.
    #[arg(long, conflicts_with = "kubeconfig")]
    no_kubeconfig: bool,
    /// Image archive to load; may be given several times.
    #[arg(long)]
    load_image: Vec<PathBuf>,
    /// Manifest to apply, and to wait for; may be given several times.
    #[arg(long)]
    apply: Vec<PathBuf>,
    /// Seconds to wait until everything is ready.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

impl Up {
    /// Starts what does not run, and waits.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let layout = Layout::new(&self.settings);
        let name = self.settings.name.clone();
        let progress = Progress::start();
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        if let Some(pid) = instance::running(&layout.lock()) {
            let (client, _) = Box::pin(self.until_ready(&layout, None, deadline)).await?;
            self.until_node_ready(&client, Timestamp::MIN, deadline).await?;
            self.merge_kubeconfig(&layout)?;
            let changed = self.fill(&client, &progress, deadline).await?;
            let rest = if changed { "" } else { "; nothing to do" };
            line(format_args!("Cluster {name} runs already (process {pid}){rest}."));
            return Ok(());
        }
        doctor::require(&self.settings)?;
        layout.create()?;
        note(format_args!("Starting cluster {name}"));
        let started = Timestamp::now();
        let child = self.spawn(&layout)?;
        let (client, url) = Box::pin(self.until_ready(&layout, Some(child), deadline)).await?;
        progress.done(format_args!("API server ready at {url}"));
        if let Some(node) = self.until_node_ready(&client, started, deadline).await? {
            progress.done(format_args!("node {node} Ready"));
        }
        self.merge_kubeconfig(&layout)?;
        self.fill(&client, &progress, deadline).await?;
        line(format_args!("Cluster {name} runs. Data: {}. Log: {}.", layout.data.display(), layout.logs.display()));
        Ok(())
    }

    fn spawn(&self, layout: &Layout) -> anyhow::Result<Child> {
        let settings = layout.run.join("up.json");
        write_private(&settings, &serde_json::to_vec(&self.settings)?)?;
        let errors = File::create(layout.server_errors())
            .with_context(|| format!("cannot write {}", layout.server_errors().display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        Command::new(program)
            .args(["server", "--background", "--settings-file"])
            .arg(&settings)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            .spawn()
            .context("cannot start the server")
    }

    /// Returns a client once the API server is ready, with its address.
    async fn until_ready(
        &self,
        layout: &Layout,
        mut child: Option<Child>,
        deadline: Instant,
    ) -> anyhow::Result<(Client, String)> {
        loop {
            if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the server ended with {status}:\n{}", errors_of(layout));
            }
            // Read each time: the server writes it anew when it has its port.
            if let Ok(client) = Box::pin(endpoint::admin_client(layout)).await
                && endpoint::is_ready(&client).await
            {
                let url = endpoint::saved_settings(&self.settings)?;
                return Ok((client, format!("https://127.0.0.1:{}", url.secure_port)));
            }
            if Instant::now() > deadline {
                bail!("the API server was not ready in time; see {}", layout.server_log().display());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the node is Ready, and says so since `since`: a node that ran before still has its last words.
    async fn until_node_ready(
        &self,
        client: &Client,
        since: Timestamp,
        deadline: Instant,
    ) -> anyhow::Result<Option<String>> {
        let settings = endpoint::saved_settings(&self.settings)?;
        if !settings.runs(Component::Node) {
            return Ok(None);
        }
        let name = settings.node_name.map_or_else(machine::node_name, Ok)?;
        let nodes: Api<Node> = Api::all(client.clone());
        loop {
            if nodes.get_opt(&name).await?.as_ref().is_some_and(|node| is_node_ready(node, since)) {
                return Ok(Some(name));
            }
            if Instant::now() > deadline {
                bail!("node {name} was not Ready in time; `skiff status` and `skiff logs` say more");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Loads images, applies manifests, and waits for what they make. Says whether anything is new.
    async fn fill(&self, client: &Client, progress: &Progress, deadline: Instant) -> anyhow::Result<bool> {
        let mut changed = false;
        if !self.load_image.is_empty() {
            let runtime = image::connect(&self.settings).await?;
            for archive in &self.load_image {
                let images = image::load(&runtime, archive, "").await?;
                changed |= images.iter().any(|image| image.new);
                for image in images.iter().filter(|image| image.new) {
                    progress.done(format_args!("image {} loaded", image.name));
                }
            }
        }
        let mut applied = Vec::new();
        for manifest in &self.apply {
            applied.append(&mut Box::pin(apply::apply_file(client, manifest)).await?);
        }
        for object in &applied {
            object.until_ready(deadline).await?;
            if object.changed {
                changed = true;
                progress.done(format_args!("{} ready", object.title()));
            }
        }
        Ok(changed)
    }

    fn merge_kubeconfig(&self, layout: &Layout) -> anyhow::Result<()> {
        if self.no_kubeconfig {
            return Ok(());
        }
        let path = self.kubeconfig.clone().map_or_else(kubeconfig::default_path, Ok)?;
        kubeconfig::merge(&path, &endpoint::admin_kubeconfig(layout)?)?;
        note(format_args!("Context {} is in {}", self.settings.name, path.display()));
        Ok(())
    }
}

fn is_node_ready(node: &Node, since: Timestamp) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| {
        // The API's times are whole seconds.
        let fresh = condition.last_heartbeat_time.as_ref().is_some_and(|beat| beat.0.as_second() >= since.as_second());
        condition.type_ == "Ready" && condition.status == "True" && fresh
    })
}

fn errors_of(layout: &Layout) -> String {
    let text = std::fs::read(layout.server_errors()).unwrap_or_default();
    let shown = &text[text.len().saturating_sub(SHOWN_ERRORS)..];
    String::from_utf8_lossy(shown).trim().to_owned()
}
