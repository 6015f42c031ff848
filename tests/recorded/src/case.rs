//! What is asked: the format of the files in `cases/`.
//!
//! A file is about one kind. Its sections make cases in short form from one `base` object:
//!
//! ```yaml
//! path: /api/v1/namespaces/<ns>/configmaps   # where the requests of this file go
//! setup: []                                  # requests before each case; they must succeed and are not compared
//! base: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
//! create:                                    # base with changes is posted
//! - minimal
//! - a bad key: {"data[a b]": x}
//! update:                                    # base is created, what came back is changed and put
//! - other data: {data.a: y}
//! - data of an immutable one: {given: {immutable: true}, change: {data.a: y}}
//! status:                                    # the same, put to the status subresource
//! - a condition: {"status.conditions[+]": {type: A}}
//! patch: []                                  # base is created and changed step by step: see [`crate::steps`]
//! cases:                                     # anything else, request by request
//! - name: created twice
//!   requests:
//!   - {method: POST, body: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}}
//!   - {method: POST, body: {$answer: 0, set: {data.b: z}}}
//! ```
//!
//! In every string `<ns>` is the case's own namespace (made with a ServiceAccount `default`; also good as a unique part
//! of the names of cluster-wide objects), `<a*300>` is 300 times `a`, and `<uid>` what an earlier request of the case
//! has kept with `save: {uid: metadata.uid}`. Paths are those of [`crate::change`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::steps;

/// One request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Method; GET if there is none.
    #[serde(default = "get")]
    pub method: String,
    /// Path; that of the file if there is none. One that does not begin with a slash is below the file's.
    #[serde(default)]
    pub path: String,
    /// Query string, without the question mark.
    #[serde(default)]
    pub query: String,
    /// Content-Type of the body.
    pub content_type: Option<String>,
    /// Accept header.
    pub accept: Option<String>,
    /// Who asks (by impersonation); the administrator if there is nobody.
    pub user: Option<String>,
    /// Groups of `user`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// More headers; a list is one that is sent several times. With `authorization` the request is not the
    /// administrator's but whose that is, and nobody's if it is empty.
    #[serde(default)]
    pub headers: BTreeMap<String, Texts>,
    /// The body: a text as it is, anything else as JSON. `{$answer: N, set: {...}}` is the body of the case's N-th
    /// answer with changes.
    pub body: Option<Value>,
    /// Whether the answer is compared.
    #[serde(default = "yes")]
    pub compare: bool,
    /// Asked only when what was written before is known to all that decide by it: seconds that this may take in
    /// kube-apiserver, which cannot be asked. Ours is.
    pub settle: Option<f64>,
    /// The places of a success that are compared, besides its code and its warnings; everything if it is not said.
    pub only: Option<Vec<String>>,
    /// Headers of the answer that are compared.
    #[serde(default)]
    pub show: Vec<String>,
    /// Values of the answer that later requests use, by name.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// In a set-up: whether it is asked again until it succeeds.
    #[serde(default)]
    pub wait: bool,
}

/// One text or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several, or none.
    Several(Vec<String>),
}

