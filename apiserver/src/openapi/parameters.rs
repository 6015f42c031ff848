//! Parameters of OpenAPI operations: which there are, and which of a path's operations have in common.

use skiff_apimachinery::schema::{FieldDef, Scalar, Type};

/// A parameter in the path or the query. All are strings, integers or booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Parameter {
    /// Name.
    pub(crate) name: &'static str,
    /// `path` or `query`.
    pub(crate) place: &'static str,
    /// Type in JSON schema.
    pub(crate) ty: &'static str,
}

const fn query(name: &'static str, ty: &'static str) -> Parameter {
    Parameter { name, place: "query", ty }
}

/// Of everything that answers with an object.
pub(crate) const PRETTY: &[Parameter] = &[query("pretty", "string")];
/// Of lists and watches.
pub(crate) const LIST: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean"),
    query("continue", "string"),
    query("fieldSelector", "string"),
    query("labelSelector", "string"),
    query("limit", "integer"),
    query("resourceVersion", "string"),
    query("resourceVersionMatch", "string"),
    query("sendInitialEvents", "boolean"),
    query("shardSelector", "string"),
    query("timeoutSeconds", "integer"),
    query("watch", "boolean"),
];
/// Those of [`LIST`] that say nothing about which objects there are.
pub(crate) const WATCH_ONLY: &[&str] = &["allowWatchBookmarks", "watch"];
/// Of what writes an object.
pub(crate) const WRITE: &[Parameter] =
    &[query("dryRun", "string"), query("fieldManager", "string"), query("fieldValidation", "string")];
/// Of patches, beside [`WRITE`].
pub(crate) const FORCE: Parameter = query("force", "boolean");
/// Of deletions.
pub(crate) const DELETE: &[Parameter] = &[
    query("dryRun", "string"),
    query("gracePeriodSeconds", "integer"),
    query("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    query("orphanDependents", "boolean"),
    query("propagationPolicy", "string"),
];

/// A parameter in the path.
pub(crate) fn of_path(name: &'static str) -> Parameter {
    Parameter { name, place: "path", ty: "string" }
}

/// The fields of a `v1` options kind, which come in the query.
pub(crate) fn of_options(kind: &str) -> Vec<Parameter> {
    let builtin = skiff_api::builtin();
    let fields = builtin.type_id("", "v1", kind).map(|id| &builtin.types.def(id).fields);
    let fields = fields.into_iter().flatten().filter(|field| !matches!(field.name.as_str(), "apiVersion" | "kind"));
    fields.filter_map(of_field).collect()
}

/// A list is a parameter that may be repeated; what is no scalar (a time) is not documented.
fn of_field(field: &'static FieldDef) -> Option<Parameter> {
    let ty = match &field.ty {
        Type::List(list) => &list.item,
        ty => ty,
    };
    let ty = match ty {
        Type::Scalar(Scalar::Bool) => "boolean",
        Type::Scalar(Scalar::Int32 | Scalar::Int64) => "integer",
        Type::Scalar(Scalar::String) => "string",
        _ => return None,
    };
    Some(query(field.name.as_str(), ty))
}

/// The parameters that all these operations have: they are written once, for the path. Sorted.
pub(crate) fn common<'a>(mut operations: impl Iterator<Item = &'a [Parameter]>) -> Vec<Parameter> {
    let mut common = operations.next().map(<[_]>::to_vec).unwrap_or_default();
    for parameters in operations {
        common.retain(|parameter| parameters.contains(parameter));
    }
    common.sort_unstable();
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_is_common() {
        let (a, b) = ([of_path("name"), FORCE, PRETTY[0]], [PRETTY[0], of_path("name")]);
        let found = common([&a[..], &b[..]].into_iter());
        assert_eq!(found, [of_path("name"), PRETTY[0]]);
        assert_eq!(common(std::iter::empty()), []);
    }

    #[test]
    fn options_are_parameters() {
        let found = of_options("PodExecOptions");
        assert!(found.contains(&query("command", "string")) && found.contains(&query("tty", "boolean")), "{found:?}");
        assert!(!of_options("PodLogOptions").iter().any(|p| p.name == "sinceTime"));
    }
}
