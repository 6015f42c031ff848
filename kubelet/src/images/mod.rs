//! Getting an image onto the node by its pull policy, with back-off (upstream: `pkg/kubelet/images/image_manager.go`).

pub(crate) mod credentials;
pub(crate) mod gc;
pub(crate) mod reference;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use skiff_cri::v1;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::events::Events;
use crate::pod::PodExt;
use crate::runtime::{Runtime, RuntimeError};
use crate::spec::security::ImageUser;
use credentials::credentials;
use reference::ImageName;

/// Pulls that run side by side.
const PULLS_MAX: usize = 5;

/// Why an image is not there: a reason for the status, a message, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageError {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) retry_at: Option<Timestamp>,
}

/// An image that is on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresentImage {
    /// What containers are created from.
    pub(crate) id: String,
    pub(crate) user: ImageUser,
}

/// Pulls images. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Images {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    events: Events,
    backoff: Backoff,
    /// By pod and image: what the last pull said.
    last_errors: Mutex<HashMap<String, String>>,
    pulls: Semaphore,
}

impl Images {
    pub(crate) fn new(runtime: Runtime, events: Events) -> Self {
        let shared = Shared {
            runtime,
            events,
            backoff: Backoff::default(),
            last_errors: Mutex::default(),
            pulls: Semaphore::new(PULLS_MAX),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes sure that a container's image is there. A pull goes on when `cancelled` fires, but is not waited for.
    pub(crate) async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        pull_secrets: &[Secret],
        sandbox: &v1::PodSandboxConfig,
        cancelled: &CancellationToken,
    ) -> Result<PresentImage, ImageError> {
        let image = container.image.as_deref().unwrap_or_default();
        let name = ImageName::parse(image).map_err(|error| {
            let message = format!("Failed to apply default image tag {image:?}: {error}");
            self.failure(pod, container, "InspectFailed", "InvalidImageName", message)
        })?;
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        if policy != "Always" {
            let present = self.inspect(&name).await.map_err(|error| {
                let message = format!("Failed to inspect image {image:?}: {error}");
                self.failure(pod, container, "InspectFailed", "ImageInspectError", message)
            })?;
            if let Some(present) = present {
                let message =
                    format!("Container image {image:?} already present on machine and can be accessed by the pod");
                self.shared.events.container(pod, &container.name, "Pulled", message);
                return Ok(present);
            }
            if policy == "Never" {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                return Err(self.failure(pod, container, "ErrImageNeverPull", "ErrImageNeverPull", message));
            }
        }
        self.pull(pod, container, &name, pull_secrets, sandbox, cancelled).await
    }

    /// Forgets the back-off of a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let prefix = format!("{uid}_");
        self.shared.backoff.forget(&prefix);
        self.shared.last_errors.lock().retain(|key, _| !key.starts_with(&prefix));
    }

    async fn inspect(&self, name: &ImageName) -> Result<Option<PresentImage>, RuntimeError> {
        let spec = v1::ImageSpec { image: name.reference.clone(), ..Default::default() };
        Ok(self.shared.runtime.image_status(spec).await?.map(present))
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        name: &ImageName,
        pull_secrets: &[Secret],
        sandbox: &v1::PodSandboxConfig,
        cancelled: &CancellationToken,
    ) -> Result<PresentImage, ImageError> {
        let image = container.image.as_deref().unwrap_or_default();
        let key = format!("{}_{image}", pod.uid());
        let events = &self.shared.events;
        if let Some(retry_at) = self.shared.backoff.until_since_update(&key, Timestamp::now()) {
            let message = format!("Back-off pulling image {image:?}");
            events.container(pod, &container.name, "BackOff", message.clone());
            let last = self.shared.last_errors.lock().get(&key).cloned();
            return Err(ImageError {
                reason: "ImagePullBackOff",
                message: last.map_or(message.clone(), |last| format!("{message}: {last}")),
                retry_at: Some(retry_at),
            });
        }
        events.container(pod, &container.name, "Pulling", format!("Pulling image {image:?}"));
        let started = Instant::now();
        let task = tokio::spawn(self.clone().pull_now(name.clone(), pull_secrets.to_vec(), sandbox.clone()));
        let pulled = tokio::select! {
            pulled = task => pulled,
            () = cancelled.cancelled() => {
                let message = format!("pulling image {image:?} is no longer waited for: the pod is being deleted");
                return Err(ImageError { reason: "ErrImagePull", message, retry_at: None });
            }
        };
        let pulled = pulled.unwrap_or_else(|error| Err(format!("the pull ended abnormally: {error}")));
        match pulled {
            Ok((present, size)) => {
                self.shared.last_errors.lock().remove(&key);
                let took = started.elapsed().as_millis();
                let message = format!(
                    "Successfully pulled image {image:?} in {took}ms ({took}ms including waiting). Image size: {size} bytes."
                );
                events.container(pod, &container.name, "Pulled", message);
                Ok(present)
            }
            Err(error) => {
                let message = format!("Failed to pull image {image:?}: {error}");
                events.container_warning(pod, &container.name, "Failed", message);
                let now = Timestamp::now();
                self.shared.backoff.next(&key, now);
                self.shared.last_errors.lock().insert(key.clone(), format!("ErrImagePull: {error}"));
                Err(ImageError {
                    reason: "ErrImagePull",
                    message: error,
                    retry_at: self.shared.backoff.until_since_update(&key, now),
                })
            }
        }
    }

