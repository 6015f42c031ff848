//! What each route answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::path::{Route, Target, query};
use super::reply::{self, Reply};
use super::{Server, sessions, stats};
use crate::context::now;
use crate::logs::read::{self, LogOptions};
use crate::observed::ContainerState;
use crate::pod::PodExt;
use crate::runtime::RuntimeError;

/// Chunks of a log that wait for a slow reader.
const LOG_CHUNKS: usize = 8;

/// An answer that is an error.
type Failed = Reply;

fn not_found(text: String) -> Failed {
    reply::text(StatusCode::NOT_FOUND, text)
}

fn runtime_failed(error: &RuntimeError) -> Failed {
    reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

impl Server {
    /// Answers a request that may be served.
    pub(super) async fn handle(&self, route: Route, request: Request<Incoming>) -> Reply {
        let pairs = query(request.uri().query().unwrap_or_default());
        let done = match route {
            Route::Healthz => Ok(reply::text(StatusCode::OK, "ok")),
            Route::Pods => Ok(self.pods()),
            Route::RunningPods => self.running_pods().await,
            Route::Configz => Ok(self.configz()),
            Route::Metrics => Ok(reply::metrics(stats::process_metrics(self.workers.pods().len()))),
            Route::ProbeMetrics => Ok(reply::metrics(String::new())),
            Route::ResourceMetrics => self.resource_metrics().await,
            Route::Summary => self.summary().await,
            Route::ContainerLogs(target) => self.container_logs(&target, &pairs).await,
            Route::Exec(target) => self.exec(&target, &pairs, request).await,
            Route::Attach(target) => self.attach(&target, &pairs, request).await,
            Route::Run(target) => self.run_command(&target, &pairs).await,
            Route::PortForward(target) => self.port_forward(&target, &pairs, request).await,
        };
        done.unwrap_or_else(|failed| failed)
    }

    /// The pods of this node, with the statuses last computed.
    fn pods(&self) -> Reply {
        let pods = self.workers.pods().into_iter().map(|(pod, _)| {
            let mut pod = (*pod).clone();
            pod.status = self.ctx.status.get(pod.uid()).or(pod.status);
            pod
        });
        let items: Vec<Pod> = pods.collect();
        reply::json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    /// What runs, as the runtime says.
    async fn running_pods(&self) -> Result<Reply, Failed> {
        let containers = self.ctx.runtime.list_containers().await.map_err(|error| runtime_failed(&error))?;
        let mut items = std::collections::BTreeMap::<String, serde_json::Value>::new();
        for container in containers.iter().filter(|c| c.state() == skiff_cri::v1::ContainerState::ContainerRunning) {
            let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
            let pod = items.entry(label(crate::labels::POD_UID)).or_insert_with(|| {
                json!({"metadata": {"name": label(crate::labels::POD_NAME), "namespace": label(crate::labels::POD_NAMESPACE),
                    "uid": label(crate::labels::POD_UID)}, "spec": {"containers": []}, "status": {}})
            });
            let image = container.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
            if let Some(list) = pod["spec"]["containers"].as_array_mut() {
                list.push(json!({"name": label(crate::labels::CONTAINER_NAME), "image": image, "resources": {}}));
            }
        }
        let items: Vec<_> = items.into_values().collect();
        Ok(reply::json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})))
    }

    fn configz(&self) -> Reply {
        let settings = &self.ctx.settings;
        reply::json(&json!({"kubeletconfig": {
            "clusterDomain": settings.cluster_domain,
            "clusterDNS": self.ctx.dns.cluster_servers,
            "seccompDefault": settings.seccomp_default,
            "podLogsDir": settings.logs_root,
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "serializeImagePulls": false,
        }}))
    }

    async fn resource_metrics(&self) -> Result<Reply, Failed> {
        let stats = self.ctx.runtime.container_stats().await.map_err(|error| runtime_failed(&error))?;
        Ok(reply::metrics(stats::resource_metrics(&stats, &stats::NodeUse::read())))
    }

    async fn summary(&self) -> Result<Reply, Failed> {
        let containers = self.ctx.runtime.container_stats().await.map_err(|error| runtime_failed(&error))?;
        // Older runtimes do not have it.
        let sandboxes = self.ctx.runtime.sandbox_stats().await.unwrap_or_default();
        let node = &self.ctx.settings.node_name;
        Ok(reply::json(&stats::summary(node, &containers, &sandboxes, &stats::NodeUse::read())))
    }

    /// The right to one more session; it is given back when the session ends.
    fn session_place(&self) -> Result<OwnedSemaphorePermit, Failed> {
        self.sessions.clone().try_acquire_owned().map_err(|_| {
            reply::text(StatusCode::TOO_MANY_REQUESTS, "too many exec, attach and port-forward sessions on this node")
        })
    }

    /// A pod of this node by name.
    fn find(&self, target: &Target) -> Result<Arc<Pod>, Failed> {
        let pods = self.workers.pods();
        let found = pods.into_iter().map(|(pod, _)| pod).filter(|pod| {
            pod.namespace() == target.namespace
                && pod.name() == target.pod
                && (target.uid.is_empty() || pod.uid() == target.uid)
        });
        // A successor of the same name may wait for the old one to end.
        let newest = found.max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        newest.ok_or_else(|| not_found(format!("pod {:?} does not exist", target.pod)))
    }

    /// Id of a running container.
    async fn running_container(&self, target: &Target) -> Result<(Arc<Pod>, String), Failed> {
        let pod = self.find(target)?;
        let observed = self.ctx.runtime.observe(pod.uid()).await.map_err(|error| runtime_failed(&error))?;
        match observed.container(&target.container).filter(|c| c.state == ContainerState::Running) {
            Some(container) => Ok((pod, container.id.clone())),
            None => Err(not_found(format!("container not found ({:?})", target.container))),
        }
    }

    async fn exec(
        &self,
        target: &Target,
        pairs: &[(String, String)],
        request: Request<Incoming>,
    ) -> Result<Reply, Failed> {
        let bad = |text: String| reply::text(StatusCode::BAD_REQUEST, text);
        let streams = sessions::streams(pairs).map_err(bad)?;
        let command = command(pairs);
        if command.is_empty() {
            return Err(bad("you must specify a command".to_owned()));
        }
        require_upgrade(&request)?;
        let place = self.session_place()?;
        let (_, id) = self.running_container(target).await?;
        let url = self.ctx.runtime.exec_url(&id, command, streams).await.map_err(|error| runtime_failed(&error))?;
        Ok(sessions::pass_on(request, &url, place).await)
    }

    async fn attach(
        &self,
        target: &Target,
        pairs: &[(String, String)],
        request: Request<Incoming>,
    ) -> Result<Reply, Failed> {
        let mut streams = sessions::streams(pairs).map_err(|text| reply::text(StatusCode::BAD_REQUEST, text))?;
        require_upgrade(&request)?;
        let place = self.session_place()?;
        let (pod, id) = self.running_container(target).await?;
        // Whether a process has a terminal is settled when it starts.
        streams.tty = pod.find_container(&target.container).is_some_and(|(_, c)| c.tty == Some(true));
        streams.stderr &= !streams.tty;
        let url = self.ctx.runtime.attach_url(&id, streams).await.map_err(|error| runtime_failed(&error))?;
        Ok(sessions::pass_on(request, &url, place).await)
    }

    async fn port_forward(
        &self,
        target: &Target,
        pairs: &[(String, String)],
        request: Request<Incoming>,
    ) -> Result<Reply, Failed> {
        require_upgrade(&request)?;
        let place = self.session_place()?;
        let pod = self.find(target)?;
        let observed = self.ctx.runtime.observe(pod.uid()).await.map_err(|error| runtime_failed(&error))?;
        let Some(sandbox) = observed.sandboxes.first().filter(|sandbox| sandbox.ready) else {
            return Err(not_found(format!("pod not found ({:?})", format!("{}_{}", target.pod, target.namespace))));
        };
        // Websocket clients name ports in the query, SPDY clients in the streams.
        let ports = pairs.iter().filter(|(key, _)| matches!(key.as_str(), "port" | "ports"));
        let ports = ports.flat_map(|(_, value)| value.split(',')).filter_map(|port| port.parse().ok()).collect();
        let url =
            self.ctx.runtime.port_forward_url(&sandbox.id, ports).await.map_err(|error| runtime_failed(&error))?;
        Ok(sessions::pass_on(request, &url, place).await)
    }

    async fn run_command(&self, target: &Target, pairs: &[(String, String)]) -> Result<Reply, Failed> {
        let command: Vec<String> = match pairs.iter().find(|(key, _)| key == "cmd") {
            Some((_, text)) => text.split(' ').map(str::to_owned).collect(),
            None => command(pairs),
        };
        let (_, id) = self.running_container(target).await?;
        let output =
            self.ctx.runtime.exec_sync(&id, command, Duration::ZERO).await.map_err(|error| runtime_failed(&error))?;
        Ok(reply::text(StatusCode::OK, String::from_utf8_lossy(&output.output).into_owned()))
    }

    async fn container_logs(&self, target: &Target, pairs: &[(String, String)]) -> Result<Reply, Failed> {
        let bad = |text: String| reply::text(StatusCode::BAD_REQUEST, text);
        let options = LogOptions::parse(pairs, now()).map_err(bad)?;
        let pod = self.find(target)?;
        let name = &target.container;
        if pod.find_container(name).is_none() {
            return Err(not_found(format!("container {name:?} not found in pod {:?}", target.pod)));
        }
        let status = self.ctx.status.get(pod.uid()).or_else(|| pod.status.clone()).unwrap_or_default();
        let lists = [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
        let status = lists.into_iter().flatten().flatten().find(|status| status.name == *name);
        let id = log_container(&target.pod, name, status.as_ref(), options.previous).map_err(bad)?;
        let path = match self.ctx.runtime.container_status(&id).await {
            Ok(status) => PathBuf::from(status.log_path),
            Err(_) => {
                return Err(bad(format!(
                    "unable to retrieve container logs for {}://{id}",
                    self.ctx.node_facts().runtime_name
                )));
            }
        };
        if !path.exists() {
            return Err(bad(read::missing(&path)));
        }
        let (sender, receiver) = mpsc::channel(LOG_CHUNKS);
        let runtime = self.ctx.runtime.clone();
        tokio::spawn(async move {
            if let Err(error) = read::send(runtime, id, path, options, sender).await {
                tracing::debug!(%error, "reading a log ended");
            }
        });
        Ok(reply::stream(receiver))
    }
}

