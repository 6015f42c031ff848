//! The mounts of one container: its volumes, the managed hosts file and the termination log.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use skiff_cri::v1;

use super::{HostVolumes, make_dir, subpath};
use crate::env::expand::expand;
use crate::pod::security;
use crate::spec::hosts;

/// Images that are mounted as volumes, as the runtime knows them, by volume.
pub(crate) type ImageVolumes = BTreeMap<String, String>;

/// What the mounts of a container are made of.
pub(crate) struct MountInputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    /// The pod's folder.
    pub(crate) pod_dir: PathBuf,
    pub(crate) volumes: &'a HostVolumes,
    pub(crate) images: &'a ImageVolumes,
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) pod_ips: &'a [String],
    pub(crate) cluster_domain: &'a str,
    /// The runtime can make all mounts below a read-only one read-only.
    pub(crate) recursive_read_only: bool,
}

/// Makes what has to exist on the host and lists the mounts. Blocks. The error is the message of
/// CreateContainerConfigError.
pub(crate) fn container_mounts(inputs: &MountInputs<'_>) -> Result<Vec<v1::Mount>, String> {
    let mut mounts = Vec::new();
    for (index, mount) in inputs.container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(inputs, index, mount)?);
    }
    if hosts::is_managed(inputs.pod, inputs.container, inputs.pod_ips) {
        let path = hosts_file(inputs).map_err(|error| format!("cannot write the hosts file: {error}"))?;
        mounts.push(v1::Mount {
            container_path: hosts::HOSTS_PATH.into(),
            host_path: path.display().to_string(),
            readonly: security(inputs.container).read_only_root_filesystem == Some(true),
            ..Default::default()
        });
    }
    let message_path = inputs.container.termination_message_path.as_deref().unwrap_or_default();
    if !message_path.is_empty() {
        let path = termination_log(inputs).map_err(|error| format!("cannot make the termination log: {error}"))?;
        mounts.push(v1::Mount {
            container_path: message_path.to_owned(),
            host_path: path.display().to_string(),
            ..Default::default()
        });
    }
    Ok(mounts)
}

fn volume_mount(inputs: &MountInputs<'_>, index: usize, mount: &VolumeMount) -> Result<v1::Mount, String> {
    let name = &inputs.container.name;
    if let Some(image) = inputs.images.get(&mount.name) {
        return Ok(v1::Mount {
            container_path: absolute(&mount.mount_path),
            readonly: true,
            image: Some(v1::ImageSpec { image: image.clone(), ..Default::default() }),
            image_sub_path: sub_path(inputs, mount)?,
            ..Default::default()
        });
    }
    let volume = inputs
        .volumes
        .get(&mount.name)
        .ok_or_else(|| format!("cannot find volume {:?} to mount into container {name:?}", mount.name))?;
    let sub_path = sub_path(inputs, mount)?;
    let host_path = if sub_path.is_empty() {
        volume.path.clone()
    } else {
        subpath::validate(&sub_path)?;
        let parts = format!("volume-subpaths/{}/{name}/{index}", mount.name);
        let target = inputs.pod_dir.join(parts);
        subpath::mount(&volume.path, &sub_path, &target).map_err(|error| {
            // The kernel's reason may tell about the host's files: it is for the log only.
            tracing::warn!(volume = %mount.name, container = %name, %sub_path, %error, "cannot prepare a subPath");
            format!("failed to prepare subPath for volumeMount {:?} of container {name:?}", mount.name)
        })?;
        target
    };
    let read_only = mount.read_only == Some(true) || volume.read_only;
    Ok(v1::Mount {
        container_path: absolute(&mount.mount_path),
        host_path: host_path.display().to_string(),
        readonly: read_only,
        propagation: propagation(mount)?.into(),
        recursive_read_only: recursive_read_only(mount, inputs.recursive_read_only)?,
        ..Default::default()
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The subPath, with `subPathExpr` filled in. A variable without a value is an error.
fn sub_path(inputs: &MountInputs<'_>, mount: &VolumeMount) -> Result<String, String> {
    let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
    if expression.is_empty() {
        return Ok(mount.sub_path.clone().unwrap_or_default());
    }
    let mut missing = std::collections::BTreeSet::new();
    let path = expand(expression, |name| {
        let value = inputs.environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.insert(name.to_owned());
        }
        value
    });
    if missing.is_empty() {
        return Ok(path);
    }
    let names: Vec<String> = missing.into_iter().collect();
    Err(format!("missing value for {}", names.join(", ")))
}

fn propagation(mount: &VolumeMount) -> Result<v1::MountPropagation, String> {
    match mount.mount_propagation.as_deref() {
        None | Some("" | "None") => Ok(v1::MountPropagation::PropagationPrivate),
        Some("HostToContainer") => Ok(v1::MountPropagation::PropagationHostToContainer),
        Some("Bidirectional") => Ok(v1::MountPropagation::PropagationBidirectional),
        Some(other) => Err(format!("invalid MountPropagation mode: {other:?}")),
    }
}

/// Whether everything below a read-only mount is read-only too, as the pod asks and the runtime can.
pub(crate) fn recursive_read_only(mount: &VolumeMount, supported: bool) -> Result<bool, String> {
    let name = &mount.name;
    match mount.recursive_read_only.as_deref() {
        None | Some("" | "Disabled") => return Ok(false),
        Some("IfPossible" | "Enabled") if mount.read_only != Some(true) => {
            return Err(format!("volume {name:?} requested recursive read-only mode, but it is not read-only"));
        }
        Some("IfPossible") => return Ok(supported),
        Some("Enabled") if supported => return Ok(true),
        Some("Enabled") => {}
        Some(other) => return Err(format!("unknown recursive read-only mode {other:?}")),
    }
    Err(format!("volume {name:?} requested recursive read-only mode, but it is not supported by the runtime"))
}

fn hosts_file(inputs: &MountInputs<'_>) -> io::Result<PathBuf> {
    let node_file = if inputs.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true)) {
        fs::read_to_string(hosts::HOSTS_PATH)?
    } else {
        String::new()
    };
    let content = hosts::content(inputs.pod, inputs.pod_ips, inputs.cluster_domain, &node_file);
    make_dir(&inputs.pod_dir, 0o750)?;
    let path = inputs.pod_dir.join("etc-hosts");
    write_file(&path, content.as_bytes(), 0o644)?;
    Ok(path)
}