    /// Pulls with each fitting credential in turn, or without one if there is none. Also answers the image's size.
    async fn pull_now(
        self,
        name: ImageName,
        pull_secrets: Vec<Secret>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<(PresentImage, u64), String> {
        let _permit = self.shared.pulls.acquire().await.map_err(|error| error.to_string())?;
        let spec = v1::ImageSpec {
            image: name.reference.clone(),
            annotations: sandbox.annotations.clone(),
            ..Default::default()
        };
        let mut tries: Vec<Option<v1::AuthConfig>> = credentials(&pull_secrets, &name).into_iter().map(Some).collect();
        if tries.is_empty() {
            tries.push(None);
        }
        let mut errors = Vec::new();
        for auth in tries {
            match self.shared.runtime.pull_image(spec.clone(), auth, sandbox.clone()).await {
                Ok(id) => return self.pulled(id).await,
                Err(error) => errors.push(error.to_string()),
            }
        }
        errors.dedup();
        Err(match errors.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        })
    }

    async fn pulled(&self, id: String) -> Result<(PresentImage, u64), String> {
        let spec = v1::ImageSpec { image: id.clone(), ..Default::default() };
        let status = self.shared.runtime.image_status(spec).await.map_err(|error| error.to_string())?;
        let image = status.ok_or_else(|| format!("image {id} is gone right after it was pulled"))?;
        let size = image.size;
        Ok((PresentImage { id, ..present(image) }, size))
    }

    fn failure(
        &self,
        pod: &Pod,
        container: &Container,
        event: &str,
        reason: &'static str,
        message: String,
    ) -> ImageError {
        self.shared.events.container_warning(pod, &container.name, event, message.clone());
        ImageError { reason, message, retry_at: None }
    }
}

fn present(image: v1::Image) -> PresentImage {
    let user = match (image.uid, image.username.is_empty()) {
        (Some(uid), _) => ImageUser::Uid(uid.value),
        (None, false) => ImageUser::Name(image.username),
        (None, true) => ImageUser::Uid(0),
    };
    PresentImage { id: image.id, user }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::Recorded;
    use serde_json::json;
    use skiff_cri::fake::FakeRuntime;

    struct Fixture {
        fake: FakeRuntime,
        images: Images,
        recorded: Recorded,
    }

    impl Fixture {
        async fn new() -> Self {
            let fake = FakeRuntime::new();
            let runtime = Runtime::new(fake.connect().await.expect("a client"));
            let (events, recorded) = Recorded::events();
            Self { fake, images: Images::new(runtime, events), recorded }
        }

        async fn ensure(&self, image: &str, policy: &str) -> Result<PresentImage, ImageError> {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"containers": [{"name": "c", "image": image, "imagePullPolicy": policy}]}}))
            .expect("a pod");
            let container = &pod.regular_containers()[0];
            let config = v1::PodSandboxConfig::default();
            self.images.ensure(&pod, container, &[], &config, &CancellationToken::new()).await
        }
    }

    #[tokio::test]
    async fn policies_decide_about_pulls() {
        let fixture = Fixture::new().await;
        let missing = fixture.ensure("web", "Never").await.expect_err("missing");
        assert_eq!(missing.reason, "ErrImageNeverPull");
        let pulled = fixture.ensure("web", "IfNotPresent").await.expect("pulled");
        assert_eq!(fixture.ensure("web", "Never").await.expect("present").id, pulled.id);
        assert_eq!(fixture.ensure("web", "IfNotPresent").await.expect("present").id, pulled.id);
        fixture.ensure("web", "Always").await.expect("pulled again");
        let pulls = fixture.fake.calls().iter().filter(|call| *call == "PullImage web:latest").count();
        assert_eq!(pulls, 2);
        assert!(fixture.recorded.has("Normal Pulling: Pulling image \"web\""));
        assert!(fixture.recorded.has("Normal Pulled: Successfully pulled image \"web\" in "));
        assert!(fixture.recorded.has("Normal Pulled: Container image \"web\" already present on machine"));
    }

    #[tokio::test]
    async fn a_failed_pull_is_held_back() {
        let fixture = Fixture::new().await;
        fixture.fake.fail_pull("web:latest", Some(tonic::Status::not_found("no such image")));
        let first = fixture.ensure("web", "IfNotPresent").await.expect_err("failed");
        assert_eq!((first.reason, first.message.as_str()), ("ErrImagePull", "no such image"));
        let second = fixture.ensure("web", "IfNotPresent").await.expect_err("held back");
        assert_eq!(second.reason, "ImagePullBackOff");
        assert_eq!(second.message, "Back-off pulling image \"web\": ErrImagePull: no such image");
        assert_eq!(second.retry_at, first.retry_at);
        assert!(fixture.recorded.has("Warning Failed: Failed to pull image \"web\": no such image"));
        fixture.images.forget("u");
        fixture.fake.fail_pull("web:latest", None);
        fixture.ensure("web", "IfNotPresent").await.expect("pulled");
    }

    #[tokio::test]
    async fn broken_names_are_told() {
        let fixture = Fixture::new().await;
        let error = fixture.ensure("Not Valid", "IfNotPresent").await.expect_err("refused");
        assert_eq!(error.reason, "InvalidImageName");
    }

    #[tokio::test]
    async fn a_cancelled_wait_lets_the_pull_go_on() {
        let fixture = Fixture::new().await;
        fixture.fake.set_pull_delay(std::time::Duration::from_secs(3600));
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "web"}]}}))
        .expect("a pod");
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let config = v1::PodSandboxConfig::default();
        let container = &pod.regular_containers()[0];
        let error = fixture.images.ensure(&pod, container, &[], &config, &cancelled).await.expect_err("cancelled");
        assert!(error.message.contains("no longer waited for"), "{}", error.message);
    }
}
