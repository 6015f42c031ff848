//! What can be done with each resource, as OpenAPI operations.
//!
//! kubectl looks at the query parameters and the patch types of an operation to know what a server understands; client
//! generators make methods of `operationId`. The rules are those of `k8s.io/apiserver/pkg/endpoints/installer.go`;
//! [`super::paths`] writes the operations down in either version.

use skiff_api::{KindInfo, Subresource};

use super::parameters::{self, Parameter};
use crate::registry::Resource;

/// What bodies and answers are written in.
pub(crate) const MEDIA: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] =
    ["application/json-patch+json", "application/merge-patch+json", STRATEGIC, "application/apply-patch+yaml"];
/// The patch that custom resources do not take.
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const ANY: [&str; 1] = ["*/*"];

/// Methods that a proxy passes on, with their names in operations.
const PROXIED: [(&str, &str); 7] = [
    ("get", "Get"),
    ("put", "Put"),
    ("post", "Post"),
    ("delete", "Delete"),
    ("options", "Options"),
    ("head", "Head"),
    ("patch", "Patch"),
];

/// One method on one path.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Path, with its parameters in braces.
    pub(crate) path: String,
    /// HTTP method in lower case.
    pub(crate) method: &'static str,
    /// `operationId`.
    pub(crate) id: String,
    /// The only tag.
    pub(crate) tag: String,
    /// `x-kubernetes-action` with the group, version and kind; `None` where no resource is meant.
    pub(crate) action: Option<(&'static str, [String; 3])>,
    /// Parameters of path and query.
    pub(crate) parameters: Vec<Parameter>,
    /// Definition of the body, and whether there has to be one.
    pub(crate) body: Option<(String, bool)>,
    /// Media types of the body.
    pub(crate) consumes: Vec<&'static str>,
    /// Media types of the answer.
    pub(crate) produces: Vec<&'static str>,
    /// HTTP codes of the answer.
    pub(crate) answers: &'static [u16],
    /// What the answer is.
    pub(crate) answer: Answer,
}

/// What an operation answers with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// An object of this definition.
    Definition(String),
    /// Text.
    Text,
}

/// Definition of a type of `meta/v1`.
pub(crate) fn meta(kind: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")
}

/// `/api/VERSION` or `/apis/GROUP/VERSION`.
pub(crate) fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// `core_v1`; `core` without a version.
pub(crate) fn tag(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    let group = camel(group, false);
    if version.is_empty() { group } else { format!("{group}_{version}") }
}

/// `AppsV1`.
pub(crate) fn title(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    format!("{}{}", camel(group, true), camel(version, true))
}

/// The operation of a path that is only read, such as `/version/`.
pub(crate) fn read_only(path: &str, id: &str, tag: &str, media: &[&'static str], answer: Answer) -> Operation {
    Operation {
        path: path.to_owned(),
        method: "get",
        id: id.to_owned(),
        tag: tag.to_owned(),
        action: None,
        parameters: Vec::new(),
        body: None,
        consumes: media.to_vec(),
        produces: media.to_vec(),
        answers: &[200],
        answer,
    }
}

/// What operations on one resource or subresource have in common.
struct Target<'a> {
    resource: &'a Resource,
    info: &'a KindInfo,
    subresource: Option<&'a Subresource>,
    /// Path of the collection, or of the subresource.
    path: String,
    /// `Namespaced` or nothing, before the kind.
    scope: &'static str,
    /// Behind the kind: `ForAllNamespaces`, `WithPath` or nothing.
    suffix: &'static str,
}

