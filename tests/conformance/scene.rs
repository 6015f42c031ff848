//! What a scenario is given: a namespace, plain requests as administrator, and a `kubectl`.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use futures::future::LocalBoxFuture;
use skiff_tests::kubectl::Kubectl;
use skiff_tests::rest::Rest;
use skiff_tests::stage::Stage;

/// A scenario: the name that the suite gives it, and what it does.
pub(crate) type Scenario = (&'static str, fn(Scene) -> LocalBoxFuture<'static, ()>);

/// Where it plays.
#[derive(Clone)]
pub(crate) struct Scene {
    /// The namespace, and the count of steps.
    pub(crate) stage: Stage,
    /// Requests.
    pub(crate) rest: Rest,
    /// The newest one on this machine.
    pub(crate) kubectl: Kubectl,
    /// The administrator's.
    pub(crate) kubeconfig: PathBuf,
    /// A folder that is removed with the cluster.
    pub(crate) folder: PathBuf,
}

impl Deref for Scene {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Scene {
    /// Runs `kubectl` in the scene's namespace, with this on its standard input.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Output {
        let home = self.folder.join(&self.namespace);
        std::fs::create_dir_all(&home).expect("a home");
        let file = home.join("input");
        std::fs::write(&file, input).expect("the input");
        let mut command = std::process::Command::new(&self.kubectl.path);
        command.args(["--namespace", &self.namespace]).args(arguments).current_dir(&home);
        command.env_clear().env("HOME", &home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KUBECONFIG", &self.kubeconfig).env("LANG", "C.UTF-8");
        command.stdin(Stdio::from(std::fs::File::open(&file).expect("the input")));
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("the thread").expect("kubectl runs")
    }

    /// Runs `kubectl`, which must succeed; what it wrote to standard output.
    pub(crate) async fn kubectl_ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.kubectl_with(arguments, input).await;
        let all = skiff_tests::cluster::text(&output);
        assert!(output.status.success(), "kubectl {}: {all}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `kubectl`, which must fail; all that it said.
    pub(crate) async fn kubectl_fails(&self, arguments: &[&str], input: &str) -> String {
        let output = self.kubectl_with(arguments, input).await;
        let all = skiff_tests::cluster::text(&output);
        assert!(!output.status.success(), "kubectl {} succeeded: {all}", arguments.join(" "));
        all
    }

    /// The path of a namespaced resource of the first group in the scene's namespace.
    pub(crate) fn core(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    /// The path of a namespaced resource of a group version in the scene's namespace.
    pub(crate) fn of(&self, group_version: &str, resource: &str) -> String {
        format!("/apis/{group_version}/namespaces/{}/{resource}", self.namespace)
    }
}
