//! Values as upstream's internal types would show them.
//!
//! Some messages of kube-apiserver show a struct, or the difference of two. Upstream validates its internal types, whose
//! JSON has Go's field names in Go's order and leaves nothing out. `types.txt` has those names, extracted from
//! `pkg/apis/*/types.go` by `xtask/facts/internal_types.py`.

pub mod diff;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use skiff_apimachinery::json;
use skiff_apimachinery::value::{Object, Value};

static TYPES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let lines = include_str!("types.txt").lines();
    lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).map(|(name, rest)| (name, fields(rest))).collect()
});

struct Field {
    name: &'static str,
    /// Left out when empty.
    optional: bool,
    /// The fields of this member stand in its place.
    inline: bool,
    ty: &'static str,
}

fn fields(line: &'static str) -> Vec<Field> {
    let pairs = line.split_whitespace().filter_map(|field| field.split_once(':'));
    let field = |(name, ty): (&'static str, &'static str)| {
        let inline = name.strip_prefix('@');
        let name = inline.unwrap_or(name);
        let optional = name.strip_suffix('?');
        Field { name: optional.unwrap_or(name), optional: optional.is_some(), inline: inline.is_some(), ty }
    };
    pairs.map(field).collect()
}

/// JSON whose members have an order.
enum Node {
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// The value as one of these types shows it, to be put into an error. `[` before the type makes it a list.
pub fn shown(value: Option<&Value>, ty: &str) -> Value {
    let mut out = String::new();
    compact(&node(value, ty), &mut out);
    Value::Raw(out.into_boxed_str())
}

/// The value as one of these types shows it, a line for each member.
pub fn pretty(value: Option<&Value>, ty: &str) -> String {
    let mut out = String::new();
    indented(&node(value, ty), 0, &mut out);
    out
}

fn node(value: Option<&Value>, ty: &str) -> Node {
    let value = value.filter(|value| !value.is_null());
    let text = |text: &str| Node::Text(text.to_owned());
    match (ty.split_at(1), value) {
        (("*" | "[" | "{", _), None) => text("null"),
        (("*", inner), value) => node(value, inner),
        (("[", inner), Some(value)) => {
            let items = value.as_array().unwrap_or_default();
            Node::List(items.iter().map(|item| node(Some(item), inner)).collect())
        }
        (("{", inner), Some(value)) => {
            let entries = value.as_object().into_iter().flat_map(|object| object.iter());
            Node::Object(entries.map(|(key, value)| (key.to_owned(), node(Some(value), inner))).collect())
        }
        (("s", ""), None) => text("\"\""),
        (("i" | "o", ""), None) => text("0"),
        (("b", ""), None) => text("false"),
        (("q", ""), None) => text("\"0\""),
        (("t" | "x", ""), None) => text("null"),
        ((_, ""), Some(value)) => Node::Text(go_json(value)),
        (_, Some(value)) if ty.starts_with("JSONSchemaPropsOr") => {
            let alternatives = alternatives(value, ty);
            structure(alternatives.as_object(), ty)
        }
        (_, value) => structure(value.and_then(Value::as_object), ty),
    }
}

fn structure(object: Option<&Object>, ty: &str) -> Node {
    let mut members = Vec::new();
    for field in TYPES.get(ty).into_iter().flatten() {
        let value = object.and_then(|object| member(object, ty, field.name));
        if field.inline {
            if let Node::Object(inner) = node(value, field.ty) {
                members.extend(inner);
            }
        } else if ty == "PodSpec" && field.name == "SecurityContext" {
            members.push((field.name.to_owned(), pod_security(object, value)));
        } else if !field.optional || value.is_some() {
            members.push((field.name.to_owned(), node(value, field.ty)));
        }
    }
    Node::Object(members)
}

/// What JSON has in one place for several types, where upstream's type has a member for each.
fn alternatives(value: &Value, ty: &str) -> Value {
    let mut object = Object::new();
    match value {
        Value::Object(_) => {
            object.insert("schema", value.clone());
            object.insert("allows", true);
        }
        Value::Bool(allows) => drop(object.insert("allows", *allows)),
        _ if ty == "JSONSchemaPropsOrArray" => drop(object.insert("jsonSchemas", value.clone())),
        _ => drop(object.insert("property", value.clone())),
    }
    Value::Object(object)
}

/// Go's names differ from those of JSON in case, and a few altogether.
fn member<'a>(object: &'a Object, ty: &str, name: &str) -> Option<&'a Value> {
    let name = match (ty, name) {
        ("SecretVolumeSource" | "ConfigMapVolumeSource", "DefaultMode") => "defaultMode",
        ("EnvVarSource", "FileKeyRef") => "fileKeyRef",
        ("JSONSchemaProps", name) => {
            let plain = |key: &str| key.trim_start_matches('$').replace("x-kubernetes-", "x").replace('-', "");
            let found = object.iter().find(|(key, _)| plain(key).eq_ignore_ascii_case(name));
            return found.map(|(_, value)| value);
        }
        (_, name) => name,
    };
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Upstream keeps what a pod shares with its host in the security context.
fn pod_security(spec: Option<&Object>, context: Option<&Value>) -> Node {
    const SHARED: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];
    let mut context = context.cloned().unwrap_or_else(|| Value::Object(Object::new()));
    for field in SHARED {
        if let Some(value) = spec.and_then(|spec| spec.get(field)) {
            context.set_at(&[field], value.clone());
        }
    }
    node(Some(&context), "PodSecurityContext")
}

/// Go writes three characters of HTML as escapes.
fn go_json(value: &Value) -> String {
    let mut out = Vec::new();
    json::write(value, &mut out);
    String::from_utf8_lossy(&out).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn compact(node: &Node, out: &mut String) {
    match node {
        Node::Text(text) => out.push_str(text),
        Node::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                compact(item, out);
            }
            out.push(']');
        }
        Node::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", go_json(&Value::from(name.as_str())));
                compact(member, out);
            }
            out.push('}');
        }
    }
}

fn indented(node: &Node, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&" ".repeat(depth));
    };
    match node {
        Node::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                line(depth + 1, out);
                indented(item, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Node::Object(members) if !members.is_empty() => {
            for (index, (name, member)) in members.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                line(depth + 1, out);
                let _ = write!(out, "{}: ", go_json(&Value::from(name.as_str())));
                indented(member, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => compact(other, out),
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn everything_is_shown_under_go_s_names() {
        let Value::Raw(text) = shown(Some(&value!([{"ip": "1.2.3.4"}])), "[PodIP") else { panic!("not raw") };
        assert_eq!(&*text, r#"[{"IP":"1.2.3.4"}]"#);
        let Value::Raw(text) = shown(Some(&value!({"capabilities": {"add": ["<"]}})), "SecurityContext") else {
            panic!("not raw")
        };
        assert!(text.starts_with(r#"{"Capabilities":{"Add":["\u003c"],"Drop":null},"Privileged":null,"#), "{text}");
    }

    #[test]
    fn a_pod_s_host_fields_are_in_its_security_context() {
        let text = pretty(Some(&value!({"hostNetwork": true, "containers": []})), "PodSpec");
        assert!(text.contains("\n \"SecurityContext\": {\n  \"HostNetwork\": true,"), "{text}");
        assert!(text.contains("\n \"Containers\": [],"), "{text}");
    }
}