impl Target<'_> {
    fn definition(&self) -> String {
        let (table, id) = match self.subresource {
            Some(sub) if sub.foreign_kind => (&skiff_api::builtin().types, sub.type_id),
            Some(sub) => (self.resource.types.table(), sub.type_id),
            None => (self.resource.types.table(), self.info.type_id),
        };
        table.def(id).name.clone().into()
    }

    fn list_definition(&self) -> String {
        let id = self.info.list_type_id.unwrap_or(self.info.type_id);
        self.resource.types.table().def(id).name.clone().into()
    }

    /// An operation that answers with the object, on the path of the target.
    fn operation(&self, method: &'static str, word: &str, action: &'static str) -> Operation {
        let info = self.info;
        let (group, version, kind) = match self.subresource {
            Some(sub) => (&sub.group, &sub.version, &sub.kind),
            None => (&info.group, &info.version, &info.kind),
        };
        let subresource = self.subresource.map(|sub| camel(&sub.name, true)).unwrap_or_default();
        let title = title(&info.group, &info.version);
        let (before, after) = word.split_once('*').unwrap_or((word, ""));
        Operation {
            path: self.path.clone(),
            method,
            id: format!("{before}{title}{after}{}{}{subresource}{}", self.scope, info.kind, self.suffix),
            tag: tag(&info.group, &info.version),
            action: Some((action, [group.to_string(), version.to_string(), kind.to_string()])),
            parameters: parameters::PRETTY.to_vec(),
            body: None,
            consumes: ANY.to_vec(),
            produces: MEDIA.to_vec(),
            answers: &[200],
            answer: Answer::Definition(self.definition()),
        }
    }

    fn create(&self) -> Operation {
        let mut operation = self.operation("post", "create", "post");
        operation.parameters.extend_from_slice(parameters::WRITE);
        Operation { body: Some((self.definition(), true)), answers: &[200, 201, 202], ..operation }
    }

    fn list(&self) -> Operation {
        let mut operation = self.operation("get", "list", "list");
        operation.parameters.extend_from_slice(parameters::LIST);
        operation.produces.extend(STREAMS);
        Operation { answer: Answer::Definition(self.list_definition()), ..operation }
    }

    fn delete_collection(&self) -> Operation {
        let mut operation = self.operation("delete", "delete*Collection", "deletecollection");
        operation.parameters.extend_from_slice(parameters::DELETE);
        operation.parameters.extend(parameters::LIST.iter().filter(|p| !parameters::WATCH_ONLY.contains(&p.name)));
        let answer = Answer::Definition(meta("Status"));
        Operation { body: Some((meta("DeleteOptions"), false)), answer, ..operation }
    }

    fn delete(&self, returns_object: bool) -> Operation {
        let mut operation = self.operation("delete", "delete", "delete");
        operation.parameters.extend_from_slice(parameters::DELETE);
        if !returns_object {
            operation.answer = Answer::Definition(meta("Status"));
        }
        Operation { body: Some((meta("DeleteOptions"), false)), answers: &[200, 202], ..operation }
    }

    /// GET, PUT and PATCH of an object.
    fn object_operations(&self, has: impl Fn(&str) -> bool) -> Vec<Operation> {
        let mut operations = Vec::new();
        if has("get") {
            operations.push(self.operation("get", "read", "get"));
        }
        if has("update") {
            let mut put = self.operation("put", "replace", "put");
            put.parameters.extend_from_slice(parameters::WRITE);
            operations.push(Operation { body: Some((self.definition(), true)), answers: &[200, 201], ..put });
        }
        if has("patch") {
            let mut patch = self.operation("patch", "patch", "patch");
            patch.parameters.extend_from_slice(parameters::WRITE);
            patch.parameters.push(parameters::FORCE);
            let consumes = PATCHES.to_vec();
            let body = Some((meta("Patch"), true));
            operations.push(Operation { body, consumes, answers: &[200, 201], ..patch });
        }
        operations
    }

    /// The older way to watch, by path.
    fn watch(&self, action: &'static str) -> Operation {
        let mut operation = self.operation("get", "watch", action);
        if action == "watchlist" {
            let (kind, suffix) = (&self.info.kind, self.suffix);
            operation.id = operation.id.trim_end_matches(suffix).trim_end_matches(kind.as_str()).to_owned();
            operation.id.push_str(&format!("{kind}List{suffix}"));
        }
        operation.parameters.extend_from_slice(parameters::LIST);
        operation.produces.extend(STREAMS);
        let base = base(&self.info.group, &self.info.version);
        let rest = self.path.strip_prefix(&base).unwrap_or(&self.path);
        let path = format!("{base}/watch{rest}");
        Operation { path, answer: Answer::Definition(meta("WatchEvent")), ..operation }
    }
}

