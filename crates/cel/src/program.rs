//! A compiled expression: read, checked, ready to be evaluated.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::ast::{Expr, Kind, Source};
use crate::check::{self, Types};
use crate::environment::Environment;
use crate::eval::{Evaluation, Outcome};
use crate::parse;
use crate::types::Type;
use crate::value::Val;

/// What is done with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is read and checked.
    Compilation,
    /// It is evaluated.
    Evaluation,
}

static OBSERVER: OnceLock<fn(Step, Duration)> = OnceLock::new();

/// Has it told how long everything takes, in the whole process; the first who asks is told.
pub fn observe_with(observer: fn(Step, Duration)) {
    let _ = OBSERVER.set(observer);
}

fn observed<T>(step: Step, work: impl FnOnce() -> T) -> T {
    let Some(observer) = OBSERVER.get() else { return work() };
    let started = Instant::now();
    let result = work();
    observer(step, started.elapsed());
    result
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    /// The expression.
    pub expression: Expr,
    /// Its text.
    pub source: Source,
    /// The types of its parts.
    pub types: Types,
}

impl Program {
    /// Compiles; the error is as upstream's compiler words it.
    pub fn compile(text: &str, environment: &Environment) -> Result<Self, String> {
        observed(Step::Compilation, || {
            let (mut expression, source) = parse::parse(text, environment.binds)?;
            let types = check::check(&mut expression, &source, environment)?;
            Ok(Self { expression, source, types })
        })
    }

    /// The type of what comes of it.
    pub fn result(&self) -> &Type {
        &self.types.of[self.expression.id]
    }

    /// Whether it speaks of this variable.
    pub fn mentions(&self, name: &str) -> bool {
        fn within(expression: &mut Expr, name: &str) -> bool {
            let mut found = matches!(&expression.kind, Kind::Ident(known) if known == name);
            crate::walk::children(&mut expression.kind, &mut |child| found = found || within(child, name));
            found
        }
        within(&mut self.expression.clone(), name)
    }

    /// Evaluates with these variables; also what it cost.
    pub fn evaluate<'a>(&'a self, variables: impl IntoIterator<Item = (&'a str, Val<'a>)>) -> (Outcome<'a>, u64) {
        observed(Step::Evaluation, || {
            let mut run = Evaluation::new(variables);
            let outcome = run.eval(&self.expression);
            (outcome, run.cost)
        })
    }
}
