//! Volumes of pods: set up before containers start, kept up to date while they run, torn down when the pod is gone.
//!
//! [`Volumes::set_up`] is idempotent and is called again for updates: files change only if their content does, mounts
//! are made only if they are missing, so it also repairs what a crash left half done. Everything lies below
//! `ROOT/pods/UID/`, so tearing down needs no memory of what was set up.

pub(crate) mod atomic_writer;
mod claim;
pub(crate) mod container;
mod host_path;
mod mounter;
mod ownership;
mod payload;
mod subpath;
mod token;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{
    ConfigMap, EmptyDirVolumeSource, Pod, ProjectedVolumeSource, Secret, Volume, VolumeProjection,
};
use kube::Client;

use crate::env::field_ref::Facts;
use crate::objects::{Changed, ObjectCache};
use crate::pod::PodExt;
use crate::quantity::{milli_value, value, value_of};
use atomic_writer::Payload;
use payload::{DEFAULT_MODE, config_map_files, downward_files, secret_files, token_file};
use token::Tokens;

/// A volume on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostVolume {
    pub(crate) path: PathBuf,
    /// Containers cannot write it, whatever they ask for.
    pub(crate) read_only: bool,
}

/// Volumes of a pod by name.
pub(crate) type HostVolumes = BTreeMap<String, HostVolume>;

/// A volume that could not be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeError {
    pub(crate) volume: String,
    pub(crate) message: String,
}

impl std::fmt::Display for VolumeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MountVolume.SetUp failed for volume {:?} : {}", self.volume, self.message)
    }
}

/// Sets up volumes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Volumes {
    /// The kubelet's folder.
    root: PathBuf,
    pub(crate) config_maps: ObjectCache<ConfigMap>,
    pub(crate) secrets: ObjectCache<Secret>,
    tokens: Arc<Tokens>,
    claims: Arc<claim::Claims>,
    /// Whether memory volumes and secrets are on tmpfs. False where the process may not mount.
    tmpfs: bool,
}

impl Volumes {
    pub(crate) fn new(client: Client, root: PathBuf, tmpfs: bool, changed: Changed) -> Self {
        Self {
            root,
            config_maps: ObjectCache::new(client.clone(), changed.clone()),
            secrets: ObjectCache::new(client.clone(), changed),
            tokens: Arc::new(Tokens::new(client.clone())),
            claims: Arc::new(claim::Claims::new(client)),
            tmpfs,
        }
    }

    /// The folder of everything that belongs to a pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// Sets up or updates all volumes of a pod. All are tried; errors name those that failed.
    pub(crate) async fn set_up(&self, pod: &Arc<Pod>, facts: &Facts) -> Result<HostVolumes, Vec<VolumeError>> {
        // Images are mounted by the runtime.
        let ours = pod.pod_volumes().iter().filter(|volume| volume.image.is_none());
        let volumes = join_all(ours.map(|volume| async move {
            let result = self.set_up_one(pod, volume, facts).await;
            (volume.name.clone(), result)
        }));
        let (mut done, mut failed) = (HostVolumes::new(), Vec::new());
        for (volume, result) in volumes.await {
            match result {
                Ok(host) => drop(done.insert(volume, host)),
                Err(message) => failed.push(VolumeError { volume, message }),
            }
        }
        if failed.is_empty() { Ok(done) } else { Err(failed) }
    }

    /// Unmounts and removes everything of a pod. Safe to repeat.
    pub(crate) async fn tear_down(&self, uid: &str) -> io::Result<()> {
        self.config_maps.release(uid);
        self.secrets.release(uid);
        self.tokens.release(uid);
        self.claims.release(uid);
        let dir = self.pod_dir(uid);
        blocking(move || mounter::remove_tree(&dir)).await
    }

