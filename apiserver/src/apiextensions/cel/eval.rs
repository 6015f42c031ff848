//! Evaluating an expression, within a bound on what it may cost.

use std::cmp::Ordering;
use std::rc::Rc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators as op};

use super::functions;
use super::value::Val;

/// What a value or an error came of an expression.
pub type Outcome<'a> = Result<Val<'a>, String>;

/// What one evaluation may cost (upstream's `PerCallLimit`).
pub const CALL_LIMIT: u64 = 1_000_000;
/// How errors of an exceeded limit begin.
pub const TOO_EXPENSIVE: &str = "operation cancelled: actual cost limit exceeded";

/// An evaluation: the variables in scope, and what it has cost.
pub struct Evaluation<'a> {
    scope: Vec<(&'a str, Outcome<'a>)>,
    /// Steps so far: expressions, elements, and tenths of characters.
    pub cost: u64,
}

impl<'a> Evaluation<'a> {
    /// With these variables.
    pub fn new(variables: impl IntoIterator<Item = (&'a str, Val<'a>)>) -> Self {
        Self { scope: variables.into_iter().map(|(name, value)| (name, Ok(value))).collect(), cost: 0 }
    }

    /// Adds to the cost.
    pub fn charge(&mut self, steps: u64) -> Result<(), String> {
        self.cost = self.cost.saturating_add(steps);
        if self.cost > CALL_LIMIT { Err(TOO_EXPENSIVE.to_owned()) } else { Ok(()) }
    }

    /// The value of an expression.
    pub fn eval(&mut self, expr: &'a IdedExpr) -> Outcome<'a> {
        self.charge(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(of_literal(literal)),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                let mut items = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.iter().enumerate() {
                    match (self.eval(element)?, list.optional_indices.contains(&index)) {
                        (Val::Optional(Some(value)), true) => items.push((*value).clone()),
                        (Val::Optional(None), true) => {}
                        (value, _) => items.push(value),
                    }
                }
                Ok(Val::list(items))
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    let key = self.eval(&entry.key)?;
                    match (self.eval(&entry.value)?, entry.optional) {
                        (Val::Optional(Some(value)), true) => entries.push((key, (*value).clone())),
                        (Val::Optional(None), true) => {}
                        (value, _) => entries.push((key, value)),
                    }
                }
                Ok(Val::Map(Rc::new(entries)))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(_) | Expr::Unspecified => Err("unsupported expression".to_owned()),
        }
    }

    fn variable(&self, name: &str) -> Outcome<'a> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return value.clone();
        }
        match type_named(name) {
            Some(ty) => Ok(Val::Type(ty)),
            None => Err(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, select: &'a SelectExpr) -> Outcome<'a> {
        let operand = self.eval(&select.operand)?;
        let (value, is_optional) = match operand {
            Val::Optional(None) if select.test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => ((*value).clone(), true),
            value => (value, false),
        };
        let found = value.member(&unescape(&select.field));
        if select.test {
            return Ok(Val::Bool(found.is_some()));
        }
        if is_optional {
            return Ok(Val::Optional(found.map(Rc::new)));
        }
        found.ok_or_else(|| format!("no such key: {}", select.field))
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Outcome<'a> {
        let range = self.eval(&comprehension.iter_range)?;
        let pairs = match (range.items(), range.entries()) {
            (Some(items), _) => items.into_iter().enumerate().map(|(i, item)| (Val::Int(i as i64), item)).collect(),
            (_, Some(entries)) => entries,
            _ => return Err(no_overload()),
        };
        let is_map = range.entries().is_some();
        let depth = self.scope.len();
        let init = self.eval(&comprehension.accu_init);
        self.scope.push((&comprehension.accu_var, init));
        for (key, value) in pairs {
            self.charge(1)?;
            match &comprehension.iter_var2 {
                Some(second) => {
                    self.scope.push((&comprehension.iter_var, Ok(key)));
                    self.scope.push((second, Ok(value)));
                }
                None => self.scope.push((&comprehension.iter_var, Ok(if is_map { key } else { value }))),
            }
            let goes_on = self.eval(&comprehension.loop_cond);
            if let Ok(Val::Bool(false)) = goes_on {
                break;
            }
            let step = self.eval(&comprehension.loop_step);
            self.scope.truncate(depth + 1);
            if step.as_ref().is_err_and(|error| error.starts_with(TOO_EXPENSIVE)) {
                return step;
            }
            self.scope[depth].1 = step;
        }
        self.scope.truncate(depth + 1);
        let result = self.eval(&comprehension.result);
        self.scope.truncate(depth);
        result
    }

    fn call(&mut self, call: &'a CallExpr) -> Outcome<'a> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::LOGICAL_AND, [a, b]) => return self.logical(a, b, false),
            (op::LOGICAL_OR, [a, b]) => return self.logical(a, b, true),
            (op::CONDITIONAL, [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Val::Bool(true) => self.eval(yes),
                    Val::Bool(false) => self.eval(no),
                    _ => Err(no_overload()),
                };
            }
            (op::NOT_STRICTLY_FALSE, [value]) => {
                return Ok(Val::Bool(!matches!(self.eval(value), Ok(Val::Bool(false)))));
            }
            (op::OPT_SELECT, [operand, field]) => {
                let (operand, field) = (self.eval(operand)?, self.eval(field)?);
                return optional_member(operand, &field);
            }
            _ => {}
        }
        let namespace = call.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(name) if functions::is_namespace(name) && !self.is_variable(name) => Some(name.as_str()),
            _ => None,
        });
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        if let (Some(target), None) = (&call.target, namespace) {
            arguments.push(self.eval(target)?);
        }
        for argument in &call.args {
            arguments.push(self.eval(argument)?);
        }
        let characters = arguments.iter().filter_map(|a| a.as_str()).map(str::len).sum::<usize>();
        self.charge(characters as u64 / 10)?;
        if let Some(done) = operator(&call.func_name, &arguments) {
            return done;
        }
        let is_member = call.target.is_some() && namespace.is_none();
        match namespace {
            Some(namespace) => functions::call(&format!("{namespace}.{}", call.func_name), is_member, &arguments, self),
            None => functions::call(&call.func_name, is_member, &arguments, self),
        }
    }

    fn is_variable(&self, name: &str) -> bool {
        self.scope.iter().any(|(known, _)| *known == name)
    }

    /// `&&` and `||`: one side may decide although the other fails.
    fn logical(&mut self, a: &'a IdedExpr, b: &'a IdedExpr, decisive: bool) -> Outcome<'a> {
        let left = self.eval(a);
        if matches!(left, Ok(Val::Bool(value)) if value == decisive) {
            return left;
        }
        let right = self.eval(b);
        match (left, right) {
            (_, Ok(Val::Bool(value))) if value == decisive => Ok(Val::Bool(value)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Val::Bool(_)), Ok(Val::Bool(value))) => Ok(Val::Bool(value)),
            _ => Err(no_overload()),
        }
    }
}

