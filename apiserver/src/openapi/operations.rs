//! What can be done with each resource, as OpenAPI operations.
//!
//! kubectl looks at the query parameters and the patch types of an operation to know what a server understands; client
//! generators make methods of `operationId`. Names follow `k8s.io/apiserver/pkg/endpoints/installer.go`. Operations are
//! made once, for version 3; version 2 is derived from them.

use serde_json::{Map, Value, json};
use skiff_api::KindInfo;
use skiff_api::Subresource;

use super::schemas::Schemas;
use crate::registry::Resource;

/// What bodies and answers are written in.
const MEDIA: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// One method on one path.
struct Operation<'a> {
    method: &'static str,
    /// Words of the `operationId` before and behind the group version.
    words: (&'static str, &'static str),
    /// `x-kubernetes-action`.
    action: &'static str,
    query: Vec<(&'a str, &'a str)>,
    body: Body,
    answers: &'static [u16],
    answer: Answer,
}

#[derive(PartialEq)]
enum Body {
    None,
    Object,
    Patch,
    DeleteOptions,
}

#[derive(PartialEq)]
enum Answer {
    Object,
    List,
    Status,
    Text,
}

/// What the operations of one resource or subresource have in common.
struct Target<'a> {
    resource: &'a KindInfo,
    subresource: Option<&'a Subresource>,
    object: Value,
    list: Value,
    /// `Namespaced` or nothing, before the kind; `ForAllNamespaces` after it.
    affix: (&'static str, &'static str),
}

/// Adds the paths of a resource.
pub fn add(resource: &Resource, schemas: &mut Schemas<'_>, paths: &mut Map<String, Value>) {
    let info = resource.info;
    let base = base(&info.group, &info.version);
    let scoped = if info.namespaced { "/namespaces/{namespace}" } else { "" };
    let object = schemas.of(info.type_id);
    let list = info.list_type_id.map_or(Value::Null, |id| schemas.of(id));
    let scope = if info.namespaced { "Namespaced" } else { "" };
    let target =
        |affix| Target { resource: info, subresource: None, object: object.clone(), list: list.clone(), affix };
    let collection = collection_operations(info);
    if info.namespaced && info.has_verb("list") {
        let everywhere = vec![list_operation()];
        put(paths, format!("{base}/{}", info.plural), &target(("", "ForAllNamespaces")), everywhere, schemas);
    }
    let path = format!("{base}{scoped}/{}", info.plural);
    put(paths, path.clone(), &target((scope, "")), collection, schemas);
    put(paths, format!("{path}/{{name}}"), &target((scope, "")), item_operations(info), schemas);
    for subresource in &info.subresources {
        // What connects has options in the query only.
        let object = if connects(subresource) { Value::Null } else { schemas.of(subresource.type_id) };
        let target =
            Target { resource: info, subresource: Some(subresource), object, list: Value::Null, affix: (scope, "") };
        let path = format!("{path}/{{name}}/{}", subresource.name);
        put(paths, path, &target, subresource_operations(subresource), schemas);
    }
}

/// `/api/VERSION` or `/apis/GROUP/VERSION`.
pub fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// `core_v1`.
pub fn tag(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    format!("{}_{version}", camel(group, false))
}

/// `AppsV1`.
pub fn title(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    format!("{}{}", camel(group, true), camel(version, true))
}

/// A document of one path that only reads something, such as `/version/`.
pub fn single(path: &str, id: &str, tag: &str, answer: &Value) -> Map<String, Value> {
    let operation = json!({
        "description": "",
        "operationId": id,
        "responses": {"200": response(answer, &MEDIA[..1]), "401": {"description": "Unauthorized"}},
        "tags": [tag],
    });
    Map::from_iter([(path.to_owned(), json!({"get": operation}))])
}

fn list_operation() -> Operation<'static> {
    let (answers, answer) = (&[200][..], Answer::List);
    Operation {
        method: "get",
        words: ("list", ""),
        action: "list",
        query: LIST.to_vec(),
        body: Body::None,
        answers,
        answer,
    }
}

fn collection_operations(info: &KindInfo) -> Vec<Operation<'static>> {
    let mut operations = Vec::new();
    if info.has_verb("list") {
        operations.push(list_operation());
    }
    if info.has_verb("create") {
        operations.push(create());
    }
    if info.has_verb("deletecollection") {
        operations.push(Operation {
            method: "delete",
            words: ("delete", "Collection"),
            action: "deletecollection",
            query: DELETE.iter().chain(LIST.iter().filter(|(name, _)| !name.contains("atch"))).copied().collect(),
            body: Body::DeleteOptions,
            answers: &[200],
            answer: Answer::Status,
        });
    }
    operations
}

fn create() -> Operation<'static> {
    let (answers, answer) = (&[200, 201, 202][..], Answer::Object);
    let query = WRITE.to_vec();
    Operation { method: "post", words: ("create", ""), action: "post", query, body: Body::Object, answers, answer }
}

fn item_operations(info: &KindInfo) -> Vec<Operation<'static>> {
    let mut operations = object_operations(|verb| info.has_verb(verb));
    if info.has_verb("delete") {
        operations.push(Operation {
            method: "delete",
            words: ("delete", ""),
            action: "delete",
            query: DELETE.to_vec(),
            body: Body::DeleteOptions,
            answers: &[200, 202],
            answer: Answer::Status,
        });
    }
    operations
}

