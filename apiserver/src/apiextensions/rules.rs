//! Rules in schemas (`x-kubernetes-validations`), compiled, and what they say of objects.
//!
//! Follows `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`: rules are evaluated from the top down within
//! a budget, rules about a change only where there is an old value, and what did not change is not held against an
//! update.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use skiff_apimachinery::field::{Error, ErrorList, Kind, Path};
use skiff_apimachinery::value::Value;
use skiff_cel::Program;
use skiff_cel::declared::{Declared, Shape};
use skiff_cel::environment::Environment;
use skiff_cel::eval::TOO_EXPENSIVE;
use skiff_cel::types::Type;
use skiff_cel::value::Val;

use super::declared;
use super::schema::{Rule, Schema};
use super::validate::correlated;

/// What all rules of one object may cost (upstream's `RuntimeCELCostBudget`).
const BUDGET: i64 = 10_000_000;
/// Bytes of a message that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What objects are called that have no name in expressions.
const SELF: &str = "selfType";

/// The rules of a schema, compiled; they stand where the schema has them.
#[derive(Default)]
pub struct Rules {
    root: Option<Node>,
}

/// The rules of one place and of all below.
struct Node {
    /// The type of the values; `None` where expressions cannot look at them.
    declared: Option<Arc<Declared>>,
    compiled: Vec<Compiled>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
    properties: BTreeMap<CompactString, Node>,
    all_of: Vec<Option<Node>>,
}

/// A compiled rule.
pub(super) struct Compiled {
    /// The rule, or why it cannot be evaluated.
    pub(super) program: Result<Program, String>,
    /// What makes the message, or why it cannot be evaluated.
    pub(super) message: Option<Result<Program, String>>,
    /// Whether the rule speaks of the old value.
    pub(super) uses_old_self: bool,
}

/// Compiles the rules that stand right at a schema. Nothing is said of an empty rule.
pub(super) fn compile_rules(schema: &Schema, declared: &Arc<Declared>) -> Vec<Compiled> {
    let environment = |rule: &Rule| {
        let mut environment = Environment::new();
        environment.add("self", declared.clone());
        let old = if rule.optional_old_self {
            Arc::new(Declared::plain(Type::optional(declared.ty())))
        } else {
            declared.clone()
        };
        environment.add("oldSelf", old);
        environment
    };
    schema.rules.iter().map(|rule| compile_rule(rule, &environment(rule))).collect()
}

fn compile_rule(rule: &Rule, environment: &Environment) -> Compiled {
    let program = Program::compile(&rule.rule, environment).map_err(|error| format!("compilation failed: {error}"));
    let program = program.and_then(|program| match program.result() {
        Type::Bool => Ok(program),
        _ => Err("cel expression must evaluate to a bool".to_owned()),
    });
    let wanted = program.is_ok() && !rule.message_expression.is_empty();
    let message = wanted.then(|| {
        let program = Program::compile(&rule.message_expression, environment)
            .map_err(|error| format!("messageExpression compilation failed: {error}"))?;
        match program.result() {
            Type::String => Ok(program),
            _ => Err("messageExpression must evaluate to a string".to_owned()),
        }
    });
    let uses_old_self = program.as_ref().is_ok_and(|program| program.mentions("oldSelf"));
    Compiled { program, message, uses_old_self }
}

/// The type of the elements, values or of a property.
fn part(declared: Option<&Arc<Declared>>, key: Option<&str>) -> Option<Arc<Declared>> {
    match (&declared?.shape, key) {
        (Shape::List(of, _) | Shape::Map(of), None) => Some(of.clone()),
        (Shape::Object(object), Some(key)) => {
            object.fields.values().find(|member| member.key == key).map(|member| member.ty.clone())
        }
        _ => None,
    }
}

impl Node {
    /// `None` where there are no rules.
    fn of(schema: &Schema, declared: Option<Arc<Declared>>) -> Option<Self> {
        // Where the way from above is barred, as by a name that expressions cannot spell, the schema itself tells.
        let declared = declared.or_else(|| declared::of(schema, SELF, schema.embedded).map(Arc::new));
        let below = |schema: &Schema, key: Option<&str>| Node::of(schema, part(declared.as_ref(), key));
        let properties = schema.properties.iter().filter(|(_, schema)| schema.has_rules());
        let items = schema.items.as_deref().filter(|items| items.has_rules());
        let node = Self {
            compiled: match &declared {
                Some(declared) => compile_rules(schema, declared),
                None => schema.rules.iter().map(|_| Compiled::untyped()).collect(),
            },
            items: items.and_then(|items| below(items, None)).map(Box::new),
            additional: schema.additional_schema().and_then(|schema| below(schema, None)).map(Box::new),
            properties: properties.filter_map(|(k, v)| Some((k.clone(), below(v, Some(k))?))).collect(),
            all_of: schema.all_of.iter().map(|part| Node::of(part, declared.clone())).collect(),
            declared,
        };
        let empty = node.compiled.is_empty()
            && node.items.is_none()
            && node.additional.is_none()
            && node.properties.is_empty()
            && node.all_of.iter().all(Option::is_none);
        (!empty).then_some(node)
    }
}

