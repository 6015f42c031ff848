//! The levels of priority and fairness, and the schemas that lead to them, that stand whatever users do.
//!
//! Those that are deleted come again, those that may be updated on their own are, and those that an older version left
//! behind go. Follows `pkg/registry/flowcontrol/{rest,ensurer}`, but looks as soon as something has changed instead of once
//! a minute. The configuration is data: `manifests/bootstrap/flowcontrol.yaml`.

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time, value};

use super::ApiServer;
use super::bootstrap::Own;
use super::flow_schemas::condition;
use crate::cacher::ObjectReader;
use crate::objects::parse;
use crate::registry::deletion::DeleteOptions;
use crate::registry::others::flow_control;

pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Whether the spec follows this server's: users who change it set this to false.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The level whose `exempt` is the users' own.
const EXEMPT: &str = "exempt";

impl ApiServer {
    /// Makes the configuration stand as it is to.
    pub async fn ensure_flow_configuration(&self) -> Result<(), Status> {
        let standing = objects();
        for object in &standing {
            let resource = resource(object);
            let Some(store) = self.registry.store(GROUP, resource) else { continue };
            let Some(current) = self.cacher.get(GROUP, resource, "", meta::name(object)) else {
                self.ensure_with_status(object).await?;
                continue;
            };
            let mut expected = object.clone();
            store.set_defaults(&mut expected);
            if parse(&current).and_then(|current| revised(&current, &expected)).is_none() {
                continue;
            }
            let own = Own::new(object);
            // What is stored may be newer than what was seen.
            let transform = |current: Option<&Value>| {
                let current = current.unwrap_or(&expected);
                Ok(revised(current, &expected).unwrap_or_else(|| current.clone()))
            };
            match store.update(&own.write(), &transform).await {
                // Gone again: the next look makes it.
                Err(error) if error.code == 404 => {}
                other => drop(other?),
            }
        }
        self.remove_flow_configuration_but(&standing).await
    }

    /// Deletes what a server made that does not stand any more.
    async fn remove_flow_configuration_but(&self, standing: &[Value]) -> Result<(), Status> {
        for resource in ["flowschemas", "prioritylevelconfigurations"] {
            for object in self.cacher.list(GROUP, resource, "").iter().filter_map(|json| parse(json)) {
                let stands =
                    |other: &Value| self::resource(other) == resource && meta::name(other) == meta::name(&object);
                if auto_update(&object) != Some(true) || standing.iter().any(stands) {
                    continue;
                }
                let own = Own::new(&object);
                match self.store(GROUP, resource)?.delete(&own.write(), &DeleteOptions::default()).await {
                    Err(error) if error.code == 404 => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }
}

/// The object as it is to be; `None` if it is. `expected` has its defaults.
fn revised(current: &Value, expected: &Value) -> Option<Value> {
    let said = auto_update(current);
    // Of one whose annotation says nothing, the spec is this server's as long as nobody has changed it.
    let follows =
        is_mandatory(expected) || said.unwrap_or_else(|| current.i64_at(&["metadata", "generation"]) == Some(1));
    let mut spec = expected.get("spec")?.clone();
    if meta::name(expected) == EXEMPT
        && let Some(own) = current.at(&["spec", "exempt"])
    {
        spec.set_at(&["exempt"], own.clone());
    }
    let changed = follows && current.get("spec") != Some(&spec);
    if !changed && said == Some(follows) {
        return None;
    }
    let mut revised = current.clone();
    if changed {
        revised.set_at(&["spec"], spec);
    }
    revised.set_at(&["metadata", "annotations", AUTO_UPDATE], follows.to_string());
    Some(revised)
}

fn is_mandatory(object: &Value) -> bool {
    flow_control::MANDATORY.contains(&meta::name(object))
}

/// What the annotation says, in any of the forms that Go reads.
fn auto_update(object: &Value) -> Option<bool> {
    match object.str_at(&["metadata", "annotations", AUTO_UPDATE])? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn resource(object: &Value) -> &'static str {
    match object.str_at(&["kind"]) {
        Some("FlowSchema") => "flowschemas",
        _ => "prioritylevelconfigurations",
    }
}

/// Levels and schemas; every schema says that its level is there.
pub(super) fn objects() -> Vec<Value> {
    let now = time::format(jiff::Timestamp::now());
    let mut objects = Vec::new();
    for (named, kind) in [
        (flow_control::standing_levels(), "PriorityLevelConfiguration"),
        (flow_control::standing_schemas(), "FlowSchema"),
    ] {
        for (name, spec) in named.into_iter().flat_map(|named| named.iter()) {
            let mut object = value!({
                "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name},
                "spec": (spec.clone())
            });
            object.set_at(&["metadata", "annotations", AUTO_UPDATE], "true");
            if kind == "FlowSchema" {
                let level = spec.str_at(&["priorityLevelConfiguration", "name"]).unwrap_or_default();
                object.set_at(&["status", "conditions"], vec![condition(level, true, &now)]);
            }
            objects.push(object);
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_complete() {
        let objects = objects();
        let count = |kind: &str| objects.iter().filter(|object| object.str_at(&["kind"]) == Some(kind)).count();
        assert_eq!((count("PriorityLevelConfiguration"), count("FlowSchema")), (8, 11));
        for schema in objects.iter().filter(|object| object.str_at(&["kind"]) == Some("FlowSchema")) {
            let level = schema.str_at(&["spec", "priorityLevelConfiguration", "name"]);
            let named = |object: &&Value| object.str_at(&["metadata", "name"]) == level;
            assert!(objects.iter().take(8).any(|object| named(&object)), "{level:?}");
        }
    }

    #[test]
    fn what_users_have_made_their_own_stays() {
        let expected = value!({"metadata": {"name": "system"}, "spec": {"a": 1}});
        let current = |annotation: Option<&str>, generation: i64| {
            let mut current = value!({"metadata": {"name": "system", "generation": generation}, "spec": {"a": 2}});
            if let Some(text) = annotation {
                current.set_at(&["metadata", "annotations", AUTO_UPDATE], text);
            }
            current
        };
        let outcome = |current: &Value| {
            let revised = revised(current, &expected)?;
            let annotation = revised.str_at(&["metadata", "annotations", AUTO_UPDATE]).unwrap_or("").to_owned();
            Some((revised.i64_at(&["spec", "a"])?, annotation))
        };
        assert_eq!(outcome(&current(Some("true"), 7)), Some((1, "true".into())));
        assert_eq!(outcome(&current(Some("false"), 1)), None);
        assert_eq!(outcome(&current(Some("maybe"), 2)), Some((2, "false".into())));
        assert_eq!(outcome(&current(None, 1)), Some((1, "true".into())));
        let mut same = expected.clone();
        same.set_at(&["metadata", "annotations", AUTO_UPDATE], "t");
        assert_eq!(outcome(&same), None);
    }

    #[test]
    fn what_must_be_there_follows_whatever_its_annotation_says() {
        let expected =
            value!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {"lendablePercent": 0}}});
        let mut current = expected.clone();
        current.set_at(&["spec", "exempt", "lendablePercent"], 50);
        current.set_at(&["metadata", "annotations", AUTO_UPDATE], "false");
        let revised = revised(&current, &expected).expect("another annotation");
        assert_eq!(auto_update(&revised), Some(true));
        // What it lends is the users'.
        assert_eq!(revised.get("spec"), current.get("spec"));
    }
}
