//! Filling in what a schema says absent values are. Follows `schema/defaulting/algorithm.go`.

use skiff_apimachinery::value::Value;

use super::schema::Schema;

/// Fills in defaults, also below those just filled in.
pub fn fill_in(value: &mut Value, schema: &Schema) {
    let meaningless = |value: &Value, schema: &Schema| value.is_null() && !schema.nullable;
    match value {
        Value::Object(members) => {
            for (key, member) in &schema.properties {
                let Some(default) = &member.default else { continue };
                if members.get(key).is_none_or(|value| meaningless(value, member)) {
                    members.insert(key.clone(), default.clone());
                }
            }
            for (key, value) in members.iter_mut() {
                if let Some(member) = schema.properties.get(key) {
                    fill_in(value, member);
                } else if let Some(member) = schema.additional_schema() {
                    if meaningless(value, member) {
                        *value = member.default.clone().unwrap_or_default();
                    }
                    fill_in(value, member);
                }
            }
        }
        Value::Array(items) => {
            let Some(of_items) = &schema.items else { return };
            for item in items {
                if meaningless(item, of_items) {
                    *item = of_items.default.clone().unwrap_or_default();
                }
                fill_in(item, of_items);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn absent_values_and_meaningless_nulls_get_their_default() {
        let schema = Schema::parse(&value!({"properties": {
            "a": {"default": "A"},
            "b": {"default": {}, "properties": {"c": {"default": 1}}},
            "n": {"default": "N", "nullable": true},
            "z": {"default": "Z"},
            "l": {"items": {"default": 5, "properties": {"x": {"default": true}}}},
            "m": {"additionalProperties": {"default": "M"}},
            "u": {"properties": {"v": {"default": 1}}}
        }}));
        let mut object = value!({"n": null, "z": null, "l": [null, {}], "m": {"k": null}});
        fill_in(&mut object, &schema);
        let want = value!({"a": "A", "b": {"c": 1}, "n": null, "z": "Z", "l": [5, {"x": true}], "m": {"k": "M"}});
        assert_eq!(object, want);
    }
}
