//! Values against schemas, with upstream's findings.
//!
//! Follows `k8s.io/kube-openapi/pkg/validation/validate` in what is checked, in which order and with which words, and
//! `apiserver/validation/{validation,ratcheting}.go`: what an update leaves as it was is not held against it.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::schema::ListKind;
use skiff_apimachinery::value::{Object, Value};

use super::schema::{Additional, Numbers, Schema};
use skiff_cel::formats;

/// Checks a value. `prefix` is where it is in the object; `old` is what was there before, for an update.
pub fn validate(value: &Value, old: Option<&Value>, schema: &Schema, prefix: &Path) -> ErrorList {
    let mut outcome = check(schema, value, old, "");
    outcome.findings.drain(..).map(|finding| finding.into_error(prefix)).collect()
}

/// What is wrong.
#[derive(Clone, Debug)]
enum Finding {
    /// With a place and a value.
    At { name: String, what: What },
    /// About the object as a whole (`allOf` and its like).
    Whole(String),
}

#[derive(Clone, Debug)]
enum What {
    Required,
    Type(Value, String),
    NotSupported(Value, Vec<String>),
    TooLong(i64),
    TooMany(usize, i64),
    Invalid(Option<Value>, String),
}

impl Finding {
    fn into_error(self, prefix: &Path) -> Error {
        let (name, what) = match self {
            Finding::Whole(message) => return Error::invalid(prefix, "", message),
            Finding::At { name, what } => (name, what),
        };
        let name = name.strip_prefix('.').unwrap_or(&name);
        let path = if name.is_empty() { prefix.clone() } else { prefix.child(name) };
        match what {
            What::Required => Error::required(&path, ""),
            What::Type(value, message) => Error::type_invalid(&path, value, message),
            What::NotSupported(value, allowed) => {
                Error::not_supported(&path, value, &allowed.iter().map(String::as_str).collect::<Vec<_>>())
            }
            What::TooLong(max) => Error::too_long(&path, "", usize::try_from(max).unwrap_or(0)),
            What::TooMany(actual, max) => Error::too_many(&path, actual, usize::try_from(max).unwrap_or(0)),
            What::Invalid(value, message) => Error::invalid(&path, value.unwrap_or_else(|| Value::from("")), message),
        }
    }
}

/// Findings, and how much of the schema fitted: of several alternatives that all fail, the closest one is reported.
#[derive(Default)]
struct Outcome {
    findings: Vec<Finding>,
    fitting: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.findings.extend(other.findings);
        self.fitting += other.fitting;
    }

    fn is_valid(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, name: &str, what: What) {
        self.findings.push(Finding::At { name: name.to_owned(), what });
    }
}

fn check(schema: &Schema, value: &Value, old: Option<&Value>, name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    check_type(schema, value, name, &mut outcome);
    if value.is_null() {
        check_allowed(schema, value, name, &mut outcome);
    } else {
        outcome.fitting += usize::from(!schema.ty.is_empty() || schema.int_or_string || !schema.format.is_empty());
        outcome.merge(check_alternatives(schema, value, old, name));
        outcome.fitting += 3;
        match value {
            Value::String(text) => check_text(schema, text, name, &mut outcome),
            Value::Int(_) | Value::Float(_) => check_number(schema, value, name, &mut outcome),
            Value::Array(items) => check_items(schema, items, old, name, &mut outcome),
            _ => {}
        }
        check_allowed(schema, value, name, &mut outcome);
        if let Value::Object(members) = value {
            outcome.merge(check_members(schema, members, old, name));
        }
    }
    // What was wrong before may stay wrong.
    if old == Some(value) {
        outcome.findings.clear();
    }
    outcome
}