impl Compiled {
    /// A rule about values that expressions cannot look at.
    fn untyped() -> Self {
        let why = "failed to convert to declType for CEL validation rules".to_owned();
        Self { program: Err(why), message: None, uses_old_self: false }
    }
}

impl Rules {
    /// Compiles the rules of a schema.
    pub fn compile(schema: &Schema) -> Self {
        if !schema.has_rules() {
            return Self::default();
        }
        Self { root: Node::of(schema, declared::of(schema, SELF, true).map(Arc::new)) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Checks an object, and how it changed.
    pub fn check(&self, schema: &Schema, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut check = Check { budget: BUDGET, errors: ErrorList::new() };
        if let Some(root) = &self.root {
            check.value(schema, root, new, old, old == Some(new), &Path::default());
        }
        check.errors
    }
}

struct Check {
    /// What is left; negative once nothing more is checked.
    budget: i64,
    errors: ErrorList,
}

impl Check {
    /// `same` says whether the value, or the nearest one above that can be told, is what it was.
    fn value(&mut self, schema: &Schema, node: &Node, new: &Value, old: Option<&Value>, same: bool, path: &Path) {
        if new.is_null() || self.budget < 0 {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.expressions(schema, node, new, old, same, path);
        for (part, node) in schema.all_of.iter().zip(&node.all_of) {
            if let Some(node) = node {
                self.value(part, node, new, old, same, path);
            }
        }
        match new {
            Value::Array(items) => {
                let (Some(of_items), Some(node)) = (&schema.items, &node.items) else { return };
                for (index, item) in items.iter().enumerate() {
                    let before = old.and_then(|old| correlated(schema, item, old));
                    let same = before.map_or(same, |before| before == item);
                    self.value(of_items, node, item, before, same, &path.index(index));
                }
            }
            Value::Object(members) => {
                for (key, value) in members.iter() {
                    let before = old.and_then(|old| old.get(key));
                    let same = if old.is_some() { before == Some(value) } else { same };
                    if let Some(member) = schema.properties.get(key) {
                        if let Some(node) = node.properties.get(key) {
                            self.value(member, node, value, before, same, &path.child(key));
                        }
                    } else if let (Some(member), Some(node)) = (schema.additional_schema(), &node.additional) {
                        self.value(member, node, value, before, same, &path.key(key));
                    }
                }
            }
            _ => {}
        }
    }

    fn expressions(&mut self, schema: &Schema, node: &Node, new: &Value, old: Option<&Value>, same: bool, path: &Path) {
        for (rule, compiled) in schema.rules.iter().zip(&node.compiled) {
            if self.budget <= 0 {
                self.errors.push(Error::invalid(path, schema.ty.as_str(), OUT_OF_BUDGET));
                self.budget = -1;
                return;
            }
            match &compiled.program {
                _ if rule.rule.trim().is_empty() => {}
                Ok(program) => {
                    let subject = Subject { schema, declared: node.declared.as_deref(), new, old, same };
                    self.rule(rule, compiled, program, &subject, path);
                }
                Err(error) => {
                    let why = format!("rule compile error: {error}");
                    self.errors.push(Error::invalid(path, schema.ty.as_str(), why));
                }
            }
            if self.budget < 0 {
                return;
            }
        }
    }

    fn rule(&mut self, rule: &Rule, compiled: &Compiled, program: &Program, subject: &Subject<'_>, path: &Path) {
        if compiled.uses_old_self && subject.old.is_none() && !rule.optional_old_self {
            return;
        }
        let schema = subject.schema;
        let (outcome, cost) = program.evaluate(subject.variables(rule));
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        if cost > self.budget {
            self.errors.push(Error::invalid(path, schema.ty.as_str(), OUT_OF_BUDGET));
            self.budget = -1;
            return;
        }
        self.budget -= cost;
        let told = if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() };
        let mut broken = |message: String| self.errors.push(Error::invalid(path, schema.ty.as_str(), message));
        match outcome {
            Ok(Val::Bool(true)) => return,
            Ok(_) => {}
            Err(error) if error.starts_with("no such overload") => {
                return broken(format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {told}"
                ));
            }
            Err(error) if error.starts_with(TOO_EXPENSIVE) => {
                broken(format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {told}"
                ));
                self.budget = -1;
                return;
            }
            Err(error) => return broken(format!("{error} evaluating rule: {told}")),
        }
        if subject.same && !compiled.uses_old_self {
            return;
        }
        let made = match &compiled.message {
            Some(Ok(program)) => self.message(program, rule, subject),
            _ => None,
        };
        let detail = made.unwrap_or_else(|| match rule.message.trim() {
            "" => format!("failed rule: {told}"),
            message => message.to_owned(),
        });
        self.errors.push(failure(rule, schema, subject.new, &at_field(path, &rule.field_path), detail));
    }

