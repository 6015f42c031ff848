//! The configuration of a container (upstream: `pkg/kubelet/kuberuntime/kuberuntime_container.go`,
//! generateContainerConfig).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use skiff_cri::v1;

use super::resources::container_resources;
use super::security::{Defaults, ImageUser, container_context};
use crate::env::expand::expand;
use crate::labels::{container_annotations, container_labels};

/// What is known about a container by the time it is created.
pub(crate) struct ContainerInputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) restart_count: u32,
    /// The image as the runtime knows it.
    pub(crate) image_ref: &'a str,
    pub(crate) image_user: &'a ImageUser,
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) mounts: Vec<v1::Mount>,
    /// Id of the container whose processes an ephemeral container sees.
    pub(crate) target: Option<&'a str>,
    /// Memory of the node, in bytes.
    pub(crate) memory_capacity: i64,
    pub(crate) defaults: Defaults<'a>,
}

/// Path of a container's log below the pod's folder.
pub(crate) fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}

/// Computes the configuration. The error is the message of CreateContainerConfigError.
pub(crate) fn container_config(inputs: ContainerInputs<'_>) -> Result<v1::ContainerConfig, String> {
    let ContainerInputs { pod, container, environment, .. } = inputs;
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        let lookup = |name: &str| environment.get(name).map(String::as_str);
        words.iter().flatten().map(|word| expand(word, lookup)).collect()
    };
    let envs =
        environment.iter().map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone().into_bytes() });
    let security = container_context(pod, container, inputs.image_user, inputs.target, inputs.defaults)?;
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: inputs.restart_count }),
        image: Some(v1::ImageSpec {
            image: inputs.image_ref.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: envs.collect(),
        mounts: inputs.mounts,
        labels: container_labels(pod, container),
        annotations: container_annotations(pod, container, inputs.restart_count),
        log_path: log_path(&container.name, inputs.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(container_resources(pod, container, inputs.memory_capacity)),
            security_context: Some(security),
        }),
        stop_signal: stop_signal(container)?.into(),
        ..Default::default()
    })
}

/// The signal that ends the container, if it names one.
fn stop_signal(container: &Container) -> Result<v1::Signal, String> {
    let name = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(v1::Signal::RuntimeDefault);
    };
    // SIGRTMIN+3 of the API is SIGRTMINPLUS3 in CRI.
    let constant = format!("SIGNAL_{}", name.replace('+', "PLUS").replace('-', "MINUS"));
    v1::Signal::from_str_name(&constant).ok_or_else(|| format!("unsupported stop signal: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::Path;

    fn config(container: Value) -> Result<v1::ContainerConfig, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [container]}}))
        .expect("a pod");
        container_config(ContainerInputs {
            pod: &pod,
            container: &pod.regular_containers()[0],
            restart_count: 2,
            image_ref: "sha256:1",
            image_user: &ImageUser::Uid(0),
            environment: &[("NAME".to_owned(), "world".to_owned())].into(),
            mounts: Vec::new(),
            target: None,
            memory_capacity: 1 << 30,
            defaults: Defaults { seccomp_default: false, seccomp_profile_root: Path::new("/") },
        })
    }

    use crate::pod::PodExt;

    #[test]
    fn command_and_args_are_expanded() {
        let config = config(json!({"name": "c", "image": "web", "command": ["echo", "$(NAME)"], "args": ["$$(NAME)", "$(X)"], "tty": true}))
            .expect("a configuration");
        assert_eq!(config.command, ["echo", "world"]);
        assert_eq!(config.args, ["$(NAME)", "$(X)"]);
        assert_eq!(config.log_path, "c/2.log");
        assert!(config.tty && !config.stdin);
        let image = config.image.expect("an image");
        assert_eq!((image.image.as_str(), image.user_specified_image.as_str()), ("sha256:1", "web"));
    }

    #[test]
    fn stop_signals_are_translated() {
        let with = |signal: &str| config(json!({"name": "c", "lifecycle": {"stopSignal": signal}}));
        assert_eq!(with("SIGUSR1").expect("a configuration").stop_signal(), v1::Signal::Sigusr1);
        assert_eq!(with("SIGRTMIN+3").expect("a configuration").stop_signal(), v1::Signal::Sigrtminplus3);
        assert_eq!(with("SIGFOO"), Err("unsupported stop signal: SIGFOO".into()));
    }
}
