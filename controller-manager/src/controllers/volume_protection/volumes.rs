//! Volumes: in use while they are bound to a claim.

use skiff_client::Workqueue;
use skiff_client::types::PersistentVolume;

use super::Use;
use crate::context::Context;

struct Phase;

/// Runs the controller of volumes.
pub async fn run(context: Context) -> anyhow::Result<()> {
    super::run("persistentvolume-protection-controller", context, Workqueue::new(), Phase).await
}

#[async_trait::async_trait]
impl Use for Phase {
    type Guarded = PersistentVolume;
    const FINALIZER: &'static str = "kubernetes.io/pv-protection";

    async fn is_used(&self, volume: &PersistentVolume) -> anyhow::Result<bool> {
        // The binder says so, and changes it when the claim is gone.
        Ok(volume.status.phase == "Bound")
    }
}