/// Type and format of a value as Go's validator sees it.
fn kind_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Int(_) => ("integer", "int64"),
        Value::Float(_) => ("number", "float64"),
        Value::String(_) | Value::Raw(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// Whether a float is written like an integer.
fn is_integral(value: &Value) -> bool {
    // Beyond this, floats are not exact.
    const MAX_EXACT: f64 = 9_007_199_254_740_991.0;
    matches!(value, Value::Float(n) if n.fract() == 0.0 && n.abs() <= MAX_EXACT)
}

fn check_type(schema: &Schema, value: &Value, name: &str, outcome: &mut Outcome) {
    let types: &[&str] = match schema.ty.as_str() {
        _ if schema.int_or_string => &["integer", "string"],
        "" => &[],
        ty => &[ty],
    };
    if types.is_empty() && schema.format.is_empty() {
        return;
    }
    let wrong = |wanted: &str, found: &str| {
        What::Type(found.into(), format!("{name} in body must be of type {wanted}: {found:?}"))
    };
    let (kind, format) = kind_of(value);
    if value.is_null() {
        if !types.is_empty() && !schema.nullable {
            outcome.add(name, wrong(&types.join(","), "null"));
        }
        return;
    }
    let numeric = types.contains(&"number") || types.contains(&"integer");
    let close = (is_integral(value) && types.contains(&"integer")) || (kind == "integer" && types.contains(&"number"));
    let fits = types.contains(&kind) || close;
    let textual = matches!(value, Value::String(_) | Value::Array(_));
    if !textual && !schema.format.is_empty() && !fits && format != schema.format {
        outcome.add(name, wrong(&schema.format, format));
    } else if !numeric && !schema.format.is_empty() && textual {
        // The format says what is wrong.
        outcome.fitting += 1;
    } else if !fits {
        outcome.add(name, wrong(&types.join(","), kind));
    } else {
        outcome.fitting += 1;
    }
}

fn check_alternatives(schema: &Schema, value: &Value, old: Option<&Value>, name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    if !schema.any_of.is_empty() {
        let mut results = schema.any_of.iter().map(|alternative| check(alternative, value, old, name));
        let mut best: Option<Outcome> = None;
        let first_valid = results.find_map(|result| {
            if result.is_valid() {
                return Some(result);
            }
            if best.as_ref().is_none_or(|best| result.fitting > best.fitting) {
                best = Some(result);
            }
            None
        });
        match first_valid {
            Some(result) => outcome.merge(result),
            None => {
                outcome.findings.push(Finding::Whole(format!("{name:?} must validate at least one schema (anyOf)")));
                outcome.merge(best.unwrap_or_default());
            }
        }
    }
    if !schema.one_of.is_empty() {
        outcome.merge(exactly_one(&schema.one_of, value, old, name));
    }
    if !schema.all_of.is_empty() {
        let mut valid = 0;
        for part in &schema.all_of {
            let result = check(part, value, old, name);
            valid += usize::from(result.is_valid());
            outcome.merge(result);
        }
        if valid != schema.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            outcome.findings.push(Finding::Whole(format!("{name:?} must validate all the schemas (allOf){none}")));
        }
    }
    if schema.not.as_ref().is_some_and(|not| check(not, value, old, name).is_valid()) {
        outcome.findings.push(Finding::Whole(format!("{name:?} must not validate the schema (not)")));
    }
    outcome.fitting += 1;
    outcome
}

fn exactly_one(alternatives: &[Schema], value: &Value, old: Option<&Value>, name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut best, mut first): (Option<Outcome>, Option<Outcome>) = (None, None);
    let mut valid = 0;
    for alternative in alternatives {
        let result = check(alternative, value, old, name);
        if result.is_valid() {
            valid += 1;
            best = None;
            first.get_or_insert(result);
        } else if valid == 0 && best.as_ref().is_none_or(|best| result.fitting > best.fitting) {
            best = Some(result);
        }
    }
    if valid == 1 {
        outcome.merge(first.unwrap_or_default());
        return outcome;
    }
    let found = if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
    outcome.findings.push(Finding::Whole(format!("{name:?} must validate one and only one schema (oneOf). {found}")));
    outcome.merge(best.unwrap_or_default());
    outcome
}

fn check_text(schema: &Schema, text: &str, name: &str, outcome: &mut Outcome) {
    let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(max) = schema.length.max.filter(|max| length() > *max) {
        outcome.add(name, What::TooLong(max));
    } else if let Some(min) = schema.length.min.filter(|min| length() < *min) {
        let message = format!("{name} in body should be at least {min} chars long");
        outcome.add(name, What::Invalid(Some(text.into()), message));
    } else if let Some(pattern) = &schema.pattern {
        let mismatch = match pattern.regex() {
            Ok(regex) if regex.is_match(text) => None,
            Ok(_) => Some(pattern.text().to_owned()),
            Err(error) => Some(format!("{}, but pattern is invalid: {error}", pattern.text())),
        };
        if let Some(shown) = mismatch {
            outcome.add(name, What::Invalid(Some(text.into()), format!("{name} in body should match '{shown}'")));
        }
    }
    if !schema.format.is_empty() && !formats::accepts(&schema.format, text) {
        let message = format!("{name} in body must be of type {}: {text:?}", schema.format);
        outcome.add(name, What::Type(text.into(), message));
    }
}