/// The error of a function that is not there for these types.
pub fn no_overload() -> String {
    "no such overload".to_owned()
}

/// The type of this name.
pub fn type_named(name: &str) -> Option<&'static str> {
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"]
        .into_iter()
        .find(|ty| *ty == name)
}

fn of_literal<'a>(literal: &'a LiteralValue) -> Val<'a> {
    match literal {
        LiteralValue::Boolean(on) => Val::Bool(*on.inner()),
        LiteralValue::Bytes(bytes) => Val::Bytes(bytes.inner().into()),
        LiteralValue::Double(n) => Val::Double(*n.inner()),
        LiteralValue::Int(n) => Val::Int(*n.inner()),
        LiteralValue::Null => Val::Null,
        LiteralValue::String(text) => Val::text(text.inner()),
        LiteralValue::UInt(n) => Val::UInt(*n.inner()),
    }
}

/// Names of properties that CEL could not read are escaped in expressions.
fn unescape(name: &str) -> String {
    let Some(inner) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) else {
        return replaced(name);
    };
    if matches!(inner, "underscores" | "dot" | "dash" | "slash") || inner.contains("__") {
        return replaced(name);
    }
    inner.to_owned()
}

fn replaced(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/").replace("__underscores__", "__")
}

fn optional_member<'a>(operand: Val<'a>, field: &Val<'a>) -> Outcome<'a> {
    let value = match operand {
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => (*value).clone(),
        value => value,
    };
    let found = match (field, value.items()) {
        (Val::Int(index), Some(items)) => usize::try_from(*index).ok().and_then(|index| items.get(index).cloned()),
        (field, _) => field.as_str().and_then(|name| value.member(&unescape(name))),
    };
    Ok(Val::Optional(found.map(Rc::new)))
}

/// The operators that look at values only; `None` for functions.
fn operator<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let ordered = |wanted: fn(Ordering) -> bool| match arguments {
        [a, b] => a.compare(b).map(|order| Val::Bool(wanted(order))).ok_or_else(no_overload),
        _ => Err(no_overload()),
    };
    Some(match (name, arguments) {
        (op::EQUALS, [a, b]) => Ok(Val::Bool(a.equals(b))),
        (op::NOT_EQUALS, [a, b]) => Ok(Val::Bool(!a.equals(b))),
        (op::LESS, _) => ordered(Ordering::is_lt),
        (op::LESS_EQUALS, _) => ordered(Ordering::is_le),
        (op::GREATER, _) => ordered(Ordering::is_gt),
        (op::GREATER_EQUALS, _) => ordered(Ordering::is_ge),
        (op::LOGICAL_NOT, [Val::Bool(on)]) => Ok(Val::Bool(!on)),
        (op::LOGICAL_NOT, _) => Err(no_overload()),
        (op::NEGATE, [Val::Int(n)]) => n.checked_neg().map(Val::Int).ok_or_else(overflow),
        (op::NEGATE, [Val::Double(n)]) => Ok(Val::Double(-n)),
        (op::NEGATE, [Val::Duration(n)]) => Ok(Val::Duration(-n)),
        (op::NEGATE, _) => Err(no_overload()),
        (op::IN, [key, within]) => contains(key, within),
        (op::INDEX, [value, index]) => index_of(value, index),
        (op::OPT_INDEX, [value, index]) => optional_member(value.clone(), index),
        (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) => arithmetic(name, a, b),
        _ => return None,
    })
}

