//! The environment of a container. Pure: what it refers to is fetched before ([`references`]).
//!
//! Order of precedence, lowest first: Services, `envFrom` in order, `env` in order. `$(NAME)` in `env[].value` sees the
//! variables before it and the Services' (upstream: `kubelet_pods.go`, makeEnvironmentVariables).

pub(crate) mod expand;
pub(crate) mod field_ref;
pub(crate) mod service_links;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};

use crate::pod::PodExt;
use expand::expand;
use field_ref::{Facts, field_value, resource_value};

/// ConfigMaps and Secrets by name; `None` for one that does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Referenced {
    pub(crate) config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    pub(crate) secrets: BTreeMap<String, Option<Arc<Secret>>>,
}

/// Names of the ConfigMaps and of the Secrets that a container's environment refers to.
pub(crate) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for source in container.env_from.as_deref().unwrap_or(&[]) {
        config_maps.extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for variable in container.env.as_deref().unwrap_or(&[]) {
        let Some(source) = &variable.value_from else { continue };
        config_maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    (config_maps, secrets)
}

/// What the environment of one container is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    /// Variables of the Services.
    pub(crate) services: &'a BTreeMap<String, String>,
    pub(crate) referenced: &'a Referenced,
    pub(crate) facts: &'a Facts,
}

/// Computes the environment. The error is the message of CreateContainerConfigError.
pub(crate) fn environment(inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    add_env_from(inputs, &mut variables)?;
    for variable in inputs.container.env.as_deref().unwrap_or(&[]) {
        if let Some(value) = variable_value(variable, inputs, &variables)? {
            variables.insert(variable.name.clone(), value);
        }
    }
    for (name, value) in inputs.services {
        variables.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(variables)
}

fn add_env_from(inputs: &Inputs<'_>, variables: &mut BTreeMap<String, String>) -> Result<(), String> {
    for source in inputs.container.env_from.as_deref().unwrap_or(&[]) {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let optional = reference.optional == Some(true);
            if let Some(map) = config_map(inputs, &reference.name, optional)? {
                for (key, value) in map.data.iter().flatten() {
                    variables.insert(format!("{prefix}{key}"), value.clone());
                }
            }
        } else if let Some(reference) = &source.secret_ref {
            let optional = reference.optional == Some(true);
            if let Some(secret) = secret(inputs, &reference.name, optional)? {
                for (key, value) in secret.data.iter().flatten() {
                    let value = String::from_utf8_lossy(&value.0).into_owned();
                    variables.insert(format!("{prefix}{key}"), value);
                }
            }
        }
    }
    Ok(())
}

/// The value of one entry of `env`; `None` if what it refers to is optional and missing.
fn variable_value(
    variable: &EnvVar,
    inputs: &Inputs<'_>,
    earlier: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let text = variable.value.as_deref().unwrap_or_default();
    if !text.is_empty() {
        let lookup = |name: &str| earlier.get(name).or_else(|| inputs.services.get(name)).map(String::as_str);
        return Ok(Some(expand(text, lookup)));
    }
    match &variable.value_from {
        Some(source) => source_value(&variable.name, source, inputs),
        None => Ok(Some(String::new())),
    }
}

fn source_value(name: &str, source: &EnvVarSource, inputs: &Inputs<'_>) -> Result<Option<String>, String> {
    let namespace = inputs.pod.namespace();
    if let Some(field) = &source.field_ref {
        return field_value(&field.field_path, inputs.pod, inputs.facts).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        let allocatable = &inputs.facts.allocatable;
        return resource_value(selector, inputs.pod, inputs.container, allocatable).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = config_map(inputs, &reference.name, optional)? else {
            return Ok(None);
        };
        let value = map.data.as_ref().and_then(|data| data.get(&reference.key));
        let (key, object) = (&reference.key, &reference.name);
        let missing = || format!("couldn't find key {key} in ConfigMap {namespace}/{object}");
        return optional_key(value.cloned(), optional, missing);
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = secret(inputs, &reference.name, optional)? else {
            return Ok(None);
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&reference.key));
        let value = value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        let (key, object) = (&reference.key, &reference.name);
        let missing = || format!("couldn't find key {key} in Secret {namespace}/{object}");
        return optional_key(value, optional, missing);
    }
    Err(format!("the source of environment variable {name} is not supported"))
}

