//! Finding the types of an expression's parts, and what is wrong with them (`checker/checker.go` upstream).
//!
//! Names are resolved on the way: functions and variables whose names have dots become one name.

use std::sync::Arc;

use crate::ast::{Entry, Expr, Field, Fold, Kind, Literal, Source};
use crate::environment::Environment;
use crate::operators as op;
use crate::report::Report;
use crate::signatures::Overload;
use crate::types::{Mapping, Type, more_general};
use crate::walk::deeper;

/// Parts of a type: a few loops one after the other could make any number, each doubling them.
const MAX_TYPE: usize = 1000;

/// The types of an expression.
#[derive(Clone, Debug)]
pub struct Types {
    /// By the number of each part.
    pub of: Vec<Type>,
    /// The ways to call a function that fit, by the number of the call.
    pub overloads: Vec<Vec<&'static Overload>>,
}

/// Checks an expression; the error is as upstream's compiler words it.
pub fn check(expression: &mut Expr, source: &Source, environment: &Environment) -> Result<Types, String> {
    let mut checker = Checker {
        source,
        environment,
        scope: Vec::new(),
        mapping: Mapping::default(),
        free: 0,
        types: vec![Type::Error; source.starts.len()],
        overloads: vec![Vec::new(); source.starts.len()],
        report: Report::default(),
    };
    checker.check(expression);
    let Checker { mapping, types, overloads, report, .. } = checker;
    let types = Types { of: types.iter().map(|ty| mapping.substitute(ty, true)).collect(), overloads };
    if !report.is_empty() {
        return Err(report.show(source));
    }
    let mut report = Report::default();
    crate::literals::check(expression, source, &types, &mut report);
    if report.is_empty() { Ok(types) } else { Err(report.show(source)) }
}

struct Checker<'e> {
    source: &'e Source,
    environment: &'e Environment,
    /// Names that loops declare, innermost last.
    scope: Vec<(String, Type)>,
    mapping: Mapping,
    /// Number of the next free parameter.
    free: usize,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static Overload>>,
    report: Report,
}

