//! The variables of expressions about requests, and their types (`admission/plugin/cel/{compile,composition}.go`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::declared::{Declared, Member, Object, Shape};
use crate::environment::Environment;
use crate::signatures::opaque;
use crate::types::Type;

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
    let anything = Arc::new(Declared::plain(Type::Dyn));
    let environment = typed(&anything, has_params.then_some(&anything));
    if !has_authorizer {
        return environment;
    }
    environment
        .declare(AUTHORIZER, Declared::plain(opaque("kubernetes.authorization.Authorizer")))
        .declare(REQUEST_RESOURCE, Declared::plain(opaque("kubernetes.authorization.ResourceCheck")))
}

/// The same for objects, and parameters if there are any, whose types are known; rights cannot be asked for.
pub fn typed(object: &Arc<Declared>, params: Option<&Arc<Declared>>) -> Environment {
    let mut environment =
        Environment::new().declare(NAMESPACE, namespace_type().clone()).declare(REQUEST, request_type().clone());
    for (name, ty) in [(OBJECT, Some(object)), (OLD_OBJECT, Some(object)), (PARAMS, params)] {
        if let Some(ty) = ty {
            environment.add(name, ty.clone());
        }
    }
    environment
}

/// An environment in which the variables of a policy have these types.
pub fn with_variables(environment: &Environment, variables: &BTreeMap<String, Type>) -> Environment {
    let field = |(name, ty): (&String, &Type)| {
        let member = Member { key: name.clone(), ty: Arc::new(of_type(ty)) };
        (name.clone(), member)
    };
    let object = Object { name: "kubernetes.variables".to_owned(), fields: variables.iter().map(field).collect() };
    environment.clone().declare(VARIABLES, Declared::object(Arc::new(object)))
}

/// What is known of the values of an expression where it has a name: objects are not told apart.
fn of_type(ty: &Type) -> Declared {
    match ty {
        Type::List(of) => Declared::list(of_type(of)),
        Type::Map(of) if matches!(of.0, Type::String) => Declared::map(of_type(&of.1)),
        Type::Map(_) => Declared::plain(ty.clone()),
        Type::Object(_) | Type::Opaque(..) | Type::Type(_) | Type::Param(_) | Type::Error => Declared::plain(Type::Dyn),
        plain => Declared { shape: Shape::Plain(plain.clone()), ..Declared::plain(Type::Dyn) },
    }
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
