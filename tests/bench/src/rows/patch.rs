//! Patches of pods: merge patch and server-side apply.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::{Operation, Settings, closed_loop, pods_path};
use crate::client::{Call, Connection};
use crate::sample::Sample;
use crate::target::Target;

/// How a pod is patched.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `application/merge-patch+json`.
    Merge,
    /// `application/apply-patch+yaml`, taking the field from whoever has it.
    Apply,
}

/// Patches an annotation of seeded pods, each client its own, as fast as the server answers.
pub async fn measure(target: &Target, kind: Kind, clients: usize, settings: &Settings) -> anyhow::Result<Sample> {
    closed_loop(target, clients, settings, Patch { kind, seeded: settings.seeded }).await
}

#[derive(Clone)]
struct Patch {
    kind: Kind,
    seeded: usize,
}

impl Operation for Patch {
    async fn run(&self, connection: &mut Connection, client: usize, number: usize) -> anyhow::Result<()> {
        let name = format!("seed-{}", client % self.seeded);
        let change = json!({"metadata": {"annotations": {"measured": number.to_string()}}});
        let (path, body, content_type) = match self.kind {
            Kind::Merge => (format!("{}/{name}", pods_path()), change, "application/merge-patch+json"),
            Kind::Apply => {
                let mut applied = change;
                applied["apiVersion"] = json!("v1");
                applied["kind"] = json!("Pod");
                applied["metadata"]["name"] = json!(name);
                let path = format!("{}/{name}?fieldManager=bench-apply&force=true", pods_path());
                (path, applied, "application/apply-patch+yaml")
            }
        };
        let call = Call { content_type, ..Call::new(Method::PATCH, &path).json(body.to_string()) };
        connection.expect(StatusCode::OK, call).await?;
        Ok(())
    }
}
