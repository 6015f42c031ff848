//! What an expression may cost at most, told from types and schemas (`checker/cost.go` upstream).
//!
//! The estimate decides which rules may be written, so it follows upstream's to the number: sizes are those that a
//! schema allows ([`Declared`]), found by the path on which a value was reached.

mod calls;
mod range;

use std::collections::HashMap;

use crate::ast::{Entry, Expr, Fold, Kind, Literal};
use crate::check::Types;
use crate::declared::{Declared, Shape};
use crate::operators as op;
use crate::program::Program;
use crate::types::Type;
use crate::walk::deeper;

pub use self::range::Range;

const LIST: Range = Range::exactly(10);
const MAP: Range = Range::exactly(30);
const OBJECT: Range = Range::exactly(40);
const ONE: Range = Range::exactly(1);
const NOTHING: Range = Range::exactly(0);
/// Cost of going through a character.
const CHARACTER: f64 = 0.1;
/// Cost of a character of a regular expression.
const OF_EXPRESSION: f64 = 0.25;

/// The steps by which a value is reached: variable, fields, `@items`, `@values`, `@keys`.
type Path = Vec<String>;

/// What a program costs about values of a type.
pub fn estimate(program: &Program, root: &Declared) -> Range {
    estimate_with(program, &|path| declared_size(root, path))
}

/// What a program costs where sizes are found by the path on which a value is reached: a variable, then fields,
/// `@items`, `@values` and `@keys`.
pub fn estimate_with(program: &Program, size_at: &dyn Fn(&[String]) -> Option<Range>) -> Range {
    let mut estimator = Estimator {
        types: &program.types,
        size_at,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(&program.expression)
}

/// Sizes of the keys and values of a list or map.
#[derive(Clone, Copy, Debug)]
struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

/// A name that a loop declares.
struct Local<'e> {
    name: &'e str,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Estimator<'e> {
    types: &'e Types,
    size_at: &'e dyn Fn(&[String]) -> Option<Range>,
    paths: HashMap<usize, Path>,
    sizes: HashMap<usize, Range>,
    entries: HashMap<usize, Entries>,
    locals: Vec<Local<'e>>,
}

/// A part of an expression, as calls look at it.
struct Node<'e> {
    expr: &'e Expr,
    path: Path,
    size: Option<Range>,
}

/// Cost of a call, and size of its result where something is known.
struct Call {
    cost: Range,
    size: Option<Range>,
}

impl<'e> Estimator<'e> {
    fn cost(&mut self, expr: &'e Expr) -> Range {
        deeper(|| self.cost_here(expr))
    }

    fn cost_here(&mut self, expr: &'e Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => NOTHING,
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                ONE
            }
            Kind::Select { operand, field, test } => {
                let mut sum = self.cost(operand);
                if *test {
                    return sum;
                }
                if matches!(self.ty(operand), Type::Map(_) | Type::Object(_) | Type::Param(_)) {
                    sum = sum.plus(ONE);
                }
                let mut path = self.path(operand);
                path.push(field.clone());
                self.paths.insert(expr.id, path);
                sum
            }
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List { items, .. } => self.list(expr, items),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { fields, .. } => {
                let costs = fields.iter().map(|field| self.cost(&field.value)).collect::<Vec<_>>();
                costs.into_iter().fold(OBJECT, Range::plus)
            }
            Kind::Fold(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn ty(&self, expr: &Expr) -> &'e Type {
        &self.types.of[expr.id]
    }

