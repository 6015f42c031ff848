//! Starting one container: back-off, image, configuration, create, start, postStart hook
//! (upstream: `pkg/kubelet/kuberuntime/kuberuntime_container.go`, startContainer).

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use skiff_cri::v1;
use tokio_util::sync::CancellationToken;

use super::kill::{self, KillReasonGrace};
use super::{PodMemory, PullSecrets};
use crate::actions::KillReason;
use crate::context::{Context, now};
use crate::env::service_links::service_variables;
use crate::env::{Inputs, Referenced, environment, references};
use crate::images::PresentImage;
use crate::lifecycle::{HookTarget, run_hook};
use crate::observed::{ContainerState, ObservedPod};
use crate::pod::PodExt;
use crate::spec::container::{ContainerInputs, container_config};
use crate::spec::sandbox::pod_logs_directory;
use crate::spec::security::Defaults;
use crate::spec::unsupported::unsupported_field;
use crate::status::generate::StartFailure;
use crate::volumes::container::{ImageVolumes, MountInputs, container_mounts};

/// Pause before what failed for a reason that may pass is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(2);
/// Pause before a container is tried again whose configuration is wrong: a person has to act.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(10);

/// A container that was not started.
pub(super) struct NotStarted {
    pub(super) failure: StartFailure,
    pub(super) retry_at: Timestamp,
}

impl NotStarted {
    fn new(reason: &str, message: impl Into<String>, pause: SignedDuration) -> Self {
        let failure = StartFailure { reason: reason.to_owned(), message: message.into() };
        Self { failure, retry_at: now().saturating_add(pause).unwrap_or(Timestamp::MAX) }
    }

    fn config(message: impl Into<String>) -> Self {
        Self::new("CreateContainerConfigError", message, CONFIG_RETRY)
    }
}

/// Starts containers of one pod in one sandbox.
pub(super) struct Starter<'a> {
    pub(super) ctx: &'a Context,
    pub(super) pod: &'a Arc<Pod>,
    /// As it was before anything was started.
    pub(super) observed: &'a ObservedPod,
    pub(super) sandbox_id: &'a str,
    pub(super) sandbox: &'a v1::PodSandboxConfig,
    pub(super) pull_secrets: &'a PullSecrets,
    pub(super) cancelled: &'a CancellationToken,
}

