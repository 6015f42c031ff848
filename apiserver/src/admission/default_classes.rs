//! The class of claims and ingresses that name none: the newest that is marked as default.
//!
//! Follows `plugin/pkg/admission/storage/storageclass/setdefault` and `plugin/pkg/admission/network/defaultingressclass`.

use std::cmp::Reverse;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request};
use crate::objects::{Extracts, Objects};

/// A class that is marked as default.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DefaultClass {
    created: Reverse<String>,
    name: String,
}

fn marked(class: &Value, annotations: &[&str]) -> Option<DefaultClass> {
    let is_default = |key: &&str| class.str_at(&["metadata", "annotations", key]) == Some("true");
    annotations.iter().any(is_default).then(|| DefaultClass {
        // RFC 3339 in UTC sorts as time does.
        created: Reverse(class.str_at(&["metadata", "creationTimestamp"]).unwrap_or("").to_owned()),
        name: class.str_at(&["metadata", "name"]).unwrap_or("").to_owned(),
    })
}

fn newest(classes: &Extracts<DefaultClass>, objects: &Objects) -> Option<String> {
    classes.get(objects.reader().as_ref()).iter().min().map(|class| class.name.clone())
}

/// `spec.storageClassName` of new claims.
pub(super) struct DefaultStorageClass {
    objects: Objects,
    classes: Extracts<DefaultClass>,
}

impl DefaultStorageClass {
    pub(super) fn new(objects: Objects) -> Self {
        let classes = Extracts::new("storage.k8s.io", "storageclasses", |class| {
            marked(
                class,
                &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
            )
        });
        Self { objects, classes }
    }
}

#[async_trait::async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Create, "", "persistentvolumeclaims", "")
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let claim = request.object();
        const OLD_ANNOTATION: [&str; 3] = ["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"];
        // An empty name is a choice, too: no class.
        if claim.at(&OLD_ANNOTATION).is_some() || claim.at(&["spec", "storageClassName"]).is_some() {
            return Ok(());
        }
        if let (Some(class), Some(claim)) = (newest(&self.classes, &self.objects), &mut request.object) {
            claim.set_at(&["spec", "storageClassName"], class);
        }
        Ok(())
    }
}

/// `spec.ingressClassName` of new ingresses.
pub(super) struct DefaultIngressClass {
    objects: Objects,
    classes: Extracts<DefaultClass>,
}

impl DefaultIngressClass {
    pub(super) fn new(objects: Objects) -> Self {
        let classes = Extracts::new("networking.k8s.io", "ingressclasses", |class| {
            marked(class, &["ingressclass.kubernetes.io/is-default-class"])
        });
        Self { objects, classes }
    }
}

#[async_trait::async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Create, "networking.k8s.io", "ingresses", "")
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let ingress = request.object();
        const OLD_ANNOTATION: [&str; 3] = ["metadata", "annotations", "kubernetes.io/ingress.class"];
        if ingress.at(&OLD_ANNOTATION).is_some() || ingress.at(&["spec", "ingressClassName"]).is_some() {
            return Ok(());
        }
        if let (Some(class), Some(ingress)) = (newest(&self.classes, &self.objects), &mut request.object) {
            ingress.set_at(&["spec", "ingressClassName"], class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;

    fn class(
        fixture: &Fixture,
        group: &str,
        resource: &str,
        annotation: &str,
        name: &str,
        created: &str,
        default: &str,
    ) {
        let mut class = value!({"metadata": {"name": name, "creationTimestamp": created}});
        class.set_at(&["metadata", "annotations", annotation], default);
        fixture.put(group, resource, class);
    }

    #[tokio::test]
    async fn claims_get_the_newest_default() {
        let fixture = Fixture::new();
        let plugin = DefaultStorageClass::new(fixture.objects());
        let claim = |spec: Value| {
            Case::create("", "persistentvolumeclaims", "demo", value!({"metadata": {"name": "c"}, "spec": spec}))
        };
        assert_eq!(claim(value!({})).admit(&plugin).await.expect("ok").at(&["spec", "storageClassName"]), None);
        let put = |name: &str, created: &str, default: &str| {
            class(
                &fixture,
                "storage.k8s.io",
                "storageclasses",
                "storageclass.kubernetes.io/is-default-class",
                name,
                created,
                default,
            );
        };
        put("old", "2026-01-01T00:00:00Z", "true");
        put("b-new", "2026-02-01T00:00:00Z", "true");
        put("a-new", "2026-02-01T00:00:00Z", "true");
        put("newest", "2026-03-01T00:00:00Z", "false");
        for (spec, expected) in [
            (value!({}), "a-new"),
            (value!({"storageClassName": "own"}), "own"),
            (value!({"storageClassName": ""}), ""),
        ] {
            let claim = claim(spec).admit(&plugin).await.expect("ok");
            assert_eq!(claim.str_at(&["spec", "storageClassName"]), Some(expected));
        }
    }

    #[tokio::test]
    async fn ingresses_get_the_newest_default() {
        let fixture = Fixture::new();
        let plugin = DefaultIngressClass::new(fixture.objects());
        class(
            &fixture,
            "networking.k8s.io",
            "ingressclasses",
            "ingressclass.kubernetes.io/is-default-class",
            "web",
            "",
            "true",
        );
        let plain = value!({"metadata": {"name": "i"}});
        let mut annotated = plain.clone();
        annotated.set_at(&["metadata", "annotations", "kubernetes.io/ingress.class"], "old");
        let ingress = |object: Value| Case::create("networking.k8s.io", "ingresses", "demo", object);
        let admitted = ingress(plain).admit(&plugin).await.expect("ok");
        assert_eq!(admitted.str_at(&["spec", "ingressClassName"]), Some("web"));
        assert_eq!(ingress(annotated.clone()).admit(&plugin).await, Ok(annotated));
    }
}
