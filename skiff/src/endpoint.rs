//! Reaching a cluster that another process runs.

use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Settings;
use crate::layout::Layout;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The settings that the cluster of this name last ran with; what was asked for, if it never ran.
pub(crate) fn saved_settings(asked: &Settings) -> anyhow::Result<Settings> {
    let path = Layout::new(asked).settings();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(asked.clone()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let saved: Settings =
        serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    // The folders are those that the file was found by.
    let (data_dir, run_dir, log_dir) = (asked.data_dir.clone(), asked.run_dir.clone(), asked.log_dir.clone());
    Ok(Settings { data_dir, run_dir, log_dir, name: asked.name.clone(), ..saved })
}

/// The administrator's kubeconfig of a cluster on this machine.
pub(crate) fn admin_kubeconfig(layout: &Layout) -> anyhow::Result<String> {
    let path = layout.admin_kubeconfig();
    std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}; has the cluster been started (`skiff up`), and are you root?", path.display())
    })
}

/// A client with the administrator's rights.
pub(crate) async fn admin_client(layout: &Layout) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(&admin_kubeconfig(layout)?)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Client::try_from(config)?)
}

/// Whether the API server says that it is ready.
pub(crate) async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok_and(|text| text == "ok")
}
