//! Helm, where there is one: a chart's life from install to uninstall.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skiff_tests::Cluster;
use skiff_tests::cluster::text;
use skiff_tests::table::{Outcome, Table};

use skiff_tests::stage::Stage;

const CLIENT: &str = "helm";
const SCENARIO: &str = "a chart's life";

/// The chart's files: a ConfigMap and a Deployment without pods, by values.
const CHART: [(&str, &str); 4] = [
    ("Chart.yaml", "apiVersion: v2\nname: sample\nversion: 1.0.0\n"),
    ("values.yaml", "color: blue\n"),
    (
        "templates/settings.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-settings}\ndata: {color: {{ .Values.color }}}\n",
    ),
    (
        "templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Release.Name }}-web}\nspec:\n  replicas: 0\n  \
         selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
         spec: {containers: [{name: web, image: \"skiff.local/echo:v1\"}]}\n",
    ),
];

/// Plays the scenario, or says that there is no Helm.
pub(crate) async fn run(cluster: &Cluster, table: &mut Table) {
    let Some(helm) = helm() else {
        return table.add(CLIENT, SCENARIO, Outcome::NotRun("no helm on the PATH".to_owned()));
    };
    let chart = cluster.folder.join("chart");
    std::fs::create_dir_all(chart.join("templates")).expect("a folder");
    for (name, content) in CHART {
        std::fs::write(chart.join(name), content).expect("a file of the chart");
    }
    let stage = Stage::set(cluster.client(), cluster.url(), "helm").await;
    let kubeconfig = cluster.kubeconfig();
    let outcome = life(&stage, |arguments| {
        let mut command = Command::new(&helm);
        command.args(arguments.split(' ')).args(["--namespace", "helm", "--kubeconfig"]).arg(&kubeconfig);
        command.current_dir(&chart).env("HOME", &chart).output().expect("helm runs")
    })
    .await;
    table.add(CLIENT, SCENARIO, outcome.map_or_else(Outcome::Failed, Outcome::Passed));
}

/// Install, upgrade, roll back, uninstall. Returns the number of steps, or what failed.
async fn life(stage: &Stage, helm: impl Fn(&str) -> Output) -> Result<usize, String> {
    let maps: Api<ConfigMap> = stage.api();
    let color = async || {
        let map = maps.get_opt("one-settings").await.map_err(|error| error.to_string())?;
        Ok::<_, String>(map.and_then(|map| map.data).and_then(|data| data.get("color").cloned()))
    };
    let steps = [
        ("install one . --wait", Some("blue")),
        ("upgrade one . --set color=red --wait", Some("red")),
        ("status one", Some("red")),
        ("history one", Some("red")),
        ("rollback one 1 --wait", Some("blue")),
        ("upgrade --install one . --set color=green", Some("green")),
        ("uninstall one --wait", None),
    ];
    for (step, expected) in &steps {
        let output = helm(step);
        if !output.status.success() {
            return Err(format!("helm {step}: {}", text(&output)));
        }
        let shown = color().await?;
        if shown.as_deref() != *expected {
            return Err(format!("after helm {step}: {shown:?}"));
        }
    }
    let secrets: Api<Secret> = stage.api();
    let kept = secrets.list(&ListParams::default().labels("owner=helm")).await.map_err(|error| error.to_string())?;
    if kept.items.is_empty() { Ok(steps.len()) } else { Err(json!({"left": kept.items.len()}).to_string()) }
}

/// The program, if there is one.
fn helm() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("helm")).find(|path| Path::is_file(path))
}
