//! Values as JSON, for what expressions make: patches.

use skiff_apimachinery::value::{Object, Value};

use crate::value::Val;

/// Nesting of a value that becomes JSON.
const MAX_DEPTH: usize = 100;

/// Parts of a value that becomes JSON: values may share parts, so that a few of them make any number.
const MAX_PARTS: usize = 1_000_000;

/// A value as JSON; the error says what has no form in JSON.
pub fn to_json(value: &Val<'_>) -> Result<Value, String> {
    convert(value, MAX_DEPTH, &mut { MAX_PARTS })
}

fn convert(value: &Val<'_>, depth: usize, left: &mut usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else { return Err("value is nested too deeply".to_owned()) };
    let Some(rest) = left.checked_sub(1) else { return Err("value has too many parts".to_owned()) };
    *left = rest;
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(on) => Value::Bool(*on),
        Val::Int(n) => Value::Int(*n),
        Val::UInt(n) => i64::try_from(*n).map_or(Value::Float(*n as f64), Value::Int),
        Val::Double(n) if n.is_finite() => Value::Float(*n),
        Val::Str(text) => text.as_ref().into(),
        Val::Json(value, _) => (*value).clone(),
        Val::Bytes(bytes) => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
        Val::Timestamp(_) | Val::Duration(_) => value.to_text().unwrap_or_default().into(),
        Val::Optional(held) => match held {
            Some(held) => convert(held, depth, left)?,
            None => Value::Null,
        },
        Val::List(items) | Val::Set(items) => {
            let items = items.iter().map(|item| convert(item, depth, left)).collect::<Result<Vec<_>, _>>();
            Value::Array(items?)
        }
        Val::Map(entries) => {
            let mut object = Value::Object(Object::new());
            for (key, value) in entries.iter() {
                let key = key.to_text().ok_or_else(|| unsupported(key))?;
                object.set_at(&[&key], convert(value, depth, left)?);
            }
            object
        }
        Val::Made(made) => {
            let mut object = Value::Object(Object::new());
            for (name, value) in &made.1 {
                object.set_at(&[name], convert(value, depth, left)?);
            }
            object
        }
        other => return Err(unsupported(other)),
    })
}

fn unsupported(value: &Val<'_>) -> String {
    format!("unsupported conversion of {} to JSON", value.type_name())
}

/// What is wrong with the types of objects in an object: each is named for the field it stands in, so that the object
/// in field `spec` of an `Object` is an `Object.spec`.
pub fn misnamed(value: &Val<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    if let Val::Made(made) = value {
        check_names(value, &made.0, &mut errors);
    }
    errors
}

fn check_names(value: &Val<'_>, expected: &str, errors: &mut Vec<String>) {
    match value {
        Val::Made(made) => {
            if made.0 != expected {
                errors.push(format!(
                    "unexpected type name {:?}, expected {expected:?}, which matches field name path from root Object type",
                    made.0
                ));
            }
            for (name, value) in &made.1 {
                check_names(value, &format!("{expected}.{name}"), errors);
            }
        }
        Val::List(items) | Val::Set(items) => items.iter().for_each(|item| check_names(item, expected, errors)),
        Val::Map(entries) => entries.iter().for_each(|(_, value)| check_names(value, expected, errors)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use skiff_apimachinery::value;

    use super::*;

    fn made<'a>(name: &str, fields: Vec<(&str, Val<'a>)>) -> Val<'a> {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Val::Made(Rc::new((name.to_owned(), fields)))
    }

    #[test]
    fn objects_become_json() {
        let list = Val::list(vec![Val::Int(1), Val::text("a"), Val::Bool(false)]);
        let object = made("Object", vec![("spec", made("Object.spec", vec![("l", list)])), ("on", Val::Bool(true))]);
        assert_eq!(to_json(&object), Ok(value!({"spec": {"l": [1, "a", false]}, "on": true})));
        assert!(misnamed(&object).is_empty());
        let wrong = made("Object", vec![("spec", made("Object.status", Vec::new()))]);
        assert_eq!(misnamed(&wrong).len(), 1);
    }
}
