//! Claims grow only where their class allows it.
//!
//! Follows `plugin/pkg/admission/storage/persistentvolume/resize`.

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_quota::quantity;

use super::{Operation, Plugin, Request};
use crate::objects::Objects;

pub(super) struct PersistentVolumeClaimResize {
    objects: Objects,
}

impl PersistentVolumeClaimResize {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }
}

fn size(claim: &Value) -> Quantity {
    let asked = claim.at(&["spec", "resources", "requests", "storage"]);
    asked.and_then(quantity).unwrap_or(Quantity::from_value(0))
}

/// The class by its old name, an annotation, or by its field.
fn class(claim: &Value) -> &str {
    const OLD_ANNOTATION: [&str; 3] = ["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"];
    claim.str_at(&OLD_ANNOTATION).or_else(|| claim.str_at(&["spec", "storageClassName"])).unwrap_or("")
}

#[async_trait::async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Update, "", "persistentvolumeclaims", "")
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let (old, new) = (request.old(), request.object());
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.str_at(&["status", "phase"]) != Some("Bound") {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let growing = if class(new) == class(old) {
            self.objects.find("storage.k8s.io", "storageclasses", "", class(new)).await?
        } else {
            None
        };
        if growing.and_then(|class| class.bool_at(&["allowVolumeExpansion"])) == Some(true) {
            return Ok(());
        }
        Err(request.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize",
        ))
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;

    #[tokio::test]
    async fn claims_grow_where_their_class_allows_it() {
        let fixture = Fixture::new();
        for (name, allowed) in [("growing", true), ("fixed", false)] {
            let class = value!({"metadata": {"name": name}, "allowVolumeExpansion": allowed});
            fixture.put("storage.k8s.io", "storageclasses", class);
        }
        let plugin = PersistentVolumeClaimResize::new(fixture.objects());
        let claim = |class: &str, phase: &str, size: &str| {
            value!({
                "metadata": {"name": "c"}, "status": {"phase": phase},
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}
            })
        };
        const REFUSED: &str = "only dynamically provisioned pvc can be resized and the storageclass that provisions the \
                               pvc must support resize";
        for (class, phase, size, refused) in [
            ("growing", "Bound", "2Gi", None),
            ("fixed", "Bound", "1Gi", None),
            ("fixed", "Bound", "2Gi", Some(REFUSED)),
            ("", "Bound", "2Gi", Some(REFUSED)),
            ("growing", "Pending", "2Gi", Some("Only bound persistent volume claims can be expanded")),
        ] {
            let (old, new) = (claim(class, phase, "1Gi"), claim(class, phase, size));
            let result = Case::update("", "persistentvolumeclaims", "demo", old, new).admit(&plugin).await.map(|_| ());
            let text = |text: &str| (403, format!("persistentvolumeclaims \"c\" is forbidden: {text}"));
            assert_eq!(result, refused.map_or(Ok(()), |reason| Err(text(reason))));
        }
    }
}
