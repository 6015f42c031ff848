//! Elements of sets are unique, and so are keys of keyed lists. Follows `schema/listtype/validation.go`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::schema::ListKind;
use skiff_apimachinery::value::{Object, Value};

use super::schema::Schema;

/// Checks an object.
pub fn validate(object: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    walk(object, schema, &Path::default(), &mut errors);
    errors
}

fn walk(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter() {
                if let Some(member) = schema.properties.get(key) {
                    walk(value, member, &path.child(key), errors);
                } else if let Some(member) = schema.additional_schema() {
                    walk(value, member, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type {
                Some(ListKind::Set) => {
                    for index in repeated(items) {
                        errors.push(Error::duplicate(&path.index(index), items[index].clone()));
                    }
                }
                Some(ListKind::Map) => keyed(items, schema, path, errors),
                _ => {}
            }
            if let Some(of_items) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    walk(item, of_items, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

/// Where each value that occurs more than once occurs for the second time.
fn repeated(items: &[Value]) -> Vec<usize> {
    // Equal values are neighbours once sorted by their text; the text is exact for JSON.
    let texts = items.iter().map(|item| {
        let mut text = Vec::new();
        skiff_apimachinery::json::write(item, &mut text);
        text
    });
    let mut seen = std::collections::HashMap::new();
    let mut found = Vec::new();
    for (index, text) in texts.enumerate() {
        let times = seen.entry(text).or_insert(0);
        *times += 1;
        if *times == 2 {
            found.push(index);
        }
    }
    found
}

fn keyed(items: &[Value], schema: &Schema, path: &Path, errors: &mut ErrorList) {
    let odd = items.iter().position(|item| !matches!(item, Value::Object(_) | Value::Null));
    if let Some(index) = odd {
        let why = "must be an object for an array of list-type map";
        errors.push(Error::invalid(&path.index(index), items[index].clone(), why));
        return;
    }
    let key = |item: &Value| {
        let keys = schema.list_map_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(keys.collect::<Object>())
    };
    let keys = items.iter().map(key).collect::<Vec<_>>();
    for index in repeated(&keys) {
        errors.push(Error::duplicate(&path.index(index), keys[index].clone()));
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn what_is_repeated_is_named_once() {
        let schema = Schema::parse(&value!({"properties": {
            "set": {"x-kubernetes-list-type": "set"},
            "map": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]}
        }}));
        let object = value!({"set": [1, 2, 1, 1, "1"], "map": [{"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2}]});
        let errors = validate(&object, &schema).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(errors, [r#"map[1]: Duplicate value: {"a":1}"#, "set[2]: Duplicate value: 1"]);
    }
}
