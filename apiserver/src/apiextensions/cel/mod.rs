//! Rules in schemas (`x-kubernetes-validations`), written in CEL.
//!
//! The grammar is that of the crate `cel`; what expressions mean is here, because they work on objects in place, with
//! the types their schema gives them, under a bound on what they cost. Rules are checked as
//! `apiserver/schema/cel/validation.go` does: along the object, those with `oldSelf` only where there is an old value,
//! and what did not change is not held against an update.
//!
//! Not here: the static estimate of costs, and type errors that only a full type checker finds before there are values;
//! such a rule is refused when it is evaluated.

pub mod eval;
pub mod functions;
pub mod network;
pub mod program;
pub mod text;
pub mod value;

use std::collections::HashMap;

use skiff_apimachinery::field::{Error, ErrorList, Kind, Path};
use skiff_apimachinery::value::Value;

use self::eval::{Evaluation, TOO_EXPENSIVE};
use self::program::Program;
use self::value::Val;
use super::schema::{Rule, Schema};
use super::validate::correlated;

/// What all rules of one object may cost (upstream's `RuntimeCELCostBudget`).
const BUDGET: i64 = 10_000_000;
/// Bytes of a message that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of a schema, compiled.
#[derive(Default)]
pub struct Rules {
    /// By text: the same rule may stand in many places.
    programs: HashMap<String, Result<Program, String>>,
}

impl Rules {
    /// Compiles the rules of a schema.
    pub fn compile(schema: &Schema) -> Self {
        let mut rules = Self::default();
        rules.add(schema);
        rules
    }

    fn add(&mut self, schema: &Schema) {
        for rule in &schema.rules {
            for text in [&rule.rule, &rule.message_expression].into_iter().filter(|text| !text.is_empty()) {
                self.programs.entry(text.clone()).or_insert_with(|| Program::compile(text));
            }
        }
        schema.properties.values().chain(schema.additional_schema()).for_each(|schema| self.add(schema));
        schema.items.iter().for_each(|schema| self.add(schema));
        schema.all_of.iter().for_each(|schema| self.add(schema));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Checks an object, and how it changed.
    pub fn check(&self, schema: &Schema, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut check = Check { rules: self, budget: BUDGET, errors: ErrorList::new() };
        check.value(schema, new, old, old == Some(new), &Path::default());
        check.errors
    }
}

struct Check<'r> {
    rules: &'r Rules,
    /// What is left; negative once nothing more is checked.
    budget: i64,
    errors: ErrorList,
}

impl<'r> Check<'r> {
    /// `same` says whether the value, or the nearest one above that can be told, is what it was.
    fn value(&mut self, schema: &'r Schema, new: &'r Value, old: Option<&'r Value>, same: bool, path: &Path) {
        if new.is_null() || self.budget < 0 {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.expressions(schema, new, old, same, path);
        for part in &schema.all_of {
            self.value(part, new, old, same, path);
        }
        match new {
            Value::Array(items) => {
                let Some(of_items) = &schema.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let before = old.and_then(|old| correlated(schema, item, old));
                    let same = before.map_or(same, |before| before == item);
                    self.value(of_items, item, before, same, &path.index(index));
                }
            }
            Value::Object(members) => {
                for (key, value) in members.iter() {
                    let before = old.and_then(|old| old.get(key));
                    let same = if old.is_some() { before == Some(value) } else { same };
                    if let Some(member) = schema.properties.get(key) {
                        self.value(member, value, before, same, &path.child(key));
                    } else if let Some(member) = schema.additional_schema() {
                        self.value(member, value, before, same, &path.key(key));
                    }
                }
            }
            _ => {}
        }
    }

    fn expressions(&mut self, schema: &'r Schema, new: &'r Value, old: Option<&'r Value>, same: bool, path: &Path) {
        for rule in &schema.rules {
            if self.budget <= 0 {
                self.errors.push(Error::invalid(path, schema.ty.as_str(), OUT_OF_BUDGET));
                self.budget = -1;
                return;
            }
            match self.rules.programs.get(&rule.rule) {
                Some(Ok(program)) => self.rule(schema, rule, program, new, old, same, path),
                Some(Err(error)) => {
                    let why = format!("rule compile error: {error}");
                    self.errors.push(Error::invalid(path, schema.ty.as_str(), why));
                }
                None => {}
            }
            if self.budget < 0 {
                return;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a rule, where it stands, and what it is about")]
    fn rule(
        &mut self,
        schema: &'r Schema,
        rule: &'r Rule,
        program: &'r Program,
        new: &'r Value,
        old: Option<&'r Value>,
        same: bool,
        path: &Path,
    ) {
        if program.uses_old_self && old.is_none() && !rule.optional_old_self {
            return;
        }
        let variables = || {
            let before = old.map(|old| Val::of(old, Some(schema)));
            let before = if rule.optional_old_self { Some(Val::Optional(before.map(Into::into))) } else { before };
            std::iter::once(("self", Val::of(new, Some(schema)))).chain(before.map(|before| ("oldSelf", before)))
        };
        let mut run = Evaluation::new(variables());
        let outcome = run.eval(&program.expression);
        self.budget -= i64::try_from(run.cost).unwrap_or(i64::MAX);
        let told = if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() };
        let mut broken = |message: String| self.errors.push(Error::invalid(path, schema.ty.as_str(), message));
        match outcome {
            Ok(Val::Bool(true)) => return,
            Ok(Val::Bool(false)) => {}
            Ok(_) => return broken("cel expression must evaluate to a bool".to_owned()),
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
        if same && !program.uses_old_self {
            return;
        }
        let made = match self.rules.programs.get(&rule.message_expression) {
            Some(Ok(program)) => message(program, variables()),
            _ => None,
        };
        let detail = made.unwrap_or_else(|| match rule.message.trim() {
            "" => format!("failed rule: {told}"),
            message => message.to_owned(),
        });
        self.errors.push(failure(rule, schema, new, &at_field(path, &rule.field_path), detail));
    }
}

/// The message that an expression makes; `None` if it makes none that can be shown.
fn message<'r>(program: &'r Program, variables: impl Iterator<Item = (&'r str, Val<'r>)>) -> Option<String> {
    let Ok(Val::Str(text)) = Evaluation::new(variables).eval(&program.expression) else { return None };
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
    fits.then(|| text.to_owned())
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
            ("'%s-%d'.format([self.s, self.n]) == 'abc-3'", true),
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
                "spec: Invalid value: \"object\": no such key: m evaluating rule: self.m > 1",
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