impl Texts {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// A sequence of requests in a namespace of its own.
#[derive(Clone, Debug)]
pub struct Case {
    /// `AREA/FILE/NAME`.
    pub name: String,
    /// Requests that must succeed first, or be for what another case has made (409).
    pub setup: Vec<Request>,
    /// Requests.
    pub requests: Vec<Request>,
    /// Whether `metadata.managedFields` is compared.
    pub managed_fields: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    path: String,
    #[serde(default)]
    setup: Vec<Request>,
    #[serde(default)]
    base: Value,
    #[serde(default)]
    create: Vec<Value>,
    #[serde(default)]
    update: Vec<Value>,
    #[serde(default)]
    status: Vec<Value>,
    #[serde(default)]
    patch: Vec<Value>,
    #[serde(default)]
    cases: Vec<Explicit>,
    #[serde(default)]
    managed_fields: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Explicit {
    name: String,
    #[serde(default)]
    setup: Vec<Request>,
    requests: Vec<Request>,
    managed_fields: Option<bool>,
}

fn get() -> String {
    "GET".to_owned()
}

fn yes() -> bool {
    true
}

/// The cases of a file; `prefix` is `AREA/FILE`.
pub fn parse(prefix: &str, text: &str) -> anyhow::Result<Vec<Case>> {
    let file: File = serde_saphyr::from_str(text)?;
    let mut cases = Vec::new();
    for (section, entries) in [("create", &file.create), ("update", &file.update), ("status", &file.status)] {
        for entry in entries {
            let (name, given, change) = short_form(section, entry)?;
            cases.push(Case {
                name: format!("{prefix}/{section}: {name}"),
                setup: file.setup.clone(),
                requests: requests(section, &file.base, given, change),
                managed_fields: file.managed_fields,
            });
        }
    }
    for entry in &file.patch {
        let (name, requests) = steps::requests(&file.base, entry)?;
        cases.push(Case {
            name: format!("{prefix}/{name}"),
            setup: file.setup.clone(),
            requests,
            managed_fields: file.managed_fields,
        });
    }
    for explicit in file.cases {
        cases.push(Case {
            name: format!("{prefix}/{}", explicit.name),
            setup: [file.setup.clone(), explicit.setup].concat(),
            requests: explicit.requests,
            managed_fields: explicit.managed_fields.unwrap_or(file.managed_fields),
        });
    }
    for case in &mut cases {
        for request in case.setup.iter_mut().chain(&mut case.requests) {
            if !request.path.starts_with('/') {
                let rest = if request.path.is_empty() { String::new() } else { format!("/{}", request.path) };
                request.path = format!("{}{rest}", file.path);
            }
        }
    }
    let mut names = cases.iter().map(|case| &case.name).collect::<Vec<_>>();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        anyhow::bail!("two cases have the name {:?}", twice[0]);
    }
    Ok(cases)
}

/// Name, changes to the base, and changes to what was created.
fn short_form(section: &str, entry: &Value) -> anyhow::Result<(String, Map<String, Value>, Map<String, Value>)> {
    let (name, changes) = match entry {
        Value::String(name) => (name.clone(), Map::new()),
        Value::Object(one) if one.len() == 1 => {
            let (name, changes) = one.iter().next().expect("one entry");
            let Value::Object(changes) = changes else { anyhow::bail!("{name}: not a map of changes") };
            (name.clone(), changes.clone())
        }
        other => anyhow::bail!("{other}: neither a name nor a name with its changes"),
    };
    if section == "create" {
        return Ok((name, changes, Map::new()));
    }
    let part = |key: &str| match changes.get(key) {
        Some(Value::Object(part)) => Some(part.clone()),
        _ => None,
    };
    match (part("given"), part("change")) {
        (None, None) => Ok((name, Map::new(), changes)),
        (given, change) => Ok((name, given.unwrap_or_default(), change.unwrap_or_default())),
    }
}

fn requests(section: &str, base: &Value, given: Map<String, Value>, change: Map<String, Value>) -> Vec<Request> {
    let body = serde_json::json!({"$body": base, "set": given});
    let create =
        Request { method: "POST".into(), body: Some(body), compare: section == "create", ..Request::default() };
    if section == "create" {
        return vec![create];
    }
    let path = if section == "status" { "$name/status" } else { "$name" };
    let body = serde_json::json!({"$answer": 0, "set": change});
    let put =
        Request { method: "PUT".into(), path: path.into(), body: Some(body), compare: true, ..Request::default() };
    vec![create, put]
}

/// What `<...>` stands for in the strings of a case.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The namespace of the case.
    pub namespace: String,
    /// What was kept of answers, by name.
    pub saved: BTreeMap<String, String>,
}

impl Names {
    /// Those of a case that has seen no answer yet.
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), saved: BTreeMap::new() }
    }

    /// Puts names and repetitions into every string.
    pub fn expand(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.expand(item)),
            Value::Object(object) => {
                let entries = std::mem::take(object).into_iter().map(|(key, mut value)| {
                    self.expand(&mut value);
                    (self.text(&key), value)
                });
                *object = entries.collect();
            }
            _ => {}
        }
    }

    /// See [`Self::expand`].
    pub fn text(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let Some(end) = rest.find('>') else { break };
            let inside = &rest[1..end];
            match inside.rsplit_once('*').map(|(text, times)| (text, times.parse::<usize>())) {
                _ if inside == "ns" => out.push_str(&self.namespace),
                Some((text, Ok(times))) => out.push_str(&text.repeat(times)),
                _ => out.push_str(self.saved.get(inside).map_or(&rest[..=end], String::as_str)),
            }
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let mut names = Names::new("n");
        names.saved.insert("uid".into(), "7".into());
        assert_eq!(names.text("a-<ns>-<x*3>-<ab*2>-<y>-<uid>"), "a-n-xxx-abab-<y>-7");
    }

    #[test]
    fn short_forms() {
        let text = "path: /a\nbase: {a: 1}\ncreate: [minimal, {other: {b: 2}}]\nupdate: [{u: {given: {b: 1}, change: {c: 2}}}]";
        let cases = parse("x/y", text).expect("cases");
        let names = cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["x/y/create: minimal", "x/y/create: other", "x/y/update: u"]);
        assert_eq!(cases[2].requests[1].path, "/a/$name");
    }
}