impl Checker<'_> {
    fn error(&mut self, id: usize, message: impl Into<String>) {
        let place = self.source.place(self.source.starts[id]);
        self.report.add(place, message);
    }

    fn undeclared(&mut self, id: usize, name: &str) -> Type {
        self.error(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, id: usize, expected: &Type, found: &Type) {
        self.error(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn free_type(&mut self) -> Type {
        self.free += 1;
        Type::Param(format!("_var{}", self.free - 1).into())
    }

    fn check(&mut self, expression: &mut Expr) -> Type {
        let id = expression.id;
        let ty = match &mut expression.kind {
            Kind::Literal(literal) => type_of(literal),
            Kind::Ident(name) => match self.variable(name) {
                Some(ty) => ty,
                None => self.undeclared(id, &name.clone()),
            },
            _ => deeper(|| self.compound(expression)),
        };
        // A type is walked from part to part, although parts may be shared.
        let ty = if ty.is_larger(MAX_TYPE) {
            self.error(id, format!("type has more than {MAX_TYPE} parts"));
            Type::Error
        } else {
            ty
        };
        self.types[id] = ty.clone();
        ty
    }

    fn compound(&mut self, expression: &mut Expr) -> Type {
        match &mut expression.kind {
            Kind::Literal(_) | Kind::Ident(_) => self.check(expression),
            Kind::Select { .. } => self.select(expression),
            Kind::Call { .. } => self.call(expression),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.object(expression.id, name, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let local = self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, ty)| ty.clone());
        local.or_else(|| self.environment.type_of(name))
    }

    fn select(&mut self, expression: &mut Expr) -> Type {
        if let Some(name) = expression.qualified_name()
            && let Some(ty) = self.variable(&name)
        {
            expression.kind = Kind::Ident(name);
            return ty;
        }
        let id = expression.id;
        let Kind::Select { operand, field, test } = &mut expression.kind else { return Type::Error };
        let found = self.field(id, operand, field, false);
        if *test { Type::Bool } else { self.mapping.substitute(&found, false) }
    }

    /// The type of a field of an operand.
    fn field(&mut self, id: usize, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.mapping.substitute(&operand, false);
        let (target, is_optional) = match operand.held() {
            Some(held) => (held.clone(), true),
            None => (operand, false),
        };
        let result = match &target {
            Type::Map(of) => of.1.clone(),
            Type::Object(object) => match self.environment.field(&object.name, field) {
                Some(Some(ty)) => ty,
                Some(None) => {
                    self.error(id, format!("undefined field '{field}'"));
                    Type::Error
                }
                None => {
                    self.error(id, format!("unexpected failed resolution of '{}'", object.name));
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.mapping.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Any | Type::Error => Type::Dyn,
            other => {
                self.error(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(result) } else { result }
    }

    fn call(&mut self, expression: &mut Expr) -> Type {
        let id = expression.id;
        let Kind::Call { function, target, args } = &mut expression.kind else { return Type::Error };
        if function == op::OPTIONAL_SELECT {
            return self.optional_select(id, args);
        }
        let arguments = args.iter_mut().map(|argument| self.check(argument)).collect::<Vec<_>>();
        let Some(value) = target else {
            return match self.environment.function(function) {
                Some(overloads) => self.resolve(id, function, overloads, args, arguments, false),
                None => self.undeclared(id, &function.clone()),
            };
        };
        // The target may be the beginning of the function's name.
        let whole = value.qualified_name().map(|prefix| format!("{prefix}.{function}"));
        if let Some(name) = whole
            && let Some(overloads) = self.environment.function(&name)
        {
            *function = name;
            *target = None;
            return self.resolve(id, function, overloads, args, arguments, false);
        }
        let mut types = vec![self.check(value)];
        types.extend(arguments);
        match self.environment.function(function) {
            Some(overloads) => self.resolve(id, function, overloads, args, types, true),
            None => self.undeclared(id, &function.clone()),
        }
    }

    fn optional_select(&mut self, id: usize, args: &mut [Expr]) -> Type {
        let [operand, field] = args else {
            let count = args.len();
            let why = format!("unsupported optional field selection: incorrect signature. argument count: {count}");
            self.error(id, why);
            return Type::Error;
        };
        let Kind::Literal(Literal::String(name)) = &field.kind else {
            self.error(field.id, "unsupported optional field selection");
            return Type::Error;
        };
        let name = name.clone();
        let found = self.field(id, operand, &name, true);
        self.types[field.id] = Type::String;
        self.mapping.substitute(&found, false)
    }

    fn resolve(
        &mut self,
        id: usize,
        function: &str,
        overloads: &'static [Overload],
        args: &[Expr],
        arguments: Vec<Type>,
        member: bool,
    ) -> Type {
        if matches!(function, op::AND | op::OR) {
            let mut fits = true;
            for (argument, ty) in args.iter().zip(&arguments) {
                if !self.mapping.assign(ty, &Type::Bool) {
                    self.mismatch(argument.id, &Type::Bool, ty);
                    fits = false;
                }
            }
            self.overloads[id] = overloads.iter().collect();
            return if fits { Type::Bool } else { Type::Error };
        }
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.member == member) {
            let (wanted, returned) = self.instantiate(overload);
            if !self.mapping.assign_all(&arguments, &wanted) {
                continue;
            }
            self.overloads[id].push(overload);
            let returned = self.mapping.substitute(&returned, false);
            result = Some(match result {
                None => returned,
                Some(before) if !before.is_dyn() && !returned.is(&before) => Type::Dyn,
                Some(before) => before,
            });
        }
        if let Some(result) = result {
            return result;
        }
        let shown = arguments.iter().map(|ty| self.mapping.substitute(ty, true).to_string()).collect::<Vec<_>>();
        let signature = match shown.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.error(id, format!("found no matching overload for '{function}' applied to '{signature}'"));
        Type::Error
    }

    /// The types of a function with parameters of their own.
    fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let mut fresh = Mapping::default();
        let mut known: Vec<Arc<str>> = Vec::new();
        for ty in overload.arguments.iter().chain([&overload.result]) {
            parameters(ty, &mut known);
        }
        for parameter in &known {
            let free = self.free_type();
            fresh.add(parameter, free);
        }
        let arguments = overload.arguments.iter().map(|ty| fresh.substitute(ty, false)).collect();
        (arguments, fresh.substitute(&overload.result, false))
    }

    /// What an optional element or member holds.
    fn held(&mut self, id: usize, ty: Type) -> Type {
        match ty.held() {
            Some(held) => held.clone(),
            None => {
                if !ty.is_dyn() {
                    self.mismatch(id, &Type::optional(ty.clone()), &ty);
                }
                ty
            }
        }
    }

    fn join(&mut self, before: Option<Type>, ty: Type) -> Type {
        let Some(before) = before else { return ty };
        // Constants of mixed types are refused later on, but for what is given to `format`.
        if self.mapping.assign(&before, &ty) { more_general(&before, &ty) } else { Type::Dyn }
    }

    fn list(&mut self, items: &mut [Expr], optional: &[usize]) -> Type {
        let mut of = None;
        for (index, item) in items.iter_mut().enumerate() {
            let mut ty = self.check(item);
            if optional.contains(&index) {
                ty = self.held(item.id, ty);
            }
            of = Some(self.join(of, ty));
        }
        let of = of.unwrap_or_else(|| self.free_type());
        Type::list(of)
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.check(&mut entry.key);
            keys = Some(self.join(keys, key));
            let mut value = self.check(&mut entry.value);
            if entry.optional {
                value = self.held(entry.value.id, value);
            }
            values = Some(self.join(values, value));
        }
        match (keys, values) {
            (Some(keys), Some(values)) => Type::map(keys, values),
            _ => {
                let (key, value) = (self.free_type(), self.free_type());
                Type::map(key, value)
            }
        }
    }

    fn object(&mut self, id: usize, name: &str, fields: &mut [Field]) -> Type {
        let Some(ty) = self.variable(name) else {
            return self.undeclared(id, name);
        };
        let result = match ty {
            Type::Type(Some(ty)) => match &*ty {
                ty @ Type::Object(_) => ty.clone(),
                other => {
                    self.error(id, format!("'{other}' is not a message type"));
                    Type::Error
                }
            },
            other => {
                self.error(id, format!("'{other}' is not a type"));
                Type::Error
            }
        };
        for field in fields {
            let mut value = self.check(&mut field.value);
            let wanted = match self.environment.field(name, &field.name) {
                Some(Some(ty)) => ty,
                Some(None) => {
                    self.error(field.id, format!("undefined field '{}'", field.name));
                    Type::Error
                }
                None => {
                    self.error(field.id, format!("unexpected failed resolution of '{name}'"));
                    Type::Error
                }
            };
            if field.optional {
                value = self.held(field.value.id, value);
            }
            if !self.mapping.assign(&wanted, &value) {
                let name = &field.name;
                let why = format!("expected type of field '{name}' is '{wanted}' but provided type is '{value}'");
                self.error(field.id, why);
            }
        }
        result
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let accumulated = self.check(&mut fold.init);
        let range = self.mapping.substitute(&range, false);
        let depth = self.scope.len();
        self.scope.push((fold.accumulator.clone(), accumulated.clone()));
        let (first, second) = match &range {
            Type::List(of) if fold.second.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Error),
            Type::Map(of) => (of.0.clone(), of.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.error(fold.range.id, why);
                (Type::Error, Type::Error)
            }
        };
        self.scope.push((fold.variable.clone(), first));
        if let Some(name) = &fold.second {
            self.scope.push((name.clone(), second));
        }
        let condition = self.check(&mut fold.condition);
        if !self.mapping.assign(&Type::Bool, &condition) {
            self.mismatch(fold.condition.id, &Type::Bool, &condition);
        }
        let step = self.check(&mut fold.step);
        if !self.mapping.assign(&accumulated, &step) {
            self.mismatch(fold.step.id, &accumulated, &step);
        }
        self.scope.truncate(depth + 1);
        let result = self.check(&mut fold.result);
        self.scope.truncate(depth);
        self.mapping.substitute(&result, false)
    }
}

fn type_of(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::UInt(_) => Type::UInt,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// The parameters in a type.
fn parameters(ty: &Type, known: &mut Vec<Arc<str>>) {
    match ty {
        Type::Param(name) if !known.contains(name) => known.push(name.clone()),
        Type::List(of) | Type::Type(Some(of)) => parameters(of, known),
        Type::Map(of) => {
            parameters(&of.0, known);
            parameters(&of.1, known);
        }
        Type::Opaque(_, of) => of.iter().for_each(|ty| parameters(ty, known)),
        _ => {}
    }
}