fn optional_key(
    value: Option<String>,
    optional: bool,
    missing: impl FnOnce() -> String,
) -> Result<Option<String>, String> {
    if value.is_some() || optional { Ok(value) } else { Err(missing()) }
}

fn config_map<'a>(inputs: &'a Inputs<'_>, name: &str, optional: bool) -> Result<Option<&'a ConfigMap>, String> {
    match inputs.referenced.config_maps.get(name) {
        Some(Some(map)) => Ok(Some(map)),
        _ if optional => Ok(None),
        _ => Err(format!("configmap {name:?} not found")),
    }
}

fn secret<'a>(inputs: &'a Inputs<'_>, name: &str, optional: bool) -> Result<Option<&'a Secret>, String> {
    match inputs.referenced.secrets.get(name) {
        Some(Some(secret)) => Ok(Some(secret)),
        _ if optional => Ok(None),
        _ => Err(format!("secret {name:?} not found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(container: Value, expected: Result<&str, &str>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [container]}}))
        .expect("a pod");
        let config = json!({"data": {"KEY": "from-config", "dotted.key": "d"}});
        let secret = json!({"data": {"PASSWORD": "c2VjcmV0"}});
        let referenced = Referenced {
            config_maps: [
                ("cm".to_owned(), serde_json::from_value(config).ok().map(Arc::new)),
                ("gone".to_owned(), None),
            ]
            .into(),
            secrets: [("s".to_owned(), serde_json::from_value(secret).ok().map(Arc::new))].into(),
        };
        let inputs = Inputs {
            pod: &pod,
            container: &pod.regular_containers()[0],
            services: &[("SVC_HOST".to_owned(), "1.2.3.4".to_owned())].into(),
            referenced: &referenced,
            facts: &Facts::default(),
        };
        let result = environment(&inputs).map(|variables| {
            let lines: Vec<String> = variables.iter().map(|(k, v)| format!("{k}={v}")).collect();
            lines.join(" ")
        });
        assert_eq!(result.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn values_see_what_stands_before_them() {
        check(
            json!({"name": "c", "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)-$(SVC_HOST)-$(C)"},
                {"name": "C", "value": "x"},
                {"name": "EMPTY"}]}),
            Ok("A=1 B=1-1.2.3.4-$(C) C=x EMPTY= SVC_HOST=1.2.3.4"),
        );
        check(json!({"name": "c", "env": [{"name": "SVC_HOST", "value": "mine"}]}), Ok("SVC_HOST=mine"));
    }

    #[test]
    fn sources_are_merged_in_order() {
        check(
            json!({"name": "c",
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "s"}}],
                "env": [
                    {"name": "PASSWORD", "value": "over-$(PASSWORD)"},
                    {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "KEY"}}},
                    {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASSWORD"}}},
                    {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            Ok("F=p K=from-config PASSWORD=over-secret P_KEY=from-config P_dotted.key=d S=secret SVC_HOST=1.2.3.4"),
        );
    }

    #[test]
    fn what_is_missing_is_an_error_unless_optional() {
        let from = |reference: Value| json!({"name": "c", "env": [{"name": "V", "valueFrom": reference}]});
        check(from(json!({"configMapKeyRef": {"name": "gone", "key": "k"}})), Err("configmap \"gone\" not found"));
        check(
            from(json!({"configMapKeyRef": {"name": "cm", "key": "k"}})),
            Err("couldn't find key k in ConfigMap n/cm"),
        );
        check(from(json!({"secretKeyRef": {"name": "s", "key": "k"}})), Err("couldn't find key k in Secret n/s"));
        let optional = json!({"secretKeyRef": {"name": "none", "key": "k", "optional": true}});
        check(from(optional), Ok("SVC_HOST=1.2.3.4"));
        let missing = json!({"name": "c", "envFrom": [{"secretRef": {"name": "none"}}]});
        check(missing, Err("secret \"none\" not found"));
        let optional = json!({"name": "c", "envFrom": [{"secretRef": {"name": "none", "optional": true}}]});
        check(optional, Ok("SVC_HOST=1.2.3.4"));
    }

    #[test]
    fn unknown_sources_are_refused() {
        check(
            json!({"name": "c", "env": [{"name": "V", "valueFrom": {"fileKeyRef":
                {"volumeName": "v", "path": "p", "key": "k"}}}]}),
            Err("the source of environment variable V is not supported"),
        );
    }
}