    /// The message that an expression makes; `None` if it makes none that can be shown.
    fn message(&mut self, program: &Program, rule: &Rule, subject: &Subject<'_>) -> Option<String> {
        let (outcome, cost) = program.evaluate(subject.variables(rule));
        self.budget -= i64::try_from(cost).unwrap_or(i64::MAX).min(self.budget);
        let Ok(Val::Str(text)) = outcome else { return None };
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
        fits.then(|| text.to_owned())
    }
}

/// What rules speak of.
struct Subject<'r> {
    schema: &'r Schema,
    declared: Option<&'r Declared>,
    new: &'r Value,
    old: Option<&'r Value>,
    /// Whether it is what it was.
    same: bool,
}

impl<'r> Subject<'r> {
    fn variables(&self, rule: &Rule) -> impl Iterator<Item = (&'r str, Val<'r>)> + use<'r> {
        let before = self.old.map(|old| Val::of(old, self.declared));
        let before = if rule.optional_old_self { Some(Val::Optional(before.map(Into::into))) } else { before };
        std::iter::once(("self", Val::of(self.new, self.declared))).chain(before.map(|before| ("oldSelf", before)))
    }
}

/// Where a rule says that the mistake is.
fn at_field(path: &Path, field: &str) -> Path {
    let field = field.trim();
    let field = field.strip_prefix('.').unwrap_or(field);
    if field.is_empty() { path.clone() } else { path.child(&field.replace("['", "[").replace("']", "]")) }
}