fn check_number(schema: &Schema, value: &Value, name: &str, outcome: &mut Outcome) {
    let out_of_range = match (schema.ty.as_str(), value) {
        ("integer", Value::Int(n)) => schema.format == "int32" && i32::try_from(*n).is_err(),
        ("integer", Value::Float(n)) => n.fract() != 0.0 || n.abs() >= 9.3e18,
        _ => false,
    };
    if out_of_range {
        let format =
            if schema.format.is_empty() { "(default format)".into() } else { format!("with format {}", schema.format) };
        outcome.findings.push(Finding::Whole(format!("Checked value must be of type integer {format} in {name}")));
    }
    let Numbers { minimum, above, maximum, below, multiple_of } = schema.numbers;
    let number = super::schema::number(Some(value)).unwrap_or_default();
    let whole = matches!(value, Value::Int(_));
    // Bounds of integers are integers.
    let bound = |bound: f64| if whole { bound.trunc() } else { bound };
    let mut wrong = |text: String| {
        outcome.add(name, What::Invalid(Some(value.clone()), format!("{name} in body should be {text}")));
    };
    if let Some(factor) = multiple_of.map(bound) {
        let ratio = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
        if factor > 0.0 && ratio.fract() != 0.0 {
            wrong(format!("a multiple of {}", go_number(factor)));
        }
    }
    if let Some(min) = minimum.map(bound) {
        if above && number <= min {
            wrong(format!("greater than {}", go_number(min)));
        } else if !above && number < min {
            wrong(format!("greater than or equal to {}", go_number(min)));
        }
    }
    if let Some(max) = maximum.map(bound) {
        if below && number >= max {
            wrong(format!("less than {}", go_number(max)));
        } else if !below && number > max {
            wrong(format!("less than or equal to {}", go_number(max)));
        }
    }
    outcome.fitting += 1;
}

/// A number as Go prints a float64.
fn go_number(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    number.to_string()
}

fn check_items(schema: &Schema, items: &[Value], old: Option<&Value>, name: &str, outcome: &mut Outcome) {
    if let Some(of_items) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let before = old.and_then(|old| correlated(schema, item, old));
            outcome.merge(check(of_items, item, before, &format!("{name}[{index}]")));
        }
    }
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(min) = schema.item_count.min.filter(|min| count < *min) {
        let message = format!("{name} in body should have at least {min} items");
        outcome.add(name, What::Invalid(Some(count.into()), message));
    }
    if let Some(max) = schema.item_count.max.filter(|max| count > *max) {
        outcome.add(name, What::TooMany(items.len(), max));
    }
    if schema.unique_items && (1..items.len()).any(|i| items[..i].contains(&items[i])) {
        outcome.add(name, What::Invalid(None, format!("{name} in body shouldn't contain duplicates")));
    }
    outcome.fitting += 1;
}

/// The element of a keyed list as it was before; elements of other lists have no identity.
pub fn correlated<'a>(schema: &Schema, item: &Value, old: &'a Value) -> Option<&'a Value> {
    if schema.list_type != Some(ListKind::Map) {
        return None;
    }
    let same = |other: &&Value| schema.list_map_keys.iter().all(|key| other.get(key) == item.get(key));
    old.as_array()?.iter().find(same)
}

