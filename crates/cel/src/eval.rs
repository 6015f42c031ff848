//! Evaluating an expression, within a bound on what it may cost.
//!
//! Costs are those of upstream (`interpreter/runtimecost.go`): what stops there stops here.

use std::borrow::Cow;
use std::rc::Rc;

use crate::arithmetic::{MAX_ITEMS, operator, optional_index};
use crate::ast::{Entry, Expr, Field, Fold, Kind, Literal};
use crate::operators as op;
use crate::value::Val;
use crate::walk::deeper;
use crate::{cost, functions};

/// What a value or an error came of an expression.
pub type Outcome<'a> = Result<Val<'a>, String>;

/// What one evaluation may cost (upstream's `PerCallLimit`).
pub const CALL_LIMIT: u64 = 1_000_000;
/// How errors of an exceeded limit begin.
pub const TOO_EXPENSIVE: &str = "operation cancelled: actual cost limit exceeded";

const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const OBJECT_COST: u64 = 40;

/// An evaluation: the variables in scope, and what it has cost.
pub struct Evaluation<'a> {
    scope: Vec<(&'a str, Outcome<'a>)>,
    /// What it has cost so far.
    pub cost: u64,
}

impl<'a> Evaluation<'a> {
    /// With these variables.
    pub fn new(variables: impl IntoIterator<Item = (&'a str, Val<'a>)>) -> Self {
        Self { scope: variables.into_iter().map(|(name, value)| (name, Ok(value))).collect(), cost: 0 }
    }

