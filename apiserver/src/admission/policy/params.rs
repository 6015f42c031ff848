//! The parameters that a binding names (`CollectParams` in `policy/generic/policy_dispatcher.go`).

use std::sync::Arc;

use skiff_apimachinery::value::Value;

use crate::objects::Objects;
use crate::registry::Registry;
use crate::registry::core::validation::label_selector;

/// `paramKind` of a policy.
#[derive(Clone, Debug)]
pub struct ParamKind {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}

/// `paramRef` of a binding.
#[derive(Clone, Debug)]
pub struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<Value>,
    /// Whether a request is refused when there are none.
    deny_if_missing: bool,
}

impl ParamKind {
    /// From `paramKind`.
    pub fn parse(kind: &Value) -> Self {
        let text = |field: &str| kind.str_at(&[field]).unwrap_or("").to_owned();
        Self { api_version: text("apiVersion"), kind: text("kind") }
    }
}

impl ParamRef {
    /// From `paramRef`.
    pub fn parse(reference: &Value) -> Self {
        let text = |field: &str| reference.str_at(&[field]).unwrap_or("").to_owned();
        Self {
            name: text("name"),
            namespace: text("namespace"),
            selector: reference.get("selector").filter(|selector| !selector.is_null()).cloned(),
            deny_if_missing: text("parameterNotFoundAction") == "Deny",
        }
    }
}

/// The parameters for a request in a namespace: none of them is `[None]` where the policy or binding wants none.
pub fn collect(
    kind: Option<&ParamKind>,
    reference: Option<&ParamRef>,
    namespace: &str,
    registry: &Registry,
    objects: &Objects,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(kind), Some(reference)) = (kind, reference) else { return Ok(vec![None]) };
    let served = registry.served();
    let resource = served.resources().find(|resource| {
        let info = &resource.info;
        let group_version =
            if info.group.is_empty() { info.version.to_string() } else { format!("{}/{}", info.group, info.version) };
        info.kind == kind.kind && group_version == kind.api_version && resource.store.is_some()
    });
    let Some(resource) = resource else {
        return Err(format!("failed to find resource referenced by paramKind: '{}'", described(kind)));
    };
    let info = &resource.info;
    let within = match (info.namespaced, reference.namespace.as_str()) {
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (true, "") if namespace.is_empty() => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.to_owned());
        }
        (true, "") => namespace,
        (true, named) => named,
    };
    let found = if !reference.name.is_empty() {
        objects.cached(&info.group, &info.plural, within, &reference.name).into_iter().collect::<Vec<_>>()
    } else if let Some(selector) = &reference.selector {
        let mut all = objects.list(&info.group, &info.plural, within);
        let nothing = Value::Null;
        all.retain(|object| {
            label_selector::matches(Some(selector), object.at(&["metadata", "labels"]).unwrap_or(&nothing))
        });
        all
    } else {
        return Err("one of name or selector must be provided".to_owned());
    };
    if found.is_empty() && reference.deny_if_missing {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let mut found: Vec<Value> = found.into_iter().map(Arc::unwrap_or_clone).collect();
    for object in &mut found {
        object.set_at(&["apiVersion"], kind.api_version.as_str());
        object.set_at(&["kind"], kind.kind.as_str());
    }
    Ok(found.into_iter().map(Some).collect())
}

/// As upstream prints a kind: `group/version, Kind=Kind`.
fn described(kind: &ParamKind) -> String {
    let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
    format!("{group}/{version}, Kind={}", kind.kind)
}
