//! The variable `request` (`CreateAdmissionRequest` upstream): an AdmissionRequest without its objects.

use skiff_apimachinery::value::{Object, Value};

use super::{Context, Versioned};

/// Of a request.
pub(super) fn of(context: &Context<'_>) -> Value {
    let mut request = Value::Object(Object::new());
    let mut set = |key: &str, value: Value| request.set_at(&[key], value);
    set("uid", "".into());
    set("kind", versioned(context.kind, "kind"));
    set("resource", versioned(context.resource, "resource"));
    set("requestKind", versioned(context.request_kind, "kind"));
    set("requestResource", versioned(context.request_resource, "resource"));
    for (key, text) in [
        ("subResource", context.subresource),
        ("requestSubResource", context.subresource),
        ("name", context.name),
        ("namespace", context.namespace),
    ] {
        if !text.is_empty() {
            set(key, text.into());
        }
    }
    set("operation", context.operation.as_str().into());
    set("userInfo", user(context));
    set("dryRun", context.dry_run.into());
    set("options", context.options.clone());
    request
}

fn versioned((group, version, name): Versioned<'_>, key: &str) -> Value {
    let mut value = Value::Object(Object::new());
    for (key, text) in [("group", group), ("version", version), (key, name)] {
        value.set_at(&[key], text);
    }
    value
}

fn user(context: &Context<'_>) -> Value {
    let user = context.user;
    let list = |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
    let mut value = Value::Object(Object::new());
    for (key, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            value.set_at(&[key], text.as_str());
        }
    }
    if !user.groups.is_empty() {
        value.set_at(&["groups"], list(&user.groups));
    }
    for (key, values) in &user.extra {
        value.set_at(&["extra", key], list(values));
    }
    value
}