fn command(pairs: &[(String, String)]) -> Vec<String> {
    pairs.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect()
}

fn require_upgrade(request: &Request<Incoming>) -> Result<(), Failed> {
    if request.headers().contains_key(header::UPGRADE) {
        return Ok(());
    }
    let text = "unable to upgrade: missing upgrade headers in request";
    Err(reply::text(StatusCode::BAD_REQUEST, text))
}

/// Which run of a container has the wanted log. The error is upstream's message.
fn log_container(pod: &str, name: &str, status: Option<&ContainerStatus>, previous: bool) -> Result<String, String> {
    let Some(status) = status else {
        return Err(format!("container {name:?} in pod {pod:?} is not available"));
    };
    let bare = |id: &Option<String>| {
        let id = id.as_deref().unwrap_or_default();
        Some(id.rsplit("://").next().unwrap_or_default().to_owned()).filter(|id| !id.is_empty())
    };
    let state = status.state.clone().unwrap_or_default();
    let last =
        status.last_state.as_ref().and_then(|last| last.terminated.as_ref()).and_then(|end| bare(&end.container_id));
    if previous {
        return last.ok_or_else(|| format!("previous terminated container {name:?} in pod {pod:?} not found"));
    }
    if state.running.is_some() {
        return bare(&status.container_id).ok_or_else(|| format!("container {name:?} in pod {pod:?} is not available"));
    }
    if let Some(end) = &state.terminated {
        let id = bare(&end.container_id).or(last);
        return id.ok_or_else(|| format!("container {name:?} in pod {pod:?} is terminated"));
    }
    if let Some(last) = last {
        return Ok(last);
    }
    let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
    Err(match reason.as_str() {
        "ErrImagePull" => {
            format!("container {name:?} in pod {pod:?} is waiting to start: image can't be pulled")
        }
        "ImagePullBackOff" => {
            format!("container {name:?} in pod {pod:?} is waiting to start: trying and failing to pull image")
        }
        "" => format!("container {name:?} in pod {pod:?} is waiting to start - no logs yet"),
        reason => format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn check(state: Value, last: Value, previous: bool, expected: Result<&str, &str>) {
        let status = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "containerID": "skiff://now", "state": state, "lastState": last});
        let status: ContainerStatus = serde_json::from_value(status).expect("a status");
        let found = log_container("p", "c", Some(&status), previous);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn the_run_with_the_log_is_found() {
        let end = |id: &str| json!({"terminated": {"exitCode": 1, "containerID": id}});
        check(json!({"running": {}}), json!({}), false, Ok("now"));
        check(json!({"running": {}}), end("skiff://before"), true, Ok("before"));
        check(
            json!({"running": {}}),
            json!({}),
            true,
            Err("previous terminated container \"c\" in pod \"p\" not found"),
        );
        check(end("skiff://now"), json!({}), false, Ok("now"));
        check(end(""), end("skiff://before"), false, Ok("before"));
        check(json!({"waiting": {"reason": "CrashLoopBackOff"}}), end("skiff://before"), false, Ok("before"));
        check(
            json!({"waiting": {"reason": "ContainerCreating"}}),
            json!({}),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
        check(
            json!({"waiting": {"reason": "ImagePullBackOff"}}),
            json!({}),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
        );
    }
}
