//! Volumes and claims stay while somebody uses them.
//!
//! Follows `plugin/pkg/admission/storage/storageobjectinuseprotection`. Controllers take the finalizers away.

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request};

fn finalizer(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

pub(super) struct StorageObjectInUseProtection;

#[async_trait::async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        operation == Operation::Create && subresource.is_empty() && finalizer(group, resource).is_some()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let (Some(finalizer), Some(object)) = (finalizer(request.group, request.resource), &mut request.object) else {
            return Ok(());
        };
        let mut finalizers = object.array_at(&["metadata", "finalizers"]).to_vec();
        if !finalizers.iter().any(|present| present.as_str() == Some(finalizer)) {
            finalizers.push(Value::from(finalizer));
            object.set_at(&["metadata", "finalizers"], finalizers);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::Case;
    use super::*;

    #[tokio::test]
    async fn finalizers_are_added_once() {
        for (group, resource, finalizer) in [
            ("", "persistentvolumes", "kubernetes.io/pv-protection"),
            ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
            ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
        ] {
            for (before, after) in [
                (value!([]), value!([finalizer])),
                (value!(["own"]), value!(["own", finalizer])),
                (value!([finalizer]), value!([finalizer])),
            ] {
                let object = value!({"metadata": {"name": "x", "finalizers": before}});
                let object = Case::create(group, resource, "", object).admit(&StorageObjectInUseProtection).await;
                assert_eq!(object.expect("admitted").at(&["metadata", "finalizers"]), Some(&after));
            }
        }
    }
}
