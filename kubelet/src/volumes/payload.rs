//! From ConfigMaps, Secrets, pod fields and tokens to the files of a volume. Pure: what is referred to is fetched
//! before.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use super::atomic_writer::{File, Payload};
use crate::env::field_ref::{Facts, metadata_value, resource_value};
use crate::pod::PodExt;

/// Mode of files that say nothing about it.
pub(crate) const DEFAULT_MODE: i32 = 0o644;

fn mode_bits(mode: i32) -> u32 {
    mode.unsigned_abs() & 0o777
}

/// Files out of a ConfigMap. `None` is one that does not exist.
pub(crate) fn config_map_files(
    name: &str,
    map: Option<&ConfigMap>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    default_mode: i32,
) -> Result<Payload, String> {
    let Some(map) = map else {
        return if optional { Ok(Payload::new()) } else { Err(format!("configmap {name:?} not found")) };
    };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    let entries = text.chain(binary).collect();
    files_of(&entries, items, optional, default_mode)
        .map_err(|key| format!("configmap references non-existent config key: {key}"))
}

/// Files out of a Secret. `None` is one that does not exist.
pub(crate) fn secret_files(
    name: &str,
    secret: Option<&Secret>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    default_mode: i32,
) -> Result<Payload, String> {
    let Some(secret) = secret else {
        return if optional { Ok(Payload::new()) } else { Err(format!("secret {name:?} not found")) };
    };
    let entries = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect();
    files_of(&entries, items, optional, default_mode)
        .map_err(|key| format!("references non-existent secret key: {key}"))
}

/// All entries under their keys, or only those that `items` names. The error is a missing key.
fn files_of(
    entries: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    default_mode: i32,
) -> Result<Payload, String> {
    let file = |data: &[u8], mode: i32| File { data: data.to_vec(), mode: mode_bits(mode), owner: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(entries.iter().map(|(key, data)| ((*key).to_owned(), file(data, default_mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match entries.get(item.key.as_str()) {
            Some(data) => {
                payload.insert(item.path.clone(), file(data, item.mode.unwrap_or(default_mode)));
            }
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(payload)
}

/// Files out of the pod's own fields.
pub(crate) fn downward_files(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
    facts: &Facts,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items {
        let value = if let Some(field) = &item.field_ref {
            metadata_value(&field.field_path, pod)?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            let (_, container) = pod.find_container(name).ok_or_else(|| format!("container {name} not found"))?;
            resource_value(selector, pod, &container, &facts.allocatable)?
        } else {
            String::new()
        };
        let mode = mode_bits(item.mode.unwrap_or(default_mode));
        payload.insert(item.path.clone(), File { data: value.into_bytes(), mode, owner: None });
    }
    Ok(payload)
}

/// The user all containers run as, if it is one and the same; owns token files.
pub(crate) fn common_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.pod_security().run_as_user;
    let mut all = pod
        .init_containers()
        .iter()
        .chain(pod.regular_containers())
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let first = all.next()??;
    if all.all(|user| user == Some(first)) { u32::try_from(first).ok() } else { None }
}

/// A token's file. Only its user and group can read it, where they are known.
pub(crate) fn token_file(pod: &Pod, token: &str, default_mode: i32) -> File {
    let owner = common_user(pod);
    let restricted = owner.is_some() || pod.pod_security().fs_group.is_some();
    let mode = if restricted { 0o600 } else { mode_bits(default_mode) };
    File { data: token.as_bytes().to_vec(), mode, owner }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn text(payload: Result<Payload, String>) -> Result<String, String> {
        let line =
            |(path, file): (&String, &File)| format!("{path}={} {:o}", String::from_utf8_lossy(&file.data), file.mode);
        payload.map(|payload| payload.iter().map(line).collect::<Vec<_>>().join(", "))
    }

    fn items(value: Value) -> Vec<KeyToPath> {
        serde_json::from_value(value).expect("items")
    }

    #[test]
    fn config_maps() {
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "/w=="}})).expect("a map");
        let files =
            |items: Option<&[KeyToPath]>, optional| text(config_map_files("m", Some(&map), items, optional, 0o640));
        assert_eq!(files(None, false).as_deref(), Ok("a=1 640, b=2 640, c=\u{fffd} 640"));
        let some = items(json!([{"key": "a", "path": "x/y", "mode": 256}]));
        assert_eq!(files(Some(&some), false).as_deref(), Ok("x/y=1 400"));
        let missing = items(json!([{"key": "z", "path": "z"}]));
        assert_eq!(files(Some(&missing), false), Err("configmap references non-existent config key: z".into()));
        assert_eq!(files(Some(&missing), true).as_deref(), Ok(""));
        assert_eq!(text(config_map_files("m", None, None, true, 0)).as_deref(), Ok(""));
        assert_eq!(text(config_map_files("m", None, None, false, 0)), Err("configmap \"m\" not found".into()));
    }

    #[test]
    fn secrets() {
        let secret: Secret = serde_json::from_value(json!({"data": {"k": "dg=="}})).expect("a secret");
        assert_eq!(text(secret_files("s", Some(&secret), None, false, 0o644)).as_deref(), Ok("k=v 644"));
        assert_eq!(text(secret_files("s", None, None, false, 0)), Err("secret \"s\" not found".into()));
    }

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn pod_fields() {
        let pod = pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]}));
        let items: Vec<DownwardAPIVolumeFile> = serde_json::from_value(json!([
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 256},
            {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]))
        .expect("items");
        let files = text(downward_files(&pod, &items, 0o644, &Facts::default()));
        assert_eq!(files.as_deref(), Ok("cpu=2 644, labels=a=\"b\" 400, name=p 644"));
    }

    #[test]
    fn tokens_belong_to_the_pods_user() {
        let one = pod(json!({"securityContext": {"runAsUser": 7}, "containers": [{"name": "a"}, {"name": "b"}]}));
        let file = token_file(&one, "t", 0o644);
        assert_eq!((file.mode, file.owner), (0o600, Some(7)));
        let two = pod(json!({"securityContext": {"runAsUser": 7}, "containers": [{"name": "a"},
            {"name": "b", "securityContext": {"runAsUser": 8}}]}));
        assert_eq!(token_file(&two, "t", 0o644).mode, 0o644);
        let group = pod(json!({"securityContext": {"fsGroup": 7}, "containers": [{"name": "a"}]}));
        assert_eq!((token_file(&group, "t", 0o644).mode, token_file(&group, "t", 0o644).owner), (0o600, None));
    }
}
