//! The schema of a custom resource: an OpenAPI v3 schema in the form that pruning, defaulting and validation walk.
//!
//! Read from the `openAPIV3Schema` of a CustomResourceDefinition. Keywords of structure and of validation are in one
//! type, as they are in the document; what makes a schema structural is checked by [`super::structural`].

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use skiff_apimachinery::schema::ListKind;
use skiff_apimachinery::value::Value;

use skiff_cel::formats;
use skiff_cel::pattern::Pattern;

/// Fields that every object with a type and metadata has.
pub const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// A schema (`JSONSchemaProps`).
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// `type`; empty where it is not stated.
    pub ty: CompactString,
    /// Whether null is a value.
    pub nullable: bool,
    /// What an absent value becomes.
    pub default: Option<Value>,
    /// Members by name.
    pub properties: BTreeMap<CompactString, Schema>,
    /// `additionalProperties`.
    pub additional: Option<Additional>,
    /// Elements of a list.
    pub items: Option<Box<Schema>>,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<ListKind>,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<CompactString>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
    /// `format`, where it is one that is checked.
    pub format: CompactString,
    /// Bounds of numbers.
    pub numbers: Numbers,
    /// Bounds of strings, in characters.
    pub length: Bounds,
    /// `pattern`.
    pub pattern: Option<Arc<Pattern>>,
    /// Bounds of lists.
    pub item_count: Bounds,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// Bounds of objects.
    pub property_count: Bounds,
    /// Members that must be there.
    pub required: Vec<CompactString>,
    /// The only values, if any are named.
    pub allowed: Vec<Value>,
    /// `allOf`.
    pub all_of: Vec<Schema>,
    /// `anyOf`.
    pub any_of: Vec<Schema>,
    /// `oneOf`.
    pub one_of: Vec<Schema>,
    /// `not`.
    pub not: Option<Box<Schema>>,
}

/// `additionalProperties`.
#[derive(Clone, Debug)]
pub enum Additional {
    /// Allowed without a schema, or forbidden.
    Allowed(bool),
    /// Members not named by `properties`.
    Schema(Box<Schema>),
}

/// A least and a greatest number of something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// At least.
    pub min: Option<i64>,
    /// At most.
    pub max: Option<i64>,
}

/// Bounds of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// `minimum`.
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`.
    pub above: bool,
    /// `maximum`.
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`.
    pub below: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
}

/// One of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The CEL expression.
    pub rule: String,
    /// What is wrong if it is false.
    pub message: String,
    /// An expression that says what is wrong.
    pub message_expression: String,
    /// Reason of the error.
    pub reason: String,
    /// The field that is wrong, relative to the schema's place.
    pub field_path: String,
    /// Whether the rule is for new objects too, though it speaks of the old one.
    pub optional_old_self: bool,
}

impl Schema {
    /// From a JSON document. What is not understood is left out: the definition has been validated.
    pub fn parse(document: &Value) -> Self {
        let text = |key: &str| CompactString::from(document.str_at(&[key]).unwrap_or(""));
        let flag = |key: &str| document.bool_at(&[key]).unwrap_or(false);
        let list = |key: &str| document.array_at(&[key]).iter().map(Schema::parse).collect::<Vec<_>>();
        let names = |key: &str| {
            document.array_at(&[key]).iter().filter_map(Value::as_str).map(CompactString::from).collect::<Vec<_>>()
        };
        let bounds = |min: &str, max: &str| Bounds { min: document.i64_at(&[min]), max: document.i64_at(&[max]) };
        let properties = document.get("properties").and_then(Value::as_object);
        let ty = text("type");
        let int_or_string = flag("x-kubernetes-int-or-string");
        Self {
            nullable: flag("nullable"),
            default: document.get("default").filter(|value| !value.is_null()).cloned(),
            properties: properties
                .into_iter()
                .flat_map(|p| p.iter())
                .map(|(k, v)| (k.into(), Schema::parse(v)))
                .collect(),
            additional: document.get("additionalProperties").map(|additional| match additional {
                Value::Bool(allowed) => Additional::Allowed(*allowed),
                schema => Additional::Schema(Box::new(Schema::parse(schema))),
            }),
            items: document.get("items").map(|items| Box::new(Schema::parse(items))),
            int_or_string,
            embedded: flag("x-kubernetes-embedded-resource"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            list_type: match text("x-kubernetes-list-type").as_str() {
                "map" => Some(ListKind::Map),
                "set" => Some(ListKind::Set),
                "atomic" => Some(ListKind::Atomic),
                _ => None,
            },
            list_map_keys: names("x-kubernetes-list-map-keys"),
            atomic_map: text("x-kubernetes-map-type") == "atomic",
            rules: document.array_at(&["x-kubernetes-validations"]).iter().map(Rule::parse).collect(),
            format: formats::supported(if int_or_string { "" } else { &ty }, &text("format")).into(),
            numbers: Numbers {
                minimum: number(document.get("minimum")),
                above: flag("exclusiveMinimum"),
                maximum: number(document.get("maximum")),
                below: flag("exclusiveMaximum"),
                multiple_of: number(document.get("multipleOf")),
            },
            length: bounds("minLength", "maxLength"),
            pattern: document.str_at(&["pattern"]).filter(|p| !p.is_empty()).map(|p| Arc::new(Pattern::new(p))),
            item_count: bounds("minItems", "maxItems"),
            unique_items: flag("uniqueItems"),
            property_count: bounds("minProperties", "maxProperties"),
            required: names("required"),
            allowed: document.array_at(&["enum"]).to_vec(),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: document.get("not").map(|not| Box::new(Schema::parse(not))),
            ty,
        }
    }

    /// The schema of a member that `properties` do not name, if there is one.
    pub fn additional_schema(&self) -> Option<&Schema> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of a member.
    pub fn member(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.additional_schema())
    }

    /// Whether a rule stands here or below.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Schema::has_rules)
            || self.additional_schema().is_some_and(Schema::has_rules)
            || self.items.as_ref().is_some_and(|items| items.has_rules())
            || self.all_of.iter().any(Schema::has_rules)
    }
}

impl Rule {
    fn parse(document: &Value) -> Self {
        let text = |key: &str| document.str_at(&[key]).unwrap_or("").to_owned();
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: document.bool_at(&["optionalOldSelf"]).unwrap_or(false),
        }
    }
}

/// A number of either kind.
pub fn number(value: Option<&Value>) -> Option<f64> {
    match value {
        Some(Value::Int(n)) => Some(*n as f64),
        Some(Value::Float(n)) => Some(*n),
        _ => None,
    }
}