impl Starter<'_> {
    /// Starts a container. `target` is the container an ephemeral one looks into.
    pub(super) async fn start(
        &self,
        container: &Container,
        target: Option<&str>,
        memory: &mut PodMemory,
    ) -> Result<(), NotStarted> {
        self.check_backoff(container)?;
        let image = self.image(container).await?;
        let volumes = self.image_volumes(container).await?;
        let config = self.config(container, target, &image, volumes, memory).await.map_err(|message| {
            self.warn(container, format!("Error: {message}"));
            NotStarted::config(message)
        })?;
        let runtime = &self.ctx.runtime;
        let created = runtime.create_container(self.sandbox_id, config, self.sandbox.clone()).await;
        let id = created.map_err(|error| {
            self.warn(container, format!("Error: {error}"));
            NotStarted::new("CreateContainerError", error.to_string(), RETRY)
        })?;
        self.ctx.events.container(self.pod, &container.name, "Created", "Container created");
        runtime.start_container(&id).await.map_err(|error| {
            self.warn(container, format!("Error: {error}"));
            NotStarted::new("RunContainerError", error.to_string(), RETRY)
        })?;
        self.ctx.events.container(self.pod, &container.name, "Started", "Container started");
        self.post_start(container, &id, memory).await
    }

    fn warn(&self, container: &Container, message: String) {
        self.ctx.events.container_warning(self.pod, &container.name, "Failed", message);
    }

    /// Holds back a container that ended before; its first restart is at once.
    fn check_backoff(&self, container: &Container) -> Result<(), NotStarted> {
        let mut runs = self.observed.containers.iter().filter(|c| c.name == container.name);
        let Some(ended) = runs.find(|c| c.state == ContainerState::Exited) else {
            return Ok(());
        };
        let image = container.image.as_deref().unwrap_or_default();
        let key = format!("{}_{}_{image}", self.pod.uid(), container.name);
        let finished = Timestamp::from_nanosecond(ended.finished_at.into()).unwrap_or_default();
        let backoff = &self.ctx.restarts;
        let Some(retry_at) = backoff.until(&key, finished, now()) else {
            backoff.next(&key, now());
            return Ok(());
        };
        let (name, pod) = (&container.name, self.pod.display());
        let message = format!("Back-off restarting failed container {name} in pod {pod}");
        self.ctx.events.container_warning(self.pod, name, "BackOff", message);
        let message =
            format!("back-off {} restarting failed container={name} pod={pod}", go_duration(backoff.delay(&key)));
        let failure = StartFailure { reason: "CrashLoopBackOff".into(), message };
        Err(NotStarted { failure, retry_at })
    }

    async fn image(&self, container: &Container) -> Result<PresentImage, NotStarted> {
        let images = &self.ctx.images;
        let present = images.ensure(self.pod, container, self.pull_secrets, self.sandbox, self.cancelled).await;
        present.map_err(|error| {
            self.warn(container, format!("Error: {}", error.reason));
            let mut failed = NotStarted::new(error.reason, error.message, CONFIG_RETRY);
            failed.retry_at = error.retry_at.unwrap_or(failed.retry_at);
            failed
        })
    }

    /// The images that the container mounts, by volume, each pulled by its own policy.
    async fn image_volumes(&self, container: &Container) -> Result<ImageVolumes, NotStarted> {
        let mut images = ImageVolumes::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = self.pod.pod_volumes().iter().find(|volume| volume.name == mount.name);
            let Some(source) = volume.and_then(|volume| volume.image.as_ref()) else { continue };
            // Events and back-off are those of the container that needs it.
            let wanted = Container {
                name: container.name.clone(),
                image: source.reference.clone(),
                image_pull_policy: source.pull_policy.clone(),
                ..Container::default()
            };
            let present = self.image(&wanted).await?;
            images.insert(mount.name.clone(), present.id);
        }
        Ok(images)
    }

    /// Everything the runtime is told about the container. The error is a message for users.
    async fn config(
        &self,
        container: &Container,
        target: Option<&str>,
        image: &PresentImage,
        images: ImageVolumes,
        memory: &PodMemory,
    ) -> Result<v1::ContainerConfig, String> {
        let (ctx, pod) = (self.ctx, self.pod);
        if let Some(message) = unsupported_field(pod, container) {
            return Err(message);
        }
        let node = ctx.node_facts();
        let pod_ips = if pod.is_host_network() { &node.host_ips } else { self.observed.ips() };
        let variables = self.environment(container, pod_ips).await?;
        let target = target.filter(|name| !name.is_empty()).map(|name| self.target_id(name)).transpose()?;
        let logs = pod_logs_directory(&ctx.settings.logs_root, pod).join(&container.name);
        let restart_count = match self.observed.container(&container.name) {
            Some(last) => last.restart_count + 1,
            None => restart_count_by_logs(&logs),
        };
        let mounts = {
            let (pod, container, volumes, environment) =
                (pod.clone(), container.clone(), memory.volumes.clone(), variables.clone());
            let (pod_ips, domain) = (pod_ips.to_vec(), ctx.settings.cluster_domain.clone());
            let (pod_dir, recursive_read_only) = (ctx.volumes.pod_dir(pod.uid()), node.recursive_read_only);
            let made = tokio::task::spawn_blocking(move || {
                crate::volumes::make_dir(&logs, 0o755).map_err(|error| {
                    format!("create container log directory for container {} failed: {error}", container.name)
                })?;
                container_mounts(&MountInputs {
                    pod: &pod,
                    container: &container,
                    pod_dir,
                    volumes: &volumes,
                    images: &images,
                    environment: &environment,
                    pod_ips: &pod_ips,
                    cluster_domain: &domain,
                    recursive_read_only,
                })
            });
            made.await.map_err(|error| error.to_string())??
        };
        container_config(ContainerInputs {
            pod,
            container,
            restart_count,
            image_ref: &image.id,
            image_user: &image.user,
            environment: &variables,
            mounts,
            target,
            memory_capacity: node.memory_capacity,
            defaults: Defaults {
                seccomp_default: ctx.settings.seccomp_default,
                seccomp_profile_root: &ctx.settings.seccomp_root,
            },
        })
    }

    async fn environment(
        &self,
        container: &Container,
        pod_ips: &[String],
    ) -> Result<std::collections::BTreeMap<String, String>, String> {
        let (ctx, pod) = (self.ctx, self.pod);
        if !ctx.services.has_synced() {
            return Err("services have not yet been read at least once, cannot construct envvars".to_owned());
        }
        let links = ctx.service_links(pod.namespace());
        let all = pod.pod_spec().enable_service_links != Some(false);
        let services = service_variables(&links, pod.namespace(), all);
        let (config_maps, secrets) = references(container);
        let mut referenced = Referenced::default();
        for name in config_maps {
            let map = ctx.volumes.config_maps.get(pod.uid(), pod.namespace(), &name).await?;
            referenced.config_maps.insert(name, map);
        }
        for name in secrets {
            let secret = ctx.volumes.secrets.get(pod.uid(), pod.namespace(), &name).await?;
            referenced.secrets.insert(name, secret);
        }
        environment(&Inputs {
            pod,
            container,
            services: &services,
            referenced: &referenced,
            facts: &ctx.facts(pod_ips),
        })
    }

    fn target_id(&self, name: &str) -> Result<&str, String> {
        match self.observed.container(name) {
            Some(target) => Ok(&target.id),
            None => Err(format!("unable to find target container {name}")),
        }
    }

    async fn post_start(&self, container: &Container, id: &str, memory: &mut PodMemory) -> Result<(), NotStarted> {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let node = self.ctx.node_facts();
        let ips = if self.pod.is_host_network() { &node.host_ips } else { self.observed.ips() };
        let target = HookTarget {
            pod: self.pod,
            container,
            container_id: id,
            pod_ip: ips.first().map(String::as_str).unwrap_or_default(),
        };
        let done = tokio::select! {
            done = run_hook(&self.ctx.runtime, &target, hook) => done,
            () = self.cancelled.cancelled() => return Ok(()),
        };
        let Err(message) = done else { return Ok(()) };
        // The message may hold secrets: it goes into the status, not into an event.
        self.ctx.events.container_warning(self.pod, &container.name, "FailedPostStartHook", "PostStartHook failed");
        let grace = KillReasonGrace { reason: KillReason::Other, grace_override: None };
        let (name, why) = (&container.name, "FailedPostStartHook");
        let killed =
            kill::kill_container(self.ctx, self.pod, self.observed, id, name, why, grace, memory, self.cancelled);
        if let Err(error) = killed.await {
            tracing::warn!(pod = %self.pod.display(), container = %container.name, %error, "cannot stop a container whose postStart hook failed");
        }
        Err(NotStarted::new("PostStartHookError", message, RETRY))
    }
}

/// The number of the next log file: a runtime that has forgotten a container must not overwrite its logs.
fn restart_count_by_logs(dir: &Path) -> u32 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.split('.').next()?.parse::<u32>().ok()
    });
    numbers.max().map_or(0, |last| last + 1)
}

/// A duration as Go prints it: `10s`, `1m20s`.
fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let text = |seconds| go_duration(SignedDuration::from_secs(seconds));
        assert_eq!([text(10), text(80), text(300)], ["10s", "1m20s", "5m0s"]);
    }

    #[test]
    fn the_restart_count_is_found_in_the_logs() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(restart_count_by_logs(&dir.path().join("none")), 0);
        for name in ["0.log", "3.log", "2.log.20260101-000000.gz", "x.log"] {
            std::fs::write(dir.path().join(name), "").expect("a file");
        }
        assert_eq!(restart_count_by_logs(dir.path()), 4);
    }
}
