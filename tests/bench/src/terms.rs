//! Equal terms: what a server must do for its numbers to count, asked of it before anything is timed.

use anyhow::{Context, ensure};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::client::Call;
use crate::objects::Pods;
use crate::rows::pods_path;
use crate::target::Target;

/// Fails unless the server authenticates, authorizes, admits, defaults and tracks owners of fields.
pub async fn check(target: &Target, pods: &Pods) -> anyhow::Result<()> {
    let path = pods_path();
    let body = pods.body(0, "terms");
    let mut nobody = target.anonymous.connect().await?;
    let (status, _) = nobody.send(Call::new(Method::POST, &path).json(body.clone())).await?;
    let refused = status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED;
    ensure!(refused, "{}: a create without credentials was answered with {status}", target.name);

    let mut connection = target.endpoint.connect().await?;
    let created = connection.expect(StatusCode::CREATED, Call::new(Method::POST, &path).json(body)).await?;
    let created: Value = serde_json::from_slice(&created).context("the answer is not JSON")?;
    let got = connection.expect(StatusCode::OK, Call::new(Method::GET, &format!("{path}/terms"))).await?;
    let got: Value = serde_json::from_slice(&got).context("the answer is not JSON")?;
    ensure!(created == got, "{}: a create and the get after it were answered differently", target.name);
    for (what, holds) in [
        ("tracks the owners of fields", got["metadata"]["managedFields"][0]["fieldsV1"].is_object()),
        ("fills in defaults", got["spec"]["restartPolicy"] == "Always"),
        ("admits service accounts", got["spec"]["serviceAccountName"] == "default"),
        ("mounts tokens", has_token(&got)),
        ("admits tolerations", got["spec"]["tolerations"].as_array().is_some_and(|all| all.len() == 2)),
        ("gives pods a status", got["status"]["phase"] == "Pending"),
    ] {
        ensure!(holds, "{} is not measured on equal terms: it does not show that it {what}: {got}", target.name);
    }
    let path = format!("{path}/terms?gracePeriodSeconds=0");
    connection.expect(StatusCode::OK, Call::new(Method::DELETE, &path)).await?;
    Ok(())
}

fn has_token(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array();
    volumes.is_some_and(|volumes| volumes.iter().any(|volume| volume["projected"]["sources"].is_array()))
}