fn check_allowed(schema: &Schema, value: &Value, name: &str, outcome: &mut Outcome) {
    if schema.allowed.is_empty() {
        return;
    }
    let number = super::schema::number(Some(value));
    let same =
        |allowed: &Value| allowed == value || (number.is_some() && super::schema::number(Some(allowed)) == number);
    if schema.allowed.iter().any(same) {
        return;
    }
    let shown = schema.allowed.iter().map(|allowed| match allowed {
        Value::String(text) => text.to_string(),
        other => {
            let mut text = Vec::new();
            skiff_apimachinery::json::write(other, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    });
    outcome.add(name, What::NotSupported(value.clone(), shown.collect()));
}

fn check_members(schema: &Schema, members: &Object, old: Option<&Value>, name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
    if let Some(min) = schema.property_count.min.filter(|min| count < *min) {
        let message = format!("{name} in body should have at least {min} properties");
        outcome.add(name, What::Invalid(Some(count.into()), message));
    }
    if let Some(max) = schema.property_count.max.filter(|max| count > *max) {
        outcome.add(name, What::TooMany(members.len(), max));
    }
    let before = |key: &str| old.and_then(|old| old.get(key));
    for (key, value) in members.iter().filter(|(key, _)| !schema.properties.contains_key(*key)) {
        match &schema.additional {
            Some(Additional::Allowed(false)) => {
                let message = format!("{name}.{key} in body is a forbidden property");
                outcome.add(name, What::Invalid(Some(key.into()), message));
            }
            Some(Additional::Schema(additional)) => {
                outcome.merge(check(additional, value, before(key), &format!("{name}.{key}")));
            }
            _ => {}
        }
    }
    for (key, member) in &schema.properties {
        let Some(value) = members.get(key) else { continue };
        let place = if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
        outcome.merge(check(member, value, before(key), &place));
    }
    for key in schema.required.iter().filter(|key| !members.contains_key(key)) {
        outcome.add(&format!("{name}.{key}"), What::Required);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn texts(schema: Value, value: Value, old: Option<&Value>) -> Vec<String> {
        let errors = validate(&value, old, &Schema::parse(&schema), &Path::default());
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn findings_have_upstreams_words() {
        let schema = |of: Value| value!({"type": "object", "properties": {"a": of}, "required": ["b"]});
        for (of, value, want) in [
            (
                value!({"type": "integer"}),
                value!("x"),
                r#"a: Invalid value: "string": a in body must be of type integer: "string""#,
            ),
            (
                value!({"type": "integer", "minimum": 1}),
                value!(0),
                "a: Invalid value: 0: a in body should be greater than or equal to 1",
            ),
            (value!({"type": "string", "maxLength": 1}), value!("xy"), "a: Too long: may not be more than 1 bytes"),
            (
                value!({"type": "string", "pattern": "^x$"}),
                value!("y"),
                r#"a: Invalid value: "y": a in body should match '^x$'"#,
            ),
            (
                value!({"type": "string", "enum": ["x", "z"]}),
                value!("y"),
                r#"a: Unsupported value: "y": supported values: "x", "z""#,
            ),
            (
                value!({"type": "string", "format": "date-time"}),
                value!("y"),
                r#"a: Invalid value: "y": a in body must be of type date-time: "y""#,
            ),
            (value!({"type": "array", "maxItems": 1}), value!([1, 2]), "a: Too many: 2: must have at most 1 items"),
            (
                value!({"type": "string"}),
                value!(null),
                r#"a: Invalid value: "null": a in body must be of type string: "null""#,
            ),
            (
                value!({"x-kubernetes-int-or-string": true}),
                value!(true),
                r#"a: Invalid value: "boolean": a in body must be of type integer,string: "boolean""#,
            ),
        ] {
            let found = texts(schema(of), value!({"a": value, "b": 1}), None);
            assert_eq!(found, [want]);
        }
        assert_eq!(texts(schema(value!({})), value!({}), None), ["b: Required value"]);
    }

    #[test]
    fn of_failed_alternatives_the_closest_is_reported() {
        let schema = value!({"properties": {"a": {"oneOf": [
            {"type": "integer"}, {"type": "object", "required": ["x"], "properties": {"y": {"type": "string"}}}
        ]}}});
        assert_eq!(
            texts(schema, value!({"a": {"y": "s"}}), None),
            [
                r#"<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf). Found none valid"#,
                "a.x: Required value"
            ]
        );
    }

    #[test]
    fn unchanged_parts_are_not_held_against_an_update() {
        let schema = value!({"properties": {
            "a": {"type": "integer"}, "b": {"type": "integer"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"properties": {"v": {"type": "integer"}}}}
        }});
        let old = value!({"a": "x", "b": 1, "l": [{"k": "1", "v": "x"}]});
        let new = value!({"a": "x", "b": "y", "l": [{"k": "0", "v": "z"}, {"k": "1", "v": "x"}]});
        let found = texts(schema, new, Some(&old));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("b: ") && found[1].starts_with("l[0].v: "), "{found:?}");
    }
}
