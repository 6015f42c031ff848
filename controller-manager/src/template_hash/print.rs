//! A pod template as Go prints its struct (`%#v` of the printer that upstream uses for hashes).

use std::fmt::Write;

use serde_json::{Map, Value};

use super::layout::{self, Field};
use super::quantity;

/// The whole template.
pub(super) fn print(template: &Value) -> String {
    let mut printer = Printer { out: String::with_capacity(8192) };
    printer.value(template, "v1.PodTemplateSpec", "", true);
    printer.out
}

struct Printer {
    out: String,
}

impl Printer {
    /// A value of a type, which is named first unless it is known from around it.
    fn value(&mut self, value: &Value, go_type: &str, plain: &str, named: bool) {
        if named {
            let _ = write!(self.out, "({go_type})");
        }
        if let Some(target) = go_type.strip_prefix('*') {
            match value {
                Value::Null => self.out.push_str("<nil>"),
                value => self.value(value, target, plain, false),
            }
        } else if let Some(item) = go_type.strip_prefix("[]") {
            self.list(value, item, plain);
        } else if let Some(item) = map_of(go_type) {
            self.map(value, item, plain);
        } else if let Some(fields) = layout::fields(go_type) {
            self.fields(value, fields);
        } else {
            self.scalar(value, go_type, plain);
        }
    }

    fn fields(&mut self, value: &Value, fields: &[Field]) {
        self.out.push('{');
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                self.out.push(' ');
            }
            self.out.push_str(field.name);
            self.out.push(':');
            let inner = field.json.map_or(value, |name| &value[name]);
            self.value(inner, field.go_type, field.plain, true);
        }
        self.out.push('}');
    }

    /// An empty list is none once it has been stored.
    fn list(&mut self, value: &Value, item: &str, plain: &str) {
        let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
            return self.out.push_str("<nil>");
        };
        self.out.push('[');
        for (at, value) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(' ');
            }
            self.value(value, item, plain, false);
        }
        self.out.push(']');
    }

    fn map(&mut self, value: &Value, item: &str, plain: &str) {
        let Some(entries) = value.as_object().filter(|entries| !entries.is_empty()) else {
            return self.out.push_str("<nil>");
        };
        self.out.push_str("map[");
        for (at, (key, value)) in sorted(entries).into_iter().enumerate() {
            if at > 0 {
                self.out.push(' ');
            }
            self.out.push_str(key);
            self.out.push(':');
            self.value(value, item, plain, false);
        }
        self.out.push(']');
    }

    fn scalar(&mut self, value: &Value, go_type: &str, plain: &str) {
        let written = match (go_type, plain) {
            ("resource.Quantity", _) => quantity::write(value.as_str().unwrap_or("0"), &mut self.out),
            ("intstr.IntOrString", _) => self.number_or_name(value),
            // Templates have no times; upstream's print of one depends on the machine's zone.
            ("v1.Time", _) => {
                self.out.push_str("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}");
                Ok(())
            }
            (_, "string") => {
                self.out.push_str(value.as_str().unwrap_or_default());
                Ok(())
            }
            (_, "bool") => write!(self.out, "{}", value.as_bool().unwrap_or_default()),
            _ => write!(self.out, "{}", value.as_i64().unwrap_or_default()),
        };
        debug_assert!(written.is_ok(), "a text takes whatever is written to it");
    }

    fn number_or_name(&mut self, value: &Value) -> std::fmt::Result {
        let (number, name) = (value.as_i64().unwrap_or_default(), value.as_str().unwrap_or_default());
        let is_name = i32::from(value.is_string());
        write!(self.out, "{{Type:(intstr.Type){is_name} IntVal:(int32){number} StrVal:(string){name}}}")
    }
}

/// The type of a map's values.
fn map_of(go_type: &str) -> Option<&str> {
    if go_type == "v1.ResourceList" { Some("resource.Quantity") } else { go_type.strip_prefix("map[string]") }
}

fn sorted(entries: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    entries
}
