//! The variables of expressions about requests, and their types (`admission/plugin/cel/compile.go`).

use std::sync::LazyLock;

use skiff_cel::Environment;
use skiff_cel::declared::{Declared, Object};
use skiff_cel::signatures::opaque;
use skiff_cel::types::Type;

/// The object.
pub const OBJECT: &str = "object";
/// The object as it was.
pub const OLD_OBJECT: &str = "oldObject";
/// The request.
pub const REQUEST: &str = "request";
/// The namespace that the object is in.
pub const NAMESPACE: &str = "namespaceObject";
/// The parameters of a policy.
pub const PARAMS: &str = "params";
/// What knows what users may do.
pub const AUTHORIZER: &str = "authorizer";
/// The same about the resource of the request.
pub const REQUEST_RESOURCE: &str = "authorizer.requestResource";
/// The variables of a policy.
pub const VARIABLES: &str = "variables";

/// What expressions may speak of.
pub fn environment(has_params: bool, has_authorizer: bool) -> Environment {
    let anything = || Declared::plain(Type::Dyn);
    let mut environment = Environment::new()
        .declare(OBJECT, anything())
        .declare(OLD_OBJECT, anything())
        .declare(NAMESPACE, namespace_type().clone())
        .declare(REQUEST, request_type().clone());
    if has_params {
        environment = environment.declare(PARAMS, anything());
    }
    if has_authorizer {
        environment = environment
            .declare(AUTHORIZER, Declared::plain(opaque("kubernetes.authorization.Authorizer")))
            .declare(REQUEST_RESOURCE, Declared::plain(opaque("kubernetes.authorization.ResourceCheck")));
    }
    environment
}

fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Declared)>) -> Declared {
    Declared::object(Object::new(name, fields))
}

fn text() -> Declared {
    Declared::plain(Type::String)
}

/// Type of the request.
pub fn request_type() -> &'static Declared {
    static TYPE: LazyLock<Declared> = LazyLock::new(|| {
        let kind = object("kubernetes.GroupVersionKind", ["group", "version", "kind"].map(|field| (field, text())));
        let resource =
            object("kubernetes.GroupVersionResource", ["group", "version", "resource"].map(|field| (field, text())));
        let user = object(
            "kubernetes.UserInfo",
            [
                ("username", text()),
                ("uid", text()),
                ("groups", Declared::list(text())),
                ("extra", Declared::map(Declared::list(text()))),
            ],
        );
        object(
            "kubernetes.AdmissionRequest",
            [
                ("kind", kind.clone()),
                ("resource", resource.clone()),
                ("subResource", text()),
                ("requestKind", kind),
                ("requestResource", resource),
                ("requestSubResource", text()),
                ("name", text()),
                ("namespace", text()),
                ("operation", text()),
                ("userInfo", user),
                ("dryRun", Declared::plain(Type::Bool)),
                ("options", Declared::plain(Type::Dyn)),
            ],
        )
    });
    &TYPE
}

/// Type of the namespace.
pub fn namespace_type() -> &'static Declared {
    static TYPE: LazyLock<Declared> = LazyLock::new(|| {
        let (time, number) = (|| Declared::plain(Type::Timestamp), || Declared::plain(Type::Int));
        let condition = object(
            "kubernetes.NamespaceCondition",
            [
                ("status", text()),
                ("type", text()),
                ("lastTransitionTime", time()),
                ("message", text()),
                ("reason", text()),
            ],
        );
        let metadata = object(
            "kubernetes.NamespaceMetadata",
            [
                ("name", text()),
                ("generateName", text()),
                ("namespace", text()),
                ("labels", Declared::map(text())),
                ("annotations", Declared::map(text())),
                ("UID", text()),
                ("creationTimestamp", time()),
                ("deletionGracePeriodSeconds", number()),
                ("deletionTimestamp", time()),
                ("generation", number()),
                ("resourceVersion", text()),
                ("finalizers", Declared::list(text())),
            ],
        );
        let status =
            object("kubernetes.NamespaceStatus", [("conditions", Declared::list(condition)), ("phase", text())]);
        let spec = object("kubernetes.NamespaceSpec", [("finalizers", Declared::list(text()))]);
        object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
    });
    &TYPE
}
