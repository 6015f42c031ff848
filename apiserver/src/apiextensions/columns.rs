//! Tables of custom resources: name, then what `additionalPrinterColumns` say, or the age.
//!
//! Follows `registry/customresource/tableconvertor`.

use jiff::Timestamp;
use skiff_apimachinery::time;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::jsonpath::JsonPath;
use crate::printers::{Rows, human};

/// The columns of one version.
pub struct Columns {
    columns: Vec<Column>,
}

struct Column {
    definition: Value,
    ty: String,
    path: JsonPath,
}

impl Columns {
    /// From `additionalPrinterColumns`; without any, the age is shown.
    pub fn new(definitions: &[Value]) -> Self {
        let age = [value!({
            "name": "Age",
            "type": "date",
            "description": "Time since the object was created.",
            "jsonPath": ".metadata.creationTimestamp"
        })];
        let definitions = if definitions.is_empty() { &age } else { definitions };
        // Up to the first that cannot be read; validation lets none in.
        Self { columns: definitions.iter().map_while(Column::new).collect() }
    }
}

impl Column {
    fn new(definition: &Value) -> Option<Self> {
        let text = |key: &str| definition.str_at(&[key]).unwrap_or("").to_owned();
        let path = text("jsonPath");
        let mut description = text("description");
        if description.is_empty() {
            description = format!("Custom resource definition column (in JSONPath format): {path}");
        }
        let shown = value!({
            "name": (text("name")),
            "type": (text("type")),
            "format": (text("format")),
            "description": description,
            "priority": (definition.i64_at(&["priority"]).unwrap_or(0))
        });
        Some(Self { definition: shown, ty: text("type"), path: JsonPath::parse(&path).ok()? })
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match (self.ty.as_str(), first) {
            (_, Value::Null) => Value::Null,
            ("integer", Value::Int(n)) => (*n).into(),
            ("integer", Value::Float(n)) => Value::Int(*n as i64),
            ("number", Value::Int(_) | Value::Float(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
            ("string", Value::String(text)) => text.clone().into(),
            ("string", other) => printed(other).into(),
            ("date", Value::String(text)) => match time::parse(text) {
                Some(at) => human::duration(now.duration_since(at).as_secs()).into(),
                None => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

/// A value in a column of strings: scalars as Go prints them, the rest as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => {
            let mut text = Vec::new();
            skiff_apimachinery::json::write(other, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    }
}

impl Rows for Columns {
    fn columns(&self) -> Vec<Value> {
        let name = value!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name of the object, unique for its kind within a namespace."
        });
        std::iter::once(name).chain(self.columns.iter().map(|column| column.definition.clone())).collect()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = Value::from(object.str_at(&["metadata", "name"]).unwrap_or(""));
        std::iter::once(name).chain(self.columns.iter().map(|column| column.cell(object, now))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_type_of_their_column() {
        let columns = Columns::new(&[
            value!({"name": "N", "type": "integer", "jsonPath": ".spec.n"}),
            value!({"name": "S", "type": "string", "jsonPath": ".spec.s"}),
            value!({"name": "D", "type": "date", "jsonPath": ".spec.d", "priority": 1}),
            value!({"name": "M", "type": "string", "jsonPath": ".spec.missing"}),
            value!({"name": "B", "type": "boolean", "jsonPath": ".spec.n"}),
        ]);
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("time");
        let object = value!({"metadata": {"name": "a"}, "spec": {"n": 3, "s": [1], "d": "2026-01-01T00:00:00Z"}});
        assert_eq!(Value::Array(columns.cells(&object, now)), value!(["a", 3, "[1]", "60m", null, null]));
        assert_eq!(columns.columns()[3].i64_at(&["priority"]), Some(1));
        assert_eq!(Columns::new(&[]).columns()[1].str_at(&["name"]), Some("Age"));
    }
}
