//! Short form of cases that change one object several times: the section `patch` of a file.
//!
//! ```yaml
//! patch:
//! - one step: {merge: {data: {a: b}}}
//! - several:
//!   - {apply: {data: {a: b}}, as: one}
//!   - {apply: {data: {a: c}}, as: two, force: true}
//! - with another base, or none: {given: {data.a: b}, steps: [{strategic: {data: {a: null}}}]}
//! - it is not there before: {new: true, steps: [{apply: {data: {a: b}}, as: one}]}
//! ```
//!
//! The file's base is created, by the manager `creator`, and each step's answer is compared. An applied object without
//! apiVersion gets that, the kind and the name from the base; text is sent as it is.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::case::Request;

/// One request for the object; exactly one of the first seven says which.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    json: Option<Value>,
    merge: Option<Value>,
    strategic: Option<Value>,
    apply: Option<Value>,
    /// Changes to the answer before, or to what was created.
    put: Option<Map<String, Value>>,
    /// Changes to the base, which is posted.
    post: Option<Map<String, Value>>,
    /// The method of a request without a body.
    ask: Option<String>,
    /// The manager.
    #[serde(rename = "as")]
    manager: Option<String>,
    force: Option<bool>,
    /// Subresource.
    #[serde(default)]
    at: String,
    /// Another version of the API: a whole path, `$name` and all.
    path: Option<String>,
    /// More of the query string.
    #[serde(default)]
    query: String,
    accept: Option<String>,
    content_type: Option<String>,
    user: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    /// Whether the answer is compared.
    compare: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    #[serde(default)]
    given: Map<String, Value>,
    #[serde(default)]
    new: bool,
    steps: Vec<Step>,
}

/// The name of an entry of the section, and its requests.
pub fn requests(base: &Value, entry: &Value) -> anyhow::Result<(String, Vec<Request>)> {
    let Value::Object(one) = entry else { bail!("{entry}: not a name with its steps") };
    let (name, steps) =
        one.iter().next().filter(|_| one.len() == 1).with_context(|| format!("{entry}: not one name"))?;
    let steps = match steps {
        Value::Array(_) => Steps { given: Map::new(), new: false, steps: parse(name, steps)? },
        Value::Object(object) if object.contains_key("steps") => parse(name, steps)?,
        _ => Steps { given: Map::new(), new: false, steps: vec![parse(name, steps)?] },
    };
    let mut requests = Vec::new();
    if !steps.new {
        requests.push(Request {
            method: "POST".into(),
            query: "fieldManager=creator".into(),
            body: Some(json!({"$body": base, "set": steps.given})),
            compare: false,
            ..Request::default()
        });
    }
    for step in steps.steps {
        let last = requests.len().checked_sub(1);
        requests.push(step.request(base, last).with_context(|| name.clone())?);
    }
    Ok((name.clone(), requests))
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, value: &Value) -> anyhow::Result<T> {
    serde_json::from_value(value.clone()).with_context(|| format!("{name}: {value}"))
}

impl Step {
    fn request(self, base: &Value, last: Option<usize>) -> anyhow::Result<Request> {
        let name = base["metadata"]["name"].as_str().context("the base has no name")?;
        let mut query = Vec::new();
        query.extend(self.manager.map(|manager| format!("fieldManager={manager}")));
        query.extend(self.force.map(|force| format!("force={force}")));
        query.extend(Some(self.query).filter(|query| !query.is_empty()));
        let patch = |body: Value, kind: &str| ("PATCH".to_owned(), Some(body), Some(format!("application/{kind}")));
        let mut path = match self.at.as_str() {
            "" => name.to_owned(),
            subresource => format!("{name}/{subresource}"),
        };
        let (method, body, content_type) = if let Some(body) = self.json {
            patch(body, "json-patch+json")
        } else if let Some(body) = self.merge {
            patch(body, "merge-patch+json")
        } else if let Some(body) = self.strategic {
            patch(body, "strategic-merge-patch+json")
        } else if let Some(body) = self.apply {
            patch(completed(body, base), "apply-patch+yaml")
        } else if let Some(changes) = self.put {
            let last = last.context("nothing to change yet")?;
            ("PUT".into(), Some(json!({"$answer": last, "set": changes})), None)
        } else if let Some(changes) = self.post {
            path = String::new();
            ("POST".into(), Some(json!({"$body": base, "set": changes})), None)
        } else {
            (self.ask.context("a step that does nothing")?, None, None)
        };
        Ok(Request {
            method,
            path: self.path.map_or(path, |path| path.replace("$name", name)),
            query: query.join("&"),
            content_type: self.content_type.or(content_type),
            accept: self.accept,
            user: self.user,
            groups: self.groups,
            body,
            compare: self.compare.unwrap_or(true),
            ..Request::default()
        })
    }
}

fn completed(mut body: Value, base: &Value) -> Value {
    if let Some(object) = body.as_object_mut().filter(|object| !object.contains_key("apiVersion")) {
        object.insert("apiVersion".into(), base["apiVersion"].clone());
        object.insert("kind".into(), base["kind"].clone());
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.entry("name").or_insert_with(|| base["metadata"]["name"].clone());
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_is_sent() {
        let base = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        let entry = json!({"x": [{"apply": {"data": {"a": "b"}}, "as": "m", "force": true, "at": "status"}]});
        let (name, requests) = requests(&base, &entry).expect("a case");
        assert_eq!((name.as_str(), requests.len()), ("x", 2));
        let request = &requests[1];
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", "a/status"));
        assert_eq!(request.query, "fieldManager=m&force=true");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "b"}});
        assert_eq!(request.body, Some(body));
        assert!(super::requests(&base, &json!({"x": {"nothing": 1}})).is_err());
    }
}
