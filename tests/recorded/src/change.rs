//! Changes to an object, each a path and a value.
//!
//! A path is `spec.containers[0].name`. `[0]` is an element of a list and `[+]` a new one at its end; any other text in
//! brackets is a key of a map that has dots or slashes in it. What is not there is made. The value `null` removes.

use anyhow::{Context, bail};
use serde_json::{Map, Value};

enum Step<'a> {
    Key(&'a str),
    Index(usize),
    Append,
}

/// Makes all changes.
pub fn apply(object: &mut Value, changes: &Map<String, Value>) -> anyhow::Result<()> {
    for (path, value) in changes {
        set(object, &steps(path)?, value).with_context(|| path.clone())?;
    }
    Ok(())
}

/// What is at a path.
pub fn get<'a>(object: &'a Value, path: &str) -> anyhow::Result<Option<&'a Value>> {
    let mut at = Some(object);
    for step in steps(path)? {
        at = at.and_then(|at| match step {
            Step::Key(key) => at.get(key),
            Step::Index(index) => at.get(index),
            Step::Append => None,
        });
    }
    Ok(at)
}

fn steps(path: &str) -> anyhow::Result<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = inside.find(']').with_context(|| format!("{path}: a bracket is open"))?;
            let text = &inside[..end];
            steps.push(match text.parse() {
                Ok(index) => Step::Index(index),
                Err(_) if text == "+" => Step::Append,
                Err(_) => Step::Key(text),
            });
            rest = &inside[end + 1..];
            rest = rest.strip_prefix('.').unwrap_or(rest);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Key(&rest[..end]));
            rest = &rest[end..];
            rest = rest.strip_prefix('.').unwrap_or(rest);
        }
    }
    Ok(steps)
}

fn set(at: &mut Value, steps: &[Step<'_>], value: &Value) -> anyhow::Result<()> {
    let Some((step, rest)) = steps.split_first() else {
        *at = value.clone();
        return Ok(());
    };
    let removes = rest.is_empty() && value.is_null();
    match step {
        Step::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(object) = at else { bail!("{key}: not a map") };
            if removes {
                object.remove(*key);
                return Ok(());
            }
            set(object.entry(*key).or_insert(Value::Null), rest, value)
        }
        Step::Index(index) => {
            let Value::Array(items) = at else { bail!("[{index}]: not a list") };
            if *index >= items.len() {
                bail!("[{index}]: only {} are there", items.len());
            }
            if removes {
                items.remove(*index);
                return Ok(());
            }
            set(&mut items[*index], rest, value)
        }
        Step::Append => {
            if at.is_null() {
                *at = Value::Array(Vec::new());
            }
            let Value::Array(items) = at else { bail!("[+]: not a list") };
            items.push(Value::Null);
            set(items.last_mut().expect("just pushed"), rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_path_reaches() {
        let mut object = json!({"a": [{"b": 1}], "gone": 1});
        let changes = json!({"a[0].b": 2, "a[+]": {"c": 3}, "m[x.y/z]": "v", "d.e": [], "gone": null});
        apply(&mut object, changes.as_object().expect("map")).expect("changes");
        assert_eq!(object, json!({"a": [{"b": 2}, {"c": 3}], "m": {"x.y/z": "v"}, "d": {"e": []}}));
        assert_eq!(get(&object, "m[x.y/z]").expect("a path"), Some(&json!("v")));
        assert_eq!(get(&object, "a[5].b").expect("a path"), None);
        assert!(apply(&mut object, json!({"a[7]": 1}).as_object().expect("map")).is_err());
    }
}