    /// Adds to the cost.
    pub fn charge(&mut self, cost: u64) -> Result<(), String> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > CALL_LIMIT { Err(TOO_EXPENSIVE.to_owned()) } else { Ok(()) }
    }

    /// The value of an expression.
    pub fn eval(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(of_literal(literal)),
            Kind::Ident(name) => {
                self.charge(1)?;
                self.variable(name)
            }
            _ => deeper(|| self.compound(expr)),
        }
    }

    fn compound(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => self.eval(expr),
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.object(name, fields),
            Kind::Call { function, target, args } => self.call(function, target.as_deref(), args),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn variable(&self, name: &'a str) -> Outcome<'a> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return value.clone();
        }
        // The checker knows the name, so what is no variable is a type.
        Ok(Val::Type(Cow::Owned(name.to_owned())))
    }

    fn select(&mut self, operand: &'a Expr, field: &'a str, test: bool) -> Outcome<'a> {
        let operand = self.eval(operand)?;
        if !test {
            self.charge(1)?;
        }
        let (value, is_optional) = match operand {
            Val::Optional(None) if test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => ((*value).clone(), true),
            value => (value, false),
        };
        if let (Val::Lazy(fields), false) = (&value, test) {
            return fields.get(field);
        }
        let found = value.field(field);
        match (found, test, is_optional) {
            (found, true, _) => Ok(Val::Bool(found.is_some())),
            (found, _, true) => Ok(Val::Optional(found.map(Rc::new))),
            (Some(found), ..) => Ok(found),
            (None, ..) if value.entries().is_none() && !matches!(value, Val::Made(_)) => Err(no_overload()),
            (None, ..) => Err(format!("no such key: {field}")),
        }
    }

    fn list(&mut self, items: &'a [Expr], optional: &[usize]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match (self.eval(item)?, optional.contains(&index)) {
                (Val::Optional(Some(value)), true) => values.push((*value).clone()),
                (Val::Optional(None), true) => {}
                (value, _) => values.push(value),
            }
        }
        self.charge(LIST_COST)?;
        Ok(Val::list(values))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Outcome<'a> {
        let mut members: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = self.eval(&entry.key)?;
            // Of a key that is repeated the last value counts.
            members.retain(|(known, _)| !known.equals(&key));
            match (self.eval(&entry.value)?, entry.optional) {
                (Val::Optional(Some(value)), true) => members.push((key, (*value).clone())),
                (Val::Optional(None), true) => {}
                (value, _) => members.push((key, value)),
            }
        }
        self.charge(MAP_COST)?;
        Ok(Val::Map(Rc::new(members)))
    }

    fn object(&mut self, name: &'a str, fields: &'a [Field]) -> Outcome<'a> {
        let mut members = Vec::with_capacity(fields.len());
        for field in fields {
            let name = crate::escape::unescape(&field.name);
            match (self.eval(&field.value)?, field.optional) {
                (Val::Optional(Some(value)), true) => members.push((name, (*value).clone())),
                (Val::Optional(None), true) => {}
                (value, _) => members.push((name, value)),
            }
        }
        self.charge(OBJECT_COST)?;
        Ok(Val::Made(Rc::new((name.to_owned(), members))))
    }

    fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        let is_map = range.is_map();
        let pairs = match if is_map { range.entries() } else { None } {
            Some(entries) => entries,
            None => {
                let items = range.items().ok_or_else(no_overload)?;
                items.into_iter().enumerate().map(|(i, item)| (Val::Int(i as i64), item)).collect()
            }
        };
        let appended = appended(fold);
        let depth = self.scope.len();
        let init = self.eval(&fold.init);
        self.scope.push((&fold.accumulator, init));
        for (key, value) in pairs {
            match &fold.second {
                Some(second) => {
                    self.scope.push((&fold.variable, Ok(key)));
                    self.scope.push((second, Ok(value)));
                }
                None => self.scope.push((&fold.variable, Ok(if is_map { key } else { value }))),
            }
            if let Ok(Val::Bool(false)) = self.eval(&fold.condition) {
                break;
            }
            let step = match appended {
                Some((filter, item)) => self.append(filter, item, depth).err().map(Err),
                None => Some(self.eval(&fold.step)),
            };
            self.scope.truncate(depth + 1);
            let Some(step) = step else { continue };
            if step.as_ref().is_err_and(|error| error.starts_with(TOO_EXPENSIVE)) {
                return step;
            }
            self.scope[depth].1 = step;
        }
        self.scope.truncate(depth + 1);
        let result = self.eval(&fold.result);
        self.scope.truncate(depth);
        result
    }

    /// Appends to the list that a loop accumulates, in place: joining lists would copy all elements for each. The cost
    /// is that of joining them.
    fn append(&mut self, filter: Option<&'a Expr>, item: &'a Expr, accumulator: usize) -> Result<(), String> {
        if let Some(filter) = filter {
            match self.eval(filter)? {
                Val::Bool(true) => {}
                Val::Bool(false) => return self.charge(1),
                _ => return Err(no_overload()),
            }
        }
        self.charge(1)?;
        if let Err(error) = &self.scope[accumulator].1 {
            return Err(error.clone());
        }
        let item = self.eval(item)?;
        self.charge(LIST_COST + 1)?;
        let (_, Ok(Val::List(items))) = &mut self.scope[accumulator] else { return Err(no_overload()) };
        if items.len() >= MAX_ITEMS {
            return Err(format!("list exceeds {MAX_ITEMS} elements"));
        }
        Rc::make_mut(items).push(item);
        Ok(())
    }

    fn call(&mut self, function: &'a str, target: Option<&'a Expr>, args: &'a [Expr]) -> Outcome<'a> {
        match (function, args) {
            (op::AND, [a, b]) => return self.logical(a, b, false),
            (op::OR, [a, b]) => return self.logical(a, b, true),
            (op::CONDITIONAL, [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Val::Bool(true) => self.eval(yes),
                    Val::Bool(false) => self.eval(no),
                    _ => Err(no_overload()),
                };
            }
            (op::NOT_STRICTLY_FALSE, [value]) => {
                let value = self.eval(value);
                self.charge(1)?;
                return Ok(Val::Bool(!matches!(value, Ok(Val::Bool(false)))));
            }
            (op::OPTIONAL_SELECT, [operand, field]) => return self.optional_select(operand, field),
            // What is not needed is not computed.
            ("or" | "orValue", [other]) => {
                let value = self.eval(target.ok_or_else(no_overload)?)?;
                self.charge(1)?;
                return match value {
                    Val::Optional(Some(held)) if function == "orValue" => Ok((*held).clone()),
                    Val::Optional(Some(held)) => Ok(Val::Optional(Some(held))),
                    Val::Optional(None) => self.eval(other),
                    _ => Err(no_overload()),
                };
            }
            _ => {}
        }
        let mut arguments = Vec::with_capacity(args.len() + 1);
        for argument in target.into_iter().chain(args) {
            arguments.push(self.eval(argument)?);
        }
        self.charge(cost::before_call(function, &arguments))?;
        let result = match operator(function, &arguments) {
            Some(done) => done?,
            None => functions::call(function, &arguments)?,
        };
        self.charge(cost::after_call(function, &result))?;
        Ok(result)
    }

    fn optional_select(&mut self, operand: &'a Expr, field: &'a Expr) -> Outcome<'a> {
        let operand = self.eval(operand)?;
        self.charge(1)?;
        let Kind::Literal(Literal::String(field)) = &field.kind else { return Err(no_overload()) };
        match operand {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => Ok(Val::Optional(value.field(field).map(Rc::new))),
            Val::Lazy(fields) => Ok(Val::Optional(Some(Rc::new(fields.get(field)?)))),
            value @ (Val::Map(_) | Val::Json(..) | Val::Made(_)) => Ok(Val::Optional(value.field(field).map(Rc::new))),
            value => optional_index(value, &Val::text(field.as_str())),
        }
    }

    /// `&&` and `||`: one side may decide although the other fails.
    fn logical(&mut self, a: &'a Expr, b: &'a Expr, decisive: bool) -> Outcome<'a> {
        let left = self.eval(a);
        if matches!(left, Ok(Val::Bool(value)) if value == decisive) {
            return left;
        }
        if left.as_ref().is_err_and(|error| error.starts_with(TOO_EXPENSIVE)) {
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

/// What a loop appends to its list and under which condition, if that is what it does.
fn appended(fold: &Fold) -> Option<(Option<&Expr>, &Expr)> {
    let is_list = |part: &Expr| matches!(&part.kind, Kind::Ident(name) if *name == fold.accumulator);
    let (filter, added) = match arguments(&fold.step, op::CONDITIONAL) {
        [filter, added, same] if is_list(same) => (Some(filter), added),
        _ => (None, &fold.step),
    };
    match arguments(added, op::ADD) {
        [list, Expr { kind: Kind::List { items, optional }, .. }] if is_list(list) && optional.is_empty() => {
            let [item] = items.as_slice() else { return None };
            Some((filter, item))
        }
        _ => None,
    }
}

/// The arguments of a call of this function; nothing of anything else.
fn arguments<'e>(part: &'e Expr, wanted: &str) -> &'e [Expr] {
    match &part.kind {
        Kind::Call { function, args, .. } if function == wanted => args,
        _ => &[],
    }
}

/// The error of a function that is not there for these types.
pub fn no_overload() -> String {
    "no such overload".to_owned()
}

fn of_literal(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Bool(on) => Val::Bool(*on),
        Literal::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
        Literal::Double(n) => Val::Double(*n),
        Literal::Int(n) => Val::Int(*n),
        Literal::Null => Val::Null,
        Literal::String(text) => Val::text(text.as_str()),
        Literal::UInt(n) => Val::UInt(*n),
    }
}