fn object_operations(has: impl Fn(&str) -> bool) -> Vec<Operation<'static>> {
    let mut operations = Vec::new();
    let operation = |method, word, action, query, body, answers| {
        let answer = Answer::Object;
        Operation { method, words: (word, ""), action, query, body, answers, answer }
    };
    if has("get") {
        operations.push(operation("get", "read", "get", Vec::new(), Body::None, &[200]));
    }
    if has("update") {
        operations.push(operation("put", "replace", "put", WRITE.to_vec(), Body::Object, &[200, 201]));
    }
    if has("patch") {
        let query = WRITE.iter().copied().chain([("force", "boolean")]).collect();
        operations.push(operation("patch", "patch", "patch", query, Body::Patch, &[200, 201]));
    }
    operations
}

fn connects(subresource: &Subresource) -> bool {
    subresource.kind.ends_with("Options")
}

fn subresource_operations(subresource: &Subresource) -> Vec<Operation<'static>> {
    let has = |verb: &str| subresource.verbs.iter().any(|v| v == verb);
    if !connects(subresource) && subresource.name != "log" {
        let mut operations = object_operations(has);
        if has("create") {
            operations.push(create());
        }
        return operations;
    }
    let methods = [
        ("get", "get", "Get"),
        ("create", "post", "Post"),
        ("update", "put", "Put"),
        ("patch", "patch", "Patch"),
        ("delete", "delete", "Delete"),
    ];
    let (action, own) = if subresource.name == "log" { ("get", Some(("read", ""))) } else { ("connect", None) };
    let connect = |(_, method, word)| Operation {
        method,
        words: own.unwrap_or(("connect", word)),
        action,
        query: Vec::new(),
        body: Body::None,
        answers: &[200],
        answer: Answer::Text,
    };
    methods.into_iter().filter(|(verb, ..)| has(verb)).map(connect).collect()
}

fn put(
    paths: &mut Map<String, Value>,
    path: String,
    target: &Target<'_>,
    operations: Vec<Operation<'_>>,
    schemas: &mut Schemas<'_>,
) {
    if operations.is_empty() {
        return;
    }
    let mut item = Map::new();
    for operation in operations {
        item.insert(operation.method.to_owned(), render(target, &operation, schemas));
    }
    let mut parameters = Vec::new();
    for (name, place) in [("{name}", "name"), ("{namespace}", "namespace")] {
        if path.contains(name) {
            parameters.push(json!({
                "in": "path", "name": place, "required": true, "schema": {"type": "string", "uniqueItems": true}
            }));
        }
    }
    parameters.push(query_parameter("pretty", "string"));
    item.insert("parameters".to_owned(), parameters.into());
    paths.insert(path, item.into());
}

fn render(target: &Target<'_>, operation: &Operation<'_>, schemas: &mut Schemas<'_>) -> Value {
    let (group, version, kind) = match target.subresource {
        Some(sub) => (&sub.group, &sub.version, &sub.kind),
        None => (&target.resource.group, &target.resource.version, &target.resource.kind),
    };
    let answer = match operation.answer {
        Answer::Object => target.object.clone(),
        Answer::List => target.list.clone(),
        Answer::Status => schemas.meta("Status"),
        Answer::Text => json!({"type": "string"}),
    };
    let media = if operation.answer == Answer::List { [&MEDIA[..], &STREAMS[..]].concat() } else { MEDIA.to_vec() };
    let mut responses = Map::new();
    for code in operation.answers {
        responses.insert(code.to_string(), response(&answer, &media));
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    let parameters = operation.query.iter().map(|(name, ty)| query_parameter(name, ty)).collect::<Vec<_>>();
    let mut rendered = json!({
        "description": format!("{} {kind}", operation.action),
        "operationId": operation_id(target, operation),
        "responses": responses,
        "tags": [tag(&target.resource.group, &target.resource.version)],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    });
    if !parameters.is_empty() {
        rendered["parameters"] = parameters.into();
    }
    let body = match operation.body {
        Body::None => return rendered,
        Body::Object => json!({"content": {"*/*": {"schema": target.object}}, "required": true}),
        Body::DeleteOptions => json!({"content": {"*/*": {"schema": schemas.meta("DeleteOptions")}}}),
        Body::Patch => {
            let patch = schemas.meta("Patch");
            let content = PATCHES.iter().map(|media| ((*media).to_owned(), json!({"schema": patch.clone()})));
            json!({"content": content.collect::<Map<_, _>>(), "required": true})
        }
    };
    rendered["requestBody"] = body;
    rendered
}

fn response(schema: &Value, media: &[&str]) -> Value {
    let content = media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema})));
    json!({"description": "OK", "content": content.collect::<Map<_, _>>()})
}

fn query_parameter(name: &str, ty: &str) -> Value {
    json!({"in": "query", "name": name, "schema": {"type": ty, "uniqueItems": true}})
}

/// `listAppsV1NamespacedDeployment`.
fn operation_id(target: &Target<'_>, operation: &Operation<'_>) -> String {
    let info = target.resource;
    let sub = target.subresource.map(|sub| camel(&sub.name, true)).unwrap_or_default();
    let (before, after) = target.affix;
    let group_version = title(&info.group, &info.version);
    let (word, second) = operation.words;
    format!("{word}{group_version}{second}{before}{}{sub}{after}", info.kind)
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