/// The operations of a resource and its subresources.
pub(crate) fn of_resource(resource: &Resource) -> Vec<Operation> {
    let info = &*resource.info;
    let base = base(&info.group, &info.version);
    let (namespace, scope) = if info.namespaced { ("/namespaces/{namespace}", "Namespaced") } else { ("", "") };
    let path = format!("{base}{namespace}/{}", info.plural);
    // Of custom resources the older way to watch is not documented.
    let by_path = resource.custom.is_none();
    let target = Target { resource, info, subresource: None, path: path.clone(), scope, suffix: "" };
    let mut operations = Vec::new();
    let mut add = |wanted: bool, operation: &dyn Fn() -> Operation| {
        if wanted {
            operations.push(operation());
        }
    };
    let everywhere = Target {
        resource,
        info,
        subresource: None,
        path: format!("{base}/{}", info.plural),
        scope: "",
        suffix: "ForAllNamespaces",
    };
    add(info.namespaced && info.has_verb("list"), &|| everywhere.list());
    add(by_path && info.namespaced && info.has_verb("watch"), &|| everywhere.watch("watchlist"));
    add(info.has_verb("list"), &|| target.list());
    add(by_path && info.has_verb("watch"), &|| target.watch("watchlist"));
    add(by_path && info.has_verb("watch"), &|| of_item(target.watch("watch")));
    add(info.has_verb("create"), &|| target.create());
    add(info.has_verb("deletecollection"), &|| target.delete_collection());
    // A Namespace is in the answer, too, but its documentation does not say so.
    let returns_object = info.plural != "namespaces"
        && resource.store.as_ref().is_some_and(|store| store.strategy.returns_deleted_object());
    add(info.has_verb("delete"), &|| of_item(target.delete(returns_object)));
    operations.extend(target.object_operations(|verb| info.has_verb(verb)).into_iter().map(of_item));
    for sub in &info.subresources {
        let path = format!("{path}/{{name}}/{}", sub.name);
        operations
            .extend(subresource(&Target { resource, info, subresource: Some(sub), path, scope, suffix: "" }, sub));
    }
    for operation in &mut operations {
        // Items of the watch paths are named behind their collection.
        let in_path =
            ["name", "namespace", "path"].into_iter().filter(|p| operation.path.contains(&format!("{{{p}}}")));
        operation.parameters.extend(in_path.map(parameters::of_path));
        if resource.custom.is_some() {
            let known = |media: &&'static str| matches!(*media, "application/json" | "application/yaml");
            operation.produces.retain(known);
            operation.consumes.retain(|media| *media != STRATEGIC);
        }
    }
    operations
}

/// The operation on one object of the collection.
fn of_item(operation: Operation) -> Operation {
    Operation { path: format!("{}/{{name}}", operation.path), ..operation }
}

fn subresource(target: &Target<'_>, sub: &Subresource) -> Vec<Operation> {
    let has = |verb: &str| sub.verbs.iter().any(|v| v == verb);
    if sub.name == "log" {
        let mut log = target.operation("get", "read", "get");
        log.parameters.extend(parameters::of_options("PodLogOptions"));
        log.produces.insert(0, "text/plain");
        return vec![Operation { answer: Answer::Text, ..log }];
    }
    if sub.kind.ends_with("Options") {
        return connect(target, sub);
    }
    let mut operations = target.object_operations(has);
    if has("create") {
        operations.push(target.create());
    }
    operations
}

/// What connects has its options in the query. A proxy passes on every method, and the path behind its own.
fn connect(target: &Target<'_>, sub: &Subresource) -> Vec<Operation> {
    let proxy = sub.name == "proxy";
    let methods = PROXIED.iter().filter(|(method, _)| proxy || matches!(*method, "get" | "post"));
    let mut operations = Vec::new();
    for (method, name) in methods {
        let operation = target.operation(method, &format!("connect*{name}"), "connect");
        let operation = Operation {
            parameters: parameters::of_options(&sub.kind),
            produces: ANY.to_vec(),
            answer: Answer::Text,
            ..operation
        };
        if proxy {
            let (path, id) = (format!("{}/{{path}}", target.path), format!("{}WithPath", operation.id));
            operations.push(Operation { path, id, ..operation.clone() });
        }
        operations.push(operation);
    }
    operations
}

/// Joins the parts of a dotted or dashed name, the first in lower case unless `title`.
fn camel(name: &str, title: bool) -> String {
    let mut out = String::new();
    for (i, part) in name.split(['.', '-', '/']).enumerate() {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) if title || i > 0 => out.extend(first.to_uppercase().chain(letters)),
            Some(first) => out.extend(std::iter::once(first).chain(letters)),
            None => {}
        }
    }
    out
}
