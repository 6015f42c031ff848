//! Ownership through the scale subresource: its `spec.replicas` is a field of the object behind it.
//!
//! Before a write to a Scale, [`to_scale`] gives it the entries of those who own the replicas; after it, [`to_parent`]
//! takes the result back. Follows upstream's ScaleHandler, but for one thing: an updater that keeps the replicas keeps
//! its entry, where upstream splits it in two.

use super::entries::{Entry, Managed};
use super::set::Set;
use crate::value::Value;

/// Version of the Scale kind.
pub const SCALE_VERSION: &str = "autoscaling/v1";

const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// Where the versions of a kind keep their replicas, e.g. `("apps/v1", &["spec", "replicas"])`.
pub type ReplicasPaths<'a> = &'a [(&'a str, &'a [&'a str])];

fn replicas_in(api_version: &str, paths: ReplicasPaths<'_>) -> Option<Set> {
    let (_, path) = paths.iter().find(|(version, _)| *version == api_version)?;
    Some(set_of(path))
}

fn set_of(path: &[&str]) -> Set {
    let mut set = Set::new();
    set.insert_fields(path);
    set
}

/// The managedFields of an object's Scale: an entry for everyone who owns the replicas. To be set on `scale`.
pub fn to_scale(parent: &Value, scale: &mut Value, paths: ReplicasPaths<'_>) {
    let mut managed = Managed::decode(parent).unwrap_or_default();
    managed.entries.retain_mut(|entry| {
        let owns = replicas_in(&entry.api_version, paths).is_some_and(|path| entry.set().intersects(&path));
        entry.api_version = SCALE_VERSION.into();
        entry.replace_set(set_of(&REPLICAS));
        owns
    });
    managed.encode_into(scale);
}

/// The managedFields of an object after its Scale was written. `api_version` is the object's version in this request.
pub fn to_parent(parent: &mut Value, scale: &Value, api_version: &str, paths: ReplicasPaths<'_>) {
    let mut managed = Managed::decode(parent).unwrap_or_default();
    let mut of_scale = Managed::decode(scale).unwrap_or_default().entries;
    managed.entries.retain_mut(|entry| {
        let Some(path) = replicas_in(&entry.api_version, paths) else {
            // A version that is no longer known.
            return false;
        };
        if !entry.set().intersects(&path) {
            return true;
        }
        let is_same = |other: &Entry| {
            other.manager == entry.manager
                && other.operation == entry.operation
                && other.subresource == entry.subresource
        };
        match of_scale.iter().position(is_same) {
            Some(i) => {
                of_scale.remove(i);
            }
            None => {
                let rest = entry.set().difference(&path);
                entry.replace_set(rest);
            }
        }
        !entry.set().is_empty()
    });
    let own_path = replicas_in(api_version, paths).unwrap_or_default();
    for mut entry in of_scale {
        if entry.set().intersects(&set_of(&REPLICAS)) && !own_path.is_empty() {
            entry.api_version = api_version.into();
            // Upstream looks for the time where it cannot be.
            entry.time = None;
            entry.replace_set(own_path.clone());
            managed.entries.push(entry);
        }
    }
    managed.encode_into(parent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::json;

    const PATHS: ReplicasPaths<'static> = &[("apps/v1", &["spec", "replicas"]), ("apps/v2", &["spec", "size"])];

    /// Entries given as `manager operation version subresource fields`.
    fn object(entries: &[&str]) -> Value {
        let entries: Vec<String> = entries
            .iter()
            .map(|entry| {
                let parts: Vec<&str> = entry.splitn(5, ' ').collect();
                format!(
                    r#"{{"manager":"{}","operation":"{}","apiVersion":"{}","subresource":"{}","fieldsType":"FieldsV1","fieldsV1":{}}}"#,
                    parts[0],
                    parts[1],
                    parts[2],
                    parts[3].trim_matches('-'),
                    parts[4]
                )
            })
            .collect();
        json(&format!(r#"{{"metadata":{{"managedFields":[{}]}}}}"#, entries.join(",")))
    }

    fn entries(object: &Value) -> Vec<String> {
        let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or("-").to_owned();
        object
            .array_at(&["metadata", "managedFields"])
            .iter()
            .map(|entry| {
                let Some(Value::Raw(fields)) = entry.get("fieldsV1") else { panic!("fieldsV1 is text") };
                let [manager, operation, version, subresource] =
                    ["manager", "operation", "apiVersion", "subresource"].map(|field| text(entry, field));
                format!("{manager} {operation} {version} {subresource} {fields}")
            })
            .collect()
    }

    #[test]
    fn gives_the_scale_its_owners() {
        let parent = object(&[
            r#"a Apply apps/v1 - {"f:spec":{"f:replicas":{},"f:template":{}}}"#,
            r#"b Update apps/v1 - {"f:spec":{"f:template":{}}}"#,
            r#"c Update apps/v2 - {"f:spec":{"f:size":{}}}"#,
            r#"d Update apps/v9 - {"f:spec":{"f:replicas":{}}}"#,
            r#"e Update apps/v1 scale {"f:spec":{"f:replicas":{}}}"#,
        ]);
        let mut scale = json("{}");
        to_scale(&parent, &mut scale, PATHS);
        assert_eq!(
            entries(&scale),
            [
                r#"a Apply autoscaling/v1 - {"f:spec":{"f:replicas":{}}}"#,
                r#"c Update autoscaling/v1 - {"f:spec":{"f:replicas":{}}}"#,
                r#"e Update autoscaling/v1 scale {"f:spec":{"f:replicas":{}}}"#,
            ]
        );
    }

    #[test]
    fn takes_the_owners_back() {
        let replicas = r#"{"f:spec":{"f:replicas":{}}}"#;
        // parent, scale, parent after it
        let both = r#"a Apply apps/v1 - {"f:spec":{"f:replicas":{},"f:template":{}}}"#;
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            // Kept.
            (&[both], &[&format!("a Apply autoscaling/v1 - {replicas}")], &[both]),
            (
                &[&format!("u Update apps/v1 - {replicas}")],
                &[&format!("u Update autoscaling/v1 - {replicas}")],
                &[&format!("u Update apps/v1 - {replicas}")],
            ),
            // Taken over.
            (
                &[both],
                &[&format!("h Update autoscaling/v1 scale {replicas}")],
                &[r#"a Apply apps/v1 - {"f:spec":{"f:template":{}}}"#, &format!("h Update apps/v1 scale {replicas}")],
            ),
            (
                &[&format!("a Apply apps/v1 - {replicas}")],
                &[&format!("h Update autoscaling/v1 scale {replicas}")],
                &[&format!("h Update apps/v1 scale {replicas}")],
            ),
            // Shared.
            (
                &[both],
                &[&format!("a Apply autoscaling/v1 - {replicas}"), &format!("b Apply autoscaling/v1 scale {replicas}")],
                &[both, &format!("b Apply apps/v1 scale {replicas}")],
            ),
            // Given up.
            (&[both], &[], &[r#"a Apply apps/v1 - {"f:spec":{"f:template":{}}}"#]),
            // Not concerned, and of an unknown version.
            (
                &[r#"b Update apps/v1 - {"f:data":{}}"#, r#"z Update apps/v9 - {"f:data":{}}"#],
                &[],
                &[r#"b Update apps/v1 - {"f:data":{}}"#],
            ),
        ];
        for (parent, scale, expected) in cases {
            let mut object_after = object(parent);
            to_parent(&mut object_after, &object(scale), "apps/v1", PATHS);
            assert_eq!(entries(&object_after), *expected, "{parent:?} + {scale:?}");
        }
    }
}
