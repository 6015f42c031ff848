//! Macros taken apart: `has`, those over lists and maps with one variable or two, `sortBy`, `cel.bind`, and those of optionals.
//!
//! What they become follows cel-go (`parser/macro.go`, `ext/comprehensions.go`, `ext/lists.go`, `cel/library.go`), for
//! types, costs and the places of errors come of it.

use crate::ast::{Expr, Fold, Kind, Literal, Source};
use crate::operators as op;
use crate::report::Report;

/// Name of what a loop accumulates; no expression can spell it.
const ACCUMULATOR: &str = "@result";
/// Name of the list that `sortBy` sorts.
const SORTED: &str = "@__sortBy_input__";
/// Name of an element that is not looked at.
const UNUSED: &str = "#unused";
/// Parts of an expression. A text has fewer; macros that copy what they are called on would make any number of them.
const MAX_PARTS: usize = 200_000;
const NOT_SIMPLE: &str = "argument must be a simple name";

/// Makes the parts of the tree.
pub(crate) struct Expander<'s> {
    pub(crate) source: &'s mut Source,
    pub(crate) report: &'s mut Report,
    /// Whether `cel.bind` is a macro.
    pub(crate) binds: bool,
}

impl Expander<'_> {
    /// The number of a new part at a place.
    pub(crate) fn place(&mut self, start: usize) -> usize {
        self.source.starts.push(start);
        self.source.starts.len() - 1
    }

    fn error(&mut self, id: usize, message: &str) -> Option<Kind> {
        let place = self.source.place(self.source.starts[id]);
        self.report.add(place, message);
        None
    }
}

/// Makes parts that stand where the macro stands.
struct Make<'e, 's> {
    expander: &'e mut Expander<'s>,
    start: usize,
}

impl Make<'_, '_> {
    fn of(&mut self, kind: Kind) -> Expr {
        Expr { id: self.expander.place(self.start), kind }
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.of(Kind::Ident(name.to_owned()))
    }

    fn accumulator(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.of(Kind::Literal(literal))
    }

    fn list(&mut self, items: Vec<Expr>) -> Expr {
        self.of(Kind::List { items, optional: Vec::new() })
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.of(Kind::Call { function: function.to_owned(), target: None, args })
    }

    fn member(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.of(Kind::Call { function: function.to_owned(), target: Some(Box::new(target)), args })
    }

    /// A copy whose parts have numbers of their own.
    fn copy(&mut self, expression: &Expr) -> Expr {
        let mut copy = expression.clone();
        renumber(&mut copy, self.expander);
        copy
    }
}

fn renumber(expression: &mut Expr, expander: &mut Expander<'_>) {
    let start = expander.source.starts[expression.id];
    expression.id = expander.place(start);
    crate::walk::children(&mut expression.kind, &mut |child| renumber(child, expander));
}