/// An empty file for the last words of one run of the container.
fn termination_log(inputs: &MountInputs<'_>) -> io::Result<PathBuf> {
    let dir = inputs.pod_dir.join("containers").join(&inputs.container.name);
    make_dir(&dir, 0o750)?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let path = dir.join(&id[..8]);
    write_file(&path, b"", 0o666)?;
    Ok(path)
}

/// Writes in place: a bind mount shows the file, not the name.
fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::PodExt;
    use crate::volumes::HostVolume;
    use serde_json::{Value, json};

    fn mounts(container: Value) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}}))
            .expect("a pod");
        let volume = |read_only| HostVolume { path: "/volumes/v".into(), read_only };
        let inputs = MountInputs {
            pod: &pod,
            container: &pod.regular_containers()[0],
            pod_dir: dir.path().join("pod"),
            volumes: &[("v".to_owned(), volume(false)), ("ro".to_owned(), volume(true))].into(),
            images: &[("i".to_owned(), "sha256:1".to_owned())].into(),
            environment: &[("DIR".to_owned(), "/etc".to_owned())].into(),
            pod_ips: &["10.0.0.1".into()],
            cluster_domain: "cluster.local",
            recursive_read_only: false,
        };
        let text = |mount: &v1::Mount| {
            let host = mount.host_path.replace(&dir.path().display().to_string(), "");
            let host = if mount.container_path == "/dev/termination-log" { "LOG".to_owned() } else { host };
            let host = match &mount.image {
                Some(image) => format!("{}{host} at {:?}", image.image, mount.image_sub_path),
                None => host,
            };
            format!("{host} -> {}{}", mount.container_path, if mount.readonly { " ro" } else { "" })
        };
        container_mounts(&inputs).map(|mounts| mounts.iter().map(text).collect())
    }

    #[test]
    fn volumes_hosts_file_and_termination_log() {
        let container = json!({"name": "c", "terminationMessagePath": "/dev/termination-log", "volumeMounts": [
            {"name": "v", "mountPath": "/data"}, {"name": "ro", "mountPath": "config"}, {"name": "v", "mountPath": "/r", "readOnly": true}]});
        let expected = [
            "/volumes/v -> /data",
            "/volumes/v -> /config ro",
            "/volumes/v -> /r ro",
            "/pod/etc-hosts -> /etc/hosts",
            "LOG -> /dev/termination-log",
        ];
        assert_eq!(mounts(container), Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn images_are_mounted_by_the_runtime() {
        let container = json!({"name": "c", "volumeMounts": [{"name": "i", "mountPath": "/i", "subPath": "etc"}]});
        let made = mounts(container).expect("mounts");
        assert_eq!(made[0], "sha256:1 at \"etc\" -> /i ro");
    }

    #[test]
    fn bad_mounts_are_refused() {
        let check = |mount: Value, expected: &str| {
            assert_eq!(mounts(json!({"name": "c", "volumeMounts": [mount]})), Err(expected.to_owned()));
        };
        check(json!({"name": "x", "mountPath": "/x"}), "cannot find volume \"x\" to mount into container \"c\"");
        check(json!({"name": "v", "mountPath": "/x", "subPathExpr": "$(NONE)"}), "missing value for NONE");
        check(
            json!({"name": "v", "mountPath": "/x", "subPathExpr": "$(DIR)"}),
            "error SubPath `/etc` must not be an absolute path",
        );
        check(
            json!({"name": "v", "mountPath": "/x", "readOnly": true, "recursiveReadOnly": "Enabled"}),
            "volume \"v\" requested recursive read-only mode, but it is not supported by the runtime",
        );
    }
}