fn overflow() -> String {
    "integer overflow".to_owned()
}

fn contains<'a>(key: &Val<'a>, within: &Val<'a>) -> Outcome<'a> {
    if let Some(items) = within.items() {
        return Ok(Val::Bool(items.iter().any(|item| item.equals(key))));
    }
    match within.entries() {
        Some(entries) => Ok(Val::Bool(entries.iter().any(|(known, _)| known.equals(key)))),
        None => Err(no_overload()),
    }
}

fn index_of<'a>(value: &Val<'a>, index: &Val<'a>) -> Outcome<'a> {
    if let (Some(items), Some(number)) = (value.items(), index.number()) {
        let found = (number.fract() == 0.0 && number >= 0.0).then(|| items.get(number as usize).cloned()).flatten();
        return found.ok_or_else(|| format!("index out of bounds: {number}"));
    }
    if let Val::Optional(_) = value {
        return optional_member(value.clone(), index);
    }
    let entries = value.entries().ok_or_else(no_overload)?;
    let found = entries.into_iter().find(|(key, _)| key.equals(index)).map(|(_, value)| value);
    found.ok_or_else(|| format!("no such key: {}", index.to_text().unwrap_or_default()))
}

fn arithmetic<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Outcome<'a> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => {
            let done = match name {
                op::ADD => a.checked_add(*b),
                op::SUBSTRACT => a.checked_sub(*b),
                op::MULTIPLY => a.checked_mul(*b),
                op::DIVIDE if *b == 0 => return Err("division by zero".to_owned()),
                op::DIVIDE => a.checked_div(*b),
                _ if *b == 0 => return Err("modulus by zero".to_owned()),
                _ => a.checked_rem(*b),
            };
            done.map(Val::Int).ok_or_else(overflow)
        }
        (Val::UInt(a), Val::UInt(b)) => {
            let done = match name {
                op::ADD => a.checked_add(*b),
                op::SUBSTRACT => a.checked_sub(*b),
                op::MULTIPLY => a.checked_mul(*b),
                op::DIVIDE if *b == 0 => return Err("division by zero".to_owned()),
                op::DIVIDE => a.checked_div(*b),
                _ if *b == 0 => return Err("modulus by zero".to_owned()),
                _ => a.checked_rem(*b),
            };
            done.map(Val::UInt).ok_or_else(|| "unsigned integer overflow".to_owned())
        }
        (Val::Double(a), Val::Double(b)) => match name {
            op::ADD => Ok(Val::Double(a + b)),
            op::SUBSTRACT => Ok(Val::Double(a - b)),
            op::MULTIPLY => Ok(Val::Double(a * b)),
            op::DIVIDE => Ok(Val::Double(a / b)),
            _ => Err(no_overload()),
        },
        (Val::Str(a), Val::Str(b)) if name == op::ADD => Ok(Val::text(format!("{a}{b}"))),
        (Val::Bytes(a), Val::Bytes(b)) if name == op::ADD => Ok(Val::Bytes([a.as_ref(), b.as_ref()].concat().into())),
        (Val::Duration(a), Val::Duration(b)) if name == op::ADD => Ok(Val::Duration(a + b)),
        (Val::Duration(a), Val::Duration(b)) if name == op::SUBSTRACT => Ok(Val::Duration(a - b)),
        (Val::Timestamp(at), Val::Duration(n)) | (Val::Duration(n), Val::Timestamp(at)) if name == op::ADD => {
            moved(*at, *n)
        }
        (Val::Timestamp(at), Val::Duration(n)) if name == op::SUBSTRACT => moved(*at, -n),
        (Val::Timestamp(a), Val::Timestamp(b)) if name == op::SUBSTRACT => {
            Ok(Val::Duration(a.as_nanosecond() - b.as_nanosecond()))
        }
        _ if name == op::ADD => match (a.items(), b.items()) {
            (Some(mut a), Some(b)) => {
                a.extend(b);
                Ok(Val::list(a))
            }
            _ => Err(no_overload()),
        },
        _ => Err(no_overload()),
    }
}

fn moved<'a>(at: jiff::Timestamp, nanos: i128) -> Outcome<'a> {
    let moved = jiff::Timestamp::from_nanosecond(at.as_nanosecond() + nanos);
    moved.map(Val::Timestamp).map_err(|_| "timestamp overflow".to_owned())
}