fn failure(rule: &Rule, schema: &Schema, value: &Value, path: &Path, detail: String) -> Error {
    let scalar = !matches!(schema.ty.as_str(), "object" | "array");
    let (kind, detail) = match rule.reason.as_str() {
        "FieldValueForbidden" => (Kind::Forbidden, detail),
        "FieldValueRequired" => (Kind::Required, detail),
        "FieldValueDuplicate" => (Kind::Duplicate, String::new()),
        _ => (Kind::Invalid, detail),
    };
    Error { kind, field: path.to_string(), value: scalar.then(|| value.clone()), detail }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn check(schema: Value, new: Value, old: Option<Value>) -> Vec<String> {
        let schema = Schema::parse(&schema);
        let errors = Rules::compile(&schema).check(&schema, &new, old.as_ref());
        errors.iter().map(ToString::to_string).collect()
    }

    /// What an expression says of a value under a schema.
    fn holds(schema: Value, value: Value, rule: &str) -> bool {
        let mut schema = schema;
        schema.set_at(&["x-kubernetes-validations"], value!([{"rule": rule, "message": "no"}]));
        let found = check(value!({"type": "object", "properties": {"a": schema}}), value!({"a": value}), None);
        assert!(found.iter().all(|error| error.ends_with("no")), "{rule}: {found:?}");
        found.is_empty()
    }

    #[test]
    fn expressions_say_what_they_say_upstream() {
        let object = || {
            value!({"type": "object", "properties": {
                "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"},
                "l": {"type": "array", "items": {"type": "integer"}}, "t": {"type": "string", "format": "date-time"},
                "m": {"type": "object", "additionalProperties": {"type": "integer"}}, "if": {"type": "integer"},
                "a-b": {"type": "integer"}, "x": {"type": "string"}
            }})
        };
        let value = || {
            value!({
                "n": 3, "d": 2, "s": "abc", "l": [3, 1, 2], "t": "2026-01-01T00:00:00Z", "m": {"k": 1}, "if": 1, "a-b": 2
            })
        };
        for (rule, want) in [
            ("self.n > 2 && self.d == 2.0", true),
            ("-self.n == -3", true),
            ("self.n / 2 == 1", true),
            ("has(self.x) || self.s.startsWith('a')", true),
            ("self.l.all(x, x > 1)", false),
            ("self.l.exists(x, x == 2) && self.l.exists_one(x, x > 2)", true),
            ("self.l.map(x, x * 2) == [6, 2, 4]", true),
            ("self.l.filter(x, x > 1).size() == 2", true),
            ("self.l.sum() == 6 && self.l.max() == 3 && !self.l.isSorted()", true),
            ("'k' in self.m && self.m.all(k, self.m[k] == 1)", true),
            ("self.__if__ == 1 && self.a__dash__b == 2", true),
            ("self.t > timestamp('2025-01-01T00:00:00Z') && self.t.getFullYear() == 2026", true),
            ("duration('1h') > duration('59m')", true),
            ("self.s.matches('^a.c$') && self.s.find('b.') == 'bc'", true),
            ("self.s.substring(1) == 'bc' && self.s.upperAscii() == 'ABC'", true),
            ("'%s-%d'.format([dyn(self.s), self.n]) == 'abc-3'", true),
            ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", true),
            ("isIP('10.0.0.1') && ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')", true),
            ("isURL('https://a.b:8/c?d=e') && url('https://a.b:8/c?d=e').getPort() == '8'", true),
            ("self.?x.orValue('none') == 'none' && !self.?x.hasValue()", true),
            ("sets.contains(self.l, [1, 2])", true),
            ("self.n == 3 ? self.s == 'abc' : false", true),
            ("type(self.n) == int && string(self.n) == '3'", true),
            ("self.s.split('b') == ['a', 'c'] && ['a', 'c'].join('b') == self.s", true),
            ("has(self.x) && self.x == 'y'", false),
        ] {
            assert_eq!(holds(object(), value(), rule), want, "{rule}");
        }
    }

    #[test]
    fn failures_are_told_where_they_are() {
        let schema = |rules: Value| {
            value!({"type": "object", "properties": {"spec": {
                "type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": rules
            }}})
        };
        let object = || value!({"spec": {"n": 1}});
        for (rule, want) in [
            (value!({"rule": "self.n > 1"}), "spec: Invalid value: failed rule: self.n > 1"),
            (value!({"rule": "self.n > 1", "message": "too small"}), "spec: Invalid value: too small"),
            (
                value!({"rule": "self.n > 1", "messageExpression": "'n is ' + string(self.n)", "fieldPath": ".n"}),
                "spec.n: Invalid value: n is 1",
            ),
            (value!({"rule": "self.n > 1", "reason": "FieldValueForbidden", "message": "no"}), "spec: Forbidden: no"),
            (
                value!({"rule": "self.m > 1"}),
                "spec: Invalid value: \"object\": rule compile error: compilation failed: ERROR: <input>:1:5: undefined field 'm'\n | self.m > 1\n | ....^",
            ),
        ] {
            assert_eq!(check(schema(value!([rule])), object(), None), [want]);
        }
    }

    #[test]
    fn changes_are_judged_where_there_was_something() {
        let schema = || {
            value!({"type": "object", "properties": {
                "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]},
                "b": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'"}]}
            }})
        };
        assert_eq!(check(schema(), value!({"a": "x"}), None), Vec::<String>::new());
        assert_eq!(check(schema(), value!({"a": "x"}), Some(value!({}))), Vec::<String>::new());
        let changed = check(schema(), value!({"a": "y"}), Some(value!({"a": "x"})));
        assert_eq!(changed, [r#"a: Invalid value: "y": immutable"#]);
        // What was bad may stay.
        assert_eq!(check(schema(), value!({"b": "bad"}), Some(value!({"b": "bad"}))), Vec::<String>::new());
        assert_eq!(check(schema(), value!({"b": "bad"}), Some(value!({"b": "good"}))).len(), 1);
    }

    #[test]
    fn what_costs_too_much_is_stopped() {
        let schema = value!({"type": "object", "properties": {"l": {
            "type": "array", "items": {"type": "integer"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b + c > 0)))"}]
        }}});
        let items = (1..500).map(Value::from).collect::<Vec<_>>();
        let mut object = value!({});
        object.set_at(&["l"], items);
        let found = check(schema, object, None);
        assert!(found.len() == 1 && found[0].contains("call cost exceeds limit"), "{found:?}");
    }
}