    fn local(&self, name: &str) -> Option<&Local<'e>> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn declared_size(&self, path: &[String]) -> Option<Range> {
        (self.size_at)(path)
    }

    /// The size of a part, where something is known.
    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = literal_size(expr) {
            return Some(size);
        }
        if let Some(size) = self.declared_size(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.ty(expr)) {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn entries(&self, expr: &Expr) -> Option<Entries> {
        let known = self.entries.get(&expr.id).copied();
        known.or_else(|| match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        })
    }

    fn set_size(&mut self, expr: &Expr, size: Option<Range>) {
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
    }

    fn set_entries(&mut self, expr: &Expr, entries: Option<Entries>) {
        if let Some(entries) = entries {
            self.entries.insert(expr.id, entries);
        }
    }

    fn node(&mut self, expr: &'e Expr) -> Node<'e> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| first == "@result" || first == "__result__") {
            path.clear();
        }
        Node { expr, path, size: self.size(expr) }
    }

    fn list(&mut self, expr: &Expr, items: &'e [Expr]) -> Range {
        let (mut sum, mut size) = (LIST, Range { min: u64::MAX, max: 0 });
        if items.is_empty() {
            size.min = 0;
        }
        for item in items {
            sum = sum.plus(self.cost(item));
            size = size.union(self.size_or_unknown(item));
        }
        self.set_entries(expr, Some(Entries { is_list: true, key: ONE, value: size }));
        sum
    }

    fn map(&mut self, expr: &Expr, entries: &'e [Entry]) -> Range {
        let none = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut sum, mut key, mut value) = (MAP, none, none);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.set_entries(expr, Some(Entries { is_list: false, key, value }));
        sum
    }

    fn push(&mut self, name: &'e str, expr: &'e Expr) {
        let (path, entries) = (self.path(expr), self.entries(expr));
        let size = self.size(expr);
        self.locals.push(Local { name, path, size, entries });
    }

    /// Declares what goes through a range: its keys or its values.
    fn push_element(&mut self, name: &'e str, range: &Expr, keys: bool) {
        let entries = self.entries(range);
        let is_list = entries.map_or_else(|| matches!(self.ty(range), Type::List(_)), |entries| entries.is_list);
        let mut path = self.path(range);
        path.push(
            match (keys, is_list) {
                (true, true) => "@indices",
                (true, false) => "@keys",
                (false, true) => "@items",
                (false, false) => "@values",
            }
            .to_owned(),
        );
        let size = entries.map(|entries| if keys { entries.key } else { entries.value });
        self.locals.push(Local { name, path, size, entries: None });
    }

    fn fold(&mut self, expr: &Expr, fold: &'e Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let depth = self.locals.len();
        self.push(&fold.accumulator, &fold.init);
        match &fold.second {
            Some(second) => {
                self.push_element(&fold.variable, &fold.range, true);
                self.push_element(second, &fold.range, false);
            }
            None => {
                let entries = self.entries(&fold.range);
                let of_type = matches!(self.ty(&fold.range), Type::List(_));
                let is_list = entries.map_or(of_type, |entries| entries.is_list);
                self.push_element(&fold.variable, &fold.range, !is_list);
            }
        }
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        self.locals.truncate(depth + 1);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(depth);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(step.plus(condition)));
        match &fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.set_size(expr, size);
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.set_size(expr, Some(count));
                let entries = self.entries(&fold.step);
                self.set_entries(expr, entries);
            }
            _ => {}
        }
        sum
    }

    fn bind(&mut self, expr: &Expr, fold: &'e Fold) -> Range {
        let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let depth = self.locals.len();
        self.push(&fold.accumulator, &fold.init);
        let sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(depth);
        let (size, entries) = (self.size(&fold.result), self.entries(&fold.result));
        self.set_size(expr, size);
        self.set_entries(expr, entries);
        sum
    }

    fn call(&mut self, expr: &'e Expr, function: &str, target: Option<&'e Expr>, args: &'e [Expr]) -> Range {
        if let (op::OPTIONAL_SELECT, [operand, _]) = (function, args) {
            // Upstream knows it as a call with two arguments.
            let cost = self.cost(operand).plus(ONE);
            return cost;
        }
        if let ("dyn", [value]) = (function, args) {
            let cost = self.cost(value).plus(ONE);
            let (size, entries) = (self.size(value), self.entries(value));
            self.set_size(expr, size);
            self.set_entries(expr, entries);
            return cost;
        }
        let (mut costs, mut nodes) = (Vec::with_capacity(args.len()), Vec::with_capacity(args.len()));
        for argument in args {
            costs.push(self.cost(argument));
            nodes.push(self.node(argument));
        }
        let of_target = target.map_or(NOTHING, |target| self.cost(target));
        let target = target.map(|target| self.node(target));
        let (mut total, mut size) = (Range { min: u64::MAX, max: 0 }, None::<Range>);
        for overload in &self.types.overloads[expr.id] {
            let call = self.overload(expr, function, overload, target.as_ref(), &nodes, &costs);
            total = total.union(call.cost);
            size = match (size, call.size) {
                (Some(before), Some(size)) => Some(before.union(size)),
                (before, size) => before.or(size),
            };
            if let (op::INDEX, Some(of @ (Type::List(_) | Type::Map(_))), [container, _]) =
                (function, overload.arguments.first(), args)
            {
                size = self.entries(container).map(|entries| entries.value);
                let mut path = self.path(container);
                path.push(if matches!(of, Type::List(_)) { "@items" } else { "@values" }.to_owned());
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        self.set_size(expr, size);
        of_target.plus(total)
    }
}

/// The size that the schema allows for what is reached on a path.
fn declared_size(root: &Declared, path: &[String]) -> Option<Range> {
    let (_, steps) = path.split_first()?;
    let mut at = root;
    for step in steps {
        at = match (step.as_str(), &at.shape) {
            ("@items" | "@values", Shape::List(of, _) | Shape::Map(of)) => of,
            // Nobody says how long keys are.
            ("@keys", Shape::Map(_)) => return Some(NOTHING),
            (name, Shape::Object(object)) => &object.fields.get(name)?.ty,
            _ => return None,
        };
    }
    Some(Range { min: 0, max: at.max_elements.unwrap_or(0) })
}

/// A value under a name.
fn is_bind(fold: &Fold) -> bool {
    matches!(&fold.range.kind, Kind::List { items, .. } if items.is_empty())
        && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
        && fold.accumulator != "__result__"
}

fn literal_size(expr: &Expr) -> Option<Range> {
    let size = match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count(),
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Literal(_) => 1,
        Kind::List { items, .. } => items.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(Range::exactly(size as u64))
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::UInt => true,
        other => other.held().is_some_and(is_scalar),
    }
}