/// A call, or what a macro of this name becomes.
pub(crate) fn call(
    expander: &mut Expander<'_>,
    id: usize,
    function: String,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Expr {
    let start = expander.source.starts[id];
    let mut make = Make { expander, start };
    let kind = match (function.as_str(), target.is_some(), args.len()) {
        ("has", false, 1) => has(&mut make, args),
        ("all" | "exists" | "exists_one" | "existsOne" | "map" | "filter", true, 2) | ("map", true, 3) => {
            one_variable(&mut make, &function, target, args)
        }
        ("all" | "exists" | "exists_one" | "existsOne", true, 3)
        | ("transformList" | "transformMap" | "transformMapEntry", true, 3 | 4) => {
            two_variables(&mut make, &function, target, args)
        }
        ("optMap" | "optFlatMap", true, 2) => optional(&mut make, &function, target, args),
        ("bind", true, 3) if make.expander.binds && is_namespace(target.as_ref()) => bind(&mut make, args),
        ("sortBy", true, 2) => sort_by(&mut make, target, args),
        _ => Some(Kind::Call { function, target: target.map(Box::new), args }),
    };
    Expr { id, kind: kind.unwrap_or(Kind::Literal(Literal::Null)) }
}

fn has(make: &mut Make<'_, '_>, args: Vec<Expr>) -> Option<Kind> {
    let [argument] = <[Expr; 1]>::try_from(args).ok()?;
    match argument.kind {
        Kind::Select { operand, field, .. } => Some(Kind::Select { operand, field, test: true }),
        _ => make.expander.error(argument.id, "invalid argument to has() macro"),
    }
}

/// The name that a macro gives to elements.
fn variable(make: &mut Make<'_, '_>, argument: &Expr, otherwise: &str) -> Option<String> {
    match &argument.kind {
        Kind::Ident(name) if name == "__result__" => {
            make.expander.error(argument.id, "iteration variable overwrites accumulator variable");
            None
        }
        Kind::Ident(name) => Some(name.clone()),
        _ => {
            make.expander.error(argument.id, otherwise);
            None
        }
    }
}

/// First value, condition and next value, and result of a loop.
struct Steps {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

fn quantifier(make: &mut Make<'_, '_>, function: &str, predicate: Expr) -> Steps {
    match function {
        "all" => {
            let accumulated = make.accumulator();
            let condition = make.call(op::NOT_STRICTLY_FALSE, vec![accumulated]);
            let accumulated = make.accumulator();
            Steps {
                init: make.literal(Literal::Bool(true)),
                condition,
                step: make.call(op::AND, vec![accumulated, predicate]),
                result: make.accumulator(),
            }
        }
        "exists" => {
            let accumulated = make.accumulator();
            let not = make.call(op::NOT, vec![accumulated]);
            let condition = make.call(op::NOT_STRICTLY_FALSE, vec![not]);
            let accumulated = make.accumulator();
            Steps {
                init: make.literal(Literal::Bool(false)),
                condition,
                step: make.call(op::OR, vec![accumulated, predicate]),
                result: make.accumulator(),
            }
        }
        _ => {
            let (accumulated, one) = (make.accumulator(), make.literal(Literal::Int(1)));
            let more = make.call(op::ADD, vec![accumulated, one]);
            let same = make.accumulator();
            let step = make.call(op::CONDITIONAL, vec![predicate, more, same]);
            let (accumulated, one) = (make.accumulator(), make.literal(Literal::Int(1)));
            Steps {
                init: make.literal(Literal::Int(0)),
                condition: make.literal(Literal::Bool(true)),
                step,
                result: make.call(op::EQUALS, vec![accumulated, one]),
            }
        }
    }
}

/// A loop that adds something for the elements that a filter lets through.
fn collect(make: &mut Make<'_, '_>, init: Expr, added: Expr, filter: Option<Expr>) -> Steps {
    let step = match filter {
        Some(filter) => {
            let same = make.accumulator();
            make.call(op::CONDITIONAL, vec![filter, added, same])
        }
        None => added,
    };
    Steps { init, condition: make.literal(Literal::Bool(true)), step, result: make.accumulator() }
}

fn appended(make: &mut Make<'_, '_>, item: Expr) -> Expr {
    let (accumulated, item) = (make.accumulator(), make.list(vec![item]));
    make.call(op::ADD, vec![accumulated, item])
}

fn fold(range: Expr, variable: String, second: Option<String>, steps: Steps) -> Kind {
    let Steps { init, condition, step, result } = steps;
    Kind::Fold(Box::new(Fold {
        range,
        variable,
        second,
        accumulator: ACCUMULATOR.to_owned(),
        init,
        condition,
        step,
        result,
    }))
}

fn one_variable(make: &mut Make<'_, '_>, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Option<Kind> {
    let quantifies = !matches!(function, "map" | "filter");
    let mut args = args.into_iter();
    let (name, second, third) = (args.next()?, args.next()?, args.next());
    let variable = variable(make, &name, if quantifies { NOT_SIMPLE } else { "argument is not an identifier" })?;
    let steps = match (function, third) {
        ("map", third) => {
            let (transform, filter) = match third {
                Some(transform) => (transform, Some(second)),
                None => (second, None),
            };
            let init = make.list(Vec::new());
            let added = appended(make, transform);
            collect(make, init, added, filter)
        }
        ("filter", _) => {
            let init = make.list(Vec::new());
            let added = appended(make, name);
            collect(make, init, added, Some(second))
        }
        _ => quantifier(make, function, second),
    };
    Some(fold(target?, variable, None, steps))
}

fn two_variables(make: &mut Make<'_, '_>, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Option<Kind> {
    let mut args = args.into_iter();
    let (first, second, third, fourth) = (args.next()?, args.next()?, args.next()?, args.next());
    let key = variable(make, &first, NOT_SIMPLE)?;
    let value = variable(make, &second, NOT_SIMPLE)?;
    if key == value {
        return make.expander.error(second.id, &format!("duplicate variable name: {key}"));
    }
    let (transform, filter) = match fourth {
        Some(transform) => (transform, Some(third)),
        None => (third, None),
    };
    let steps = match function {
        "transformList" => {
            let init = make.list(Vec::new());
            let added = appended(make, transform);
            collect(make, init, added, filter)
        }
        "transformMap" | "transformMapEntry" => {
            let init = make.of(Kind::Map(Vec::new()));
            let mut arguments = vec![make.accumulator()];
            if function == "transformMap" {
                arguments.push(make.ident(&key));
            }
            arguments.push(transform);
            let added = make.call(op::MAP_INSERT, arguments);
            collect(make, init, added, filter)
        }
        _ => quantifier(make, function, transform),
    };
    Some(fold(target?, key, Some(value), steps))
}

/// A value under a name: a loop over nothing.
fn bound(make: &mut Make<'_, '_>, name: &str, value: Expr, within: Expr) -> Expr {
    let range = make.list(Vec::new());
    let condition = make.literal(Literal::Bool(false));
    let step = make.ident(name);
    make.of(Kind::Fold(Box::new(Fold {
        range,
        variable: UNUSED.to_owned(),
        second: None,
        accumulator: name.to_owned(),
        init: value,
        condition,
        step,
        result: within,
    })))
}

fn optional(make: &mut Make<'_, '_>, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Option<Kind> {
    let (target, [name, transform]) = (target?, <[Expr; 2]>::try_from(args).ok()?);
    let Kind::Ident(variable) = &name.kind else {
        return make.expander.error(name.id, &format!("{function}() variable name must be a simple identifier"));
    };
    let copy = make.copy(&target);
    if make.expander.source.starts.len() > MAX_PARTS {
        let why = format!("expression count exceeds limit of {MAX_PARTS} while expanding macro '{function}'");
        return make.expander.error(name.id, &why);
    }
    let present = make.member("hasValue", target, Vec::new());
    let value = make.member("value", copy, Vec::new());
    let mut found = bound(make, variable, value, transform);
    if function == "optMap" {
        found = make.call("optional.of", vec![found]);
    }
    let none = make.call("optional.none", Vec::new());
    Some(Kind::Call { function: op::CONDITIONAL.to_owned(), target: None, args: vec![present, found, none] })
}

/// Whether something is called on `cel`.
fn is_namespace(target: Option<&Expr>) -> bool {
    target.is_some_and(|target| matches!(&target.kind, Kind::Ident(name) if name == "cel"))
}

/// `cel.bind(name, value, expression)` (`ext/bindings.go`).
fn bind(make: &mut Make<'_, '_>, args: Vec<Expr>) -> Option<Kind> {
    let [name, value, within] = <[Expr; 3]>::try_from(args).ok()?;
    let Kind::Ident(variable) = &name.kind else {
        return make.expander.error(name.id, "cel.bind() variable names must be simple identifiers");
    };
    Some(bound(make, variable, value, within).kind)
}

fn sort_by(make: &mut Make<'_, '_>, target: Option<Expr>, args: Vec<Expr>) -> Option<Kind> {
    let input = make.ident(SORTED);
    let keys = one_variable(make, "map", Some(input), args)?;
    let keys = make.of(keys);
    let input = make.ident(SORTED);
    let sorted = make.member(op::SORT_BY_KEYS, input, vec![keys]);
    Some(bound(make, SORTED, target?, sorted).kind)
}