    /// UIDs of pods that have a folder.
    pub(crate) fn known_pods(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("pods")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    async fn set_up_one(&self, pod: &Arc<Pod>, volume: &Volume, facts: &Facts) -> Result<HostVolume, String> {
        let path =
            |kind: &str| self.pod_dir(pod.uid()).join(format!("volumes/kubernetes.io~{kind}")).join(&volume.name);
        if let Some(source) = &volume.host_path {
            let type_ = source.type_.clone().unwrap_or_default();
            return host_folder(PathBuf::from(&source.path), type_, false).await;
        }
        if let Some(claimed) = self.claims.get(pod, volume).await? {
            return match claimed.type_ {
                Some(type_) => host_folder(claimed.path, type_, claimed.read_only).await,
                None => local(pod, claimed.path, claimed.read_only, path("local-volume")).await,
            };
        }
        if let Some(source) = &volume.empty_dir {
            return self.empty_dir(pod, source, path("empty-dir"), facts).await;
        }
        let (path, payload, in_memory) = if let Some(source) = &volume.config_map {
            let (items, optional) = (source.items.as_deref(), source.optional == Some(true));
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            (path("configmap"), self.config_map(pod, &source.name, items, optional, mode).await?, false)
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let (items, optional) = (source.items.as_deref(), source.optional == Some(true));
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            (path("secret"), self.secret(pod, name, items, optional, mode).await?, true)
        } else if let Some(source) = &volume.downward_api {
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            let items = source.items.as_deref().unwrap_or(&[]);
            (path("downward-api"), downward_files(pod, items, mode, facts)?, true)
        } else if let Some(source) = &volume.projected {
            (path("projected"), self.projected(pod, source, facts).await?, true)
        } else {
            return Err(format!("no volume plugin matched: {}", source_kind(volume)));
        };
        self.write_files(pod, path, payload, in_memory).await
    }

    async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
        items: Option<&[k8s_openapi::api::core::v1::KeyToPath]>,
        optional: bool,
        mode: i32,
    ) -> Result<Payload, String> {
        let map = self.config_maps.get(pod.uid(), pod.namespace(), name).await?;
        config_map_files(name, map.as_deref(), items, optional, mode)
    }

    async fn secret(
        &self,
        pod: &Pod,
        name: &str,
        items: Option<&[k8s_openapi::api::core::v1::KeyToPath]>,
        optional: bool,
        mode: i32,
    ) -> Result<Payload, String> {
        let secret = self.secrets.get(pod.uid(), pod.namespace(), name).await?;
        secret_files(name, secret.as_deref(), items, optional, mode)
    }

    async fn projected(&self, pod: &Pod, source: &ProjectedVolumeSource, facts: &Facts) -> Result<Payload, String> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let (mut payload, mut errors) = (Payload::new(), Vec::new());
        for part in source.sources.as_deref().unwrap_or(&[]) {
            match self.projection(pod, part, mode, facts).await {
                Ok(files) => payload.extend(files),
                Err(error) => errors.push(error),
            }
        }
        match errors.as_slice() {
            [] => Ok(payload),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    async fn projection(
        &self,
        pod: &Pod,
        part: &VolumeProjection,
        mode: i32,
        facts: &Facts,
    ) -> Result<Payload, String> {
        if let Some(source) = &part.config_map {
            let (items, optional) = (source.items.as_deref(), source.optional == Some(true));
            return self.config_map(pod, &source.name, items, optional, mode).await;
        }
        if let Some(source) = &part.secret {
            let (items, optional) = (source.items.as_deref(), source.optional == Some(true));
            return self.secret(pod, &source.name, items, optional, mode).await;
        }
        if let Some(source) = &part.downward_api {
            return downward_files(pod, source.items.as_deref().unwrap_or(&[]), mode, facts);
        }
        if let Some(source) = &part.service_account_token {
            let token = self.tokens.get(pod, source).await?;
            return Ok(Payload::from([(source.path.clone(), token_file(pod, &token, mode))]));
        }
        let kind = if part.cluster_trust_bundle.is_some() { "clusterTrustBundle" } else { "podCertificate" };
        Err(format!("projected source {kind} is not supported by this kubelet"))
    }

    async fn write_files(
        &self,
        pod: &Pod,
        path: PathBuf,
        payload: Payload,
        in_memory: bool,
    ) -> Result<HostVolume, String> {
        let tmpfs = in_memory && self.tmpfs;
        let group = group_of(pod);
        let written = path.clone();
        blocking(move || {
            make_dir(&written, 0o755)?;
            if tmpfs {
                mounter::mount_tmpfs(&written, None, 0o777)?;
            }
            fs::set_permissions(&written, fs::Permissions::from_mode(0o777))?;
            let prepare = |files: &Path| match group {
                Some((group, _)) => ownership::set_group(files, group, true, false),
                None => Ok(()),
            };
            atomic_writer::write(&written, &payload, jiff::Timestamp::now(), prepare).map(drop)
        })
        .await
        .map_err(|error| error.to_string())?;
        Ok(HostVolume { path, read_only: true })
    }

    async fn empty_dir(
        &self,
        pod: &Pod,
        source: &EmptyDirVolumeSource,
        path: PathBuf,
        facts: &Facts,
    ) -> Result<HostVolume, String> {
        let in_memory = match source.medium.as_deref().unwrap_or_default() {
            "" => false,
            "Memory" => true,
            other => return Err(format!("emptyDir medium {other:?} is not supported by this kubelet")),
        };
        let size = in_memory.then(|| memory_size(pod, source, facts));
        let tmpfs = in_memory && self.tmpfs;
        let group = group_of(pod);
        let made = path.clone();
        blocking(move || {
            let fresh = !made.exists();
            make_dir(&made, 0o777)?;
            let mounted = tmpfs && !mounter::is_mount_point(&made)?;
            if mounted {
                mounter::mount_tmpfs(&made, size.flatten(), 0o777)?;
            }
            // Once only: later the files belong to the pod.
            match group {
                Some((group, on_mismatch)) if fresh || mounted => {
                    ownership::set_group(&made, group, false, on_mismatch)
                }
                _ => Ok(()),
            }
        })
        .await
        .map_err(|error| error.to_string())?;
        Ok(HostVolume { path, read_only: false })
    }
}

/// A path of the node that is what it should be, or is made to be.
async fn host_folder(path: PathBuf, type_: String, read_only: bool) -> Result<HostVolume, String> {
    let checked = path.clone();
    let result = tokio::task::spawn_blocking(move || host_path::prepare(&checked, &type_)).await;
    result.map_err(|error| error.to_string())??;
    Ok(HostVolume { path, read_only })
}

/// A folder of the node that is there, and was given to the pod's group. `given` is the pod's folder that says so: later
/// the modes of files are the pod's own business.
async fn local(pod: &Pod, path: PathBuf, read_only: bool, given: PathBuf) -> Result<HostVolume, String> {
    let (group, checked) = (group_of(pod), path.clone());
    let prepared = blocking(move || {
        fs::metadata(&checked)?;
        match group {
            Some((group, on_mismatch)) if !read_only && !given.exists() => {
                ownership::set_group(&checked, group, false, on_mismatch)?;
                make_dir(&given, 0o750)
            }
            _ => Ok(()),
        }
    });
    prepared.await.map_err(|error| format!("path {:?}: {error}", path.display().to_string()))?;
    Ok(HostVolume { path, read_only })
}

/// The pod's fsGroup, and whether volumes that already belong to it are left alone.
fn group_of(pod: &Pod) -> Option<(u32, bool)> {
    let security = pod.pod_security();
    let group = u32::try_from(security.fs_group?).ok()?;
    Some((group, security.fs_group_change_policy.as_deref() == Some("OnRootMismatch")))
}

/// Size of a memory volume: the least of its own limit, the pod's memory limit and what the node has for pods.
fn memory_size(pod: &Pod, source: &EmptyDirVolumeSource, facts: &Facts) -> Option<i64> {
    let node = value_of(Some(&facts.allocatable), "memory");
    let of_pod = crate::spec::resources::PodTotals::of(pod).memory_limit;
    let own = source.size_limit.as_ref().filter(|q| milli_value(q) > 0).map(value);
    [Some(node), of_pod, own].into_iter().flatten().filter(|size| *size > 0).min()
}

/// The field of a volume that says what it is, for messages.
fn source_kind(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).ok();
    let kind = fields.as_ref().and_then(|v| v.as_object()).and_then(|v| v.keys().find(|key| *key != "name"));
    kind.cloned().unwrap_or_else(|| "no source".into())
}

/// Makes a folder and its parents; `mode` holds for the folder itself, whatever the umask.
pub(crate) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Runs file system work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    #[test]
    fn memory_volumes_have_the_least_limit() {
        let facts = Facts { allocatable: [("memory".to_owned(), Quantity("8Gi".into()))].into(), ..Default::default() };
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"memory": "1Gi"}}}]}}))
        .expect("a pod");
        let size = |limit: Option<&str>| {
            let source = EmptyDirVolumeSource { size_limit: limit.map(|l| Quantity(l.into())), medium: None };
            memory_size(&pod, &source, &facts)
        };
        assert_eq!(size(None), Some(1 << 30));
        assert_eq!(size(Some("64Mi")), Some(64 << 20));
        assert_eq!(size(Some("4Gi")), Some(1 << 30));
        let unlimited = EmptyDirVolumeSource::default();
        let other: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}]}})).expect("a pod");
        assert_eq!(memory_size(&other, &unlimited, &facts), Some(8 << 30));
    }

    #[tokio::test]
    async fn a_local_volume_is_given_to_the_group_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let (volume, given) = (dir.path().join("volume"), dir.path().join("pod/local-volume/v"));
        let key = volume.join("key");
        fs::create_dir(&volume).expect("a folder");
        fs::write(&key, "").expect("a file");
        let group = rustix::process::getgid().as_raw();
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"securityContext": {"fsGroup": group}, "containers": []}}))
                .expect("a pod");
        let mode = || fs::metadata(&key).expect("a file").permissions().mode() & 0o777;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
        local(&pod, volume.clone(), false, given.clone()).await.expect("set up");
        assert_eq!(mode(), 0o660);
        // What the program in the pod does later is not undone when volumes are refreshed.
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
        local(&pod, volume, false, given).await.expect("set up");
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn unknown_sources_are_named() {
        let volume: Volume =
            serde_json::from_value(json!({"name": "v", "nfs": {"path": "/", "server": "s"}})).expect("a volume");
        assert_eq!(source_kind(&volume), "nfs");
    }
}
